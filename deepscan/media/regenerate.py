"""Pseudo-fakes of whole pictures: fine detail made anew from coarse, as generators make it.

A generator draws a picture at a low resolution and doubles it until it is large. Every doubling puts samples
between samples by the same few weights, so what is fine follows from what is coarse, and neighbours agree by
a rule that no lens and no sensor keeps (Zhang, Karaman and Chang, "Detecting and Simulating Artifacts in GAN
Fake Images", WIFS 2019). Training teaches a generator how strong detail has to be, not to break that rule. So
a genuine picture is halved, doubled again by kernels like theirs, and each ring of its spectrum is brought to
the strength that it had, as far as it is there: what differs is how the detail came about, hardly how much
there is of it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media import degrade
from deepscan.media.pixels import Picture

Planes = NDArray[np.floating]
"""float32 [H, W, C], grey levels."""

KERNELS = ((1.0, 1.0), (1.0, 2.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0))
"""Weights that put samples between samples: nearest, linear, and the binomial ones of later generators."""

SHARES = (0.7, 1.0)
"""How much of a pseudo-fake is made anew; the rest is the genuine picture."""

QUALITIES = (70, 100)
"""Both of a pair are stored as JPEG of one quality in this range, lest only the genuine one has been."""

_JITTER = 0.1
_MOST_GAIN = 12.0
_RINGS = 96


def regenerated(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Return a picture and the same with its detail made anew, both stored as JPEG alike.

    Args:
        picture: uint8 [H, W, 3], at least 16 px each way.
        rng: Draws kernels, strength and quality.
    """
    height, width = picture.shape[:2]
    planes = picture.astype(np.float32)
    half: Planes = np.asarray(
        cv2.resize(planes, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    )
    made = as_strong(doubled(half, kernel(rng))[:height, :width], planes)
    share = rng.uniform(*SHARES)
    # What differs by chance grows weaker when it is mixed.
    mixed = as_strong(share * made + (1 - share) * planes, planes)
    fake = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    return degrade.jpeg(picture, quality), degrade.jpeg(fake, quality)


def kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return weights that put samples between samples, as a trained layer has them: float32 [3 to 5], sum 2.

    Even and odd places each get weights that add up to 1, so that an area of one colour keeps it.
    """
    weights = np.array(KERNELS[rng.integers(len(KERNELS))], np.float32)
    weights = weights * rng.normal(1, _JITTER, len(weights)).astype(np.float32)
    for place in (slice(0, None, 2), slice(1, None, 2)):
        weights[place] /= weights[place].sum()
    return weights


def doubled(planes_HWC: Planes, weights_K: NDArray[np.float32]) -> Planes:
    """Return a picture of twice the size: zeros put in between, then filtered, float32 [2 H, 2 W, C]."""
    height, width, channels = planes_HWC.shape
    spread = np.zeros((2 * height, 2 * width, channels), np.float32)
    spread[::2, ::2] = planes_HWC
    filtered = cv2.sepFilter2D(spread, -1, weights_K, weights_K, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(filtered, np.float32).reshape(spread.shape)


def as_strong(made_HWC: Planes, like_HWC: Planes) -> Planes:
    """Return a picture whose spectrum has, ring by ring, the strength of another's, float32 [H, W, C].

    Weak rings grow by a bounded factor, and what lies beyond grey levels is for the caller to cut off.
    """
    height, width = made_HWC.shape[:2]
    distance_HW = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring_HW = np.minimum((distance_HW * 2 * _RINGS).astype(np.intp), _RINGS - 1)
    out = np.empty(made_HWC.shape, np.float32)
    for channel in range(made_HWC.shape[2]):
        made, like = (np.fft.rfft2(each[..., channel]) for each in (made_HWC, like_HWC))
        power, wanted = (_by_ring(ring_HW, spectrum) for spectrum in (made, like))
        gain = np.sqrt(wanted / np.maximum(power, 1e-6)).clip(0, _MOST_GAIN)
        gain[0] = 1.0
        out[..., channel] = np.fft.irfft2(made * gain[ring_HW], (height, width))
    return out


def _by_ring(ring_HW: NDArray[np.intp], spectrum_HW: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.asarray(np.bincount(ring_HW.ravel(), np.abs(spectrum_HW).ravel() ** 2, _RINGS), np.float64)
