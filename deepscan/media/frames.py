"""Moving pictures: which frames of a clip are looked at, and decoding little more than these.

Decoding is what a clip costs. A frame may need others before it, back to the last key frame, but none of
those that no frame refers to; and only the frames that are handed out become RGB.
"""

import bisect
import collections
import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from deepscan.errors import ConfigError, CorruptMediaError
from deepscan.media.animation import delays_s
from deepscan.media.container import (
    begin_s,
    decoder,
    open_container,
    orientation,
    packets,
    picture_track,
    stamp,
)
from deepscan.media.pixels import Picture, decode_pages, upright

_LOGGER = logging.getLogger(__name__)
_THREADS = 6
"""Of the decoder. They wait for each other's rows, so that many are needed to keep two cores busy."""
_UNTIMED = frozenset({"avi"})
"""Containers that store when a frame is decoded but not when it is shown, whatever FFmpeg makes of that."""
_SKIPPING = frozenset({"h264", "hevc", "mpeg2video", "mpeg4"})
"""Decoders that leave out a single frame when told so; others look ahead, or decode it all the same."""

Times = NDArray[np.float64]
Packets = list["Packet[Any]"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Which frames of a clip are looked at.

    Attributes:
        kind: ``even`` = the frames nearest to the centres of ``count`` equal slices of the clip's time;
            ``every`` = every ``step``-th frame, at most ``count``; ``window`` = like ``even`` but over
            ``span_s`` around ``center_s``; ``rate`` = the frames nearest to the ticks of ``rate_hz`` from
            ``start_s`` over ``span_s``, ticks behind the clip's end left out.
            All but ``rate`` give no frame twice, and fewer than ``count`` where the clip has fewer.
        count: Number of frames; ``rate`` takes as many as there are ticks.
        step: For ``every``.
        center_s: For ``window``.
        start_s: For ``rate``.
        span_s: For ``window`` and ``rate``.
        rate_hz: For ``rate``.
    """

    kind: Literal["even", "every", "window", "rate"] = "even"
    count: int = 16
    step: int = 10
    center_s: float = 0.0
    start_s: float = 0.0
    span_s: float = 1.0
    rate_hz: float = 25.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        enough = min(self.count, self.step) >= 1 and min(self.span_s, self.rate_hz) > 0
        if not (enough and min(self.center_s, self.start_s) >= 0):
            msg = (
                "A sampling needs count and step of at least 1, span_s and rate_hz above 0, and center_s "
                f"and start_s of at least 0, not {self}."
            )
            raise ConfigError(msg)

    def pick(self, times_s: Times, end_s: float) -> Times:
        """Return the times of the frames to look at, in order.

        Args:
            times_s: When each frame is shown, sorted, float64 [N] with N >= 1.
            end_s: When the last one ends.
        """
        if self.kind == "every":
            return times_s[:: self.step][: self.count]
        if self.kind == "rate":
            ticks_s = self.start_s + np.arange(round(self.span_s * self.rate_hz)) / self.rate_hz
            return times_s[_nearest(times_s, ticks_s[ticks_s < end_s])]
        low_s, high_s = float(times_s[0]), end_s
        if self.kind == "window":
            low_s = max(low_s, self.center_s - self.span_s / 2)
            high_s = min(high_s, self.center_s + self.span_s / 2)
        inside = times_s[(times_s >= low_s) & (times_s < high_s)]
        if len(inside) <= self.count:
            return inside
        centres_s = low_s + (np.arange(self.count) + 0.5) / self.count * (high_s - low_s)
        return times_s[np.unique(_nearest(times_s, centres_s))]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture of a clip: its time in seconds from the clip's begin, and RGB uint8 [H, W, 3], upright."""

    time_s: float
    picture_HWC: Picture


def sample(data: bytes, name: str, sampling: Sampling) -> Iterator[Frame]:
    """Decode the sampled frames of a clip, in the order of their times.

    What is damaged is left out with a warning in the log; where a frame nearby was decoded and is not among
    the sampled ones, it takes the place.

    Args:
        data: The whole file: an animation, or of a format that FFmpeg reads.
        name: File name, for messages only.
        sampling: Which frames.

    Raises:
        CorruptMediaError: None of the sampled frames decodes, nor one nearby.
    """
    moving = delays_s(data)
    return _sample_pages(data, name, sampling, moving) if moving else _sample_clip(data, name, sampling)


def _sample_pages(data: bytes, name: str, sampling: Sampling, moving: Sequence[float]) -> Iterator[Frame]:
    *begins_s, end_s = itertools.accumulate(moving, initial=0.0)
    times_s = np.array(begins_s, np.float64)
    wanted_s = sampling.pick(times_s, end_s)
    pages = np.searchsorted(times_s, wanted_s).tolist()
    given = 0
    try:
        for time_s, picture_HWC in zip(wanted_s.tolist(), decode_pages(data, pages, name), strict=True):
            yield Frame(time_s, picture_HWC)
            given += 1
    except CorruptMediaError as error:
        if not given:
            raise
        _LOGGER.warning("An animation breaks off after %d of its wanted frames: %s", given, error)


def _sample_clip(data: bytes, name: str, sampling: Sampling) -> Iterator[Frame]:
    with open_container(data, name) as container:
        track = picture_track(container)
        assert track is not None, "probe found moving pictures"
        zero_s, tick_s = begin_s(container), float(track.time_base or 1)
        stored = list(packets(container, track))
        wanted = _wanted(stored, sampling, zero_s, tick_s)
        decoded = ((_ticks(frame) * tick_s - zero_s, frame) for frame in _decode(track, stored, wanted))
        wanted_s = [ticks * tick_s - zero_s for ticks in wanted]
        for time_s, frame in _choose(decoded, wanted_s, name, repeats=sampling.kind == "rate"):
            yield Frame(time_s, _upright_rgb(frame))


def _wanted(stored: Packets, sampling: Sampling, zero_s: float, tick_s: float) -> list[int]:
    """Return when the sampled frames are shown, in ticks, in order."""
    ticks = _stamps(stored)
    if not len(ticks):
        return []
    times_s = ticks.astype(np.float64) * tick_s - zero_s
    last_s = max((each.duration or 0) * tick_s for each in stored[-3:])
    end_s = times_s[-1] + max(last_s, (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1))
    picked_s = sampling.pick(times_s, float(end_s))
    return [int(ticks[at]) for at in np.searchsorted(times_s, picked_s)]


def _stamps(stored: Packets) -> NDArray[np.int64]:
    """Return the distinct times of the frames that are shown, in ticks, sorted."""
    stamps = [stamp(each) for each in stored if not each.is_discard]
    return np.unique(np.array([each for each in stamps if each is not None], np.int64))


def _decode(track: VideoStream, stored: Packets, wanted: list[int]) -> Iterator[VideoFrame]:
    """Yield the wanted frames and those they hang on, in order of time."""
    context, chosen = decoder(track), set(wanted)
    context.thread_type, context.thread_count = "AUTO", _THREADS
    timed = track.container.format.name not in _UNTIMED
    exact = timed and all(each.pts is not None for each in stored)
    runs = _runs(stored, chosen) if exact else [range(len(stored))]
    skipping = chosen if exact and context.name in _SKIPPING else None
    said: set[str | None] = set()
    if runs and runs[0].start:
        # Encoders name themselves in the first packet only, and FFmpeg decodes 4:4:4 of older ones by that.
        collections.deque(_decode_run(context, stored[:1], None, said), maxlen=0)
    frames: Iterator[VideoFrame] = itertools.chain.from_iterable(
        _decode_run(context, stored[run.start : run.stop], skipping, said) for run in runs
    )
    if not timed:
        frames = _timed(frames, _stamps(stored))
    last = -math.inf
    for frame in frames:
        # A damaged stream may jump back in time; nobody downstream should have to reckon with it.
        if frame.pts is not None and frame.pts > last:
            last = frame.pts
            yield frame


def _timed(frames: Iterator[VideoFrame], ticks: NDArray[np.int64]) -> Iterator[VideoFrame]:
    """Give frames the times in turn, as they leave the decoder in the order in which they are shown."""
    for frame, tick in zip(frames, ticks.tolist(), strict=False):
        frame.pts = tick
        yield frame


def _decode_run(
    context: Any, run: Packets, chosen: set[int] | None, said: set[str | None]
) -> Iterator[VideoFrame]:
    for packet in run:
        shown = chosen is None or packet.pts in chosen
        context.skip_frame = "DEFAULT" if shown else "NONREF"
        yield from _decode_packet(context, packet, said)
    yield from _decode_packet(context, None, said)
    context.flush_buffers()


def _decode_packet(context: Any, packet: "Packet[Any] | None", said: set[str | None]) -> list[VideoFrame]:
    try:
        return list(context.decode(packet))
    except av.FFmpegError as error:
        # Once and not for each frame: a file of nothing but damage would fill the log.
        if error.strerror not in said:
            said.add(error.strerror)
            _LOGGER.warning(
                "A frame does not decode (%s); it is left out, and so are others like it.", error.strerror
            )
        return []


def _runs(stored: Packets, chosen: set[int]) -> list[range]:
    """Return the stretches of packets to decode, each from a key frame to the last frame wanted of it."""
    keys = [0, *(at for at, packet in enumerate(stored) if packet.is_keyframe and at)]
    runs: list[range] = []
    for at, packet in enumerate(stored):
        if packet.pts not in chosen:
            continue
        group = bisect.bisect_right(keys, at) - 1
        # A frame that is stored behind a key frame but shown before it hangs on the group before, too.
        if group and packet.pts < (stored[keys[group]].pts or 0):
            group -= 1
        if runs and keys[group] <= runs[-1].stop:
            runs[-1] = range(min(runs[-1].start, keys[group]), at + 1)
        else:
            runs.append(range(keys[group], at + 1))
    return runs


def _choose(
    decoded: Iterator[tuple[float, VideoFrame]], wanted_s: list[float], name: str, *, repeats: bool
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the decoded frame nearest to each wanted time."""
    queue = collections.deque(wanted_s)
    held: tuple[float, VideoFrame] | None = None
    used = False
    for frame in itertools.chain(decoded, [None]):
        middle_s = math.inf if held is None or frame is None else (held[0] + frame[0]) / 2
        while held is not None and queue and queue[0] <= middle_s:
            queue.popleft()
            if repeats or not used:
                used = True
                yield held
        if not queue:
            return
        held, used = frame, False
    msg = f"No wanted frame of {name!r} decodes: it is damaged. Get a complete copy."
    raise CorruptMediaError(msg)


def _nearest(times_s: Times, ticks_s: Times) -> NDArray[np.intp]:
    return np.searchsorted((times_s[1:] + times_s[:-1]) / 2, ticks_s)


def _ticks(frame: VideoFrame) -> int:
    assert frame.pts is not None, "frames without a time are left out"
    return frame.pts


def _upright_rgb(frame: VideoFrame) -> Picture:
    rgb = frame.to_ndarray(format="rgb24", threads=1).astype(np.uint8, copy=False)
    return np.ascontiguousarray(upright(rgb, orientation(frame)))
