"""Re-synthesis of a recording by vocoders: the same words, speaker and silences, with a vocoder's traces.

What these vocoders lose (phase, fine structure, aperiodicity) is what a spoken deepfake loses too, so a
recording and its copy differ in nothing else. All take sound at 16 kHz and a generator, and return
float32 of the same length; the level is not kept, see ``level``.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.media.sound import SOUND_RATE_HZ

Wave = NDArray[np.float32]

LENGTH = 1024
"""Samples of an analysis frame, 64 ms."""
HOP = LENGTH // 4

LOWEST_HZ, HIGHEST_HZ = 60.0, 400.0
"""Range in which a pitch is sought."""


def _hann(length: int) -> Wave:
    """Return the periodic Hann window; SciPy's would bring the import of its signal processing with it."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length), np.float32)


_WINDOW = _hann(LENGTH)
_VOICED = 0.5
_TINY = 1e-7


def level(wave_N: Wave, rms: float) -> Wave:
    """Return the sound with this root mean square, or less where that would exceed 1; silence stays."""
    loud, peak = np.sqrt(np.mean(np.square(wave_N))), np.abs(wave_N).max()
    return wave_N if peak < _TINY else np.asarray(wave_N * min(rms / loud, 0.99 / peak), np.float32)


def mel_inversion(wave_N: Wave, rng: np.random.Generator, bands: int = 80, rounds: int = 24) -> Wave:
    """Throw away phases and all but a mel spectrum, and guess them back.

    Phases come from the accelerated Griffin-Lim iteration (Griffin and Lim, IEEE TASSP 1984; Perraudin,
    Balazs and Sondergaard, WASPAA 2013).

    Args:
        wave_N: Sound at 16 kHz, float32 in [-1, 1].
        rng: Draws the phases of the start.
        bands: Triangular mel filters from 0 to 8 kHz.
        rounds: Iterations.
    """
    bank, inverse = _mel_bank(bands)
    magnitude = np.maximum(np.abs(_spectrum(wave_N)) @ bank @ inverse, 0)
    phases = _unit(rng.uniform(0, 2 * np.pi, magnitude.shape))
    previous = np.zeros_like(phases)
    for _ in range(rounds):
        consistent = _spectrum(_wave(magnitude * phases, wave_N.size))
        ahead = consistent + np.float32(0.99) * (consistent - previous)
        phases, previous = ahead / np.maximum(np.abs(ahead), _TINY), consistent
    return _wave(magnitude * phases, wave_N.size)


def random_phase(wave_N: Wave, rng: np.random.Generator) -> Wave:
    """Keep the magnitudes of the short-time spectrum and draw every phase anew."""
    magnitude = np.abs(_spectrum(wave_N))
    return _wave(magnitude * _unit(rng.uniform(0, 2 * np.pi, magnitude.shape)), wave_N.size)


def linear_prediction(wave_N: Wave, rng: np.random.Generator, order: int = 18) -> Wave:
    """Excite an all-pole filter by pulses or noise, as the LPC vocoder does (Atal and Hanauer, JASA 1971)."""
    hop = 128
    frames = _framed(wave_N, 4 * hop, hop) * _hann(4 * hop)
    correlation = scipy.fft.irfft(np.abs(scipy.fft.rfft(frames, 8 * hop)) ** 2)[:, : order + 1] / np.float32(
        1.5 * hop
    )
    filters, gains = _levinson(correlation)
    excitation = _excitation(wave_N, rng, breath=0.02)
    out, state = np.zeros(len(filters) * hop), np.zeros(order)
    # Frame t is centred on the border of blocks t and t - 1.
    for t, (poles, gain) in enumerate(zip(filters, gains, strict=True)):
        block = slice(t * hop, (t + 1) * hop)
        piece = np.zeros(hop)
        piece[: excitation[block].size] = excitation[block]
        out[block], state = scipy.signal.lfilter([gain], poles, piece, zi=state)
    return out[: wave_N.size].astype(np.float32)


def cepstral(wave_N: Wave, rng: np.random.Generator, coefficients: int = 40) -> Wave:
    """Excite the smoothed, minimum-phase spectrum by pulses and noise.

    The spectral envelope is the liftered cepstrum, its phase that of the folded cepstrum (Oppenheim and
    Schafer, "Discrete-Time Signal Processing", chapter 13); the parts are those of WORLD-like vocoders.
    """
    cepstrum = scipy.fft.irfft(np.log(np.abs(_spectrum(wave_N)) + np.float32(1e-5)))
    folded = np.zeros_like(cepstrum)
    folded[:, 0], folded[:, 1:coefficients] = cepstrum[:, 0], 2 * cepstrum[:, 1:coefficients]
    excitation = _spectrum(_excitation(wave_N, rng, breath=0.15)) / np.float32(np.sqrt(np.sum(_WINDOW**2)))
    return _wave(excitation * np.exp(scipy.fft.rfft(folded)), wave_N.size)


