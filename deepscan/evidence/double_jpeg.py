"""Whether a JPEG file was JPEG before: on the same grid of blocks, or on another one.

The measures are columns for a model that is trained on them, as ``benchmarks/double_jpeg.py`` does; the
finding rests on the two whose thresholds are stated here.
"""

import dataclasses

import numpy as np

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve, heat_map
from deepscan.evidence.stored import coding, is_jpeg, turned
from deepscan.media import jpeg, jpeg_history
from deepscan.media.jpeg_history import FIRST_QUALITIES, Doubles, Grid, Levels
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding, Picture

GAIN_NATS = 0.005
"""Gain above which two compressions on one grid are called unusual. Each of the three thresholds leaves fewer
than 1 in 20 genuine files of two collections above it; ``benchmarks/double_jpeg.py`` counts them."""

REGION_NATS = 0.06
"""Gain of a part above which it is called unusual."""

GRID_SCORE = 9.0
"""Score above which another grid is called unusual."""

SPACING, WINDOW_BLOCKS = 3, 7
TOP_PERCENT = 3
"""Share of the picture whose best places stand for a part."""

_FREQUENCIES = range(1, len(jpeg.LOWEST_AC) + 1)
MEASURES = (
    "first_quality",
    "gain_nats",
    *(f"gain_ac{number}_nats" for number in _FREQUENCIES),
    *(f"periodicity_ac{number}_share" for number in _FREQUENCIES),
    "region_quality",
    "region_gain_nats",
    "region_share",
    "misfit_share",
    "grid_down_px",
    "grid_across_px",
    "grid_step_levels",
    "grid_score",
)
LIMITS = (
    "Saving twice is no forgery: editors and many services do it. A first compression at a much higher "
    "quality than the last leaves nothing to find, nor does one at the same; rescaling in between removes "
    "both traces. The first quality is libjpeg's and says little where the first program had other tables."
)


def testify(media: Media) -> Evidence:
    """Measure the lowest AC frequencies for a compression before the last, and seek another grid.

    ``gain_nats`` is how much better two compressions explain a coefficient than one, at the first quality
    that does it best; ``first_quality`` is 0 where the gain is too small to tell. ``region_gain_nats`` is
    what the best 3 % of places reach at ``region_quality``, ``region_share`` the share that reaches half.
    ``misfit_share`` is how far coefficients lie from multiples of the table's steps, in steps: above 0.15
    little can be read.

    Raises:
        NoPictureError: It holds too few blocks, or is coded as RGB or CMYK.
        MediaError: It does not decode.
    """
    luma_HW = jpeg.luma_HW(media.data, media.facts.name)
    read = jpeg_history.levels(luma_HW, coding(media).luma_64)
    ratios = jpeg_history.explain(read)
    gains_CQ = jpeg_history.gains(read, ratios)
    grid, region = jpeg_history.other_grid(luma_HW), _region(read, ratios)
    best = int(gains_CQ.mean(axis=0).argmax())
    gain = float(gains_CQ[:, best].mean())
    first = int(FIRST_QUALITIES[best]) if gain > GAIN_NATS else 0
    figures = (
        *(first, gain, *gains_CQ[:, best]),
        *(jpeg_history.periodicity(levels_N) for levels_N in read.levels_CN),
        *(region.quality, region.gain, region.share),
        *(read.misfit, grid.down_px, grid.across_px, grid.step, grid.score),
    )
    found: Finding = "ordinary"
    if first or region.gain > REGION_NATS or grid.score > GRID_SCORE:
        found = "unusual"
    return Evidence(
        analyzer="double_jpeg",
        summary=f"{_first_in_words(first, gain, region)}; {_grid_in_words(grid)}.",
        measurements=dict(zip(MEASURES, map(float, figures), strict=True)),
        limits=LIMITS,
        finding=found,
        pictures=(_map(media, region),),
        curves=_curves(read, gains_CQ.mean(axis=0)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Region:
    quality: int
    gain: float
    share: float
    gains_HW: Doubles


def _region(read: Levels, ratios: tuple[Doubles, ...]) -> _Region:
    gains_QHW = jpeg_history.local_gains(read, ratios, SPACING, WINDOW_BLOCKS)
    top_Q = np.percentile(gains_QHW.reshape(len(gains_QHW), -1), 100 - TOP_PERCENT, axis=1)
    best = int(top_Q.argmax())
    return _Region(
        quality=int(FIRST_QUALITIES[::SPACING][best]),
        gain=float(top_Q[best]),
        share=float(np.mean(gains_QHW[best] > top_Q[best] / 2)),
        gains_HW=gains_QHW[best],
    )


def _map(media: Media, region: _Region) -> Picture:
    caption = (
        f"White was compressed before the last time, at a quality near {region.quality}; black was not, or "
        "at another; where it is grey nothing can be told."
    )
    reach = max(2 * REGION_NATS, region.gain)
    upright_HW = turned(media, region.gains_HW)
    return heat_map("first-compression", caption, upright_HW, (-reach, reach), unit="nats")


def _curves(read: Levels, gains_Q: Doubles) -> tuple[Curve, ...]:
    levels_K = np.arange(-40, 41)
    counts_K = np.bincount(np.clip(read.levels_CN[0], -41, 41) + 41, minlength=83)[1:-1]
    return (
        curve(
            "gain-by-quality",
            "How much better two compressions explain the coefficients than one, by the first one's quality.",
            FIRST_QUALITIES.astype(float),
            gains_Q,
            ("quality", "nats"),
        ),
        curve(
            "lowest-frequency",
            "How often each level of the lowest frequency occurs; gaps and combs tell of two compressions.",
            levels_K.astype(float),
            counts_K.astype(float),
            ("level", "blocks"),
        ),
    )


def _first_in_words(first: int, gain: float, region: _Region) -> str:
    if first:
        return (
            f"It was JPEG before on the same grid of blocks, at a quality near {first} (gain {gain:.3f} nats)"
        )
    if region.gain > REGION_NATS:
        return (
            f"About {region.share:.0%} of it, white in the map, was JPEG before on the same grid of blocks, "
            f"at a quality near {region.quality} (gain {region.gain:.2f} nats)"
        )
    return f"Nothing tells of an earlier compression on the same grid of blocks (gain {gain:.4f} nats)"


def _grid_in_words(grid: Grid) -> str:
    where = f"begins {grid.down_px} px down and {grid.across_px} px across, with a score of {grid.score:.1f}"
    if grid.score > GRID_SCORE:
        return f"traces of another grid remain, which {where}"
    return f"the likeliest other grid {where}, too weak to count"


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
