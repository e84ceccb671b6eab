"""Material for tests: a drawn face that both finders recognise, clips, sounds, the folder of real media."""

import dataclasses
import fractions
import io
import math
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.container import OutputContainer
from PIL import Image, ImageDraw, ImageFilter

from deepscan.media.source import Frame

SHARED = pathlib.Path(os.environ.get("DEEPSCAN_SHARED", pathlib.Path(__file__).parents[2] / "shared"))

_PARTS = (  # centre and half axes in units of the face, colour
    (0.00, -0.25, 1.00, 1.20, (50, 35, 25)),
    (0.00, 0.00, 0.85, 1.15, (215, 170, 140)),
    (0.00, 0.20, 0.12, 0.14, (180, 130, 105)),
    (0.00, 0.55, 0.32, 0.10, (150, 60, 60)),
)
_EYE_PARTS = (
    (0.37, -0.20, 0.22, 0.13, (120, 80, 60)),
    (0.37, -0.20, 0.17, 0.09, (240, 240, 240)),
    (0.37, -0.20, 0.09, 0.09, (30, 20, 15)),
    (0.37, -0.42, 0.24, 0.06, (60, 40, 30)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnFace:
    """Where to draw a face; ``radius_px`` is half its width, ``tilt_deg`` turns it clockwise."""

    x_px: float = 200
    y_px: float = 200
    radius_px: float = 90
    tilt_deg: float = 0

    @property
    def eyes_px(self) -> np.ndarray:
        cos, sin = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        level = np.array([[-0.37, -0.2], [0.37, -0.2]]) * self.radius_px
        return level @ np.array([[cos, sin], [-sin, cos]]) + np.array([self.x_px, self.y_px])


def draw(*faces: DrawnFace, size_px: tuple[int, int] = (400, 400)) -> np.ndarray:
    """Return RGB uint8 of ``size_px`` (width, height) with these faces on a plain ground."""
    picture = Image.new("RGB", size_px, (70, 90, 110))
    for face in faces:
        layer = Image.new("RGB", size_px, (70, 90, 110))
        mask = Image.new("L", size_px, 0)
        mirrored = tuple((-x, *rest) for x, *rest in _EYE_PARTS)
        for x, y, a, b, color in (*_PARTS, *_EYE_PARTS, *mirrored):
            r = face.radius_px
            box = (
                face.x_px + (x - a) * r,
                face.y_px + (y - b) * r,
                face.x_px + (x + a) * r,
                face.y_px + (y + b) * r,
            )
            ImageDraw.Draw(layer).ellipse(box, fill=color)
            ImageDraw.Draw(mask).ellipse(box, fill=255)
        centre = (face.x_px, face.y_px)
        layer = layer.filter(ImageFilter.GaussianBlur(face.radius_px / 40))
        layer, mask = (
            part.rotate(-face.tilt_deg, Image.Resampling.BILINEAR, center=centre) for part in (layer, mask)
        )
        picture.paste(layer, mask=mask)
    return np.asarray(picture)


def encoded(picture: np.ndarray, container: str = "PNG", **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, container, **options)
    return stream.getvalue()


def shared(part: str) -> pathlib.Path:
    """Return a folder of the shared material, or skip the test where it is absent."""
    folder = SHARED / part
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set DEEPSCAN_SHARED to the folder of shared material")
    return folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A small clip whose frames are grey and tell their number; see ``numbers``.

    Attributes:
        container: FFmpeg's name of the file format.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the layout of pixels.
        size_px: Width and height.
        times_s: When each frame is shown.
        options: For the encoder.
        sound_N: Sound of 16 kHz that goes with it, float32 [N]; None = silent film.
        sound_codec: FFmpeg's name of the encoder of the sound.
        late_s: How much later than the pictures the sound begins.
    """

    container: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    size_px: tuple[int, int] = (64, 48)
    times_s: tuple[float, ...] = tuple(number / 20 for number in range(40))
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    sound_N: np.ndarray | None = None
    sound_codec: str = "aac"
    late_s: float = 0.0

    def encoded(self) -> bytes:
        """Return the file."""
        stream = io.BytesIO()
        self.write(stream)
        return stream.getvalue()

    def write(self, stream: IO[bytes]) -> None:
        """Write the file; where the stream cannot go back, its header stays without a duration.

        This happens in a thread of its own: SVT-AV1 gives the thread that opens it real-time priority where
        root runs it, and whatever the tests start afterwards would have inherited that.
        """
        with ThreadPoolExecutor(1) as executor:
            executor.submit(self._write, stream).result()

    def _write(self, stream: IO[bytes]) -> None:
        with av.open(stream, "w", self.container) as output:
            track = output.add_stream(self.codec, 20, options=self.options)
            track.width, track.height = self.size_px
            track.pix_fmt = self.pixels
            track.codec_context.time_base = fractions.Fraction(1, 1000 if self._uneven else 20)
            sound = None if self.sound_N is None else _add_sound(output, self.sound_codec, 16_000, "mono")
            for number, time_s in enumerate(self.times_s):
                level = np.full((*self.size_px[::-1], 3), 20 + 5 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(level, format="rgb24")
                frame.time_base = track.codec_context.time_base
                frame.pts = round(time_s / frame.time_base)
                output.mux(track.encode(frame))
            output.mux(track.encode(None))
            if sound:
                _write_sound(output, sound, self.sound_N[None], self.late_s)

    @property
    def _uneven(self) -> bool:
        return any(abs(time_s * 20 - round(time_s * 20)) > 1e-6 for time_s in self.times_s)


def numbers(frames: list[Frame]) -> list[int]:
    """Read the numbers of a ``Clip``'s frames."""
    return [round((frame.picture_HWC.mean() - 20) / 5) for frame in frames]


def sound_file(
    sound_CN: np.ndarray, container: str, codec: str, rate_hz: int, layout: str = "mono", **options: str
) -> bytes:
    """Return sound, float [C, N] in [-1, 1], as the bytes of a file."""
    stream = io.BytesIO()
    with av.open(stream, "w", container, options=options) as output:
        _write_sound(output, _add_sound(output, codec, rate_hz, layout), sound_CN)
    return stream.getvalue()


def tone(rate_hz: int, duration_s: float = 1.0, pitch_hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    """Return a sine, float32 [N]."""
    return (level * np.sin(2 * np.pi * pitch_hz * np.arange(round(rate_hz * duration_s)) / rate_hz)).astype(
        "f4"
    )


def _add_sound(output: OutputContainer, codec: str, rate_hz: int, layout: str) -> AudioStream:
    return output.add_stream(codec, rate_hz, layout=layout, options={"strict": "experimental"})


def _write_sound(
    output: OutputContainer, track: AudioStream, sound_CN: np.ndarray, late_s: float = 0.0
) -> None:
    for at in range(0, sound_CN.shape[1], 1000):
        part_CN = np.ascontiguousarray(sound_CN[:, at : at + 1000], np.float32)
        frame = av.AudioFrame.from_ndarray(part_CN, format="fltp", layout=track.layout.name)
        frame.rate, frame.time_base = track.rate, fractions.Fraction(1, track.rate)
        frame.pts = at + round(late_s * track.rate)
        output.mux(track.encode(frame))
    output.mux(track.encode(None))
