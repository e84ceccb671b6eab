"""Phase: how it runs on over time, how it is spread over frequency, how sharp the pulses of a voice are.

Many vocoders keep the size of a spectrum and invent its phase.
"""

import dataclasses

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.hearing import common_rate
from deepscan.media.periodicity import levelled, residual
from deepscan.media.sound import SOUND_RATE_HZ
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding

LEAST_S, MOST_S = 0.5, 20.0
FRAME, HOP, LONG_HOP = 512, 128, 256
LOUD_DB = 20.0
"""Frames that are so much below the loud ones are left out: the phase of silence is that of noise."""

PEAK_SHARE = 0.03
"""Peaks below this share of the highest of their frame are left out."""

HIGH_HZ = 2000.0
SMOOTHING = 30
"""Cepstral coefficients that are kept where the spectrum is smoothed."""

GAMMA, ALPHA = 0.9, 0.4
TINY = 1e-12
MILLISECOND = SOUND_RATE_HZ / 1000
POINT_S = 0.1
BREAK_COHERENCE = 0.75
"""Few genuine recordings have phases that run on so badly."""

DULL_KURTOSIS = 0.3
"""Few genuine voices have pulses so dull."""

MEASURES = (
    "coherence",
    "coherence_high",
    "group_delay_deviation_ms",
    "group_delay_roughness_ms",
    "modified_group_delay_deviation",
    "pulse_kurtosis",
    "pulse_skewness",
)
LIMITS = (
    "Rooms, several voices, music, noise and coding blur phases as well, and vocoders that write the "
    "waveform itself keep them as sharp as a microphone does."
)

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Turning:
    """How well phases were foretold: sum and number over the peaks of each frame, float64 [T]."""

    sums: Floats
    counts: Floats

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / max(1.0, self.counts.sum()))


def testify(media: Media) -> Evidence:
    """Measure phases in frames of 32 ms over the first 20 s, at 16 kHz.

    ``coherence`` is 1 where the phase of every peak advances by as much as before, 0 where it is drawn by
    lot; ``coherence_high`` is that above 2 kHz over a longer step. Group delays are centred on their frame
    and weighted by magnitude. The pulses are those of the linear prediction residual.

    Raises:
        NoSoundError: There is no sound, or nothing but silence.
        TooShortError: It is shorter than half a second.
        MediaError: It does not decode.
    """
    wave_N = common_rate(media, LEAST_S, MOST_S).astype(np.float64)
    turning = _turning(_spectra(wave_N, HOP), 0.0)
    high = _turning(_spectra(wave_N, LONG_HOP), HIGH_HZ)
    values = [turning.mean, high.mean, *_group_delays(wave_N), *_pulses(wave_N)]
    measured = dict(zip(MEASURES, values, strict=True))
    broken, dull = measured["coherence"] < BREAK_COHERENCE, measured["pulse_kurtosis"] < DULL_KURTOSIS
    finding: Finding = "unusual" if broken or dull else "ordinary"
    return Evidence(
        analyzer="phase",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        finding=finding,
        curves=(_over_time(turning),),
    )


def _spectra(wave_N: Floats, hop: int) -> NDArray[np.complex128]:
    frames = sliding_window_view(wave_N, FRAME)[::hop]
    return np.asarray(scipy.fft.rfft(frames * np.hanning(FRAME)), np.complex128)


def _turning(spectra_TF: NDArray[np.complex128], lowest_hz: float) -> _Turning:
    """Compare the advance of phase at spectral peaks with that of the frame before."""
    size = np.abs(spectra_TF[1:-1])
    inner = size[:, 1:-1]
    peaks = (
        (inner > size[:, :-2]) & (inner >= size[:, 2:]) & (inner > PEAK_SHARE * size.max(1, keepdims=True))
    )
    peaks &= _loud(size)[:, None]
    peaks[:, : int(lowest_hz * FRAME / SOUND_RATE_HZ)] = False
    bend = spectra_TF[2:] * np.conj(spectra_TF[1:-1]) ** 2 * spectra_TF[:-2]
    cosine = bend.real / np.maximum(np.abs(bend), TINY**2)
    return _Turning((cosine[:, 1:-1] * peaks).sum(1), peaks.sum(1).astype(np.float64))


