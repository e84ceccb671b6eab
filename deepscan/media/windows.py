"""Windows of a stream as media: live frames and live sound become the bytes of ordinary files.

A window is written as a file and read like one that was uploaded, so that nothing that looks at media needs
to know of streams. Frames that are JPEG go into the file as they came; nothing is encoded a second time.
"""

import dataclasses
import fractions
import io
import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import av
import numpy as np

from deepscan.errors import UnsupportedMediaError
from deepscan.media.pixels import decode_picture
from deepscan.media.probe import Limits, opened, orientation, probe
from deepscan.media.signatures import sniff
from deepscan.media.source import Media

FRAME_FORMATS = ("jpeg", "png", "webp")
"""Formats that a frame of a stream may have."""

Coding = Literal["s16le", "f32le"]
"""How samples of live sound are coded: whole numbers of 16 bits, or floats of 32 bits; little-endian."""

SAMPLE_BYTES: dict[Coding, int] = {"s16le": 2, "f32le": 4}

_NAME = "live"
_TICK_S = fractions.Fraction(1, 1000)
_LONE_RATE_HZ = fractions.Fraction(10)
"""A clip of one frame shows it for a tenth of a second."""

_PLAIN_MODES = frozenset({"RGB", "L"})
"""What FFmpeg and Pillow read alike of JPEG; CMYK they turn into different colours."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LiveFrame:
    """One frame of a stream, not yet decoded.

    Attributes:
        time_s: When it is shown, on the clock of the stream, in seconds.
        data: The picture as it came, in one of ``FRAME_FORMATS``.
        size_px: Width and height of the upright picture.
        plain: Whether a clip can hold the bytes as they are.
    """

    time_s: float
    data: bytes
    size_px: tuple[int, int]
    plain: bool


def read_frame(data: bytes, time_s: float, limits: Limits | None = None) -> LiveFrame:
    """Read the header of a frame and check it against the limits.

    Raises:
        MediaError: It is empty, too large, damaged or moving, or in none of ``FRAME_FORMATS``.
    """
    facts = probe(data, _NAME, limits)
    if facts.container not in FRAME_FORMATS or facts.duration_s is not None:
        given = facts.container if facts.duration_s is None else f"moving {facts.container}"
        msg = f"A frame of a stream cannot be {given}; send single pictures: {', '.join(FRAME_FORMATS)}."
        raise UnsupportedMediaError(msg)
    size_px = facts.width_px or 0, facts.height_px or 0
    return LiveFrame(time_s=time_s, data=data, size_px=size_px, plain=_is_plain(data))


def clip_of(frames: Sequence[LiveFrame], limits: Limits | None = None) -> Media:
    """Return frames as a clip, in Matroska; it begins with the first of them.

    Where all frames are plain JPEG, the clip holds these very bytes. Where one is not (PNG, WebP, a JPEG that
    is CMYK or has to be turned), all are decoded as pictures are and stored without loss.

    Args:
        frames: At least one, of one size, in the order of their times.
        limits: What to refuse; None = the defaults of ``Limits``.

    Raises:
        MediaError: A frame does not decode, or the clip exceeds a limit.
    """
    write = _store if all(frame.plain for frame in frames) else _encode
    return Media.from_bytes(write(frames), _NAME, limits)


def sound_of(samples: bytes, rate_hz: int, coding: Coding, limits: Limits | None = None) -> Media:
    """Return live sound, one channel, as a WAV file with the samples as they came.

    Args:
        samples: Whole samples, at least one.
        rate_hz: Samples a second.
        coding: How they are coded.
        limits: What to refuse; None = the defaults of ``Limits``.

    Raises:
        MediaError: The sound exceeds a limit.
    """
    width_bytes = SAMPLE_BYTES[coding]
    kind = 1 if coding == "s16le" else 3
    form = struct.pack("<HHIIHH", kind, 1, rate_hz, rate_hz * width_bytes, width_bytes, 8 * width_bytes)
    body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"data", samples)
    return Media.from_bytes(_chunk(b"RIFF", body), _NAME, limits)


def _is_plain(data: bytes) -> bool:
    if sniff(data, _NAME).name != "jpeg":
        return False
    with opened(data, _NAME) as picture:
        return picture.mode in _PLAIN_MODES and orientation(data, picture) == 1


def _store(frames: Sequence[LiveFrame]) -> bytes:
    """Put JPEG into a container as it is."""
    stream = io.BytesIO()
    with _container(stream) as container:
        track = _track(container, frames, "mjpeg", "yuvj420p")
        for frame, tick in zip(frames, _ticks(frames), strict=True):
            packet: Any = av.Packet(frame.data)
            packet.stream, packet.time_base, packet.is_keyframe = track, _TICK_S, True
            packet.pts = packet.dts = tick
            container.mux(packet)
    return stream.getvalue()


def _encode(frames: Sequence[LiveFrame]) -> bytes:
    """Decode frames as pictures are decoded, and store these pixels without loss."""
    stream = io.BytesIO()
    with _container(stream) as container:
        track = _track(container, frames, "ffv1", "bgr0")
        track.codec_context.time_base = _TICK_S
        for frame, tick in zip(frames, _ticks(frames), strict=True):
            picture_HWC = decode_picture(frame.data, _NAME)
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24")
            shown.pts, shown.time_base = tick, _TICK_S
            container.mux(track.encode(shown))
        container.mux(track.encode(None))
    return stream.getvalue()


def _container(stream: io.BytesIO) -> Any:
    # Without it every file gets an id drawn at random, and equal windows would have unequal digests.
    return av.open(stream, "w", format="matroska", container_options={"fflags": "+bitexact"})


def _track(container: Any, frames: Sequence[LiveFrame], codec: str, pixels: str) -> Any:
    track = container.add_stream(codec, rate=_rate_hz(frames))
    track.width, track.height = frames[0].size_px
    track.pix_fmt = pixels
    return track


def _rate_hz(frames: Sequence[LiveFrame]) -> fractions.Fraction:
    """Return frames a second on average, by which Matroska tells how long the last one is shown."""
    *_, last_tick = _ticks(frames)
    return fractions.Fraction(len(frames) - 1, last_tick) / _TICK_S if last_tick else _LONE_RATE_HZ


def _ticks(frames: Sequence[LiveFrame]) -> Iterator[int]:
    """Return when each frame is shown, in ticks since the first; no two at once, which no container holds."""
    ticks = (round((frame.time_s - frames[0].time_s) / _TICK_S) for frame in frames)
    return itertools.accumulate(ticks, lambda before, tick: max(before + 1, tick))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body
