"""Sounds for tests: a synthetic voice, and sound files."""

import io
import wave

import numpy as np
from scipy import signal

RATE_HZ = 16_000


def speech(duration_s: float = 3.0, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Return a voice that hums four syllables a second over faint noise, float32 [N], of this peak."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    pitch_hz = 140 * 2 ** (0.2 * np.sin(2 * np.pi * 0.7 * time_s))
    pulses = np.diff(np.floor(np.cumsum(pitch_hz) / RATE_HZ), prepend=0)
    hum = signal.lfilter([1], [1, -1.6, 0.8], pulses + 0.02 * rng.standard_normal(len(time_s)))
    hum *= 0.55 - 0.45 * np.cos(2 * np.pi * 4 * time_s)
    return (level * hum / np.abs(hum).max()).astype(np.float32)


def silence(duration_s: float) -> np.ndarray:
    """Return digital silence, float32 [N]."""
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


def sine(frequency_hz: float, duration_s: float = 1.0, level: float = 0.5) -> np.ndarray:
    """Return a sine whose peak is ``level``, float32 [N]."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def wav(sound_NC: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    """Return sound in [-1, 1], [N] or [N, C], as the bytes of a WAV file of 32 bits."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1 if sound_NC.ndim == 1 else sound_NC.shape[1])
        file.setsampwidth(4)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(sound_NC.astype(np.float64) * (2**31 - 1)).astype("<i4").tobytes())
    return stream.getvalue()
