"""What evidence shows: maps over the media, pictures and curves, small enough to travel in a verdict."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from deepscan.verdict import Curve, Picture, Region

MAP_PX = 192
"""Longest side of a map; what it lies over is larger, and is shown with it."""

THUMBNAIL_PX = 256
POINTS = 400
"""Most points of a curve; longer ones are averaged."""

DIGITS = 4
"""Significant digits of the points of a curve."""

WHOLE = Region(box=(0.0, 0.0, 1.0, 1.0))

Floats = NDArray[np.floating]


def heat_map(
    name: str,
    caption: str,
    values_HW: Floats,
    scale: tuple[float, float],
    region: Region = WHOLE,
    unit: str = "",
) -> Picture:
    """Return a map of values; what is not finite counts as the low end.

    Args:
        name: Name within its evidence.
        caption: What is to be seen, one sentence.
        values_HW: float [H, W], over ``region``.
        scale: What black and white stand for; values beyond are cut.
        region: Where in the media the map lies.
        unit: Of the values.

    Raises:
        ValueError: The scale is empty.
    """
    low, high = scale
    if not low < high:
        msg = f"A map needs a scale whose low end is below the high one, not {scale}."
        raise ValueError(msg)
    shares_HW = np.clip((np.nan_to_num(values_HW.astype(np.float32), nan=low) - low) / (high - low), 0, 1)
    grey_HW = np.rint(_shrunk(shares_HW, MAP_PX) * 255).astype(np.uint8)
    return Picture(
        name=name,
        caption=caption,
        png=_png(grey_HW),
        region=region,
        low=float(low),
        high=float(high),
        unit=unit,
    )


def thumbnail(
    name: str, caption: str, pixels_HWC: NDArray[np.uint8], region: Region | None = None
) -> Picture:
    """Return a picture: uint8 [H, W, 3] or [H, W], shrunk to ``THUMBNAIL_PX``."""
    return Picture(name=name, caption=caption, png=_png(_shrunk(pixels_HWC, THUMBNAIL_PX)), region=region)


def values_of(picture: Picture) -> NDArray[np.float32]:
    """Return the values of a map, float32 [H, W] in its unit.

    Raises:
        ValueError: The picture is no map.
    """
    if picture.low is None or picture.high is None:
        msg = f"{picture.name!r} is a picture and no map of values."
        raise ValueError(msg)
    grey_HW = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(picture.png))).convert("L"))
    values_HW = picture.low + grey_HW.astype(np.float32) / 255 * (picture.high - picture.low)
    return values_HW.astype(np.float32)


def curve(
    name: str,
    caption: str,
    x_N: Floats,
    y_N: Floats,
    units: tuple[str, str],
    spans: Sequence[tuple[float, float]] = (),
) -> Curve:
    """Return a curve of at most ``POINTS`` points; what is not finite is a gap.

    Args:
        name: Name within its evidence.
        caption: What is to be seen, one sentence.
        x_N: float [N], ascending.
        y_N: float [N].
        units: Of x and of y.
        spans: What stands out, as begin and end on x.

    Raises:
        ValueError: x and y are not equally long.
    """
    if len(x_N) != len(y_N):
        msg = f"A curve needs as many x as y, not {len(x_N)} and {len(y_N)}."
        raise ValueError(msg)
    if len(x_N) > POINTS:
        x_N, y_N = _averaged(x_N), _averaged(y_N)
    return Curve(
        name=name,
        caption=caption,
        x=tuple(_rounded(value) for value in x_N),
        y=tuple(_rounded(value) if np.isfinite(value) else None for value in y_N),
        x_unit=units[0],
        unit=units[1],
        spans=tuple((_rounded(begin), _rounded(end)) for begin, end in spans),
    )


def _averaged(values_N: Floats) -> Floats:
    return np.array([np.mean(piece) for piece in np.array_split(values_N, POINTS)])


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _shrunk(pixels: NDArray[Any], longest_px: int) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    share = longest_px / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _png(pixels: NDArray[Any]) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
