"""How a clip is stored: the size, kind and time of every frame, and how much it differs from the one before.

All of it comes from one pass, which several measures share. Packets are read to the end; decoding stops
where it would cost too much, leaves out the loop filter, and of large pictures every second or third pixel is
looked at.
"""

import contextlib
import dataclasses
import itertools
import math
import re
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from deepscan.errors import TooShortError
from deepscan.media.container import begin_s, decoder, open_container, packets, picture_track, stamp
from deepscan.media.neighbours import median_nearby
from deepscan.media.signatures import sniff
from deepscan.media.source import Media

MOST_PIXELS = 640_000_000
"""So many are decoded, and no more: about 23 s of 720p, 10 s of 1080p."""

MOST_FRAMES = 900
LEAST_FRAMES = 48
"""So many frames are decoded whatever their size."""

BLOCK_PX = 8
"""Side of the blocks in which frames are compared, in pixels that are looked at."""

BUSY = 0.2
"""Share of the blocks that stands for what moves; the rest may be a still ground with camera noise."""

_WIDTH_PX = 640
_ALIKE = 0.9
_SUDDEN = 3.0
_OTHER = 4.0
_SEARCHED_BYTES = 65_536
_SEARCHED_KEYS = 200
_TEXT = re.compile(
    rb"(?:x264 - core|x265 \(build|SVT-AV1|SVT-HEVC)[\x20-\x7e]{1,2000}"
    rb"|Lavc\d+\.\d+\.\d+(?: \w+)?|XviD\d{4}|DivX\d{3}\w*"
)
"""What encoders write of themselves into their streams."""

_KINDS = {1: "I", 2: "P", 3: "B", 5: "I", 7: "I"}
"""Kinds by FFmpeg's numbers; the rare ones by the plain one that they are closest to."""

