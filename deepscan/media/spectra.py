"""What a network reads of sound: spectra, cepstra, measures of the voice.

Spectra and cepstra share one grid of frames: frame t is centred on sample ``t * hop``, the sound is mirrored
at both ends, and N samples make ``1 + N // hop`` frames. Logarithms are natural, of power plus ``FLOOR``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.errors import ConfigError
from deepscan.media import voice
from deepscan.media.sound import SOUND_RATE_HZ

NYQUIST_HZ = SOUND_RATE_HZ / 2
FLOOR = 1e-6
"""Power under which nothing is told apart: some 50 dB below speech of ordinary loudness."""

CQT_OCTAVES = 7
"""The constant-Q transform covers so many octaves below the Nyquist frequency: from 62.5 Hz on."""

Rows = NDArray[np.float32]
"""Features, float32 [rows, frames]."""

_CEPSTRA = ("mfcc", "lfcc")
_LIMITS = {"filters": (4, 256), "coefficients": (1, 256), "length_ms": (5, 100), "hop_ms": (1, 100)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FrontEnd:
    """How a window of sound becomes what a network reads.

    Attributes:
        kind: ``wave`` (none at all), ``mfcc``, ``lfcc``, ``logmel``, ``spectrogram``, ``cqt``, or ``voice``:
            the measures of ``voice.NAMES`` as a single frame, to which no other setting applies.
        filters: Filters of the filter bank; of ``cqt``, the pitches; a ``spectrogram`` has none.
        coefficients: Cepstral coefficients of ``mfcc`` and ``lfcc``, at most as many as filters.
        deltas: Add first and second derivatives over time as further rows.
        length_ms: Length of an analysis frame; in ``cqt`` it follows from the pitch.
        hop_ms: Time between frames.
        normalize: Bring every row to mean 0 and deviation 1 over the window.
    """

    kind: Literal["wave", "mfcc", "lfcc", "logmel", "spectrogram", "cqt", "voice"] = "lfcc"
    filters: int = 40
    coefficients: int = 20
    deltas: bool = True
    length_ms: float = 20.0
    hop_ms: float = 10.0
    normalize: bool = True

    def __post_init__(self) -> None:
        """Check ranges, and that every filter hears something.

        Raises:
            ConfigError: A value is out of range, or there are more filters than the frames can tell apart.
        """
        for name, (low, high) in _LIMITS.items():
            _require(low <= (given := getattr(self, name)) <= high, name, given, f"in [{low}, {high}]")
        if self.kind in _CEPSTRA:
            allowed = f"at most filters ({self.filters})"
            _require(self.coefficients <= self.filters, "coefficients", self.coefficients, allowed)
        if self.kind in (*_CEPSTRA, "logmel"):
            hears = filter_bank(_scale(self), self.filters, _fft_size(self)).any(1).all()
            allowed = f"fewer for frames of {self.length_ms} ms, or the frames longer"
            _require(bool(hears), "filters", self.filters, allowed)


def features(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the features of a window, float32 [rows, frames].

    Args:
        wave_N: Sound in [-1, 1] at 16 kHz, at least one sample; for ``voice`` at least 40 ms.
        front_end: How.

    Raises:
        ConfigError: Its kind is ``wave``, which has no features.
    """
    if front_end.kind not in KINDS:
        msg = f"The front end {front_end.kind!r} has no features; take one of {', '.join(KINDS)}."
        raise ConfigError(msg)
    rows_FT = KINDS[front_end.kind](wave_N.astype(np.float32, copy=False), front_end)
    if front_end.kind == "voice":
        return rows_FT
    if front_end.deltas:
        first_FT = deltas(rows_FT)
        rows_FT = np.concatenate([rows_FT, first_FT, deltas(first_FT)])
    return np.ascontiguousarray(_normalized(rows_FT) if front_end.normalize else rows_FT)


@functools.lru_cache(maxsize=64)
def shape(front_end: FrontEnd, samples: int) -> tuple[int, int]:
    """Return rows and frames of the features of so many samples.

    Raises:
        ConfigError: Its kind is ``wave``, which has no features.
    """
    rows, frames = features(np.zeros(samples, np.float32), front_end).shape
    return rows, frames


