"""What is left of a picture when its content is predicted away: noise of sensors, traces of processing."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

SENSOR_NOISE = 3.0
"""Deviation of the noise in grey levels that ``sensor_noise`` expects; Lukas et al. use 2 to 5."""

LEVELS = 4
LEAST_PX = 32
"""Smallest side whose wavelets have ``LEVELS`` levels of at least two values."""

_WINDOWS_PX = (3, 5, 7, 9)
_LOW_T = np.array(
    [
        0.23037781330885523,
        0.7148465705525415,
        0.6308807679295904,
        -0.02798376941698385,
        -0.18703481171888114,
        0.030841381835986965,
        0.032883011666982945,
        -0.010597401784997278,
    ],
    np.float32,
)
"""Daubechies' orthonormal low-pass filter of 8 taps (Ten Lectures on Wavelets, 1992, table 6.1)."""

_HIGH_T = _LOW_T[::-1] * np.array([1, -1] * 4, np.float32)
_SECOND = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / np.float32(6)
_LAPLACE = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32) / np.float32(4)


def luma(picture_HWC: NDArray[np.uint8]) -> Plane:
    """Return the luma of BT.601, float32 [H, W] in [0, 255], of an RGB picture."""
    grey_HW = np.asarray(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2GRAY))
    return grey_HW.astype(np.float32)


def colour_planes(picture_HWC: NDArray[np.uint8]) -> tuple[Plane, Plane, Plane]:
    """Return Y, Cr and Cb of BT.601, each float32 [H, W] in [0, 255], of an RGB picture."""
    planes_HWC = cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2YCrCb)
    y, red, blue = (np.asarray(plane_HW).astype(np.float32) for plane_HW in cv2.split(planes_HWC))
    return y, red, blue


def second_difference(plane_HW: Plane) -> Plane:
    """Return the second difference along both axes, which plane ramps and straight edges do not reach.

    Scaled so that white noise keeps its deviation (Immerkaer, Computer Vision and Image Understanding
    1996): float32 [H, W] in the unit of the plane.
    """
    return _filtered(plane_HW, _SECOND)


def high_pass(plane_HW: Plane) -> Plane:
    """Return what differs from the mean of the four neighbours, float32 [H, W]."""
    return _filtered(plane_HW, _LAPLACE)


def magnitude(residual_HW: Plane, ceiling: float) -> Plane:
    """Return how far a residual is from 0, cut at ``ceiling``: edges of content go far beyond noise."""
    magnitude_HW: Plane = np.minimum(np.abs(residual_HW), np.float32(ceiling))
    return magnitude_HW


def sensor_noise(plane_HW: Plane) -> Plane:
    """Return what a Wiener filter in the wavelet domain takes for noise, float32 [H, W].

    Each coefficient keeps the share that the noise has in its neighbourhood, whose variance is the least
    over windows of 3 to 9 coefficients (Mihcak, Kozintsev and Ramchandran, ICASSP 1999; Lukas, Fridrich and
    Goljan, IEEE TIFS 2006). The mean of the plane and all that is coarse stay out of it.

    Raises:
        ValueError: A side is shorter than ``LEAST_PX``.
    """
    height, width = plane_HW.shape
    if min(height, width) < LEAST_PX:
        msg = f"Sensor noise needs sides of at least {LEAST_PX} px, not {width} x {height}."
        raise ValueError(msg)
    step = 1 << LEVELS
    coarse_HW = np.pad(plane_HW, ((0, -height % step), (0, -width % step)), mode="symmetric")
    details = []
    for _ in range(LEVELS):
        coarse_HW, *bands = _split(coarse_HW)
        details.append([_noise_share(band_HW) for band_HW in bands])
    noise_HW = np.zeros_like(coarse_HW)
    for bands in reversed(details):
        noise_HW = _joined(noise_HW, *bands)
    return noise_HW[:height, :width]


def _filtered(plane_HW: Plane, kernel: Plane) -> Plane:
    result_HW = cv2.filter2D(plane_HW, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(result_HW, np.float32)


def _noise_share(band_HW: Plane) -> Plane:
    power_HW, noise = band_HW * band_HW, np.float32(SENSOR_NOISE**2)
    content_HW = np.full_like(power_HW, np.inf)
    for window in _WINDOWS_PX:
        mean_HW = cv2.boxFilter(power_HW, cv2.CV_32F, (window, window), borderType=cv2.BORDER_REFLECT)
        content_HW = np.minimum(content_HW, np.maximum(mean_HW - noise, 0))
    share_HW: Plane = band_HW * (noise / (content_HW + noise))
    return share_HW


def _split(plane_HW: Plane) -> list[Plane]:
    """Return the four half-size bands of a plane of even sides, periodic at the borders; the coarse first."""
    halves = _halved(plane_HW, _LOW_T), _halved(plane_HW, _HIGH_T)
    return [_halved(half_HW.T, taps_T).T for half_HW in halves for taps_T in (_LOW_T, _HIGH_T)]


def _joined(*bands_HW: Plane) -> Plane:
    """Return the plane of twice the size that ``_split`` parts into these bands."""
    low_HW, high_HW = (
        (_doubled(a.T, _LOW_T) + _doubled(b.T, _HIGH_T)).T for a, b in (bands_HW[:2], bands_HW[2:])
    )
    return _doubled(low_HW, _LOW_T) + _doubled(high_HW, _HIGH_T)


def _halved(plane_HW: Plane, taps_T: Plane) -> Plane:
    """Filter along the first axis and keep every other row."""
    even_HW, odd_HW = plane_HW[::2], plane_HW[1::2]
    return sum(
        (tap * np.roll((even_HW, odd_HW)[t % 2], -(t // 2), axis=0) for t, tap in enumerate(taps_T)),
        np.zeros_like(even_HW),
    )


def _doubled(plane_HW: Plane, taps_T: Plane) -> Plane:
    """Apply the transpose of ``_halved``, which undoes it because the filters are orthonormal."""
    result_HW = np.zeros((2 * plane_HW.shape[0], plane_HW.shape[1]), np.float32)
    for t, tap in enumerate(taps_T):
        result_HW[t % 2 :: 2] += tap * np.roll(plane_HW, t // 2, axis=0)
    return result_HW
