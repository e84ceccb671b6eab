"""Whether a JPEG file was JPEG before: on the same grid of blocks, or on another one.

The measures are columns for a model that is trained on them, as ``benchmarks/double_jpeg.py`` does; the
finding rests on the two whose thresholds are stated here.
"""

import cv2
import numpy as np

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve, heat_map
from deepscan.evidence.stored import coding, is_jpeg, stored
from deepscan.media import jpeg, jpeg_history
from deepscan.media.jpeg_history import FIRST_QUALITIES, Grid, Levels
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding, Picture

GAIN_NATS = 0.004
"""Gain above which two compressions on one grid are called unusual: 1 genuine picture in 20 of the two collections
that it was measured on reaches less. See ``benchmarks/double_jpeg.py``."""

GRID_SCORE = 8.0
"""Score above which another grid is called unusual, found in the same way."""

WINDOW_BLOCKS = 5
_FREQUENCIES = range(1, len(jpeg.LOWEST_AC) + 1)
MEASURES = (
    "first_quality",
    "gain_nats",
    *(f"gain_ac{number}_nats" for number in _FREQUENCIES),
    *(f"periodicity_ac{number}_share" for number in _FREQUENCIES),
    "misfit_share",
    "grid_down_px",
    "grid_across_px",
    "grid_step_levels",
    "grid_score",
)
LIMITS = (
    "Saving twice is no forgery: every editor and many services do it. A first compression at a much higher quality "
    "than the last leaves nothing to find, nor does one at the same; rescaling in between removes both traces. The "
    "first quality is that of libjpeg's tables and says little where the first program had others."
)


def testify(media: Media) -> Evidence:
    """Measure the lowest AC frequencies for a compression before the last, and seek another grid.

    ``gain_nats`` is how much better two compressions explain a coefficient than one, at the first quality
    that does it best; ``first_quality`` is 0 where the gain is too small to tell. ``misfit_share`` is how
    far coefficients lie from multiples of the table's steps, in steps: above 0.1 nothing can be read.

    Raises:
        NoPictureError: It holds too few blocks, or is coded as RGB or CMYK.
        MediaError: It does not decode.
    """
    luma_HW = jpeg.luma_HW(media.data, media.facts.name)
    read = jpeg_history.levels(luma_HW, coding(media).luma_64)
    gains_CQ = jpeg_history.gains(read)
    grid = jpeg_history.other_grid(luma_HW)
    best = int(gains_CQ.mean(axis=0).argmax())
    gain = float(gains_CQ[:, best].mean())
    quality = int(FIRST_QUALITIES[best]) if gain > GAIN_NATS else 0
    figures = (
        *(quality, gain, *gains_CQ[:, best]),
        *(jpeg_history.periodicity(levels_N) for levels_N in read.levels_CN),
        *(read.misfit, grid.down_px, grid.across_px, grid.step, grid.score),
    )
    found: Finding = "unusual" if quality or grid.score > GRID_SCORE else "ordinary"
    return Evidence(
        analyzer="double_jpeg",
        summary=_in_words(quality, gain, grid),
        measurements=dict(zip(MEASURES, map(float, figures), strict=True)),
        limits=LIMITS,
        finding=found,
        pictures=(_map(media, read, quality),) if quality else (),
        curves=_curves(read, gains_CQ.mean(axis=0)),
    )


def _map(media: Media, read: Levels, quality: int) -> Picture:
    gains_HW = jpeg_history.block_gains(read, quality)
    kept_HW = np.isfinite(gains_HW).astype(np.float32)
    size = (WINDOW_BLOCKS, WINDOW_BLOCKS)
    sums_HW = cv2.blur(np.nan_to_num(gains_HW).astype(np.float32), size)
    means_HW = sums_HW / np.maximum(cv2.blur(kept_HW, size), 1 / 25)
    caption = (
        f"How well a first compression near quality {quality} explains each part; black parts came later."
    )
    # An even scale: grey is where nothing can be told.
    reach = max(0.02, float(np.percentile(np.abs(means_HW), 95)))
    return heat_map(
        "first-compression", caption, stored(media).upright(means_HW), (-reach, reach), unit="nats"
    )


def _curves(read: Levels, gains_Q: jpeg_history.Doubles) -> tuple[Curve, ...]:
    levels_K = np.arange(-40, 41)
    counts_K = np.bincount(np.clip(read.levels_CN[0], -41, 41) + 41, minlength=83)[1:-1]
    return (
        curve(
            "gain-by-quality",
            "How much better two compressions explain the coefficients than one, by the quality of the first.",
            FIRST_QUALITIES.astype(float),
            gains_Q,
            ("quality", "nats"),
        ),
        curve(
            "lowest-frequency",
            "How often each level of the lowest frequency across occurs; gaps and combs tell of two compressions.",
            levels_K.astype(float),
            counts_K.astype(float),
            ("level", "blocks"),
        ),
    )


def _in_words(quality: int, gain: float, grid: Grid) -> str:
    first = (
        f"It was JPEG before on the same grid of blocks, at a quality near {quality} (gain {gain:.3f} nats a coefficient)"
        if quality
        else f"Nothing tells of a compression before the last one on the same grid of blocks (gain {gain:.4f} nats)"
    )
    where = f"begins {grid.down_px} px down and {grid.across_px} px across"
    other = "another grid" if grid.score > GRID_SCORE else "the likeliest other grid, too weak to count,"
    return f"{first}; {other} {where}, with a score of {grid.score:.1f}."


ANALYZERS.register(
    "double_jpeg",
    Analyzer(
        name="double_jpeg",
        group="compression",
        summary="Traces of a JPEG compression before the last, on the same or on another grid of blocks",
        measures=MEASURES,
        accepts=is_jpeg,
        testify=testify,
    ),
)
