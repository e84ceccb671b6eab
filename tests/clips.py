"""Clips for tests, encoded in memory: small, deterministic, of any frame rate or times."""

import fractions
import io
from collections.abc import Sequence

import av
import numpy as np

from deepscan.media.encode import x264_options
from tests.material import DrawnFace, draw

TICKS_HZ = 1000


def clip(
    pictures: Sequence[np.ndarray], rate_hz: float = 25, times_s: Sequence[float] | None = None
) -> bytes:
    """Return pictures as an MP4; ``times_s`` says when each is shown where the rate varies."""
    times_s = [number / rate_hz for number in range(len(pictures))] if times_s is None else times_s
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        options = {"crf": "12", "preset": "veryfast"} | x264_options()
        track = container.add_stream("libx264", rate=round(rate_hz), options=options)
        track.height, track.width = pictures[0].shape[:2]
        track.pix_fmt = "yuv420p" if track.height % 2 == track.width % 2 == 0 else "yuv444p"
        track.codec_context.time_base = fractions.Fraction(1, TICKS_HZ)
        for picture_HWC, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24")
            frame.pts, frame.time_base = round(time_s * TICKS_HZ), fractions.Fraction(1, TICKS_HZ)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return stream.getvalue()


def faces_clip(
    *moments: Sequence[DrawnFace], rate_hz: float = 25, size_px: tuple[int, int] = (200, 160)
) -> bytes:
    """Return a clip that shows, frame by frame, these drawn faces."""
    return clip([draw(*faces, size_px=size_px) for faces in moments], rate_hz)


def spoken(pictures: bytes, sound_N: np.ndarray, rate_hz: int = 16_000) -> bytes:
    """Return a clip of ``clip`` with sound in [-1, 1], as a Matroska file."""
    stream = io.BytesIO()
    with av.open(io.BytesIO(pictures)) as source, av.open(stream, "w", format="matroska") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        voice = target.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                target.mux(packet)
        samples_1N = np.rint(sound_N * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples_1N, format="s16", layout="mono")
        frame.rate, frame.pts = rate_hz, 0
        target.mux(voice.encode(frame))
        target.mux(voice.encode(None))
    return stream.getvalue()
