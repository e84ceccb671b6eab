"""Whether the noise of a picture is that of one recording: a map of where it differs from the rest.

The second difference along both axes leaves noise and little else. Its strength depends on what is shown,
so brightness and texture are regressed out of it, picture by picture; a place is as odd as the strengths
left over are unlike those of the rest (after Mahdian and Saic, Image and Vision Computing 2009, and the
normalised features of Cozzolino, Poggi and Verdoliva, WIFS 2015).
"""

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import heat_map
from deepscan.evidence.stills import is_still, still_of
from deepscan.media.residuals import Plane, colour_planes, magnitude, second_difference
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

MEASURES = (
    "luma_noise_levels",
    "chroma_noise_levels",
    "noise_spread_db",
    "odd_share",
    "region_share",
    "region_deviations",
    "region_noise_db",
)
LEAST_PX = 64
MOST_CELLS = 240
"""Cells along the longer side; larger pictures have larger cells, and not more of them."""

LEAST_CELL_PX = 4
WINDOW = 6
"""Side of the area that is measured around each cell, in cells: 24 px at least."""

ODD = 4.0
"""Deviations from which on a cell counts as odd."""

CLIPPED = 0.25
"""Share of clipped pixels around a cell from which on it is not judged."""

REGION = 0.01
"""Share of the picture that one odd region takes up in few genuine pictures.

Of 900 pictures of FFHQ and 313 of CelebA (JPEG, quality 75), 4.6 % and 2.2 % have one.
"""

LIMITS = (
    "Compression evens out noise: once a spliced picture was saved as JPEG, little of this is left. Sharp "
    "and blurred parts, reflections, lettering and skies differ in genuine pictures too, phones smooth faces "
    "and skies by themselves, and what was pasted from the same camera does not stand out."
)

_CEILING = 12.0
_CORE = 0.7
_FITS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseMap:
    """How the noise of a picture is spread, cell by cell.

    Attributes:
        deviations_HW: How unlike the rest each cell is, in robust deviations, float32, at least 0; 0 where
            the picture is clipped, because no noise shows there.
        noise_db_HW: How much more noise it has than its content explains, float32.
        levels_C: Typical deviation of the noise of Y, Cr and Cb, in grey levels.
        cell_px: Side of a cell.
    """

    deviations_HW: Plane
    noise_db_HW: Plane
    levels_C: tuple[float, float, float]
    cell_px: int


def noise_map(picture_HWC: NDArray[np.uint8]) -> NoiseMap:
    """Measure where the noise of an RGB picture, uint8 [H, W, 3], differs from the rest."""
    cell_px = max(LEAST_CELL_PX, math.ceil(max(picture_HWC.shape[:2]) / MOST_CELLS))
    planes = colour_planes(picture_HWC)
    strengths = [_strengths(second_difference(plane_HW), cell_px) for plane_HW in planes]
    raw_HWF = np.stack([each for pair in strengths for each in pair], axis=-1)
    open_HW = _around(_cells(_clipped(picture_HWC), cell_px)) < CLIPPED
    # Where all is clipped nothing is odd, and all of it may be looked at.
    open_HW = open_HW if open_HW.any() else ~open_HW
    left_HWF = _corrected(raw_HWF, _content(planes[0], cell_px), open_HW)
    odd_HW = np.where(open_HW, _distance(left_HWF, open_HW), 0).astype(np.float32)
    deviations_HW = cv2.GaussianBlur(odd_HW, (0, 0), 1.0, borderType=cv2.BORDER_REFLECT)
    # Of Gaussian noise the mean magnitude is sqrt(2 / pi) of the deviation.
    levels = [math.sqrt(math.pi / 2) * float(np.exp(np.median(pair[0]))) for pair in strengths]
    return NoiseMap(
        np.asarray(deviations_HW, np.float32),
        np.where(open_HW, left_HWF[..., 1::2].mean(-1), 0).astype(np.float32) * np.float32(20 / math.log(10)),
        (levels[0], levels[1], levels[2]),
        cell_px,
    )


