"""Measures of a voice that need no knowledge of the speaker: pitch, its steadiness, tilt, breath, pauses.

Synthetic voices tend to be too steady or unsteady in the wrong places; so are some healthy ones. These
are measurements, not verdicts.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE_HZ = 16_000
FRAME, HOP = 640, 160  # 40 ms and 10 ms
PITCH_HZ = (60.0, 400.0)
VOICED = 0.5
FLOOR_DB = -35.0
BREATH_DB = -15.0
SHORTEST_PAUSE_S = 0.15
SHORTEST_BREATH_S = 0.12
TILT_HZ = (100.0, 5000.0)
TINY = 1e-10

NAMES = (
    "voiced_share",
    "pitch_median_hz",
    "pitch_range_semitones",
    "pitch_wobble_semitones",
    "jitter_percent",
    "shimmer_percent",
    "harmonics_to_noise_db",
    "tilt_db_per_octave",
    "tilt_range_db_per_octave",
    "pause_share",
    "pauses_per_minute",
    "pause_mean_ms",
    "breaths_per_minute",
)
"""The measures in their order; the end of a name is its unit, a share lies in [0, 1]."""

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What a voice does over time, one value every 10 ms.

    Attributes:
        pitch_hz: Fundamental frequency; NaN where the voice has none.
        harmonicity: Normalised autocorrelation at the pitch period, in [0, 1].
        level_db: Level relative to the loud parts (their 95th percentile), at most about 0.
        tilt: Slope of the spectrum in dB an octave between 100 and 5000 Hz.
        flatness: Geometric over arithmetic mean of the power spectrum, in [0, 1]; near 1 for noise.
    """

    pitch_hz: Floats
    harmonicity: Floats
    level_db: Floats
    tilt: Floats
    flatness: Floats

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """Whether there is a pitch."""
        return np.isfinite(self.pitch_hz)


def measure(wave_N: NDArray[np.float32]) -> dict[str, float]:
    """Measure a stretch of sound; every value is finite.

    What needs a pitch is 0 where ``voiced_share`` is 0. Jitter and shimmer are the local ones: the mean
    absolute difference of neighbouring periods (of their peak-to-peak amplitudes) over the mean.

    Args:
        wave_N: Sound in [-1, 1] at 16 kHz, at least 40 ms.
    """
    track = follow(wave_N)
    values = [*_of_pitch(track), *_of_periods(wave_N, track), *_of_spectrum(track), *_of_pauses(track)]
    return dict(zip(NAMES, values, strict=True))


def follow(wave_N: NDArray[np.float32]) -> Track:
    """Measure sound every 10 ms in frames of 40 ms."""
    frames = sliding_window_view(wave_N.astype(np.float64), FRAME)[::HOP]
    frames = frames - frames.mean(1, keepdims=True)
    power = (frames**2).mean(1)
    level_db = 10 * np.log10(power + TINY)
    level_db -= np.percentile(level_db, 95)
    window = np.hanning(FRAME)
    spectrum = np.abs(np.fft.rfft(frames * window, 2 * FRAME)) ** 2
    pitch_hz, harmonicity = _pitch(spectrum, window)
    pitch_hz[(harmonicity < VOICED) | (level_db < FLOOR_DB)] = np.nan
    tilt, flatness = _shape(spectrum)
    return Track(pitch_hz, harmonicity, level_db, tilt, flatness)