def log_spectrogram(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the log power of every frequency up to Nyquist."""
    return _log(_power(wave_N, front_end))


def log_filters(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the log power within each filter of the bank, mel or linear by the kind."""
    bank_FK = filter_bank(_scale(front_end), front_end.filters, _fft_size(front_end))
    # In float64, for how a product is added up depends on the threads that a process may use; rounded to
    # float32 it is the same number in all of them.
    within_FT = bank_FK.astype(np.float64) @ _power(wave_N, front_end).astype(np.float64)
    return _log(within_FT.astype(np.float32))


def cepstra(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the orthonormal cosine transform (DCT-II) of the log filters (Davis & Mermelstein, 1980).

    Linear filters keep the high frequencies apart in which vocoders err (Sahidullah et al., 2015).
    """
    cepstra_FT = scipy.fft.dct(log_filters(wave_N, front_end), type=2, axis=0, norm="ortho")
    kept_FT: Rows = cepstra_FT[: front_end.coefficients]
    return kept_FT


def constant_q(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the log power at pitches that are evenly spaced in octaves, all with the same quality Q.

    Each pitch is a Hann-shaped band of the whole window's spectrum, sampled once a hop, as in the
    constant-Q transform of Velasco et al. (DAFx 2011). A sine weighs as much as in the spectrogram.
    """
    hop, frames = _samples(front_end.hop_ms), _frames(len(wave_N), front_end)
    around = math.ceil(SOUND_RATE_HZ / 4 / hop)
    total = scipy.fft.next_fast_len(frames + 2 * around)
    right = hop * total - hop * around - len(wave_N)
    padded_N = np.pad(wave_N, (hop * around, right), mode="reflect")
    spectrum_K = scipy.fft.rfft(padded_N).astype(np.complex64, copy=False)
    bands = _pitch_bands(front_end.filters, hop * total)
    # Sampling once a hop folds the spectrum: what lies a whole frame rate apart adds up.
    folded_FT = np.stack([_fold(spectrum_K, low, band_K, total) for low, band_K in bands])
    amplitude_FT = np.abs(scipy.fft.ifft(folded_FT, axis=1)[:, around : around + frames]) / hop
    return _log((amplitude_FT * _window(_samples(front_end.length_ms)).sum()) ** 2)


def voice_measures(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the measures of ``voice.NAMES`` over the whole window, each in its unit, as one frame."""
    return np.array(list(voice.measure(wave_N).values()), np.float32)[:, None]


def deltas(rows_FT: Rows) -> Rows:
    """Return the slope of the regression line over five frames, the outermost repeated at the ends."""
    padded_FT = np.pad(rows_FT, ((0, 0), (2, 2)), mode="edge")
    ahead_FT, behind_FT = padded_FT[:, 3:-1] - padded_FT[:, 1:-3], padded_FT[:, 4:] - padded_FT[:, :-4]
    return np.float32(0.1) * ahead_FT + np.float32(0.2) * behind_FT


@functools.lru_cache(maxsize=32)
def filter_bank(scale: Literal["mel", "linear"], filters: int, fft_size: int) -> NDArray[np.float32]:
    """Return triangular filters of peak 1 from 0 Hz to Nyquist, float32 [filters, fft_size // 2 + 1].

    Their corners are evenly spaced in Hz or in mel, 2595 log10(1 + f / 700 Hz) (O'Shaughnessy, 1987).
    """
    top = 2595 * math.log10(1 + NYQUIST_HZ / 700)
    mel_F = np.linspace(0, top, filters + 2)
    linear_F = np.linspace(0, NYQUIST_HZ, filters + 2)
    corner_hz_F = 700 * (10 ** (mel_F / 2595) - 1) if scale == "mel" else linear_F
    bin_hz_K = np.linspace(0, NYQUIST_HZ, fft_size // 2 + 1)
    width_hz_F1 = np.diff(corner_hz_F)[:, None]
    away_hz_FK = bin_hz_K - corner_hz_F[:, None]
    rising_FK, falling_FK = away_hz_FK[:-2] / width_hz_F1[:-1], -away_hz_FK[2:] / width_hz_F1[1:]
    return np.maximum(0, np.minimum(rising_FK, falling_FK)).astype(np.float32)


def pitches_hz(filters: int) -> NDArray[np.float64]:
    """Return the centres of the constant-Q bands in Hz, the highest one step below Nyquist."""
    return NYQUIST_HZ * 2 ** (CQT_OCTAVES * (np.arange(filters) / filters - 1))


@functools.lru_cache(maxsize=8)
def _pitch_bands(filters: int, length: int) -> tuple[tuple[int, NDArray[np.float32]], ...]:
    """Return each band's first bin in the spectrum of ``length`` samples, and its weights."""
    step = CQT_OCTAVES / filters
    bands = []
    for center_hz in pitches_hz(filters):
        center = center_hz * length / SOUND_RATE_HZ
        low, high = math.ceil(center * 2**-step), math.floor(center * 2**step)
        steps_K = np.log2(np.arange(low, high + 1) / center) / step
        bands.append((low, np.cos(np.pi / 2 * steps_K).astype(np.float32) ** 2))
    return tuple(bands)


def _fold(spectrum_K: NDArray[np.complex64], low: int, band_K: Rows, total: int) -> NDArray[np.complex64]:
    begin = low % total
    folded = np.zeros(-(-(begin + len(band_K)) // total) * total, np.complex64)
    folded[begin : begin + len(band_K)] = spectrum_K[low : low + len(band_K)] * band_K
    total_T: NDArray[np.complex64] = folded.reshape(-1, total).sum(0)
    return total_T


def _power(wave_N: NDArray[np.float32], front_end: FrontEnd) -> Rows:
    """Return the power of Hann-windowed frames, float32 [frequencies, frames]."""
    length, hop = _samples(front_end.length_ms), _samples(front_end.hop_ms)
    padded_N = np.pad(wave_N, (length + 1) // 2, mode="reflect")
    frames_TN = np.lib.stride_tricks.sliding_window_view(padded_N, length)[::hop]
    frames_TN = frames_TN[: _frames(len(wave_N), front_end)] * _window(length)
    spectrum_TK = scipy.fft.rfft(frames_TN, n=_fft_size(front_end), axis=1)
    power_TK: Rows = spectrum_TK.real**2 + spectrum_TK.imag**2
    return power_TK.T


@functools.lru_cache(maxsize=8)
def _window(length: int) -> NDArray[np.float32]:
    return scipy.signal.get_window("hann", length).astype(np.float32)


def _log(power_FT: Rows) -> Rows:
    log_FT: Rows = np.log(power_FT + np.float32(FLOOR))
    return log_FT


def _normalized(rows_FT: Rows) -> Rows:
    """Return rows of mean 0 and deviation 1; those that hardly move become 0 and not noise."""
    centred_FT = rows_FT - rows_FT.mean(1, keepdims=True)
    normal_FT: Rows = centred_FT / np.maximum(centred_FT.std(1, keepdims=True), np.float32(1e-3))
    return normal_FT


def _scale(front_end: FrontEnd) -> Literal["mel", "linear"]:
    return "linear" if front_end.kind == "lfcc" else "mel"


def _samples(span_ms: float) -> int:
    return round(span_ms * SOUND_RATE_HZ / 1000)


def _frames(samples: int, front_end: FrontEnd) -> int:
    return 1 + samples // _samples(front_end.hop_ms)


def _fft_size(front_end: FrontEnd) -> int:
    """Return the power of two that holds a frame."""
    return 1 << (_samples(front_end.length_ms) - 1).bit_length()


def _require(ok: bool, name: str, given: object, allowed: str) -> None:
    if not ok:
        msg = f"Setting {name!r} of FrontEnd must be {allowed}, not {given}."
        raise ConfigError(msg)


KINDS: dict[str, Callable[[NDArray[np.float32], FrontEnd], Rows]] = {
    "mfcc": cepstra,
    "lfcc": cepstra,
    "logmel": log_filters,
    "spectrogram": log_spectrogram,
    "cqt": constant_q,
    "voice": voice_measures,
}
"""Every kind of features with the function that makes its rows, before deltas and normalisation."""
