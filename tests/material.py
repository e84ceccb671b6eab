"""Material for tests: a drawn face that both finders recognise, and the folder of real media."""

import dataclasses
import io
import math
import os
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

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