def pitch(wave_N: Wave, hop: int = HOP) -> NDArray[np.float32]:
    """Return the pitch every ``hop`` samples, in hertz, 0 where the sound is not periodic.

    The highest peak of the autocorrelation, normalised by that of the window (Boersma, IFA 17, 1993).
    """
    first, last = int(SOUND_RATE_HZ / HIGHEST_HZ), int(SOUND_RATE_HZ / LOWEST_HZ)
    power = np.abs(scipy.fft.rfft(_framed(wave_N, LENGTH, hop) * _WINDOW, 2 * LENGTH)) ** 2
    lags = scipy.fft.irfft(power)[:, : last + 2]
    own = scipy.fft.irfft(np.abs(scipy.fft.rfft(_WINDOW, 2 * LENGTH)) ** 2)[: last + 2]
    # Equal peaks stand at multiples of the period: prefer the shortest.
    heights = lags / np.maximum(lags[:, :1], _TINY) * (own[0] / own) * np.linspace(1, 0.9, last + 2)
    middle = heights[:, first:-1]
    # The slope down from lag 0 is high as well, but no peak.
    peaks = (middle >= heights[:, first - 1 : -2]) & (middle >= heights[:, first + 1 :])
    best = first + np.where(peaks, middle, 0).argmax(1)
    loud = lags[:, 0] > 1e-4 * lags[:, 0].max(initial=_TINY)
    voiced = (np.take_along_axis(heights, best[:, None], 1)[:, 0] > _VOICED) & loud
    return np.asarray(scipy.ndimage.median_filter(np.where(voiced, SOUND_RATE_HZ / best, 0), 5), np.float32)


VOCODERS: dict[str, Callable[[Wave, np.random.Generator], Wave]] = {
    "griffin-lim-80": mel_inversion,
    "griffin-lim-40": functools.partial(mel_inversion, bands=40),
    "lpc": linear_prediction,
    "cepstral": cepstral,
    "random-phase": random_phase,
}
"""Generators by the name that a manifest gives them."""


def _framed(wave_N: Wave, length: int, hop: int) -> Any:
    """Frames [T, length] whose centres are 0, hop, 2 hop ... beyond the last sample."""
    padded = np.pad(wave_N, (length // 2, length // 2 + hop))
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]


def _spectrum(wave_N: Wave) -> Any:
    """Short-time spectrum, complex64 [T, LENGTH / 2 + 1]."""
    return scipy.fft.rfft(_framed(wave_N, LENGTH, HOP) * _WINDOW)


def _wave(spectrum_TF: Any, samples: int) -> Wave:
    """The sound whose short-time spectrum is nearest (Griffin and Lim, 1984, equation 6)."""
    frames = scipy.fft.irfft(spectrum_TF.astype(np.complex64)) * _WINDOW
    out, weight = np.zeros((2, len(frames) + 3, HOP), np.float32)
    for quarter in range(4):
        part = slice(quarter * HOP, (quarter + 1) * HOP)
        out[quarter : quarter + len(frames)] += frames[:, part]
        weight[quarter : quarter + len(frames)] += _WINDOW[part] ** 2
    whole = out.ravel() / np.maximum(weight.ravel(), np.float32(_TINY))
    return np.asarray(whole[LENGTH // 2 : LENGTH // 2 + samples], np.float32)


def _unit(angle: NDArray[Any]) -> Any:
    return np.exp(1j * angle).astype(np.complex64)


@functools.lru_cache(maxsize=4)
def _mel_bank(bands: int) -> tuple[Wave, Wave]:
    """Triangles evenly spaced in mel = 2595 log10(1 + f / 700), [F, bands], and the pseudo-inverse."""
    top = 2595 * np.log10(1 + SOUND_RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins_hz = scipy.fft.rfftfreq(LENGTH, 1 / SOUND_RATE_HZ)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    bank = np.maximum(np.minimum(rising, falling), 0)
    return bank.astype(np.float32), np.linalg.pinv(bank).astype(np.float32)


def _levinson(correlation_TP: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve for the predictors of all frames at once (Durbin, 1960): filters [T, order + 1], gains [T]."""
    r = correlation_TP.astype(np.float64)
    r[:, 0] = 1.0001 * r[:, 0] + 1e-9  # a little white noise keeps every filter stable
    filters = np.zeros_like(r)
    filters[:, 0] = 1
    error = r[:, 0].copy()
    for i in range(1, r.shape[1]):
        reflection = -np.sum(filters[:, :i] * r[:, i:0:-1], 1) / error
        filters[:, 1 : i + 1] += reflection[:, None] * filters[:, i - 1 :: -1][:, :i]
        error *= 1 - reflection**2
    return filters, np.sqrt(error)


def _excitation(wave_N: Wave, rng: np.random.Generator, breath: float) -> Wave:
    """Pulses at the pitch of the sound and noise where it has none, of unit power.

    Args:
        wave_N: The sound that is copied.
        rng: Draws the noise.
        breath: Share of noise in the power of voiced sound, in [0, 1].
    """
    pitch_T = pitch(wave_N)
    f0_N = pitch_T[np.minimum(np.arange(wave_N.size) // HOP, pitch_T.size - 1)]
    turns = np.floor(np.cumsum(f0_N / SOUND_RATE_HZ))
    pulses = np.diff(turns, prepend=0) * np.sqrt(SOUND_RATE_HZ / np.maximum(f0_N, 1))
    noise = rng.standard_normal(wave_N.size)
    mixed = np.sqrt(1 - breath) * pulses + np.sqrt(breath) * noise
    return np.asarray(np.where(f0_N > 0, mixed, noise), np.float32)
