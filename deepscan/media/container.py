"""Containers of moving pictures and sound, through FFmpeg: the header's facts, sampled frames, sound."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import ConfigError, CorruptMediaError

SOUND_RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Which frames of a clip are looked at.

    Attributes:
        kind: ``even`` = ``count`` frames evenly over the clip by time; ``every`` = every ``step``-th frame,
            at most ``count``; ``window`` = ``count`` frames evenly over ``span_s`` around ``center_s``.
        count: Number of frames.
        step: For ``every``.
        center_s: For ``window``, in seconds.
        span_s: For ``window``, in seconds.
    """

    kind: Literal["even", "every", "window"] = "even"
    count: int = 16
    step: int = 10
    center_s: float = 0.0
    span_s: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        if min(self.count, self.step) < 1 or self.span_s <= 0 or self.center_s < 0:
            msg = f"A sampling needs count and step of at least 1 and times above 0, not {self}."
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture of a clip: its time in seconds from the clip's begin, and RGB uint8 [H, W, 3], upright."""

    time_s: float
    picture_HWC: NDArray[np.uint8]


@contextlib.contextmanager
def opened(data: bytes, name: str) -> Iterator[Any]:
    """Open a container; what FFmpeg raises inside the block becomes a CorruptMediaError."""
    try:
        with av.open(io.BytesIO(data)) as container:
            yield container
    except av.FFmpegError as error:
        msg = f"{name!r} does not decode ({error}): it is truncated or damaged. Get a complete copy."
        raise CorruptMediaError(msg) from error


def frames(data: bytes, name: str, sampling: Sampling) -> Iterator[Frame]:
    """Yield the sampled frames in the order of their times; no two are the same frame."""
    with opened(data, name) as container:
        everything = [
            Frame(float(frame.time or 0.0), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]
    at = np.linspace(0, len(everything) - 1, min(sampling.count, len(everything)))
    yield from (everything[int(i)] for i in at.round())


def sound(data: bytes, name: str) -> NDArray[np.float32]:
    """Return the sound, float32 [N] in [-1, 1], mono at ``SOUND_RATE_HZ``."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_RATE_HZ)
    pieces: list[NDArray[np.float32]] = []
    with opened(data, name) as container:
        for frame in container.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.clip(np.concatenate(pieces), -1, 1).astype(np.float32)
