"""Containers of moving pictures and sound, through FFmpeg: tracks, packets, clocks, the way up.

Times here are seconds on the container's own clock, which rarely begins at 0; whoever hands times out
subtracts ``begin_s``.
"""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deepscan.errors import CorruptMediaError
from deepscan.media.signatures import sniff

_MAX_PIXELS = 100_000_000
"""Frames may grow on the way, as those of calls do, but no further than this."""

_LOGGER = logging.getLogger(__name__)
_ORIENTATION = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF orientation by the signs of a display matrix: x to x, x to y, y to x, y to y."""

_TURNED = (1, 8, 3, 6)
"""EXIF orientation by quarter turns against the clock that a player makes."""


_PROBING = {"wav": {"probesize": "16384"}}
"""What FFmpeg is told of how much of a file it may read to find out what is in it, by demuxer.

A WAV file says that in its header. FFmpeg would look through 5 MB of samples for another coding among them,
which takes ten times as long as to open the file; DTS, the one that there is, shows in 16 kB.
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """From when to when the packets of a track reach, in seconds on the container's clock."""

    begin_s: float
    end_s: float


@contextlib.contextmanager
def open_container(data: bytes, name: str) -> Iterator[InputContainer]:
    """Open a container; what FFmpeg raises inside the block becomes a CorruptMediaError.

    Raises:
        MediaError: The content is unsupported or its header is broken.
    """
    known = sniff(data, name)
    assert known.demuxer, "pictures are opened by Pillow"
    try:
        # Tags in old encodings must not keep anybody from looking at the pictures.
        options = _PROBING.get(known.demuxer, {})
        opened = av.open(io.BytesIO(data), "r", known.demuxer, options=options, metadata_errors="replace")
        with opened as container:
            yield container
    except av.FFmpegError as error:
        msg = (
            f"{name!r} begins like {known.name} but does not open ({error.strerror}): it is truncated or "
            "damaged. Get a complete copy."
        )
        raise CorruptMediaError(msg) from error


def picture_track(container: InputContainer) -> VideoStream | None:
    """Return the first track of moving pictures that FFmpeg can decode; cover pictures are none."""
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    moving = (each for each in container.streams.video if not each.disposition & cover)
    return next((each for each in moving if _has_decoder(each)), None)


def sound_track(container: InputContainer) -> AudioStream | None:
    """Return the first track of sound that FFmpeg can decode."""
    return next((each for each in container.streams.audio if _has_decoder(each)), None)


def _has_decoder(stream: Stream) -> bool:
    # PyAV leaves the context out where there is no decoder, although its types say otherwise.
    return cast(Any, stream).codec_context is not None


def decoder(track: VideoStream) -> VideoCodecContext:
    """Return the decoder of a track, told to refuse frames so large that they would fill the memory."""
    context = track.codec_context
    context.options = {"max_pixels": str(max(_MAX_PIXELS, context.width * context.height))}
    return context


def begin_s(container: InputContainer) -> float:
    """Return when the clip begins: when the earlier of its pictures and its sound does."""
    tracks = (picture_track(container), sound_track(container))
    starts = [
        float(track.start_time * track.time_base)
        for track in tracks
        if track and track.start_time is not None and track.time_base
    ]
    return min(starts, default=0.0)


def packets(container: InputContainer, *tracks: Stream) -> Iterator["Packet[Any]"]:
    """Yield the packets of some tracks as stored, whole ones only, up to where the file breaks off."""
    try:
        yield from (each for each in container.demux(*tracks) if each.size and not each.is_corrupt)
    except av.FFmpegError as error:
        _LOGGER.warning("A file breaks off (%s); what comes before is used.", error.strerror)


def stamp(packet: "Packet[Any]") -> int | None:
    """Return when a packet is shown, in ticks of its track; some containers only say when it is decoded."""
    return packet.dts if packet.pts is None else packet.pts


def spans(container: InputContainer) -> dict[int, Span]:
    """Measure tracks by their packets, because headers may say nothing, or promise more than there is.

    Args:
        container: A container that was not read from yet.

    Returns:
        What the track of pictures and that of sound reach over, by their index; empty tracks are left out.
    """
    tracks = [track for track in (picture_track(container), sound_track(container)) if track]
    found: dict[int, Span] = {}
    # Asked for no track at all, PyAV would hand out the packets of every one.
    for packet in packets(container, *tracks) if tracks else ():
        ticks, tick_s = stamp(packet), float(packet.time_base)
        if ticks is None or packet.is_discard:
            continue
        begin_s, end_s = ticks * tick_s, (ticks + (packet.duration or 0)) * tick_s
        known = found.get(packet.stream_index, Span(begin_s=begin_s, end_s=end_s))
        begin_s, end_s = min(known.begin_s, begin_s), max(known.end_s, end_s)
        found[packet.stream_index] = Span(begin_s=begin_s, end_s=end_s)
    return found


def orientation(frame: VideoFrame) -> int:
    """Return the EXIF orientation, 1 to 8, that is nearest to how a player would turn a frame.

    Of frames with side data that PyAV has no name for, such as the EXIF of motion JPEG, only the turn can be
    read: mirrored ones come out turned.
    """
    try:
        stored = cast(Any, frame.side_data).get(SideData.DISPLAYMATRIX)
    except ValueError:
        return _TURNED[round(frame.rotation / 90) % 4]
    if stored is None:
        return 1
    matrix = np.frombuffer(bytes(stored), np.int32)[[0, 1, 3, 4]].astype(np.int64)
    largest = np.abs(matrix).max()
    signs = np.where(np.abs(matrix) > largest * 0.71, np.sign(matrix), 0)
    return _ORIENTATION.get(tuple(signs.tolist()), 1)


def first_frame(container: InputContainer, track: VideoStream) -> VideoFrame | None:
    """Decode the first key frame of a container that was not read from yet; None where that fails."""
    context = decoder(track)
    for packet in packets(container, track):
        if packet.is_keyframe:
            with contextlib.suppress(av.FFmpegError):
                decoded = [*context.decode(packet), *context.decode(None)]
                return decoded[0] if decoded else None
            return None
    return None