def _loud(size_TF: Floats) -> NDArray[np.bool_]:
    level_db = 10 * np.log10((size_TF**2).sum(1) + TINY)
    return np.asarray(level_db > np.percentile(level_db, 95) - LOUD_DB)


def _group_delays(wave_N: Floats) -> tuple[float, float, float]:
    """Group delay by the transform of n x[n] (Oppenheim and Schafer), and its modified form.

    The modified group delay divides by the smoothed spectrum and is compressed (Hegde, Murthy and Gadde, IEEE
    Transactions on Audio, Speech and Language Processing 15, 2007).
    """
    frames = sliding_window_view(wave_N, FRAME)[::HOP] * np.hanning(FRAME)
    spectra = scipy.fft.rfft(frames)
    loud = _loud(np.abs(spectra))
    spectra = spectra[loud]
    ramped = scipy.fft.rfft(frames[loud] * (np.arange(FRAME) - (FRAME - 1) / 2))
    product = spectra.real * ramped.real + spectra.imag * ramped.imag
    size = np.abs(spectra) + TINY
    delay = product / np.maximum(size**2, TINY)
    weight = size / size.sum(1, keepdims=True)
    centre = (weight * delay).sum(1, keepdims=True)
    deviation = (weight * np.abs(delay - centre)).sum(1).mean() / MILLISECOND
    roughness = np.median(np.abs(np.diff(delay, axis=1))) / MILLISECOND
    modified = product / _smooth(size) ** (2 * GAMMA)
    spread = (np.abs(modified) ** ALPHA * np.sign(modified)).std(1).mean()
    return float(deviation), float(roughness), float(spread)


def _smooth(size_TF: Floats) -> Floats:
    cepstra = scipy.fft.irfft(np.log(np.maximum(size_TF, 1e-8)))
    cepstra[:, SMOOTHING : -SMOOTHING + 1] = 0
    return np.asarray(np.exp(scipy.fft.rfft(cepstra).real), np.float64)


def _pulses(wave_N: Floats) -> tuple[float, float]:
    """Excess kurtosis and skewness of the residual in loud frames: a glottis pulses sharply to one side."""
    loud = _loud(np.abs(_spectra(wave_N, HOP)))
    frames = sliding_window_view(levelled(residual(wave_N)), FRAME)[::HOP][loud]
    centred = frames - frames.mean(1, keepdims=True)
    deviation = np.maximum(centred.std(1), 1e-6)
    kurtosis = (centred**4).mean(1) / deviation**4 - 3
    skewness = (centred**3).mean(1) / deviation**3
    return float(kurtosis.mean()), abs(float(skewness.mean()))


def _over_time(turning: _Turning) -> Curve:
    step = round(POINT_S * SOUND_RATE_HZ / HOP)
    starts = np.arange(0, len(turning.sums), step)
    sums, counts = (np.add.reduceat(each, starts) for each in (turning.sums, turning.counts))
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    seconds = (starts + step / 2) * HOP / SOUND_RATE_HZ
    caption = "How well the phase of loud peaks runs on, 1 = as foretold; gaps are pauses."
    return curve("coherence", caption, seconds, values, ("s", ""))


def _in_words(measured: dict[str, float]) -> str:
    coherent = f"a coherence of {measured['coherence']:.2f}"
    sharp = f"a kurtosis of {measured['pulse_kurtosis']:.1f}"
    if measured["coherence"] < BREAK_COHERENCE:
        return f"Phases do not run on from frame to frame ({coherent}), as where a vocoder invented them."
    if measured["pulse_kurtosis"] < DULL_KURTOSIS:
        return f"The pulses of the voice are dull ({sharp}), as where phases were lost, or in noise."
    return f"Phases run on from frame to frame ({coherent}) and the pulses of the voice have {sharp}."


ANALYZERS.register(
    "phase",
    Analyzer(
        name="phase",
        group="sound",
        summary="How phases run on over time and over frequency, and how sharp the pulses of a voice are",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
