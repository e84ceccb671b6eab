"""What sound is like: spectrum, dynamics and voicing in some thirty numbers, whatever is said.

Speech comes in syllables, four or so a second, with pauses, voiced and unvoiced by turns, and its pitch
glides. Music, tones and noise differ in one of these at least (Scheirer & Slaney, ICASSP 1997).
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SHORTEST = 4096
"""Samples of sound that is described at least."""

FRAME, HOP = 512, 256
EDGES = (0.0, 0.03, 0.0625, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
"""Of bands, as shares of Nyquist's frequency."""

SHORTEST_LAG, LONGEST_LAG = 32, 240
FLOOR = 1e-9
SMOOTHED_BINS = 9


def describe(wave_N: Floats) -> dict[str, float]:
    """Return the statistics of sound by name.

    Args:
        wave_N: float [N] in [-1, 1], at least ``SHORTEST`` samples. Levels of speech lie about -26 dB.
    """
    frames_TN = np.lib.stride_tricks.sliding_window_view(wave_N, FRAME)[::HOP].astype(np.float32)
    power_TF = abs(np.fft.rfft(frames_TN * np.hanning(FRAME).astype(np.float32))) ** 2 / FRAME + FLOOR
    return _wave(wave_N, frames_TN) | _dynamics(power_TF) | _colour(power_TF) | _voicing(power_TF)


def _wave(wave_N: Floats, frames_TN: Floats) -> dict[str, float]:
    square_N = wave_N * wave_N
    variance = float(square_N.mean()) + FLOOR
    crossing_T = (np.diff(np.signbit(frames_TN), axis=1)).mean(axis=1)
    return {
        "peakedness": float(np.log(np.mean(square_N * square_N) / variance**2 + 0.1)),
        "crest": float(np.log(abs(wave_N).max() / np.sqrt(variance) + 0.1)),
        "crossings": float(crossing_T.mean()),
        "crossings_spread": float(crossing_T.std()),
    }


def _dynamics(power_TF: Floats) -> dict[str, float]:
    level_T = 10 * np.log10(power_TF.sum(axis=1))
    loud = float(np.quantile(level_T, 0.95))
    modulation = abs(np.fft.rfft((level_T - level_T.mean()) * np.hanning(len(level_T)))) ** 2
    # In cycles a frame; at 16 kHz the limits are 2, 8 and 16 changes a second.
    cycles = np.fft.rfftfreq(len(level_T))
    share = [float(modulation[(cycles > a) & (cycles <= b)].sum()) for a, b in _MODULATIONS]
    total = float(modulation[1:].sum()) + 1.0
    return {
        "level_spread_db": float(level_T.std()),
        "pauses": float((level_T < loud - 20).mean()),
        "range_db": loud - float(np.quantile(level_T, 0.1)),
        "jumps_db": float(np.median(abs(np.diff(level_T)))),
        "slow_changes": share[0] / total,
        "syllables": share[1] / total,
        "fast_changes": share[2] / total,
    }


_MODULATIONS = ((0.0, 0.032), (0.032, 0.128), (0.128, 0.256))


def _colour(power_TF: Floats) -> dict[str, float]:
    log_TF = np.log(power_TF)
    flatness_T = log_TF.mean(axis=1) - np.log(power_TF.mean(axis=1))
    bins = np.arange(power_TF.shape[1]) / (power_TF.shape[1] - 1)
    centroid_T = (power_TF @ bins) / power_TF.sum(axis=1)
    change_T = abs(np.diff(log_TF, axis=0)).mean(axis=1)
    mean_F = log_TF.mean(axis=0)
    smooth_F = np.convolve(mean_F, np.full(SMOOTHED_BINS, 1 / SMOOTHED_BINS), mode="same")
    inner = slice(SMOOTHED_BINS, -SMOOTHED_BINS)
    longterm_F = power_TF.mean(axis=0)
    bands = [
        float(np.log10(longterm_F[(bins >= low) & (bins <= high)].mean()))
        for low, high in itertools.pairwise(EDGES)
    ]
    return {
        "flatness": float(flatness_T.mean()),
        "flatness_spread": float(flatness_T.std()),
        "centroid": float(centroid_T.mean()),
        "centroid_spread": float(centroid_T.std()),
        "flux": float(np.median(change_T)),
        "flux_spread": float(np.log(change_T.std() + 0.01)),
        "lines": float(np.log((mean_F - smooth_F)[inner].std() + 0.01)),
        **{f"band_{number + 1}": band for number, band in enumerate(bands)},
    }


def _voicing(power_TF: Floats) -> dict[str, float]:
    """Return how periodic the louder frames are, and how their period moves."""
    level_T = power_TF.sum(axis=1)
    loud_TF = power_TF[level_T >= np.median(level_T)]
    correlation_TN = np.fft.irfft(loud_TF)
    lags_TN = correlation_TN[:, SHORTEST_LAG:LONGEST_LAG] / (correlation_TN[:, :1] + FLOOR)
    peak_T, lag_T = lags_TN.max(axis=1), np.log(lags_TN.argmax(axis=1) + SHORTEST_LAG)
    moves_T = abs(np.diff(lag_T)) if len(lag_T) > 1 else np.zeros(1)
    return {
        "periodic": float(peak_T.mean()),
        "periodic_spread": float(peak_T.std()),
        "period": float(np.median(lag_T)),
        "period_moves": float(np.log(np.median(moves_T) + 0.003)),
    }
