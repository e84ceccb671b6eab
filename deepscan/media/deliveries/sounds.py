"""Deliveries of sound: codecs, lines, noise, rooms, speed, loudness and what services do.

All take the sound as it is in the file, at its own rate, and give one channel. What is no codec is written as
16-bit WAV, so that nothing else changes.
"""

import fractions
import functools
from collections.abc import Callable, Iterator

import numpy as np
import scipy

from deepscan.media import degrade_sound
from deepscan.media.deliveries import Delivery, Make, register
from deepscan.media.deliveries.coding import write_sound
from deepscan.media.encode import AUDIO, encode_wav
from deepscan.media.sound import SOUND_RATE_HZ, Recording, Sound
from deepscan.media.source import Media

CODERS = {"mp3": "libmp3lame", "aac": "aac", "opus": "libopus"}
KBPS = {"mp3": (128, 64, 32), "aac": (128, 64, 32), "opus": (64, 24, 12)}
TELEPHONE_HZ = (300.0, 3400.0)
"""The band that a telephone line leaves (ITU-T G.712)."""

SNRS_DB = (30, 20, 10)
ROOMS_S = (0.3, 0.6, 1.2)
WET_DB = 0.0
SPEEDS = (1.05, 0.9, 1.25)
GAINS_DB = {"down-6dB": -6, "up-6dB": 6, "down-20dB": -20, "up-18dB": 18}

Change = Callable[[Sound, int, np.random.Generator], Sound]
"""A change of sound at a rate in Hz."""


def _changed(media: Media, rng: np.random.Generator, change: Change) -> bytes:
    recording = media.whole_recording()
    return encode_wav(change(recording.wave_N, recording.rate_hz, rng), recording.rate_hz)


def _coded(media: Media, rng: np.random.Generator, coder: str, rate_bps: int) -> bytes:
    return write_sound(media.whole_recording(), coder, rate_bps)


def _noisy(wave_N: Sound, rate_hz: int, rng: np.random.Generator, snr_db: float) -> Sound:
    return degrade_sound.noise(wave_N, snr_db, 0.0, rng)


def _in_room(wave_N: Sound, rate_hz: int, rng: np.random.Generator, decay_s: float) -> Sound:
    # The function counts samples of 16 kHz; at another rate the same number of them lasts otherwise.
    return degrade_sound.reverberate(wave_N, decay_s * rate_hz / SOUND_RATE_HZ, WET_DB, rng)


def _at_speed(wave_N: Sound, rate_hz: int, rng: np.random.Generator, factor: float) -> Sound:
    """Play faster or slower; the pitch moves along."""
    ratio = fractions.Fraction(factor).limit_denominator(100)
    return scipy.signal.resample_poly(wave_N, ratio.denominator, ratio.numerator).astype(np.float32)


def _louder(wave_N: Sound, rate_hz: int, rng: np.random.Generator, gain_db: float) -> Sound:
    return np.asarray(wave_N * np.float32(10 ** (gain_db / 20)), np.float32)


def _telephoned(recording: Recording) -> bytes:
    """Return what a telephone line leaves: its band, at 8 kHz, in G.711."""
    top_hz = min(TELEPHONE_HZ[1], 0.45 * recording.rate_hz)
    band = scipy.signal.butter(4, (TELEPHONE_HZ[0], top_hz), "bandpass", fs=recording.rate_hz, output="sos")
    wave_N = scipy.signal.sosfilt(band, recording.wave_N).astype(np.float32)
    return write_sound(Recording(wave_N, recording.rate_hz), "pcm_mulaw", 64_000)


def _telephone(media: Media, rng: np.random.Generator) -> bytes:
    return _telephoned(media.whole_recording())


def _telephone_over_net(media: Media, rng: np.random.Generator) -> bytes:
    return _again(_telephoned(media.whole_recording()), media, "libopus", 12_000)


def _voice_message(media: Media, rng: np.random.Generator) -> bytes:
    """Return what a messenger makes of a voice: 16 kHz, Opus."""
    wave_N = media.sound_N
    return write_sound(Recording(wave_N, SOUND_RATE_HZ), "libopus", 16_000)


def _reposted(media: Media, rng: np.random.Generator) -> bytes:
    """Return what comes of a clip's sound that is posted, ripped and posted again."""
    first = write_sound(media.whole_recording(), "aac", 96_000)
    return _again(_again(first, media, "libmp3lame", 64_000), media, "aac", 64_000)


def _again(data: bytes, media: Media, coder: str, rate_bps: int) -> bytes:
    stored = Media.from_bytes(data, media.facts.name)
    return write_sound(stored.whole_recording(), coder, rate_bps)


def _codecs() -> Iterator[Delivery]:
    for family, coder in CODERS.items():
        for severity, kbps in enumerate(KBPS[family], 1):
            yield Delivery(
                name=f"{family}-{kbps}",
                family=family,
                severity=severity,
                setting=f"{kbps}k",
                kinds=(AUDIO,),
                make=functools.partial(_coded, coder=coder, rate_bps=1000 * kbps),
                coders=(coder,),
                quick=severity == 2,
                mild=severity == 1,
            )


def _steps(family: str, ways: dict[str, Change], quick: str = "") -> Iterator[Delivery]:
    for severity, (setting, change) in enumerate(ways.items(), 1):
        yield Delivery(
            name=f"{family}-{setting}",
            family=family,
            severity=severity,
            setting=setting,
            kinds=(AUDIO,),
            make=functools.partial(_changed, change=change),
            quick=setting == quick,
        )


def _chains() -> Iterator[Delivery]:
    ways: tuple[tuple[str, str, Make, tuple[str, ...]], ...] = (
        ("telephone", "g711", _telephone, ("pcm_mulaw",)),
        ("telephone", "g711-opus", _telephone_over_net, ("pcm_mulaw", "libopus")),
        ("sound-chain", "voice-message", _voice_message, ("libopus",)),
        ("sound-chain", "reposted", _reposted, ("aac", "libmp3lame")),
    )
    for at, (family, setting, make, coders) in enumerate(ways):
        yield Delivery(
            name=f"{family.removesuffix('-chain')}-{setting}",
            family=family,
            severity=1 + at % 2,
            setting=setting,
            kinds=(AUDIO,),
            make=make,
            coders=coders,
            quick=at == 0,
        )


register(_codecs())
register(_chains())
register(_steps("white-noise", {f"{db}dB": functools.partial(_noisy, snr_db=db) for db in SNRS_DB}, "20dB"))
register(_steps("reverb", {f"{s:g}s": functools.partial(_in_room, decay_s=s) for s in ROOMS_S}, "0.6s"))
register(_steps("speed", {f"{f:g}": functools.partial(_at_speed, factor=f) for f in SPEEDS}, "0.9"))
register(_steps("gain", {name: functools.partial(_louder, gain_db=g) for name, g in GAINS_DB.items()}))
