"""The preview that EXIF keeps of a picture, against the picture: programs that edit one may forget the other.

The idea is that of Kee and Farid, "Digital image authentication from thumbnails", SPIE Media Forensics and
Security 2010: cameras make the preview from the picture, by filtering and shrinking.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import MediaError, NoPictureError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import heat_map, thumbnail
from deepscan.media.embedded import embedded
from deepscan.media.pixels import decode_picture, resize, upright
from deepscan.media.probe import Limits, probe
from deepscan.media.source import Media
from deepscan.verdict import Box, Evidence, Finding, Region

MEASURES = ("thumbnail_width_px", "thumbnail_height_px", "correlation", "largest_difference_levels")
LIMITS = (
    "Programs that shrink, crop or brighten a picture often keep the old preview, and others make a new one "
    "whatever was changed: a preview that fits proves nothing. Details of a few pixels do not show in it."
)
LOWEST_CORRELATION = 0.95
"""Of 200 genuine faces with previews made by five filters none was below 0.997, even saved at quality 40; of
those that then lost 5 % at two sides more than half are below, of those that lost 10 % all."""

LARGEST_DIFFERENCE = 40.0
"""Levels; of the same previews 95 % were below 8.2 and all below 14.6, while pictures made 1.3 times brighter
afterwards, where whites are cut off, reach 43."""

LONGEST_PX = 320
"""Previews are compared at this size or smaller."""

_MARGIN_PX = 3
"""So far a preview may be shifted: programs round differently when they shrink."""

_NEIGHBOURHOOD_PX = 9
_DARK = 24.0
_SAME_SHAPE = 0.02
_LIMITS = Limits(max_bytes=2**20, max_pixels=2**22, max_side_px=4096)

Grey = NDArray[np.float32]


class Comparison(NamedTuple):
    """How a preview fits a picture in one of the ways that a camera may have made it.

    Attributes:
        correlation: Of their brightness, in [-1, 1].
        difference_HW: float32 [H, W], how far apart they are once brightness and contrast agree, in levels
            of 8 bits, averaged over neighbourhoods.
        box: What part of the picture was compared.
    """

    correlation: float
    difference_HW: Grey
    box: Box


def testify(media: Media) -> Evidence:
    """Compare the embedded preview with the picture.

    Measurements: its size; ``correlation`` of brightness with the shrunken picture; the largest difference
    of a neighbourhood, in levels of 8 bits, once brightness and contrast are brought together.

    Raises:
        NoPictureError: There is no preview, or none that can be decoded.
        MediaError: The picture does not decode.
    """
    exif = embedded(media).exif
    preview = _decoded(exif.thumbnail, media.facts.name)
    # Halfway to the preview at once, for every way of comparing shrinks it again.
    picture = _at_most(media.picture_HWC, 2 * LONGEST_PX)
    turn = int(exif.figures.get("Orientation", 1.0))
    # Some programs turn the picture and its preview and keep the note that they are to be turned.
    ways = [preview] if turn not in range(2, 9) else [upright(preview, turn), preview]
    best = max(
        (each for way in ways for each in _comparisons(way, picture)), key=lambda each: each.correlation
    )
    largest = float(best.difference_HW.max())
    finding = _finding(best.correlation, largest)
    measured = (preview.shape[1], preview.shape[0], best.correlation, largest)
    return Evidence(
        analyzer="thumbnail",
        summary=_in_words(finding, best.correlation, largest),
        measurements=dict(zip(MEASURES, map(float, measured), strict=True)),
        limits=LIMITS,
        finding=finding,
        pictures=(
            thumbnail("preview", "The preview that EXIF keeps.", ways[0]),
            thumbnail("picture", "The picture itself, as small.", _at_most(picture, max(preview.shape))),
            heat_map(
                "difference",
                "Where preview and picture differ, once brightness and contrast agree.",
                best.difference_HW,
                (0.0, LARGEST_DIFFERENCE),
                Region(box=best.box),
                "levels",
            ),
        ),
    )


def _decoded(raw: bytes, name: str) -> NDArray[np.uint8]:
    if not raw:
        msg = f"{name!r} embeds no preview that could be compared with it."
        raise NoPictureError(msg)
    try:
        probe(raw, name, _LIMITS)
        return decode_picture(raw, f"the preview in {name}")
    except MediaError as error:
        msg = f"{name!r} embeds a preview that does not decode ({error})"
        raise NoPictureError(msg) from error


def _comparisons(preview: NDArray[np.uint8], picture: NDArray[np.uint8]) -> Iterator[Comparison]:
    """Compare as they are, and, where their shapes differ, without black bars or with the middle cut out."""
    small_HW = _grey(preview)
    yield _compared(small_HW, picture, (0.0, 0.0, 1.0, 1.0))
    wide = (picture.shape[1] / picture.shape[0]) / (small_HW.shape[1] / small_HW.shape[0])
    if abs(wide - 1) <= _SAME_SHAPE:
        return
    # The part of the preview that has the shape of the picture, and the other way round.
    inner_HW = small_HW[_middle(small_HW.shape, min(1.0, 1 / wide), min(1.0, wide))]
    if _barred(small_HW, inner_HW) and min(inner_HW.shape) > 4 * _MARGIN_PX:
        yield _compared(inner_HW, picture, (0.0, 0.0, 1.0, 1.0))
    down, across = min(1.0, wide), min(1.0, 1 / wide)
    cut = picture[_middle(picture.shape, down, across)]
    box = ((1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2)
    yield _compared(small_HW, cut, box)


def _middle(shape: tuple[int, ...], down: float, across: float) -> tuple[slice, slice]:
    """Return the slices of the middle part that has these shares of height and width."""
    height, width = max(1, round(shape[0] * down)), max(1, round(shape[1] * across))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _barred(small_HW: Grey, inner_HW: Grey) -> bool:
    """Tell whether what surrounds the inner part is dark, as bars are."""
    around = small_HW.size - inner_HW.size
    return around > 0 and float(small_HW.sum() - inner_HW.sum()) / around < _DARK


def _at_most(picture: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    share = longest_px / max(picture.shape[:2])
    if share >= 1:
        return picture
    height, width = (max(1, round(side * share)) for side in picture.shape[:2])
    return resize(picture, width, height)


def _grey(picture: NDArray[np.uint8]) -> Grey:
    picture = _at_most(picture, LONGEST_PX)
    grey_HW = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey_HW, (0, 0), 1.0), np.float32)


def _compared(small_HW: Grey, picture: NDArray[np.uint8], box: Box) -> Comparison:
    """Shrink the picture to the preview, find how it is shifted and how far brightness is apart."""
    height, width = small_HW.shape
    shrunk_HW = _grey(resize(picture, width, height))
    down, across = (min(_MARGIN_PX, side // 4) for side in (height, width))
    inner_HW = small_HW[down : height - down, across : width - across]
    fits = cv2.matchTemplate(shrunk_HW, inner_HW, cv2.TM_CCOEFF_NORMED)
    _, _, _, (left, top) = cv2.minMaxLoc(np.nan_to_num(fits, nan=-1.0))
    match_HW = shrunk_HW[top : top + inner_HW.shape[0], left : left + inner_HW.shape[1]]
    own, other = inner_HW - inner_HW.mean(), match_HW - match_HW.mean()
    power = float((other**2).sum())
    together = float((own * other).sum())
    strength = float(np.sqrt((own**2).sum() * power))
    # Two plain pictures cannot differ in what they show.
    correlation = (
        together / strength if strength > 1e-3 else float(abs(own).max() < 1 and abs(other).max() < 1)
    )
    gain = together / power if power > 1e-3 and together > 0 else 1.0
    apart_HW = np.abs(own - gain * other)
    return Comparison(correlation, cv2.blur(apart_HW, (_NEIGHBOURHOOD_PX, _NEIGHBOURHOOD_PX)), box)


def _finding(correlation: float, largest: float) -> Finding:
    return "unusual" if correlation < LOWEST_CORRELATION or largest > LARGEST_DIFFERENCE else "ordinary"


def _in_words(finding: Finding, correlation: float, largest: float) -> str:
    if finding == "ordinary":
        return f"The embedded preview shows the same as the picture (correlation {correlation:.3f})."
    if correlation < LOWEST_CORRELATION:
        return (
            f"The embedded preview shows something else or another part than the picture (correlation "
            f"{correlation:.2f}): the picture was changed after the preview was made."
        )
    return (
        f"The embedded preview differs from the picture by up to {largest:.0f} levels in one place although "
        f"the whole agrees (correlation {correlation:.3f}): that place was changed after it was made."
    )


ANALYZERS.register(
    "thumbnail",
    Analyzer(
        name="thumbnail",
        group="metadata",
        summary="The preview embedded in a picture's EXIF against the picture",
        measures=MEASURES,
        accepts=lambda media: media.facts.width_px is not None and media.facts.duration_s is None,
        testify=testify,
    ),
)
