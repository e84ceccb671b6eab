"""Sliding windows over live frames and live sound: what a stream asks for, and when a window is due.

A window is due every so many seconds of the stream's own time, which for frames is what the client says or
when they arrive, and for sound what the samples heard so far add up to. Nothing here waits or judges.
"""

import collections
import dataclasses
import json
import math
import struct
from collections.abc import Iterator
from typing import Protocol

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.media.source import Limits, Media
from deepscan.media.windows import SAMPLE_BYTES, Coding, LiveFrame, clip_of, read_frame, sound_of

_RATES_HZ = (8_000, 192_000)
_STAMP = struct.Struct("<d")
_EARLY = 0.25
"""By this share of the time from frame to frame one may be early."""

_ROUNDING_S = 1e-6
"""What sums of times may be off."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamSettings:
    """What streams may take of the service.

    Attributes:
        max_message_bytes: Largest message: a frame or a piece of sound.
        max_window_bytes: Frames or sound that a stream keeps; of frames the oldest go first.
        max_window_s: Longest window that can be asked for.
        min_every_s: Shortest time between windows that can be asked for.
        max_frames_hz: Frames a second that are kept; those between them are left out.
        max_connections: Streams that a process serves at a time.
        idle_s: A stream that is silent for so long is ended.
    """

    max_message_bytes: int = 4 * 2**20
    max_window_bytes: int = 32 * 2**20
    max_window_s: float = 30.0
    min_every_s: float = 0.25
    max_frames_hz: float = 15.0
    max_connections: int = 8
    idle_s: float = 30.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is not above 0, or a message could not be kept.
        """
        values = config.to_dict(self)
        if bad := [name for name, value in values.items() if not 0 < value < math.inf]:
            msg = f"Settings of streams must be above 0, which {', '.join(bad)} of {values} are not."
            raise ConfigError(msg)
        if self.max_message_bytes > self.max_window_bytes:
            msg = (
                f"max_message_bytes ({self.max_message_bytes}) must be at most max_window_bytes "
                f"({self.max_window_bytes}): a window holds a whole message."
            )
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FramesRequest:
    """A stream of frames.

    Attributes:
        window_s: How far a window reaches back.
        every_s: Time from window to window.
        timed: Whether each frame comes with its time; else it is when it arrives.
    """

    window_s: float = 4.0
    every_s: float = 1.0
    timed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SoundRequest:
    """A stream of sound, one channel.

    Attributes:
        rate_hz: Samples a second.
        format: How samples are coded.
        window_s: How far a window reaches back.
        every_s: Time from window to window.
    """

    rate_hz: int = 16_000
    format: Coding = "s16le"
    window_s: float = 4.0
    every_s: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamRequest:
    """What a client asks for in its first message: ``frames`` or ``sound``, not both."""

    frames: FramesRequest | None = None
    sound: SoundRequest | None = None


class Window(Protocol):
    """Part of a stream that is to be judged."""

    @property
    def basis(self) -> str:
        """What a judge of ``media`` looks at: ``clip`` or ``sound``."""

    @property
    def end_s(self) -> float:
        """When it ends, on the clock of the stream."""

    @property
    def length_s(self) -> float:
        """How far back it really reaches, which is less at the begin of a stream."""

    def media(self, limits: Limits) -> Media:
        """Return the window as media.

        Raises:
            MediaError: It does not decode or exceeds a limit.
        """

    def newest(self, limits: Limits) -> Media | None:
        """Return the newest frame alone, as it came; None where there are no frames."""


class Sliding(Protocol):
    """Keeps as much of a stream as a window needs."""

    dropped: int
    """Frames left out so far."""

    def add(self, message: bytes, arrived_s: float) -> Iterator[Window]:
        """Take a message and yield the windows that are due now.

        Raises:
            ConfigError: The message is not what the client said it would send.
            MediaError: It is a frame that cannot be read; nothing was taken.
        """

    def rest(self) -> Window | None:
        """Return the window that ends with the stream; None where it was due already."""


