"""Which media the analyzers of single pictures look at."""

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoPictureError
from deepscan.media.source import Media


def is_still(media: Media) -> bool:
    """Tell whether a file holds one picture, which does not move."""
    return media.facts.width_px is not None and media.facts.duration_s is None


def still_of(media: Media, least_px: int) -> NDArray[np.uint8]:
    """Return the picture of a file, RGB uint8 [H, W, 3].

    Raises:
        NoPictureError: There is none, or one of its sides is shorter than ``least_px``.
        CorruptMediaError: It does not decode.
    """
    if not is_still(media):
        msg = f"{media.facts.name!r} holds no still picture; give one."
        raise NoPictureError(msg)
    picture_HWC = media.picture_HWC
    height, width = picture_HWC.shape[:2]
    if min(height, width) < least_px:
        msg = (
            f"{media.facts.name!r} is {width} x {height} px, too small to be measured; "
            f"give a picture of at least {least_px} x {least_px} px."
        )
        raise NoPictureError(msg)
    return picture_HWC
