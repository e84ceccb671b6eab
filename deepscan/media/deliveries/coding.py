"""Writing sound by FFmpeg's encoders, alone or beside pictures."""

import fractions
import io
from typing import Any

import av
import numpy as np

from deepscan.media.sound import Recording

CONTAINERS = {"libmp3lame": "mp3", "aac": "mp4", "libopus": "ogg", "pcm_mulaw": "wav"}
"""Container of a file that holds nothing but sound, by the encoder."""

_USUAL_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
RATES_HZ = {
    "libmp3lame": _USUAL_HZ,
    "aac": _USUAL_HZ,
    "libopus": (8000, 12000, 16000, 24000, 48000),
    "pcm_mulaw": (8000,),
}
"""Sampling rates that an encoder takes."""

REPEATABLE = {"fflags": "+bitexact"}
"""Options by which a container gets no random numbers, and no dates."""

_PART = 16_384
"""Samples that an encoder is given at a time."""


def write_sound(recording: Recording, coder: str, rate_bps: int) -> bytes:
    """Encode one channel; the same sound gives the same bytes with the same FFmpeg.

    Args:
        recording: The sound; what exceeds full scale is cut off.
        coder: FFmpeg's name of the encoder, a key of ``CONTAINERS``.
        rate_bps: Bits per second.

    Raises:
        av.FFmpegError: The encoder refuses.
    """
    stream = io.BytesIO()
    with av.open(stream, "w", CONTAINERS[coder], container_options=REPEATABLE) as container:
        mux_sound(container, add_sound_track(container, coder, recording.rate_hz, rate_bps), recording)
    return stream.getvalue()


def add_sound_track(container: Any, coder: str, rate_hz: int, rate_bps: int) -> Any:
    """Add a track of one channel to a container, at the lowest rate of the encoder that holds ``rate_hz``."""
    taken = RATES_HZ[coder]
    held_hz = next((each for each in taken if each >= rate_hz), taken[-1])
    track = container.add_stream(coder, rate=held_hz, layout="mono")
    track.bit_rate = rate_bps
    return track


def mux_sound(container: Any, track: Any, recording: Recording) -> None:
    """Encode a recording into a track of ``add_sound_track``."""
    wave_N = np.clip(recording.wave_N, -1, 1).astype(np.float32)
    for begin in range(0, len(wave_N), _PART):
        part_CN = np.ascontiguousarray(wave_N[None, begin : begin + _PART])
        frame = av.AudioFrame.from_ndarray(part_CN, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = recording.rate_hz, begin
        frame.time_base = fractions.Fraction(1, recording.rate_hz)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))
