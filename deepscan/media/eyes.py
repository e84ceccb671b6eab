"""Eyes in small patches: how far they are open, when they blink, and where their pupils are.

The patches are those of a ``Portrait``: level, grey, 64 px from one eye to the other, so that an iris
(12 mm of the 63 mm between the pupils of adults) is about 12 px wide.
"""

import dataclasses
import functools

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Greys = NDArray[np.uint8]

PROMINENCE = 0.25
"""A blink takes the logarithm of the opening down by at least this much, to 0.78, and up again."""

BLINK_S = (0.04, 0.6)
"""Shortest and longest blink, at half its depth; what is longer is closing the eyes, or looking down."""

_IRIS_PX, _SIDE_PX = 5.0, 9
_REACH_PX = (13, 11)
_PUPIL_PX = (12, 8)
_AROUND_S = 1.6
_NOISES = 6.0
_FLOOR = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Blink:
    """A blink: when the eyes were closed the most, and for how long they were half closed, in seconds."""

    time_s: float
    duration_s: float


def openness(eyes_TEHW: Greys) -> Floats:
    """Return how far eyes are open, float64 [T, 2]; 1 is the median of each eye.

    It is the geometric mean of how much darker a disk as large as an iris is than what lies beside it, and of
    the sideways contrast; lids have neither, and the line of the lashes runs sideways.

    Args:
        eyes_TEHW: Patches of a ``Portrait``.
    """
    raw_TE = np.array([[_open(patch_HW) for patch_HW in pair] for pair in eyes_TEHW])
    usual_E = np.maximum(np.median(raw_TE, axis=0), 1e-6)
    return np.asarray(raw_TE / usual_E)


def blinks(times_s_T: Floats, open_T: Floats, prominence: float = PROMINENCE) -> list[Blink]:
    """Return the blinks of an eye, or of the mean of both.

    Args:
        times_s_T: When each frame is shown, float64 [T].
        open_T: How far it is open, 1 in the median, float64 [T].
        prominence: By how much the logarithm of the opening goes down and up, at least.
    """
    from scipy import signal

    step_s = float(np.median(np.diff(times_s_T)))
    even_s = np.arange(times_s_T[0], times_s_T[-1] + step_s / 2, step_s)
    depth_K = -np.log(np.maximum(np.interp(even_s, times_s_T, open_T), _FLOOR))
    least = max(prominence, _NOISES * _noise(depth_K))
    around = round(_AROUND_S / step_s) | 1
    tops, found = signal.find_peaks(
        depth_K,
        plateau_size=(1, max(1, round(BLINK_S[1] / step_s))),
        prominence=least,
        wlen=max(around, 3),
        width=0,
        rel_height=0.5,
    )
    made = [
        Blink(float(even_s[at]), float(wide * step_s)) for at, wide in zip(tops, found["widths"], strict=True)
    ]
    return [each for each in made if BLINK_S[0] <= each.duration_s <= BLINK_S[1]]


