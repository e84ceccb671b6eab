"""A voice-like sound from a source-filter model: pulses of a glottis through the formants of a tract.

It says no words, but has what detectors of spoken deepfakes read: a pitch that moves and trembles,
formants that glide, breath, hiss, pauses, a room and a microphone (Fant, "Acoustic Theory of Speech
Production", 1960).
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE_HZ = 16_000
CURVE_HZ = 200
"""Rate of the curves that drive the voice."""

Curve = NDArray[np.float64]
Wave = NDArray[np.float32]

_BLOCK = RATE_HZ // CURVE_HZ
# First three formants of open to closed vowels, means of men (Peterson and Barney, JASA 1952).
_VOWELS_HZ = np.array(
    [
        (730, 1090, 2440),
        (660, 1720, 2410),
        (570, 840, 2410),
        (530, 1840, 2480),
        (390, 1990, 2550),
        (300, 870, 2240),
    ]
)
_UPPER_HZ = (3500, 4500)
_HISS_HZ = (2800, 6000)
_WIDTHS_HZ = np.array([70, 90, 130, 220, 320])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Speaker:
    """A voice.

    Attributes:
        pitch_hz: Mean pitch.
        tract: Formants relative to those of a man of mean size.
        jitter: Relative deviation of one period from the next.
        shimmer: Relative deviation of one pulse's height.
        breath: Amplitude of the breath in voiced sound, relative to the pulses.
        pace_hz: Syllables a second.
    """

    pitch_hz: float
    tract: float
    jitter: float
    shimmer: float
    breath: float
    pace_hz: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Speech:
    """An utterance.

    Attributes:
        wave_N: Dry sound at 16 kHz, float32 in [-1, 1].
        opening_K: How far the mouth is open, in [0, 1], 200 a second; the sound's envelope follows it.
    """

    wave_N: Wave
    opening_K: Curve


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Room:
    """Where it is recorded.

    Attributes:
        echo_N: Impulse response at 16 kHz; the direct sound comes first, with height 1.
        noise_db: Level of the noise relative to the voice.
        noise_slope: Exponent by which the noise's amplitude falls with frequency.
        rms: Level of the recording, root mean square on the scale [0, 1].
    """

    echo_N: Wave
    noise_db: float
    noise_slope: float
    rms: float


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Draw a voice between a low man's and a high woman's."""
    size = rng.uniform(0, 1)
    return Speaker(
        pitch_hz=float(95 * 2.3**size * rng.uniform(0.92, 1.08)),
        tract=float(0.96 + 0.2 * size + rng.uniform(-0.03, 0.03)),
        jitter=float(rng.uniform(0.004, 0.012)),
        shimmer=float(rng.uniform(0.03, 0.09)),
        breath=float(rng.uniform(0.02, 0.1)),
        pace_hz=float(rng.uniform(3.2, 5)),
    )


def draw_room(rng: np.random.Generator) -> Room:
    """Draw a room with a microphone in it: 0.1 to 0.4 s of reverberation, 25 to 45 dB above the noise."""
    time_N = np.arange(int(0.4 * RATE_HZ)) / RATE_HZ
    echo_N = rng.standard_normal(time_N.size) * 10 ** (-3 * time_N / rng.uniform(0.1, 0.4))
    echo_N *= rng.uniform(0.2, 0.5) / np.sqrt(np.sum(echo_N**2))
    echo_N[0] = 1
    return Room(
        echo_N=echo_N.astype(np.float32),
        noise_db=float(-rng.uniform(25, 45)),
        noise_slope=float(rng.uniform(0, 1)),
        rms=float(10 ** (rng.uniform(-32, -22) / 20)),
    )


def speak(speaker: Speaker, duration_s: float, rng: np.random.Generator) -> Speech:
    """Say something of this length."""
    score = _Score.draw(speaker, round(duration_s * CURVE_HZ), rng)
    voiced_N = _pulses(speaker, score.pitch_hz_K, rng)
    breath_N = rng.standard_normal(voiced_N.size)
    source_N = (voiced_N + speaker.breath * breath_N) * _stretch(score.opening_K)
    source_N += 0.01 * breath_N * _stretch(score.inhaling_K)
    wave_N = _through_tract(source_N, score.formants_hz_KF)
    wave_N = wave_N / np.abs(wave_N).max()
    band = signal.butter(2, np.multiply(_HISS_HZ, speaker.tract), "bandpass", fs=RATE_HZ, output="sos")
    hiss_N = signal.sosfilt(band, rng.standard_normal(voiced_N.size)) * _stretch(score.hiss_K)
    mixed = wave_N + 0.08 * hiss_N
    return Speech(wave_N=(0.9 * mixed / np.abs(mixed).max()).astype(np.float32), opening_K=score.opening_K)


