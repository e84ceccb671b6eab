"""What the settings of Preps have in common: their ranges, the choice of a face finder, the digest."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.media import assets, shipped_faces
from deepscan.media.faces import Finder, default_finder
from deepscan.verdict import Box

FinderChoice = Literal["auto", "yunet", "tiny", "haar"]
"""A finder of faces by name, or ``auto``: the best on the machine, to be chosen before anything runs."""


def check_ranges(prep: Any, limits: Mapping[str, tuple[float, float]]) -> None:
    """Check settings of a Prep against their lowest and highest values.

    Raises:
        ConfigError: A value is out of range, or no number at all (NaN).
    """
    for name, (low, high) in limits.items():
        if not low <= (given := getattr(prep, name)) <= high:
            msg = f"Setting {name!r} of {type(prep).__name__} must be in [{low}, {high}], not {given}."
            raise ConfigError(msg)


def settled_finder(finder: FinderChoice) -> Finder:
    """Return a finder that was chosen by name.

    Raises:
        ConfigError: It is still ``auto``.
    """
    if finder == "auto":
        msg = "The finder 'auto' depends on the machine; take resolved(), or name 'yunet', 'tiny' or 'haar'."
        raise ConfigError(msg)
    return finder


def available_finder(finder: FinderChoice) -> Finder:
    """Return a finder that can run here; ``auto`` becomes the best of them.

    Raises:
        AssetError: The finder's weights are absent or altered.
    """
    available = default_finder() if finder == "auto" else finder
    if available in assets.ASSETS:
        assets.require(available)
    elif available == "tiny":
        shipped_faces.check()
    return available


def square_around(box: Box, size_px: tuple[int, int], margin: float) -> Box:
    """Return the square that ``faces.align_crop`` cuts around a face, as fractions of the picture.

    The turn that levels the eyes is left out, and a face that the edge of the picture cuts off is taken to
    end there: both move the square by a small part of the face.

    Args:
        box: The face as fractions of the picture.
        size_px: Width and height of the picture.
        margin: Share of the face that is added on each side.
    """
    width, height = size_px
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    half_px = max(1.0, right - left, bottom - top) * (0.5 + margin)
    x_px, y_px = (left + right) / 2, (top + bottom) / 2
    return (
        (x_px - half_px) / width,
        (y_px - half_px) / height,
        (x_px + half_px) / width,
        (y_px + half_px) / height,
    )


def digest(prep: Any, version: int, finder: FinderChoice | None = None) -> str:
    """Return 16 hex digits for a Prep's settings, the version of its code and the weights of its finder.

    Raises:
        ConfigError: The finder is still ``auto``.
    """
    weights = "" if finder is None else _weights(settled_finder(finder))
    return hashlib.sha256(f"{_values_digest(prep)} {version} {weights}".encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=256)
def _values_digest(prep: Any) -> str:
    """Return ``config.digest`` of a Prep's settings, which is asked for several times a file."""
    return config.digest(prep)


def _weights(finder: Finder) -> str:
    """Return what stands for a finder's weights; the cascade is OpenCV's own."""
    if finder == "tiny":
        return shipped_faces.SHA256
    return assets.ASSETS.get(finder).sha256 if finder in assets.ASSETS else ""