def pupil(patch_HW: Greys) -> Floats:
    """Return the middle of the pupil, float64 [2]: x and y from the middle of the patch, in its pixels.

    It is where most lines along the gradients cross, dark places first (Timm and Barth, "Accurate eye centre
    localisation by means of gradients", VISAPP 2011), on the patch at half its size.
    """
    half_HW = cv2.resize(cv2.GaussianBlur(patch_HW, (0, 0), 1.5), None, fx=0.5, fy=0.5).astype(np.float64)
    y_HW, x_HW = np.gradient(half_HW)
    size_HW = np.hypot(x_HW, y_HW)
    strong_P = np.argsort(-size_HW.ravel(), kind="stable")[: size_HW.size // 4]
    units_P2 = np.stack([x_HW.ravel(), y_HW.ravel()], axis=1)[strong_P]
    units_P2 /= np.maximum(size_HW.ravel()[strong_P, None], 1e-9)
    candidates_C, towards_CP2 = _towards(*half_HW.shape)
    along_CP = np.einsum("cpk,pk->cp", towards_CP2[:, strong_P], units_P2)
    dark_C = half_HW.max() - half_HW.ravel()[candidates_C]
    votes_C = dark_C * np.mean(np.maximum(along_CP, 0) ** 2, axis=1)
    return _middle(votes_C, candidates_C, half_HW.shape)


def _open(patch_HW: Greys) -> float:
    smooth_HW = cv2.GaussianBlur(patch_HW.astype(np.float32), (0, 0), 1.0)
    height, width = smooth_HW.shape
    reach_x, reach_y = _REACH_PX
    middle = (
        slice(height // 2 - reach_y, height // 2 + reach_y + 1),
        slice(width // 2 - reach_x, width // 2 + reach_x + 1),
    )
    dark_HW = cv2.filter2D(smooth_HW, -1, _iris(), borderType=cv2.BORDER_REPLICATE)
    slope_HW = cv2.Sobel(smooth_HW, cv2.CV_32F, 1, 0, ksize=3) / 8
    power_HW = cv2.boxFilter(slope_HW**2, -1, (25, 13), borderType=cv2.BORDER_REPLICATE)
    light = max(float(np.median(smooth_HW)), 1.0)
    darker, sideways = max(float(dark_HW[middle].max()), 0.0), float(np.sqrt(power_HW[middle].max()))
    return float(np.sqrt(darker * sideways)) / light


@functools.cache
def _iris() -> NDArray[np.float32]:
    """The kernel whose response is the mean on both sides of a disk less the mean within."""
    reach = np.arange(-_SIDE_PX, _SIDE_PX + 1)
    y_KK, x_KK = np.meshgrid(reach, reach, indexing="ij")
    disk_KK = np.hypot(x_KK, y_KK) <= _IRIS_PX
    sides_KK = (np.abs(y_KK) <= _IRIS_PX / 2 + 0.5) & (np.abs(x_KK) > _IRIS_PX + 1)
    return np.asarray(sides_KK / sides_KK.sum() - disk_KK / disk_KK.sum(), np.float32)


def _noise(values_K: Floats) -> float:
    """Deviation of the noise of a curve, from the median of its second differences; blinks count little."""
    if len(values_K) < 3:
        return 0.0
    return float(np.median(np.abs(np.diff(values_K, 2))) / 0.6745 / np.sqrt(6))


@functools.cache
def _towards(height: int, width: int) -> tuple[NDArray[np.intp], Floats]:
    """The pixels in which a pupil may lie, and from each the unit vectors to all pixels, [C, P, 2]."""
    y_P, x_P = (each.ravel() for each in np.mgrid[:height, :width])
    beside_P, below_P = np.abs(x_P - (width - 1) / 2), np.abs(y_P - (height - 1) / 2)
    inside_P = (beside_P <= _PUPIL_PX[0] / 2) & (below_P <= _PUPIL_PX[1] / 2)
    candidates_C = np.flatnonzero(inside_P)
    away_CP2 = np.stack([x_P - x_P[candidates_C, None], y_P - y_P[candidates_C, None]], axis=2).astype(
        np.float64
    )
    return candidates_C, away_CP2 / np.maximum(np.linalg.norm(away_CP2, axis=2, keepdims=True), 1e-9)


def _middle(votes_C: Floats, candidates_C: NDArray[np.intp], shape: tuple[int, ...]) -> Floats:
    """The centre of mass of the votes around the best place, twice as large, from the middle of the patch."""
    height, width = shape
    y_C, x_C = candidates_C // width, candidates_C % width
    best = int(np.argmax(votes_C))
    near_C = np.hypot(x_C - x_C[best], y_C - y_C[best]) <= 2
    weights_C = near_C * np.maximum(votes_C - 0.7 * votes_C[best], 0) + 1e-12 * near_C
    weights_C /= weights_C.sum()
    middle = np.array([weights_C @ x_C - (width - 1) / 2, weights_C @ y_C - (height - 1) / 2])
    return np.asarray(2 * middle)
