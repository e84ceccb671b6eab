"""Arrays -> bytes of a file: clips with or without sound (MP4), and sound (WAV)."""

import contextlib
import fractions
import functools
import io
import itertools
import pathlib
import wave
from collections.abc import Iterable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import ConfigError
from deepscan.media.pixels import Picture
from deepscan.media.sound import SOUND_RATE_HZ

IMAGE, VIDEO, AUDIO = "image", "video", "audio"
"""What a user calls the kinds of media that can be made."""

SOUND_BIT_HZ = 96_000
"""Bits a second of the sound track of a clip."""

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_CODEC = "libx264" if "libx264" in av.codecs_available else "mpeg4"


def encode_clip(
    frames: Iterable[Picture], rate_hz: int, wave_N: NDArray[np.float32] | None = None, quality: int = 20
) -> bytes:
    """Encode pictures as H.264 (MPEG-4 where FFmpeg was built without x264) in MP4, 4:2:0, with AAC sound.

    The same input gives the same bytes with the same FFmpeg.

    Args:
        frames: At least one, RGB uint8 [H, W, 3], all of one size with even sides.
        rate_hz: Frames a second.
        wave_N: Sound at 16 kHz, float32 [N] in [-1, 1], from the time of the first frame on.
        quality: Constant rate factor of x264, 0 (best) to 51; as a share of 51, the quantizer of MPEG-4.

    Raises:
        ConfigError: There is no frame, a side is odd, or the quality is out of range.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None or first.shape[0] % 2 or first.shape[1] % 2 or not 0 <= quality <= 51:
        given = "no frame" if first is None else f"frames of {first.shape[1]} x {first.shape[0]} px"
        msg = f"Cannot encode {given} at quality {quality}: give frames with even sides and 0 to 51."
        raise ConfigError(msg)
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        pictures: Any = container.add_stream(_CODEC, rate=rate_hz, options=_options(quality))
        pictures.height, pictures.width = first.shape[:2]
        pictures.pix_fmt = "yuv420p"
        track = None if wave_N is None else _add_sound(container)
        for picture_HWC in itertools.chain([first], frames):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture_HWC, format="rgb24")))
        container.mux(pictures.encode(None))
        if track is not None:
            container.mux(track.encode(_sound_frame(wave_N)))
            container.mux(track.encode(None))
    return stream.getvalue()


def encode_wav(wave_N: NDArray[np.float32], rate_hz: int = SOUND_RATE_HZ) -> bytes:
    """Encode mono sound, float32 [N] in [-1, 1], as 16-bit PCM in WAV; what is louder is clipped."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(np.clip(wave_N, -1, 1) * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def _options(quality: int) -> dict[str, str]:
    if _CODEC == "libx264":
        return {"crf": str(quality), "preset": "veryfast"} | x264_options()
    quantizer = str(max(1, round(31 * quality / 51)))
    return {"qmin": quantizer, "qmax": quantizer, "threads": "1"}


@functools.cache
def x264_options() -> dict[str, str]:
    """Return the options by which x264 makes the same bytes of the same frames in every run.

    A thread more or less changes its decisions. And where it uses AVX-512, its macroblock tree differs from
    run to run; AVX2 gives the bytes that most of these runs give.
    """
    steady = {"threads": "1"}
    with contextlib.suppress(OSError):
        if "avx512" in _CPU_INFO.read_text(encoding="utf-8"):
            steady["x264-params"] = "asm=avx2"
    return steady


def _add_sound(container: Any) -> Any:
    track = container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
    track.bit_rate = SOUND_BIT_HZ
    return track


def _sound_frame(wave_N: Any) -> Any:
    frame = av.AudioFrame.from_ndarray(wave_N.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = SOUND_RATE_HZ, 0
    frame.time_base = fractions.Fraction(1, SOUND_RATE_HZ)
    return frame
