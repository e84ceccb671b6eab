"""Traces of a colour filter array: whether green alternates between measured and interpolated pixels.

A camera measures green at every other pixel, like the fields of one colour on a chessboard, and interpolates
the rest, which a bilinear prediction then meets better (Gallagher and Chen, CVPR Workshops 2008). The ratio
of the errors on the two colours of the board, area by area, shows where the trace is, and where it is absent
or out of step (Ferrara, Bianchi, De Rosa and Piva, IEEE TIFS 2012).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import heat_map
from deepscan.evidence.stills import is_still, still_of
from deepscan.media.residuals import Plane, high_pass, magnitude
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

MEASURES = (
    "trace_db",
    "overall_db",
    "measured_share",
    "traced_share",
    "traced_region_share",
    "untraced_region_share",
)
LEAST_PX = 64
AREA_PX = 16
MOST_AREAS = 192
"""Areas along the longer side; of larger pictures each area is larger."""

LEAST_ERROR = 0.2
"""Mean squared error, in grey levels, below which an area is too flat to have a trace."""

TRACED_DB = 2.0
"""Ratio from which on an area has the trace: 95 % of 300 pictures without any have at most one such area."""

STRONG_DB = 5.0
"""Typical ratio from which on areas without the trace mean something.

Bilinear demosaicking leaves 23 dB, 6.6 dB after JPEG 98 and 3.9 dB after JPEG 95, where texture alone takes
the trace from areas of genuine pictures.
"""

REGION = 0.02
"""Share of the picture that a region must take up, with the trace and without: no demosaicked picture
of 40 has such a region without it, uncompressed or at JPEG 98."""

LIMITS = (
    "Resizing and JPEG below the highest qualities remove the trace from genuine pictures, so its absence "
    "says nothing; editors and generators can imitate it. Flat and clipped areas cannot be measured."
)

_CEILING = 20.0


def trace_map(picture_HWC: NDArray[np.uint8]) -> tuple[Plane, NDArray[np.bool_]]:
    """Measure the trace area by area.

    Args:
        picture_HWC: RGB, uint8 [H, W, 3], sides of at least ``AREA_PX``.

    Returns:
        The ratio of the squared errors of prediction on the fields of the board whose row + column is even
        to those where it is odd, in dB, float32 [h, w]; and where there is enough detail to measure it.
    """
    area_px = AREA_PX * -(-max(picture_HWC.shape[:2]) // (AREA_PX * MOST_AREAS))
    green_HW = np.ascontiguousarray(picture_HWC[..., 1], np.float32)
    error_HW = magnitude(high_pass(green_HW), _CEILING) ** 2
    even_hw = _mean(error_HW[::2, ::2], error_HW[1::2, 1::2], area_px // 2)
    odd_hw = _mean(error_HW[::2, 1::2], error_HW[1::2, ::2], area_px // 2)
    ratio_db_hw = 10 * np.log10((even_hw + 0.01) / (odd_hw + 0.01))
    return ratio_db_hw.astype(np.float32), np.maximum(even_hw, odd_hw) >= LEAST_ERROR


def _mean(first_HW: Plane, second_HW: Plane, side: int) -> Plane:
    """Return the means over squares of two planes, of which either may have a row or column more."""
    height, width = (min(a, b) // side for a, b in zip(first_HW.shape, second_HW.shape, strict=True))
    means_hw = [
        cv2.resize(
            np.ascontiguousarray(plane_HW[: height * side, : width * side]),
            (width, height),
            interpolation=cv2.INTER_AREA,
        )
        for plane_HW in (first_HW, second_HW)
    ]
    return np.asarray((means_hw[0] + means_hw[1]) / 2, np.float32)


def testify(media: Media) -> Evidence:
    """Measure the trace of a colour filter array.

    Raises:
        NoPictureError: There is no still picture, or it is smaller than ``LEAST_PX``.
        MediaError: It does not decode.
    """
    ratio_db_hw, detailed_hw = trace_map(still_of(media, LEAST_PX))
    stepped_db_hw = _in_step(_averaged(ratio_db_hw, detailed_hw), detailed_hw)
    measured = _measured(stepped_db_hw, detailed_hw)
    mixed = min(measured["traced_region_share"], measured["untraced_region_share"]) >= REGION
    finding: Finding = "unusual" if mixed and measured["trace_db"] >= STRONG_DB else "ordinary"
    shown = heat_map(
        "trace",
        "Where the trace of the colour filter array is: grey has none, white has it, black is out of step.",
        np.where(detailed_hw, stepped_db_hw, 0),
        (-20.0, 20.0),
        unit="db",
    )
    return Evidence(
        analyzer="cfa",
        summary=_in_words(measured, finding),
        measurements=measured,
        limits=LIMITS,
        finding=finding,
        pictures=(shown,),
    )


def _averaged(ratio_db_hw: Plane, detailed_hw: NDArray[np.bool_]) -> Plane:
    """Average over the neighbours that have detail."""
    weight_hw = detailed_hw.astype(np.float32)
    sums_hw, counts_hw = (
        cv2.boxFilter(values_hw, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_REFLECT)
        for values_hw in (ratio_db_hw * weight_hw, weight_hw)
    )
    return np.asarray(sums_hw / np.maximum(counts_hw, 1), np.float32)


def _in_step(ratio_db_hw: Plane, detailed_hw: NDArray[np.bool_]) -> Plane:
    """Turn the sign such that most traces are positive."""
    even, odd = (int(((sign * ratio_db_hw >= TRACED_DB) & detailed_hw).sum()) for sign in (1, -1))
    return ratio_db_hw if even >= odd else -ratio_db_hw


def _measured(ratio_db_hw: Plane, detailed_hw: NDArray[np.bool_]) -> dict[str, float]:
    traced_hw = detailed_hw & (ratio_db_hw >= TRACED_DB)
    trace_db = float(np.median(ratio_db_hw[traced_hw])) if traced_hw.any() else 0.0
    untraced_hw = detailed_hw & (ratio_db_hw < max(trace_db, TRACED_DB) / 4)
    values = (
        trace_db,
        abs(float(np.median(ratio_db_hw[detailed_hw]))) if detailed_hw.any() else 0.0,
        detailed_hw.mean(),
        traced_hw.mean(),
        _largest(traced_hw),
        _largest(untraced_hw),
    )
    return {name: float(value) for name, value in zip(MEASURES, values, strict=True)}


def _largest(mask_hw: NDArray[np.bool_]) -> float:
    """Return the share of the picture that the largest region of areas that touch takes up."""
    _, _, figures, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=4)
    return float(figures[1:, cv2.CC_STAT_AREA].max(initial=0) / mask_hw.size)


def _in_words(measured: dict[str, float], finding: Finding) -> str:
    if measured["traced_share"] < REGION:
        return "No trace of a colour filter array, as in most pictures that were resized or compressed."
    figures = f"{measured['trace_db']:.1f} dB in {measured['traced_share']:.0%} of the picture"
    if finding == "ordinary":
        return f"A trace of a colour filter array as cameras leave it: {figures}."
    return (
        f"A trace of a colour filter array, {figures}, that one region of "
        f"{measured['untraced_region_share']:.0%} lacks: both may not be of one recording."
    )


ANALYZERS.register(
    "cfa",
    Analyzer(
        name="cfa",
        group="noise",
        summary="Where a picture has the trace of a camera's colour filter array",
        measures=MEASURES,
        accepts=is_still,
        testify=testify,
    ),
)
