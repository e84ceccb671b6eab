"""Ghosts: parts of a picture that were once compressed at a lower quality than the rest (Farid, TIFS 2009).

Compressed at the quality that it had before, a part changes less than at the qualities around it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve, heat_map
from deepscan.evidence.stills import is_still
from deepscan.evidence.stored import stored, turned
from deepscan.media import jpeg
from deepscan.media.jpeg import Ints
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding

Floats = NDArray[np.float32]

SPACING = 3
QUALITIES = np.arange(32, 99, SPACING)
"""Of libjpeg, tried one after the other."""

BELOW = 5
"""How far a ghost's quality must lie below the file's own, at which everything changes little."""

WINDOW_BLOCKS = 5
"""Side of the window over which errors are averaged; smaller parts than that do not show."""

FLOOR = 6.0
"""Added to the squared error of a block: what rounding to whole levels leaves, about 64 / 12."""

LEAD = 0.3
"""Lead above which a ghost is called unusual: fewer than 1 in 20 genuine files of two collections reach it;
``benchmarks/double_jpeg.py`` counts them."""

MEASURES = (
    "ghost_quality",
    "ghost_contrast",
    "ghost_lead",
    "ghost_share",
    "whole_quality",
    "whole_dip",
)
LIMITS = (
    "A ghost is seen only where a part kept the grid of blocks that it had, was compressed at least 5 "
    "qualities below the whole, and is larger than about 80 pixels. Smooth parts hide it, and flat or "
    "repeated textures feign it. Many ghosts are too faint to be called unusual: look at the map."
)


def testify(media: Media) -> Evidence:
    """Measure how much less some part, and the whole, changes at some quality than at its neighbours.

    ``ghost_contrast`` is how much deeper errors dip at the 3 % of places where they dip most than at half of
    them, in natural logarithms of the squared error. Content alone raises it at many qualities, a ghost at
    one: ``ghost_lead`` is how far it surpasses that of all but the adjacent qualities. ``ghost_share`` is
    the share of places that lie nearer to those 3 %; ``whole_dip`` the median dip at ``whole_quality``, where
    that is deepest.

    Raises:
        NoPictureError: The picture is too small.
        MediaError: It does not decode.
    """
    picture = stored(media)
    errors_QHW = log_errors(picture.luma_HW)
    tried_Q, dips_QHW = _dips(errors_QHW, picture.quality)
    middle_Q, top_Q = np.percentile(dips_QHW.reshape(len(tried_Q), -1), [50, 97], axis=1)
    ghost, lead = _leader(top_Q - middle_Q)
    whole = int(np.argmax(middle_Q))
    share = np.mean(dips_QHW[ghost] > (middle_Q[ghost] + top_Q[ghost]) / 2)
    contrast = top_Q[ghost] - middle_Q[ghost]
    figures = (tried_Q[ghost], contrast, lead, share, tried_Q[whole], middle_Q[whole])
    measures = dict(zip(MEASURES, map(float, figures), strict=True))
    found: Finding = "unusual" if lead > LEAD else "ordinary"
    caption = f"Where the picture changes less at quality {tried_Q[ghost]} than at those around it: white."
    map_HW = turned(media, dips_QHW[ghost])
    return Evidence(
        analyzer="ghosts",
        summary=_in_words(measures, found),
        measurements=measures,
        limits=LIMITS,
        finding=found,
        pictures=(heat_map("ghost", caption, map_HW, (0.0, max(1.0, float(top_Q[ghost])))),),
        curves=(_curve(errors_QHW, int(tried_Q[ghost]), found),),
    )


def _leader(contrasts_Q: Floats) -> tuple[int, float]:
    """Return which quality has the highest contrast, and its lead over all that are not adjacent."""
    best = int(contrasts_Q.argmax())
    others_Q = np.delete(contrasts_Q, [n for n in (best - 1, best, best + 1) if 0 <= n < len(contrasts_Q)])
    return best, float(contrasts_Q[best] - others_Q.max()) if len(others_Q) else 0.0


def _curve(errors_QHW: Floats, ghost_quality: int, found: Finding) -> Curve:
    medians_Q = np.sqrt(np.exp(np.median(errors_QHW, (1, 2))) / jpeg.SIDE**2)
    around = (float(ghost_quality - SPACING), float(ghost_quality + SPACING))
    return curve(
        "error-by-quality",
        "How much the median place changes when the picture is saved once more, by quality.",
        QUALITIES.astype(float),
        medians_Q,
        ("quality", "levels"),
        [around] if found == "unusual" else (),
    )


def log_errors(luma_HW: NDArray[np.uint8]) -> Floats:
    """Return the logarithm of blocks' squared errors at every quality, float32 [qualities, rows, columns].

    The rounding of coefficients is the error, as the cosine transform keeps squares; so no file is written.

    Raises:
        NoPictureError: Not one block fits.
    """
    coefficients_HW64 = jpeg.transform(jpeg.blocks(luma_HW))
    squares = []
    for table_64 in jpeg.scaled(jpeg.LUMA_64)[QUALITIES - 1].astype(np.float32):
        rest_HW64 = coefficients_HW64 / table_64
        rest_HW64 -= np.rint(rest_HW64)
        rest_HW64 *= table_64
        square_HW = np.einsum("hwk,hwk->hw", rest_HW64, rest_HW64)
        squares.append(cv2.blur(square_HW, (WINDOW_BLOCKS, WINDOW_BLOCKS), borderType=cv2.BORDER_REPLICATE))
    return np.log(np.stack(squares) + np.float32(FLOOR))


def _dips(errors_QHW: Floats, own_quality: int) -> tuple[Ints, Floats]:
    """Return the qualities well below the file's own, at least one, and how far errors dip there."""
    dips_QHW = (errors_QHW[:-2] + errors_QHW[2:]) / 2 - errors_QHW[1:-1]
    below = max(1, int(np.sum(QUALITIES[1:-1] <= own_quality - BELOW)))
    return QUALITIES[1:-1][:below].astype(np.int64), np.asarray(dips_QHW[:below], np.float32)


def _in_words(measures: dict[str, float], found: Finding) -> str:
    if found == "unusual":
        return (
            f"About {measures['ghost_share']:.0%} of the picture seems to have been compressed at a quality "
            f"near {measures['ghost_quality']:.0f} before the rest; the map shows where."
        )
    return (
        f"No part stands out as compressed at another quality than the rest; the strongest "
        f"contrast, {measures['ghost_contrast']:.2f}, is at quality {measures['ghost_quality']:.0f}."
    )


ANALYZERS.register(
    "ghosts",
    Analyzer(
        name="ghosts",
        group="compression",
        summary="Parts that were compressed at a lower quality before they came into the picture",
        measures=MEASURES,
        accepts=is_still,
        testify=testify,
    ),
)
