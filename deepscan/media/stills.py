"""A still picture as a short clip: a camera that drifts a little over it.

Portraits are many and clips of people few; what is blended into a portrait before it becomes a clip goes
through the codec of clips as a real forgery does.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media.pixels import Picture

_SHIFT, _GROWTH, _TURN_DEG = 0.03, 0.06, 2.5
"""How far the camera goes at most: as a share of the side, as a share of the size, and in degrees."""

_LEAST_SCALE = 1.06
"""By so much the picture is enlarged at least, so that its edges stay out of sight, mostly."""


def drift(
    pictures: tuple[Picture, ...], frames: int, rng: np.random.Generator
) -> Iterator[tuple[Picture, ...]]:
    """Yield the frames of several pictures of one size, each seen by the same moving camera.

    The camera goes on a bow between two random places; what lies beyond the edge is mirrored.

    Args:
        pictures: RGB uint8 [H, W, 3], all of one size.
        frames: How many.
        rng: Draws the way.

    Yields:
        Pictures [H', W', 3], with the even sides that codecs want.
    """
    height, width = pictures[0].shape[:2]
    ends = rng.uniform(-1, 1, (2, 4))
    for place in np.linspace(0, np.pi, frames):
        along = (1 - np.cos(place)) / 2
        x, y, growth, turn = (1 - along) * ends[0] + along * ends[1]
        scale = _LEAST_SCALE + _GROWTH * (growth + 1) / 2
        way = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), _TURN_DEG * turn, scale)
        way[:, 2] = way[:, 2] + _SHIFT * np.array([x * width, y * height])
        yield tuple(_seen(picture, way) for picture in pictures)


def _seen(picture: Picture, way: NDArray[Any]) -> Picture:
    height, width = picture.shape[:2]
    size_px = (width - width % 2, height - height % 2)
    seen = cv2.warpAffine(picture, way, size_px, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(seen, np.uint8)
