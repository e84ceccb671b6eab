"""Pictures in every container that deepscan reads, small and deterministic."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """A smooth picture without any symmetry, RGB uint8 [40, 60, 3]."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x - y], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def encode(scene: np.ndarray) -> Encode:
    """Returns ``encode(format, picture=None, **options) -> bytes``, by default of the scene."""

    def run(container: str, picture: Image.Image | np.ndarray | None = None, **options: object) -> bytes:
        image = Image.fromarray(scene) if picture is None else picture
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        stream = io.BytesIO()
        image.save(stream, container, **options)
        return stream.getvalue()

    return run


@pytest.fixture(scope="session")
def rotated(encode: Encode) -> Callable[..., bytes]:
    """Returns ``rotated(format, orientation, **options) -> bytes``: the scene with that EXIF orientation."""

    def run(container: str, orientation: int, **options: object) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return encode(container, exif=exif.tobytes(), **options)

    return run
