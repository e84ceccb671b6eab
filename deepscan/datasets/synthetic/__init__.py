"""Made sets of every kind, to try the whole road without data; and copies of a user's own recordings."""

import pathlib
from collections.abc import Callable

from deepscan.datasets.synthesize import synthesize
from deepscan.datasets.synthetic.clips import make_clips, make_talks
from deepscan.datasets.synthetic.sets import Order, Progress
from deepscan.datasets.synthetic.sounds import copy_recordings, make_sounds
from deepscan.media.encode import AUDIO, IMAGE, VIDEO

__all__ = ["KINDS", "Order", "Progress"]


def make_pictures(order: Order, progress: Progress | None = None) -> pathlib.Path:
    """Write pictures, half of them forged; see ``synthesize``.

    Args:
        order: ``count`` is 400 and ``size_px`` 192 by default; ``recordings`` has no use.
        progress: Called with the pictures done and their number.

    Raises:
        ConfigError: A setting is out of range or has no use.
        DataError: The folder holds other things.
    """
    order.refuse(recordings="pictures have no sound")
    size_px = 192 if order.size_px is None else order.size_px
    return synthesize(order.out, order.count or 400, size_px, order.seed, progress)


KINDS: dict[str, Callable[[Order, Progress | None], pathlib.Path]] = {
    IMAGE: make_pictures,
    VIDEO: make_clips,
    AUDIO: make_sounds,
    "av": make_talks,
    "copy": copy_recordings,
}
"""What can be made, by the name that a user gives; each returns the manifest."""
