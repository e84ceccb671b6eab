"""What happens to sound on its way: gain, noise, rooms, distortion, codecs, narrow lines.

Pure functions, float32 [N] at 16 kHz in and out, of the same length; full scale is [-1, 1], and what exceeds
it is left to whoever quantises. What is random draws from the generator given. They serve training-time
augmentation and tests of robustness.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import av
import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.errors import ConfigError
from deepscan.media.sound import SOUND_RATE_HZ, Sound


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Notch:
    """A band that is taken out: its centre, and its width where 3 dB are missing, in Hz."""

    center_hz: float
    width_hz: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One order of a distortion: how strong it is in dB, and what is missing from it."""

    gain_db: float
    notches: tuple[Notch, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """A codec of speech on the net or the line.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        decoder: FFmpeg's name of the decoder.
        sample_format: What the encoder takes.
        rate_hz: Sampling rate that the encoder is given.
        rates_bps: Bit rates as they are met, in bits per second.
    """

    encoder: str
    decoder: str
    sample_format: str
    rate_hz: int
    rates_bps: tuple[int, ...]


CODINGS = {
    "mp3": Coding(
        encoder="libmp3lame",
        decoder="mp3float",
        sample_format="fltp",
        rate_hz=SOUND_RATE_HZ,
        rates_bps=(24_000, 32_000, 48_000, 64_000),
    ),
    "aac": Coding(
        encoder="aac",
        decoder="aac",
        sample_format="fltp",
        rate_hz=SOUND_RATE_HZ,
        rates_bps=(24_000, 32_000, 48_000, 64_000),
    ),
    "opus": Coding(
        encoder="libopus",
        decoder="opus",
        sample_format="flt",
        rate_hz=SOUND_RATE_HZ,
        rates_bps=(8_000, 12_000, 16_000, 24_000, 32_000),
    ),
    "mulaw": Coding(
        encoder="pcm_mulaw", decoder="pcm_mulaw", sample_format="s16", rate_hz=8000, rates_bps=(64_000,)
    ),
}
"""What ``encode`` knows: MPEG layer 3, Advanced Audio Coding, Opus, and the telephone's G.711."""

_MAX_DELAY = SOUND_RATE_HZ // 4
_FULL_SCALE = {"s16": 32767, "flt": 1, "fltp": 1}
_DTYPE = {"s16": np.int16, "flt": np.float32, "fltp": np.float32}


def invert(wave_N: Sound) -> Sound:
    """Swap the polarity, which nobody hears."""
    return -wave_N


def shift(wave_N: Sound, samples: int) -> Sound:
    """Delay by so many samples; what falls off the end comes in at the begin."""
    return np.roll(wave_N, samples)


def crop(wave_N: Sound, begin: int, length: int) -> Sound:
    """Keep ``length`` samples from ``begin`` on, and repeat them to the length that there was.

    Raises:
        ConfigError: They reach beyond the sound, or there are none.
    """
    inside = 0 <= begin < begin + length <= len(wave_N)
    _require(inside, "begin, length", (begin, length), f"inside the sound's {len(wave_N)} samples")
    return np.resize(wave_N[begin : begin + length], len(wave_N))


def noise(wave_N: Sound, snr_db: float, falloff: float, rng: np.random.Generator) -> Sound:
    """Add stationary noise, ``snr_db`` weaker than the sound is over the whole window.

    Args:
        wave_N: The sound.
        snr_db: Power of the sound over that of the noise, in dB.
        falloff: Power falls as ``1 / f ** falloff``: 0 white, 1 pink, 2 brown.
        rng: Where the noise comes from.

    Raises:
        ConfigError: ``falloff`` is negative.
    """
    _require(falloff >= 0, "falloff", falloff, "at least 0")
    spectrum_K = scipy.fft.rfft(rng.standard_normal(len(wave_N), dtype=np.float32))
    spectrum_K /= np.maximum(1, np.arange(len(spectrum_K), dtype=np.float32)) ** np.float32(falloff / 2)
    spectrum_K[:1] = 0  # an offset is no noise
    added_N = scipy.fft.irfft(spectrum_K, n=len(wave_N))
    return wave_N + _scaled(added_N, _rms(wave_N) * 10 ** (-snr_db / 20))


def impulses(wave_N: Sound, share: float, strength: float, rng: np.random.Generator) -> Sound:
    """Add to a share of the samples at most ``strength`` times themselves, up or down.

    The impulsive signal-dependent noise of RawBoost (Tak et al., ICASSP 2022): clipping and lost samples.

    Raises:
        ConfigError: ``share`` is not in [0, 1], or ``strength`` is negative.
    """
    _require(0 <= share <= 1, "share", share, "in [0, 1]")
    _require(strength >= 0, "strength", strength, "at least 0")
    hit = rng.choice(len(wave_N), round(share * len(wave_N)), replace=False, shuffle=False)
    changed_N = wave_N.copy()
    changed_N[hit] *= 1 + np.float32(strength) * rng.uniform(-1, 1, len(hit)).astype(np.float32)
    return changed_N


def notch(wave_N: Sound, notches: Sequence[Notch]) -> Sound:
    """Take bands out, each by a recursive filter of second order with a zero at its centre.

    Raises:
        ConfigError: A band is empty or its centre is not between 0 Hz and Nyquist.
    """
    if not notches:
        return wave_N.copy()
    filters = np.array([_notch_filter(each) for each in notches])
    return scipy.signal.sosfilt(filters, wave_N).astype(np.float32)


def distort(wave_N: Sound, orders: Sequence[Order]) -> Sound:
    """Add powers of the sound, each with its own bands missing, and keep the loudness.

    Order j is the j-th power of the sound, which is brought to a peak of 1 before: the linear and non-linear
    convolutive noise of RawBoost (Tak et al., ICASSP 2022), as microphones, amplifiers and lines cause it.

    Raises:
        ConfigError: A band is empty or its centre is not between 0 Hz and Nyquist.
    """
    peak = np.abs(wave_N).max()
    if peak == 0:
        return wave_N.copy()
    unit_N = wave_N / peak
    power_N, sum_N = np.ones_like(unit_N), np.zeros_like(unit_N)
    for order in orders:
        power_N = power_N * unit_N
        sum_N += np.float32(10 ** (order.gain_db / 20)) * notch(power_N, order.notches)
    return _scaled(sum_N - sum_N.mean(), _rms(wave_N))


def reverberate(wave_N: Sound, decay_s: float, wet_db: float, rng: np.random.Generator) -> Sound:
    """Add the reverberation of a room, noise that decays exponentially, and keep the loudness.

    Args:
        wave_N: The sound.
        decay_s: Time in which the reverberation falls by 60 dB.
        wet_db: Energy of the reverberation over that of the direct sound, in dB.
        rng: Where the noise comes from.

    Raises:
        ConfigError: ``decay_s`` is not above 0.
    """
    _require(decay_s > 0, "decay_s", decay_s, "above 0")
    time_N = np.arange(1, math.ceil(decay_s * SOUND_RATE_HZ) + 1, dtype=np.float32) / SOUND_RATE_HZ
    tail_N = rng.standard_normal(len(time_N), dtype=np.float32) * 10 ** (-3 * time_N / np.float32(decay_s))
    tail_N *= np.float32(10 ** (wet_db / 20)) / np.linalg.norm(tail_N)
    echo_N = scipy.signal.oaconvolve(wave_N, tail_N)[: len(wave_N) - 1]
    wet_N = wave_N.copy()
    wet_N[1:] += echo_N  # the first reflection comes a sample after the direct sound
    return _scaled(wet_N, _rms(wave_N))


def narrow(wave_N: Sound, rate_hz: int) -> Sound:
    """Resample to a lower rate and back, as a narrow line does: nothing above half of it remains.

    Raises:
        ConfigError: ``rate_hz`` is not in [1000, 16000].
    """
    _require(1000 <= rate_hz <= SOUND_RATE_HZ, "rate_hz", rate_hz, f"in [1000, {SOUND_RATE_HZ}]")
    narrow_N = _resampled(wave_N, SOUND_RATE_HZ, rate_hz)
    return _fitted(_resampled(narrow_N, rate_hz, SOUND_RATE_HZ), len(wave_N))


def encode(wave_N: Sound, coding: str, rate_bps: int) -> Sound:
    """Compress and decompress in memory; the delay of the codec is taken back.

    Args:
        wave_N: The sound; what exceeds full scale is cut off.
        coding: One of ``CODINGS``.
        rate_bps: Bits per second.

    Raises:
        ConfigError: The coding is unknown, or has no such bit rate.
    """
    _require(coding in CODINGS, "coding", repr(coding), f"one of {', '.join(CODINGS)}")
    codec = CODINGS[coding]
    _require(rate_bps in codec.rates_bps, "rate_bps", rate_bps, f"one of {codec.rates_bps}")
    padded_N = np.pad(np.clip(wave_N, -1, 1), (0, _MAX_DELAY))
    packets, extradata = _encoded(_resampled(padded_N, SOUND_RATE_HZ, codec.rate_hz), codec, rate_bps)
    return _aligned(_decoded(packets, extradata, codec), wave_N)


def _encoded(wave_N: Sound, codec: Coding, rate_bps: int) -> tuple[list[Any], bytes | None]:
    """Return the packets, and what the decoder must know besides."""
    encoder = _context(codec.encoder, "w", codec)
    encoder.format, encoder.bit_rate = codec.sample_format, rate_bps
    encoder.open()
    scaled_N = np.clip(wave_N, -1, 1) * _FULL_SCALE[codec.sample_format]
    samples_N = scaled_N.astype(_DTYPE[codec.sample_format])
    size = encoder.frame_size or len(samples_N)
    packets = []
    for begin in range(0, len(samples_N), size):
        part_CN = samples_N[None, begin : begin + size]
        frame = av.AudioFrame.from_ndarray(part_CN, format=codec.sample_format, layout="mono")
        frame.sample_rate, frame.pts = codec.rate_hz, begin
        packets += encoder.encode(frame)
    return packets + encoder.encode(None), encoder.extradata


def _decoded(packets: list[Any], extradata: bytes | None, codec: Coding) -> Sound:
    decoder = _context(codec.decoder, "r", codec)
    if extradata:
        decoder.extradata = extradata
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    samples_N = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    wave_N = samples_N.astype(np.float32) / np.float32(_FULL_SCALE[frames[0].format.name])
    return _resampled(wave_N, frames[0].sample_rate, SOUND_RATE_HZ)


def _context(name: str, mode: Literal["r", "w"], codec: Coding) -> Any:
    context: Any = av.CodecContext.create(name, mode)
    context.sample_rate, context.layout = codec.rate_hz, "mono"
    return context


def _aligned(late_N: Sound, wave_N: Sound) -> Sound:
    """Return ``late_N`` from where it resembles ``wave_N`` most, at the length of that."""
    likeness = scipy.signal.correlate(late_N, wave_N, mode="full", method="fft")[len(wave_N) - 1 :]
    return _fitted(late_N[int(likeness[:_MAX_DELAY].argmax()) :], len(wave_N))


def _resampled(wave_N: Sound, rate_hz: int, new_rate_hz: int) -> Sound:
    if rate_hz == new_rate_hz:
        return wave_N
    common = math.gcd(rate_hz, new_rate_hz)
    resampled_N = scipy.signal.resample_poly(wave_N, new_rate_hz // common, rate_hz // common)
    return resampled_N.astype(np.float32)


def _fitted(wave_N: Sound, length: int) -> Sound:
    return np.pad(wave_N[:length], (0, max(0, length - len(wave_N))))


def _notch_filter(band: Notch) -> NDArray[np.float64]:
    allowed = f"between 0 and {SOUND_RATE_HZ // 2}"
    _require(0 < band.center_hz < SOUND_RATE_HZ / 2, "center_hz", band.center_hz, allowed)
    _require(0 < band.width_hz < SOUND_RATE_HZ / 2, "width_hz", band.width_hz, allowed)
    quality = band.center_hz / band.width_hz
    return np.hstack(scipy.signal.iirnotch(band.center_hz, quality, fs=SOUND_RATE_HZ))


def _rms(wave_N: Sound) -> float:
    return math.sqrt(np.square(wave_N, dtype=np.float64).mean())


def _scaled(wave_N: Sound, rms: float) -> Sound:
    """Return the sound at this root mean square; silence stays silence."""
    own = _rms(wave_N)
    return wave_N * np.float32(rms / own) if own > 0 else wave_N


def _require(ok: bool, name: str, given: object, allowed: str) -> None:
    if not ok:
        msg = f"{name} must be {allowed}, not {given}."
        raise ConfigError(msg)