Floats = NDArray[np.float64]
Looks = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""The luma of a frame, [H, W], and the means of its blocks."""

_READ: "weakref.WeakKeyDictionary[Media, Stored]" = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stored:
    """The frames of a clip in the order in which they are shown; N counts those that are shown.

    Attributes:
        codec: FFmpeg's name of it.
        rate_hz: Frames a second that the file states; 0 = it states none.
        tags: What the container says of itself and of the track of pictures.
        texts: What encoders wrote into the stream, in the order stored; each again where it was repeated.
        times_s: float64 [N], ascending, from the begin of the clip.
        size_N: Bytes of the packets, float64.
        key_N: bool; whether decoding can begin there.
        kinds: ``I``, ``P`` or ``B`` for each; ``?`` where it was not decoded.
        change_N: Mean absolute difference of the luma from the frame shown before, in grey levels [0, 255];
            NaN for the first frame and where it was not decoded.
        largest_N: The same of the block that differs most.
        busy_N: The same of the share ``BUSY`` of the blocks that differ most.
        middle_N: The median of the blocks.
        likeness_N: Correlation [-1, 1] of the means of the blocks with those of the frame before.
        size_px: Width and height of the pictures.
    """

    codec: str
    rate_hz: float
    tags: dict[str, str]
    texts: tuple[str, ...]
    times_s: Floats
    size_N: Floats
    key_N: NDArray[np.bool_]
    kinds: str
    change_N: Floats
    largest_N: Floats
    busy_N: Floats
    middle_N: Floats
    likeness_N: Floats
    size_px: tuple[int, int]

    @property
    def seen(self) -> int:
        """How many frames from the first on were decoded, damaged ones between them included."""
        return len(self.kinds.rstrip("?"))


def is_stored_in_packets(media: Media) -> bool:
    """Tell moving pictures in a container from animations, which have pages, and from what does not move."""
    facts = media.facts
    moving = facts.duration_s is not None and facts.width_px is not None
    return moving and bool(sniff(media.data, facts.name).demuxer)


def stored(media: Media, least: int = 1) -> Stored:
    """Read how a clip is stored; the same media is read once, however many ask.

    Args:
        media: What ``is_stored_in_packets``.
        least: So many frames must have been decoded.

    Raises:
        CorruptMediaError: Its header is broken.
        TooShortError: Fewer than ``least`` frames decode.
    """
    if (read := _READ.get(media)) is None:
        read = _READ[media] = _read(media)
    if read.seen < least:
        msg = f"{media.facts.name!r} has {read.seen} frames that decode; this takes at least {least}."
        raise TooShortError(msg)
    return read


def scene_changes(clip: Stored) -> NDArray[np.bool_]:
    """Return where another scene begins, bool [N]: little of the frame before remains, nor of its ground."""
    sudden_N = clip.change_N > _SUDDEN * median_nearby(clip.change_N, 8)
    return sudden_N & (clip.likeness_N < _ALIKE) & (clip.middle_N > _OTHER)


def _read(media: Media) -> Stored:
    with open_container(media.data, media.facts.name) as container:
        track = picture_track(container)
        assert track is not None, "probe found moving pictures"
        found = [each for each in packets(container, track) if stamp(each) is not None]
        tick_s, zero_s = float(track.time_base or 1), begin_s(container)
        ticks = np.array([stamp(each) for each in found], np.int64)
        texts, tags = _texts(track, found), dict(container.metadata) | dict(track.metadata)
        shown = np.array([not each.is_discard for each in found], bool)
        order = np.argsort(ticks, kind="stable")
        order = order[shown[order]]
        sizes = np.array([each.size for each in found], np.float64)
        keys = np.array([each.is_keyframe for each in found], bool)
        kinds, measured = _look(track, found, shown)
        return Stored(
            codec=track.codec_context.name,
            rate_hz=float(track.average_rate or track.guessed_rate or 0),
            tags={name: str(value) for name, value in tags.items()},
            texts=texts,
            times_s=ticks[order] * tick_s - zero_s,
            size_N=sizes[order],
            key_N=keys[order],
            kinds="".join(kinds[order].tolist()),
            size_px=(track.width, track.height),
            **{name: values[order] for name, values in measured.items()},
        )


def _texts(track: VideoStream, found: "Sequence[Packet[Any]]") -> tuple[str, ...]:
    keys = itertools.islice((each for each in found if each.is_keyframe), _SEARCHED_KEYS)
    pieces = [
        track.codec_context.extradata or b"",
        *(bytes(memoryview(each)[:_SEARCHED_BYTES]) for each in keys),
    ]
    return tuple(match.decode("ascii").strip() for piece in pieces for match in _TEXT.findall(piece))


def _look(
    track: VideoStream, found: "Sequence[Packet[Any]]", shown: NDArray[np.bool_]
) -> tuple[NDArray[np.str_], dict[str, Floats]]:
    """Return kinds and differences by the number of the packet."""
    kinds = np.full(len(found), "?", "<U1")
    names = ("change_N", "largest_N", "busy_N", "middle_N", "likeness_N")
    measured = {name: np.full(len(found), np.nan) for name in names}
    before: Looks = np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32)
    for number, frame in _decode(track, found):
        if not shown[number]:
            continue
        kinds[number] = _kind(frame)
        luma_HW = _luma(frame)
        now = luma_HW, _blocks(luma_HW)
        if luma_HW.shape == before[0].shape:
            for name, value in zip(names, _compare(before, now), strict=True):
                measured[name][number] = value
        before = now
    return kinds, measured


def _decode(track: VideoStream, found: "Sequence[Packet[Any]]") -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames as they are shown, each with the number of its packet."""
    context = decoder(track)
    context.options = {**context.options, "skip_loop_filter": "all"}
    context.thread_count = 1
    count = int(MOST_PIXELS / max(1, track.width * track.height))
    wanted = found[: min(max(LEAST_FRAMES, count), MOST_FRAMES)]
    for number, packet in enumerate(wanted):
        # Decoders hand times through: numbers in their place tell which packet a frame came from.
        packet.pts = number
    for each in (*wanted, None):
        with contextlib.suppress(av.FFmpegError):
            for frame in context.decode(each):
                if frame.pts is not None and 0 <= frame.pts < len(wanted):
                    yield frame.pts, frame


def _kind(frame: VideoFrame) -> str:
    return _KINDS.get(int(frame.pict_type), "I" if frame.key_frame else "P")


def _luma(frame: VideoFrame) -> NDArray[np.uint8]:
    layout = frame.format
    if layout.components[0].bits == 8 and layout.is_planar and not layout.is_rgb:
        plane = frame.planes[0]
        luma_HW = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : frame.height, : frame.width
        ]
    else:
        luma_HW = frame.to_ndarray(format="gray").astype(np.uint8, copy=False)
    step = -(-frame.width // _WIDTH_PX)
    return np.ascontiguousarray(luma_HW[::step, ::step])


def _blocks(values_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = values_HW.shape
    size = max(1, width // BLOCK_PX), max(1, height // BLOCK_PX)
    return cv2.resize(values_HW, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _compare(before: Looks, now: Looks) -> tuple[float, ...]:
    apart_HW = cv2.absdiff(before[0], now[0]).astype(np.float32)
    apart = cv2.resize(apart_HW, now[1].shape[::-1], interpolation=cv2.INTER_AREA).ravel()
    count, middle = math.ceil(BUSY * apart.size), apart.size // 2
    apart.partition((middle, apart.size - count))
    busy, largest = apart[-count:].mean(), apart[-count:].max()
    return (
        float(apart.mean()),
        float(largest),
        float(busy),
        float(apart[middle]),
        _likeness(before[1], now[1]),
    )


def _likeness(before_HW: NDArray[np.float32], now_HW: NDArray[np.float32]) -> float:
    first, second = (part - part.mean() for part in (before_HW, now_HW))
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale > 1e-6 else 1.0