def _clipped(picture_HWC: NDArray[np.uint8]) -> Plane:
    """Return 1 where a colour is at its highest or all are at their lowest, float32 [H, W]."""
    bright_HW = cv2.bitwise_not(cv2.inRange(picture_HWC, (0, 0, 0), (253, 253, 253)))
    dark_HW = cv2.inRange(picture_HWC, (0, 0, 0), (2, 2, 2))
    return np.asarray(cv2.bitwise_or(bright_HW, dark_HW), np.float32) / np.float32(255)


def _strengths(residual_HW: Plane, cell_px: int) -> tuple[Plane, Plane]:
    """Return the logarithm of the mean of a residual's magnitude around each cell, and of its floor.

    The floor is the mean of what the quietest cell nearby has: texture comes in patches, noise is everywhere.
    """
    cells_HW = _cells(magnitude(residual_HW, _CEILING), cell_px)
    floor_HW = cv2.erode(cells_HW, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REFLECT)
    return _log(_around(cells_HW)), _log(_around(np.asarray(floor_HW, np.float32)))


def _content(luma_HW: Plane, cell_px: int) -> Plane:
    """Return terms of brightness and texture for each cell, float32 [H, W, 6].

    Texture is measured on a blurred picture, which noise hardly reaches.
    """
    soft_HW = cv2.GaussianBlur(luma_HW, (0, 0), 1.5)
    steep_HW = cv2.Sobel(soft_HW, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(soft_HW, cv2.CV_32F, 0, 1) ** 2
    texture_HW = np.log(_around(_cells(steep_HW, cell_px)) / 64 + 0.05) / 2
    bright_HW = _around(_cells(luma_HW, cell_px)) / 64 - 2
    one_HW = np.ones_like(bright_HW)
    terms = (one_HW, bright_HW, bright_HW**2, texture_HW, texture_HW**2, bright_HW * texture_HW)
    terms_HWK: Plane = np.stack(terms, axis=-1).astype(np.float32)
    return terms_HWK


def _corrected(raw_HWF: Plane, content_HWK: Plane, open_HW: NDArray[np.bool_]) -> Plane:
    """Return what content does not explain, by least squares that weigh odd cells less each time.

    Cells that are not open count nothing.
    """
    raw_NF = raw_HWF.reshape(-1, raw_HWF.shape[-1])
    content_NK = content_HWK.reshape(-1, content_HWK.shape[-1])
    open_N = open_HW.ravel()
    weight_N1, left_NF = open_N[:, None].astype(np.float32), raw_NF
    for _ in range(_FITS):
        weighed_KN = (content_NK * weight_N1**2).T
        slack_KK = 1e-4 * len(raw_NF) * np.eye(content_NK.shape[1], dtype=np.float32)
        factors_KF = np.linalg.solve(weighed_KN @ content_NK + slack_KK, weighed_KN @ raw_NF)
        left_NF = raw_NF - content_NK @ factors_KF
        odd_N = ((left_NF / _scale(left_NF[open_N])) ** 2).mean(1)
        weight_N1 = (open_N / np.sqrt(1 + odd_N))[:, None].astype(np.float32)
    left_HWF: Plane = (left_NF - np.median(left_NF[open_N], axis=0)).reshape(raw_HWF.shape).astype(np.float32)
    return left_HWF


def _distance(left_HWF: Plane, open_HW: NDArray[np.bool_]) -> Plane:
    """Return Mahalanobis distances from the calmer of the open cells, per root of the number of features."""
    features = left_HWF.shape[-1]
    left_NF = left_HWF.reshape(-1, features).astype(np.float64)
    open_N = open_HW.ravel()
    z_NF = (left_NF / _scale(left_NF[open_N])).clip(-8, 8)
    squared_N = (z_NF**2).sum(1)
    for _ in range(3):
        core_NF = z_NF[open_N & (squared_N <= np.quantile(squared_N[open_N], _CORE))]
        spread_FF = np.cov(core_NF.T) + 0.05 * np.eye(features)
        away_NF = z_NF - core_NF.mean(0)
        squared_N = ((away_NF @ np.linalg.inv(spread_FF)) * away_NF).sum(1)
    distance_HW: Plane = np.sqrt(squared_N / features).reshape(left_HWF.shape[:2]).astype(np.float32)
    return distance_HW


def _scale(left_NF: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(1.4826 * np.median(np.abs(left_NF), axis=0) + 1e-3)


def _cells(plane_HW: Plane, cell_px: int) -> Plane:
    """Return the means of the cells; what is left over at the right and below belongs to no cell."""
    height, width = (side // cell_px for side in plane_HW.shape)
    whole_HW = plane_HW[: height * cell_px, : width * cell_px]
    return np.asarray(cv2.resize(whole_HW, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _around(cells_HW: Plane) -> Plane:
    mean_HW = cv2.boxFilter(cells_HW, cv2.CV_32F, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT)
    return np.asarray(mean_HW, np.float32)


def _log(strength_HW: Plane) -> Plane:
    # Steps of whole grey levels leave a tenth of a level in any mean; less than that says nothing.
    log_HW: Plane = np.log(strength_HW + np.float32(0.1))
    return log_HW


def testify(media: Media) -> Evidence:
    """Measure how even the noise of a picture is.

    Raises:
        NoPictureError: There is no still picture, or it is smaller than ``LEAST_PX``.
        MediaError: It does not decode.
    """
    found = noise_map(still_of(media, LEAST_PX))
    region_HW = _largest(found.deviations_HW > ODD)
    measured = _measured(found, region_HW)
    finding: Finding = "unusual" if measured["region_share"] >= REGION else "ordinary"
    shown = heat_map(
        "unevenness",
        "Where the noise is unlike that of the rest: the brighter, the less so by chance.",
        found.deviations_HW,
        (0.0, 2 * ODD),
        unit="deviations",
    )
    return Evidence(
        analyzer="noise",
        summary=_in_words(measured, finding),
        measurements=measured,
        limits=LIMITS,
        finding=finding,
        pictures=(shown,),
    )


def _largest(odd_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest region of odd cells that touch; all False where none is odd."""
    count, labels_HW, figures, _ = cv2.connectedComponentsWithStats(odd_HW.astype(np.uint8))
    if count == 1:
        return np.zeros_like(odd_HW)
    region_HW: NDArray[np.bool_] = labels_HW == 1 + int(np.argmax(figures[1:, cv2.CC_STAT_AREA]))
    return region_HW


def _measured(found: NoiseMap, region_HW: NDArray[np.bool_]) -> dict[str, float]:
    quarter, three_quarters = np.percentile(found.noise_db_HW, (25, 75))
    there = bool(region_HW.any())
    values = (
        found.levels_C[0],
        (found.levels_C[1] + found.levels_C[2]) / 2,
        three_quarters - quarter,
        (found.deviations_HW > ODD).mean(),
        region_HW.mean(),
        found.deviations_HW[region_HW].mean() if there else 0.0,
        found.noise_db_HW[region_HW].mean() if there else 0.0,
    )
    return {name: float(value) for name, value in zip(MEASURES, values, strict=True)}


def _in_words(measured: dict[str, float], finding: Finding) -> str:
    levels = f"Fine noise of {measured['luma_noise_levels']:.1f} grey levels"
    if finding == "ordinary":
        return f"{levels}; no large region of the picture has noise of its own kind."
    more = "more" if measured["region_noise_db"] > 0 else "less"
    return (
        f"{levels}; one region, {measured['region_share']:.0%} of the picture, has noise of another kind "
        f"({abs(measured['region_noise_db']):.1f} dB {more} than its content explains)."
    )


ANALYZERS.register(
    "noise",
    Analyzer(
        name="noise",
        group="noise",
        summary="Where the noise of a picture differs from the rest of it",
        measures=MEASURES,
        accepts=is_still,
        testify=testify,
    ),
)