@dataclasses.dataclass(frozen=True, slots=True)
class FrameWindow:
    """Frames, at least one, in the order of their times."""

    frames: tuple[LiveFrame, ...]
    basis: str = "clip"

    @property
    def end_s(self) -> float:
        """When the newest frame is shown."""
        return self.frames[-1].time_s

    @property
    def length_s(self) -> float:
        """From the oldest frame to the newest."""
        return self.end_s - self.frames[0].time_s

    def media(self, limits: Limits) -> Media:
        """Return the frames as a clip."""
        return clip_of(self.frames, limits)

    def newest(self, limits: Limits) -> Media:
        """Return the newest frame alone, as it came."""
        return Media.from_bytes(self.frames[-1].data, "live", limits)


@dataclasses.dataclass(frozen=True, slots=True)
class SoundWindow:
    """Samples, at least one, and how many were heard by the end of it."""

    samples: bytes
    heard: int
    asked: SoundRequest
    basis: str = "sound"

    @property
    def end_s(self) -> float:
        """When the last sample was heard."""
        return self.heard / self.asked.rate_hz

    @property
    def length_s(self) -> float:
        """How long the samples sound."""
        return len(self.samples) / SAMPLE_BYTES[self.asked.format] / self.asked.rate_hz

    def media(self, limits: Limits) -> Media:
        """Return the samples as a WAV file."""
        return sound_of(self.samples, self.asked.rate_hz, self.asked.format, limits)

    def newest(self, limits: Limits) -> None:
        """Return None: sound has no frames."""


class SlidingFrames:
    """A sliding window over frames. It begins anew where their size changes: no clip has frames of two."""

    def __init__(self, asked: FramesRequest, settings: StreamSettings, limits: Limits) -> None:
        """Begin with no frame."""
        self.dropped = 0
        self._asked = asked
        self._settings = settings
        self._limits = limits
        self._kept: collections.deque[LiveFrame] = collections.deque()
        self._kept_bytes = 0
        self._begin_s: float | None = None
        self._latest_s = -math.inf
        self._next_s = -math.inf
        self._due_s: float | None = None
        self._fresh = False

    def add(self, message: bytes, arrived_s: float) -> Iterator[FrameWindow]:
        """Take a frame and yield the window that ends with it, if one is due."""
        data, time_s = self._stamped(message) if self._asked.timed else (message, self._arrival(arrived_s))
        if self._too_soon(time_s):
            self.dropped += 1
            return
        self._keep(read_frame(data, time_s, self._limits))
        if self._due_s is None:
            self._due_s = time_s + self._asked.every_s
        if time_s > self._due_s - _ROUNDING_S:
            missed = (time_s - self._due_s + _ROUNDING_S) // self._asked.every_s
            self._due_s += (missed + 1) * self._asked.every_s
            self._fresh = False
            yield FrameWindow(tuple(self._kept))

    def rest(self) -> FrameWindow | None:
        """Return the window that ends with the last frame."""
        return FrameWindow(tuple(self._kept)) if self._fresh else None

    def _stamped(self, message: bytes) -> tuple[bytes, float]:
        if len(message) <= _STAMP.size:
            msg = f"A timed frame begins with {_STAMP.size} bytes of time; this message has {len(message)}."
            raise ConfigError(msg)
        (time_s,) = _STAMP.unpack_from(message)
        if not (math.isfinite(time_s) and time_s > self._latest_s):
            msg = f"Times of frames must grow; {time_s} s came after {self._latest_s} s."
            raise ConfigError(msg)
        self._latest_s = time_s
        return message[_STAMP.size :], time_s

    def _arrival(self, arrived_s: float) -> float:
        if self._begin_s is None:
            self._begin_s = arrived_s
        return arrived_s - self._begin_s

    def _too_soon(self, time_s: float) -> bool:
        """Tell whether a frame exceeds the rate; one that is a little early, as cameras are, does not."""
        period_s = 1 / self._settings.max_frames_hz
        if time_s < self._next_s - period_s * _EARLY:
            return True
        late = time_s > self._next_s + period_s
        self._next_s = (time_s if late else self._next_s) + period_s
        return False

    def _keep(self, frame: LiveFrame) -> None:
        if self._kept and self._kept[-1].size_px != frame.size_px:
            self._kept.clear()
            self._kept_bytes = 0
        self._kept.append(frame)
        self._kept_bytes += len(frame.data)
        self._fresh = True
        while self._too_old(frame.time_s) or self._kept_bytes > self._settings.max_window_bytes:
            self._kept_bytes -= len(self._kept.popleft().data)

    def _too_old(self, now_s: float) -> bool:
        return now_s - self._kept[0].time_s > self._asked.window_s


