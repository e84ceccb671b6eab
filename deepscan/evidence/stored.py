"""Luma as a file stores it, which keeps the grid of blocks where the encoder laid it."""

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.evidence.stills import is_still
from deepscan.media import jpeg, pixels
from deepscan.media.headers import jpeg_quality
from deepscan.media.jpeg import Coding
from deepscan.media.probe import opened, orientation
from deepscan.media.source import Media


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stored:
    """Luma of a still picture.

    Attributes:
        luma_HW: uint8 [H, W]; of JPEG neither converted nor turned, of all else from the upright picture.
        quality: Of libjpeg, whose table is nearest to the file's; 100 of all else than JPEG.
    """

    luma_HW: NDArray[np.uint8]
    quality: int


def is_jpeg(media: Media) -> bool:
    """Tell whether a file is JPEG."""
    return media.facts.container == "jpeg" and is_still(media)


def coding(media: Media) -> Coding:
    """Read the header of a JPEG file.

    Raises:
        CorruptMediaError: It is damaged.
    """
    return jpeg.read(media.data, media.facts.name)


def stored(media: Media) -> Stored:
    """Decode the luma of a still picture.

    Raises:
        MediaError: It does not decode.
    """
    if is_jpeg(media) and (header := coding(media)).has_luma:
        luma_HW = jpeg.luma_HW(media.data, media.facts.name)
        return Stored(luma_HW=luma_HW, quality=jpeg_quality(header.luma_64))
    grey_HW = cv2.cvtColor(media.picture_HWC, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    return Stored(luma_HW=grey_HW, quality=100)


def turned(media: Media, values_HW: NDArray[Any]) -> NDArray[np.float32]:
    """Return a map over the stored luma as it lies over the upright picture, float32."""
    if is_jpeg(media) and coding(media).has_luma:
        with opened(media.data, media.facts.name) as picture:
            turn = orientation(media.data, picture)
        values_HW = pixels.upright(values_HW[..., None], turn)[..., 0]
    return np.ascontiguousarray(values_HW, np.float32)