def record(wave_N: Wave, room: Room, rng: np.random.Generator) -> Wave:
    """Record a dry voice in a room.

    Returns:
        Sound at 16 kHz, float32 [N] in [-1, 1], of the room's level unless that would clip.
    """
    wet = signal.fftconvolve(wave_N, room.echo_N)[: wave_N.size]
    frequency = np.fft.rfftfreq(wave_N.size, 1 / RATE_HZ)
    # Nothing below 60 Hz passes the microphone, and nothing may be divided by 0.
    shape = np.maximum(frequency, 60) ** -room.noise_slope * (frequency > 60)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(wave_N.size)) * shape, wave_N.size)
    wet = wet / np.sqrt(np.mean(wet**2)) + 10 ** (room.noise_db / 20) * noise / noise.std()
    scale = min(room.rms / np.sqrt(np.mean(wet**2)), 0.99 / np.abs(wet).max())
    return np.asarray(wet * scale, np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Score:
    """What is said, as curves at ``CURVE_HZ``."""

    opening_K: Curve
    inhaling_K: Curve
    hiss_K: Curve
    pitch_hz_K: Curve
    formants_hz_KF: Curve

    @classmethod
    def draw(cls, speaker: Speaker, count: int, rng: np.random.Generator) -> "_Score":
        opening, inhaling, hiss = np.zeros(count), np.zeros(count), np.zeros(count)
        centres, vowels = [0.0], [_VOWELS_HZ[0]]
        at = rng.uniform(0, 0.15)
        while at < count / CURVE_HZ:
            if centres[1:] and rng.random() < 0.18:
                pause_s = rng.uniform(0.15, 0.45)
                _add(inhaling, at, pause_s, rng.uniform(0, 1))
                at += pause_s
            length_s = rng.uniform(0.75, 1.3) / speaker.pace_hz
            vowel = int(rng.integers(len(_VOWELS_HZ)))
            _add(opening, at, length_s, (1 - 0.11 * vowel) * rng.uniform(0.75, 1))
            if rng.random() < 0.4:
                _add(hiss, at - 0.04, rng.uniform(0.06, 0.1), rng.uniform(0.4, 1))
            centres.append(at + length_s / 2)
            vowels.append(_VOWELS_HZ[vowel] * rng.uniform(0.95, 1.05, 3))
            at += length_s
        return cls(
            opening_K=opening,
            inhaling_K=inhaling,
            hiss_K=hiss,
            pitch_hz_K=_melody(speaker, count, rng),
            formants_hz_KF=_glide(np.array(centres), np.array(vowels), count) * speaker.tract,
        )


def _add(curve_K: Curve, start_s: float, length_s: float, height: float) -> None:
    """Raise a curve by a hump; where humps meet, the higher one counts."""
    first, size = round(start_s * CURVE_HZ), max(2, round(length_s * CURVE_HZ))
    places = np.arange(max(0, first), min(curve_K.size, first + size))
    hump = height * np.sin(np.pi * (places - first + 0.5) / size) ** 1.5
    curve_K[places] = np.maximum(curve_K[places], hump)


def _melody(speaker: Speaker, count: int, rng: np.random.Generator) -> Curve:
    time_s = np.arange(count) / CURVE_HZ
    waves = sum(
        rng.uniform(0.02, 0.07) * np.sin(2 * np.pi * (rng.uniform(low, 2 * low) * time_s + rng.random()))
        for low in (0.3, 0.8, 2)
    )
    return np.asarray(speaker.pitch_hz * (1.08 - 0.16 * time_s / time_s[-1]) * np.exp(waves))


def _glide(centres_s: Curve, vowels_hz: Curve, count: int) -> Curve:
    """Formants that move from vowel to vowel, [K, 5]; the upper two stay."""
    time_s = np.arange(count) / CURVE_HZ
    lower = [np.interp(time_s, centres_s, vowels_hz[:, formant]) for formant in range(3)]
    return np.column_stack([*lower, *(np.full(count, hz) for hz in _UPPER_HZ)])


def _pulses(speaker: Speaker, pitch_hz_K: Curve, rng: np.random.Generator) -> Curve:
    """The derivative of the glottal flow (Rosenberg, JASA 1971, pulse C), period by period."""
    starts, heights = [0.0], [1.0]
    while starts[-1] < pitch_hz_K.size * _BLOCK:
        hz = pitch_hz_K[min(int(starts[-1]) // _BLOCK, pitch_hz_K.size - 1)]
        starts.append(starts[-1] + RATE_HZ / hz * (1 + speaker.jitter * rng.standard_normal()))
        heights.append(1 + speaker.shimmer * rng.standard_normal())
    sample_N = np.arange(pitch_hz_K.size * _BLOCK)
    period_N = np.searchsorted(starts, sample_N, side="right") - 1
    phase_N = (sample_N - np.array(starts)[period_N]) / np.diff(starts)[period_N]
    opening, closing = 0.4, 0.16
    flow_N = np.where(phase_N < opening, 0.5 - 0.5 * np.cos(np.pi * phase_N / opening), 0)
    falling = (phase_N >= opening) & (phase_N < opening + closing)
    flow_N[falling] = np.cos(np.pi / 2 * (phase_N[falling] - opening) / closing)
    slope_N = np.diff(flow_N * np.array(heights)[period_N], prepend=0)
    return np.asarray(slope_N / slope_N.std())


def _stretch(curve_K: Curve) -> Curve:
    return np.interp(np.arange(curve_K.size * _BLOCK) / _BLOCK, np.arange(curve_K.size), curve_K)


def _through_tract(source_N: Curve, formants_hz_KF: Curve) -> Curve:
    """Five resonances in a row (Klatt, JASA 1980), set anew for every block of 5 ms."""
    radius = np.exp(-np.pi * _WIDTHS_HZ / RATE_HZ)
    middle_KF = -2 * radius * np.cos(2 * np.pi * formants_hz_KF / RATE_HZ)
    sections = np.zeros((*formants_hz_KF.shape, 6))
    sections[..., 3], sections[..., 4], sections[..., 5] = 1, middle_KF, radius**2
    sections[..., 0] = sections[..., 3:].sum(-1)
    out, state = np.empty_like(source_N), np.zeros((formants_hz_KF.shape[1], 2))
    for block, filters in enumerate(sections):
        span = slice(block * _BLOCK, (block + 1) * _BLOCK)
        out[span], state = signal.sosfilt(filters, source_N[span], zi=state)
    return out