class SlidingSound:
    """A sliding window over samples; windows end on the sample."""

    dropped = 0

    def __init__(self, asked: SoundRequest) -> None:
        """Begin in silence."""
        self._asked = asked
        self._width_bytes = SAMPLE_BYTES[asked.format]
        self._most_bytes = round(asked.window_s * asked.rate_hz) * self._width_bytes
        self._every = round(asked.every_s * asked.rate_hz)
        self._kept = bytearray()
        self._heard = 0

    def add(self, message: bytes, arrived_s: float) -> Iterator[SoundWindow]:
        """Take samples and yield the windows that end within them; when they arrived does not matter."""
        if len(message) % self._width_bytes:
            msg = (
                f"A message of {self._asked.format} holds whole samples of {self._width_bytes} bytes, not "
                f"{len(message)} bytes."
            )
            raise ConfigError(msg)
        at = 0
        while at < len(message):
            missing = self._every - self._heard % self._every
            piece = message[at : at + missing * self._width_bytes]
            self._keep(piece)
            at += len(piece)
            if self._heard % self._every == 0:
                yield self._window()

    def rest(self) -> SoundWindow | None:
        """Return the window that ends with the last sample."""
        return self._window() if self._heard % self._every else None

    def _keep(self, piece: bytes) -> None:
        self._kept += piece
        del self._kept[: -self._most_bytes]
        self._heard += len(piece) // self._width_bytes

    def _window(self) -> SoundWindow:
        return SoundWindow(bytes(self._kept), self._heard, self._asked)


def opened(message: str, settings: StreamSettings, limits: Limits) -> Sliding:
    """Read a client's first message and begin the sliding window that it asks for.

    Raises:
        ConfigError: The message is no JSON, asks for something unknown or for more than may be had.
    """
    try:
        values = json.loads(message)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        msg = 'A stream begins with JSON such as {"frames": {"window_s": 4, "every_s": 1}}.'
        raise ConfigError(msg)
    request = config.from_dict(StreamRequest, values)
    asked = [each for each in (request.frames, request.sound) if each is not None]
    if len(asked) != 1:
        msg = f"A stream holds frames or sound, and says which; this one asks for {len(asked)} of them."
        raise ConfigError(msg)
    _check_times(asked[0], settings)
    if request.frames:
        return SlidingFrames(request.frames, settings, limits)
    assert request.sound is not None, "one of the two was asked for"
    _check_sound(request.sound, settings)
    return SlidingSound(request.sound)


def _check_times(asked: FramesRequest | SoundRequest, settings: StreamSettings) -> None:
    for name in ("window_s", "every_s"):
        given = getattr(asked, name)
        if not settings.min_every_s <= given <= settings.max_window_s:
            allowed = f"in [{settings.min_every_s:g}, {settings.max_window_s:g}] s"
            msg = f"Setting {name!r} of a stream must be {allowed} here, not {given}."
            raise ConfigError(msg)


def _check_sound(asked: SoundRequest, settings: StreamSettings) -> None:
    low_hz, high_hz = _RATES_HZ
    if not low_hz <= asked.rate_hz <= high_hz:
        msg = f"Setting 'rate_hz' must be in [{low_hz}, {high_hz}], not {asked.rate_hz}."
        raise ConfigError(msg)
    window_bytes = asked.window_s * asked.rate_hz * SAMPLE_BYTES[asked.format]
    if window_bytes > settings.max_window_bytes:
        msg = (
            f"A window of this sound has {window_bytes:.0f} bytes, of which {settings.max_window_bytes} may "
            "be kept here; ask for a shorter window_s or a lower rate_hz."
        )
        raise ConfigError(msg)