def _pitch(spectrum: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Autocorrelation divided by that of the window (Boersma, IFA Proceedings 17, 1993)."""
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * FRAME)) ** 2)
    shortest, longest = (int(RATE_HZ / hz) for hz in PITCH_HZ[::-1])
    raw = np.fft.irfft(spectrum)
    correlation = (raw / (raw[:, :1] + TINY))[:, : longest + 2] / (shape / shape[0])[: longest + 2]
    # A small price on long periods keeps the period itself before its multiples.
    priced = correlation - 0.02 * np.log2(np.arange(longest + 2).clip(1) / shortest)
    lag = priced[:, shortest:-1].argmax(1) + shortest
    rows = np.arange(len(lag))
    before, at, after = (correlation[rows, lag + step] for step in (-1, 0, 1))
    return RATE_HZ / (lag + _vertex(before, at, after)), at.clip(0, 1)


def _shape(spectrum: Floats) -> tuple[Floats, Floats]:
    hz = np.fft.rfftfreq(2 * FRAME, 1 / RATE_HZ)
    band = (hz >= TILT_HZ[0]) & (hz <= TILT_HZ[1])
    octaves = np.log2(hz[band])
    decibels = 10 * np.log10(spectrum[:, band] + TINY)
    # Every octave counts alike, however many bins it has.
    weight = 1 / hz[band]
    centred = octaves - np.average(octaves, weights=weight)
    tilt = (decibels * weight * centred).sum(1) / (weight * centred**2).sum()
    power = spectrum[:, band] + TINY
    return tilt, np.exp(np.log(power).mean(1)) / power.mean(1)


def _of_pitch(track: Track) -> tuple[float, ...]:
    pitch_hz = track.pitch_hz[track.voiced]
    share = float(track.voiced.mean())
    if len(pitch_hz) < 3:
        return share, 0.0, 0.0, 0.0
    semitones = 12 * np.log2(pitch_hz)
    low, high = np.percentile(semitones, (10, 90))
    together = track.voiced[1:] & track.voiced[:-1]
    with np.errstate(invalid="ignore"):
        steps = np.abs(12 * np.diff(np.log2(track.pitch_hz)))[together]
    wobble = float(np.median(steps)) if len(steps) else 0.0
    return share, float(np.median(pitch_hz)), float(high - low), wobble


def _of_periods(wave_N: NDArray[np.float32], track: Track) -> tuple[float, ...]:
    lengths: list[float] = []
    sizes: list[float] = []
    for first, last in _runs(track.voiced, 5):
        voice = wave_N[first * HOP : (last - 1) * HOP + FRAME].astype(np.float64)
        periods = list(_periods(voice, track.pitch_hz[first:last]))
        lengths += _changes([length for _, length in periods])
        sizes += _changes([float(np.ptp(voice[at : at + round(length)])) for at, length in periods])
    harmonicity = track.harmonicity[track.voiced].clip(0.01, 0.999)
    noise_db = float(np.mean(10 * np.log10(harmonicity / (1 - harmonicity)))) if len(harmonicity) else 0.0
    return (100 * _mean(lengths), 100 * _mean(sizes), noise_db)


def _changes(values: list[float]) -> list[float]:
    """Differences of neighbours relative to the mean; jumps by more than a third are errors of the marks."""
    if len(values) < 3:
        return []
    changes = np.abs(np.diff(values)) / max(_mean(values), TINY)
    return [float(change) for change in changes if change < 1 / 3]


def _periods(voice: Floats, pitch_hz: Floats) -> Iterator[tuple[int, float]]:
    """Yield begin and length of one period after the other, in samples."""
    half = math.ceil(RATE_HZ / float(pitch_hz[0]) / 2)
    at = half + int(np.argmax(np.abs(voice[half : 3 * half])))
    while True:
        frame = np.clip((at - FRAME // 2) // HOP, 0, len(pitch_hz) - 1)
        length = _next_period(voice, at, RATE_HZ / float(pitch_hz[frame]))
        if length is None:
            return
        yield at, length
        at += round(length)


def _next_period(voice: Floats, at: int, period: float) -> float | None:
    """Return the samples from a mark to the next, to fractions by a parabola; None at the end."""
    half, shortest, longest = int(period / 2), int(0.8 * period), math.ceil(1.25 * period)
    if at - half < 0 or at + longest + half > len(voice):
        return None
    model = voice[at - half : at + half]
    likeness = np.correlate(voice[at + shortest - half : at + longest + half], model, "valid")
    best = int(np.argmax(likeness[1:-1])) + 1
    return shortest + best + float(_vertex(*likeness[best - 1 : best + 2]))


def _vertex(before: Floats, at: Floats, after: Floats) -> Floats:
    """Return where a parabola through three neighbouring values peaks, relative to the middle one."""
    bend = before - 2 * at + after
    flat = np.abs(bend) < TINY
    return np.asarray(np.where(flat, 0.0, 0.5 * (before - after) / np.where(flat, 1.0, bend)).clip(-0.5, 0.5))


def _of_spectrum(track: Track) -> tuple[float, ...]:
    tilt = track.tilt[track.voiced]
    if not len(tilt):
        return 0.0, 0.0
    low, high = np.percentile(tilt, (10, 90))
    return float(np.median(tilt)), float(high - low)


def _of_pauses(track: Track) -> tuple[float, ...]:
    """Pauses are quiet; breaths are noise without pitch, between quiet and loud."""
    minutes = len(track.level_db) * HOP / RATE_HZ / 60
    smooth_db = scipy.ndimage.median_filter(track.level_db, 5)
    quiet = smooth_db < FLOOR_DB
    shortest = round(SHORTEST_PAUSE_S * RATE_HZ / HOP)
    pauses = [last - first for first, last in _runs(quiet, shortest)]
    noisy = ~track.voiced & ~quiet & (smooth_db < BREATH_DB) & (track.flatness > 0.1)
    breaths = _runs(noisy, round(SHORTEST_BREATH_S * RATE_HZ / HOP))
    mean_ms = _mean([1000.0 * HOP / RATE_HZ * length for length in pauses])
    return sum(pauses) / len(quiet), len(pauses) / minutes, mean_ms, len(breaths) / minutes


def _runs(flags: NDArray[np.bool_], shortest: int) -> list[tuple[int, int]]:
    """Return begin and end of every stretch of at least ``shortest`` true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= shortest]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
