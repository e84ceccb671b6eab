"""Traces of a fixed clock in sound: what repeats every so many samples, where a voice never does.

Interpolation makes the error of a linear predictor larger at some samples than at others, with a period
that tells the factor (Popescu and Farid, IEEE Transactions on Signal Processing 53, 2005; Kirchner, ACM
Multimedia and Security 2008). Networks that write sound in blocks leave tones and changes of level at
multiples of the block rate (Pons et al., ICASSP 2021). Both are lines in a spectrum that has none otherwise.
"""

import numpy as np
from numpy.typing import NDArray

TINY = 1e-12
NEIGHBOURS = 128
"""Bins of a spectrum whose median is the level from which a line stands out."""

Floats = NDArray[np.float64]


def residual(wave_N: NDArray[np.floating], order: int = 16) -> Floats:
    """Return what a linear predictor of the whole sound leaves of it, float64 [N].

    The predictor solves the normal equations of the autocorrelation method (Makhoul, Proceedings of the IEEE
    63, 1975).
    """
    import scipy.linalg
    import scipy.signal

    wave = wave_N.astype(np.float64)
    lags = _autocorrelation(wave, order)
    # A little white noise keeps the equations solvable; that of 16 bits is far above it.
    lags[0] = lags[0] * (1 + 1e-9) + TINY
    predictor = scipy.linalg.solve_toeplitz(lags[:-1], lags[1:])
    error = scipy.signal.lfilter(np.concatenate([[1.0], -predictor]), [1.0], wave)
    return np.asarray(error, np.float64)


def levelled(values_N: Floats, length: int = 400) -> Floats:
    """Return values over their level in the ``length`` samples around; what is silent stays 0."""
    import scipy.ndimage

    power = scipy.ndimage.uniform_filter1d(values_N**2, min(length, len(values_N)))
    return np.asarray(values_N / np.sqrt(np.maximum(power, TINY)), np.float64)


def lines(values_N: Floats) -> Floats:
    """Return a power spectrum over the level of its neighbourhood, float64 [F], of mean 1 for noise.

    Bin f is at f / (2 (F - 1)) cycles a sample. Bins are half as far apart as the length tells sines apart,
    so that one between two bins loses less than 1 dB.
    """
    import scipy.fft

    length = scipy.fft.next_fast_len(2 * len(values_N), real=True)
    length += length % 2
    power = np.abs(scipy.fft.rfft(values_N - values_N.mean(), length)) ** 2
    blocks = max(1, len(power) // NEIGHBOURS)
    level = np.array([np.median(piece) for piece in np.array_split(power, blocks)]) / np.log(2)
    centres = (np.arange(blocks) + 0.5) * len(power) / blocks
    level_F = np.interp(np.arange(len(power)), centres, level)
    return np.asarray(power / np.maximum(level_F, TINY), np.float64)


def lattice(lines_F: Floats, spacing: float, lowest: float = 0.0) -> float:
    """Return how far the lines at all multiples of a frequency stand out together, in standard deviations.

    The logarithms of noise power have the mean -0.577 and the deviation pi / sqrt(6); their mean needs many
    lines to rise, where that of the powers would follow a single tone.

    Args:
        lines_F: What ``lines`` returns.
        spacing: The frequency, in cycles a sample, above 0 and below 1 / 4.
        lowest: Where the first line is sought, in cycles a sample.
    """
    cycles = np.arange(max(1, int(np.ceil(lowest / spacing))), int(0.5 / spacing) + 1) * spacing
    found = np.log(np.maximum(lines_F[np.rint(cycles * 2 * (len(lines_F) - 1)).astype(int)], TINY))
    return float((found.mean() + np.euler_gamma) * np.sqrt(6 * len(found)) / np.pi)


def _autocorrelation(wave: Floats, order: int) -> Floats:
    import scipy.fft

    length = scipy.fft.next_fast_len(len(wave) + order, real=True)
    power = np.abs(scipy.fft.rfft(wave, length)) ** 2
    return np.asarray(scipy.fft.irfft(power, length)[: order + 1], np.float64) / len(wave)
