"""Films for tests of how clips are stored: noisy pictures of a moving thing, encoded with known options."""

import fractions
import functools
import io
from collections.abc import Sequence

import av
import numpy as np
from scipy.ndimage import gaussian_filter

from deepscan.media.encode import x264_options
from deepscan.media.source import Media

RATE_HZ = 25
SIZE_PX = (320, 192)


@functools.cache
def filmed(count: int = 150, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return luma uint8 [H, W] of a patch that circles on a textured ground, with camera noise."""
    rng = np.random.default_rng(seed)
    width, height = SIZE_PX
    ground_HW = 120 + 250 * gaussian_filter(rng.normal(size=(height, width)), 3)
    patch_HW = 130 + 400 * gaussian_filter(rng.normal(size=(90, 90)), 3)
    turn = np.cumsum(rng.uniform(0.06, 0.16, count))
    frames = []
    for left, top in np.rint([115 + 50 * np.cos(turn), 50 + 45 * np.sin(turn)]).astype(int).T:
        frame_HW = ground_HW.copy()
        frame_HW[top : top + 90, left : left + 90] = patch_HW
        frame_HW += rng.normal(0, 1, frame_HW.shape)
        frames.append(np.clip(np.rint(frame_HW), 0, 255).astype(np.uint8))
    return tuple(frames)


def sliding(count: int = 100) -> list[np.ndarray]:
    """Return luma uint8 [H, W] of a bright disc that goes 1.5 px a frame to the right, with camera noise."""
    rng = np.random.default_rng(2)
    y_HW, x_HW = np.mgrid[: SIZE_PX[1], : SIZE_PX[0]]
    frames = []
    for number in range(count):
        away_HW = np.hypot(x_HW - 60 - 1.5 * number, y_HW - 96)
        frame_HW = 90 + 90 * np.clip(45 - away_HW, 0, 1) + rng.normal(0, 1, away_HW.shape)
        frames.append(np.rint(frame_HW).astype(np.uint8))
    return frames


def stored_as(
    frames: Sequence[np.ndarray],
    container: str = "mp4",
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    **options: str,
) -> bytes:
    """Return luma as a clip of 25 frames a second; ``times`` are in frames, and options the encoder's."""
    known = {"preset": "veryfast", "crf": "20"} | x264_options() if codec == "libx264" else {"threads": "1"}
    stream = io.BytesIO()
    with av.open(stream, "w", container) as output:
        track = output.add_stream(codec, RATE_HZ, options=known | options)
        track.height, track.width = frames[0].shape
        track.pix_fmt = "yuv420p"
        for number, luma_HW in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(luma_HW, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, fractions.Fraction(1, RATE_HZ)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return stream.getvalue()


def luma_of(data: bytes) -> list[np.ndarray]:
    """Return the luma of all frames, uint8 [H, W] each."""
    with av.open(io.BytesIO(data)) as clip:
        return [frame.to_ndarray()[: frame.height] for frame in clip.decode(video=0)]


def joined(*pieces: bytes) -> bytes:
    """Return transport streams one after the other, without encoding them anew."""
    stream = io.BytesIO()
    with av.open(stream, "w", "mpegts") as output:
        track, behind = None, 0
        for piece in pieces:
            with av.open(io.BytesIO(piece), format="mpegts") as source:
                stored = [packet for packet in source.demux(video=0) if packet.size]
                track = track or output.add_stream_from_template(source.streams.video[0])
                first = min(packet.dts for packet in stored)
                for packet in stored:
                    packet.pts, packet.dts = packet.pts - first + behind, packet.dts - first + behind
                    packet.stream = track
                    output.mux(packet)
                behind += round(len(stored) / RATE_HZ / packet.time_base)
    return stream.getvalue()


def film(data: bytes, name: str = "film") -> Media:
    """Return a clip as media."""
    return Media.from_bytes(data, name)
