"""Media: one file, whatever it holds, decoded lazily."""

import dataclasses
import functools
import hashlib
import io
import pathlib
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscan.verdict import MediaFacts


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is refused before it is decoded.

    Attributes:
        max_bytes: Largest file.
        max_pixels: Largest width times height.
        max_side_px: Longest side.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    max_side_px: int = 20_000


class Media:
    """One file. Use ``from_bytes`` or ``from_path``; both check limits before anything is decoded."""

    def __init__(self, data: bytes, facts: MediaFacts) -> None:
        """Wrap bytes that were probed already."""
        self.data = data
        self.facts = facts

    @classmethod
    def from_bytes(cls, data: bytes, name: str, limits: Limits | None = None) -> Self:
        """Probe bytes and wrap them."""
        limits = limits or Limits()
        digest = hashlib.sha256(data).hexdigest()
        with Image.open(io.BytesIO(data)) as picture:
            facts = MediaFacts(
                name=name,
                kind="image",
                container=str(picture.format).lower(),
                bytes=len(data),
                sha256=digest,
                width_px=picture.width,
                height_px=picture.height,
            )
        return cls(data, facts)

    @classmethod
    def from_path(cls, path: pathlib.Path, limits: Limits | None = None) -> Self:
        """Read and probe a file; its size is checked before it is read."""
        return cls.from_bytes(path.read_bytes(), path.name, limits)

    @functools.cached_property
    def picture_HWC(self) -> NDArray[np.uint8]:
        """The upright picture, RGB uint8 [H, W, 3]."""
        with Image.open(io.BytesIO(self.data)) as picture:
            return np.asarray(picture.convert("RGB"))
