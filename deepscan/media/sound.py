"""Sound: whatever the codec, as one channel at one rate."""

import dataclasses
import itertools
import logging
from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from numpy.typing import NDArray

from deepscan.errors import CorruptMediaError
from deepscan.media.container import begin_s, open_container, packets, sound_track

SOUND_RATE_HZ = 16_000
_SLACK_S = 10.0

RECORDING_S = 60.0
"""Most of a recording that is decoded at its own rate: what looks for traces needs no more."""

Sound = NDArray[np.float32]

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Sound at the rate of its file, for what resampling would hide.

    Attributes:
        wave_N: float32 [N] in [-1, 1], the mean of all channels; read-only.
        rate_hz: Samples a second.
    """

    wave_N: Sound
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return len(self.wave_N) / self.rate_hz


def decode_sound(data: bytes, name: str, duration_s: float) -> Sound:
    """Decode the first sound track; channels are averaged, and silence stands for a late begin.

    Args:
        data: The whole file, of a format that FFmpeg reads.
        name: File name, for messages only.
        duration_s: Length that ``probe`` found and checked; what goes on much longer is cut off, so that no
            file can fill the memory by lying about its times.

    Returns:
        float32 [N] in [-1, 1], mono at ``SOUND_RATE_HZ``; the first sample is at the begin of the clip.

    Raises:
        CorruptMediaError: Nothing decodes.
    """
    most_s = duration_s + _SLACK_S
    recording = _decoded(data, name, most_s, SOUND_RATE_HZ)
    if len(recording.wave_N) == round(most_s * SOUND_RATE_HZ):
        _LOGGER.warning("Sound goes on behind the end that its file tells; the rest is left out.")
    return recording.wave_N


def decode_recording(data: bytes, name: str, duration_s: float) -> Recording:
    """Decode the first minute of the first sound track as ``decode_sound`` does, at the track's own rate.

    A track that changes its rate keeps the one that it begins with.

    Raises:
        CorruptMediaError: Nothing decodes.
    """
    return _decoded(data, name, min(duration_s + _SLACK_S, RECORDING_S), None)


def decode_whole(data: bytes, name: str, duration_s: float) -> Recording:
    """Decode as ``decode_recording`` does, but to the end.

    Raises:
        CorruptMediaError: Nothing decodes.
    """
    return _decoded(data, name, duration_s + _SLACK_S, None)


def _decoded(data: bytes, name: str, most_s: float, rate_hz: int | None) -> Recording:
    with open_container(data, name) as container:
        zero_s = begin_s(container)
        frames = _decode(container)
        first = next(frames, None)
        if first is None:
            msg = f"Nothing of the sound of {name!r} decodes: it is damaged. Get a complete copy."
            raise CorruptMediaError(msg)
        rate_hz = rate_hz or first.rate
        late_s = min(max((first.time or zero_s) - zero_s, 0), most_s)
        silence_N = np.zeros(round(late_s * rate_hz), np.float32)
        pieces = itertools.chain([silence_N], _mono(itertools.chain([first], frames), rate_hz))
        kept = list(_bounded(pieces, round(most_s * rate_hz)))
    wave_N = np.nan_to_num(np.concatenate(kept), posinf=1, neginf=-1)
    np.clip(wave_N, -1, 1, out=wave_N).setflags(write=False)
    return Recording(wave_N, rate_hz)


def _decode(container: InputContainer) -> Iterator[AudioFrame]:
    """Yield what decodes of the sound track; damage is left out, and each kind of it told the log once."""
    said: set[str | None] = set()
    track = sound_track(container)
    assert track is not None, "probe found sound"
    for packet in itertools.chain(packets(container, track), [None]):
        try:
            yield from track.codec_context.decode(packet)
        except av.FFmpegError as error:
            # Once and not for each packet: a file of nothing but damage would fill the log.
            if error.strerror not in said:
                said.add(error.strerror)
                _LOGGER.warning(
                    "A packet of sound does not decode (%s); it is left out, and so are others like it.",
                    error.strerror,
                )


def _mono(frames: Iterator[AudioFrame], rate_hz: int) -> Iterator[Sound]:
    """Bring frames to one rate and average their channels; streams may change their layout on the way."""
    for _, alike in itertools.groupby(frames, lambda each: (each.format.name, each.layout.name, each.rate)):
        resampler = av.AudioResampler(format="fltp", rate=rate_hz)
        for frame in itertools.chain(alike, [None]):
            for part in resampler.resample(frame):
                yield part.to_ndarray().mean(axis=0, dtype=np.float32)


def _bounded(pieces: Iterator[Sound], most: int) -> Iterator[Sound]:
    for piece_N in pieces:
        yield piece_N[:most]
        most -= len(piece_N)
        if most <= 0:
            return
