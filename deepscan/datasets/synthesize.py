"""A seeded set of pictures, some of them forged in known places, to try the whole road without data.

It is a stand-in for a user's own data, no more: a detector trained on it knows nothing of faces.
Both classes come out of the same cameras, in the same size, container and JPEG tables, so that
only the forgery tells them apart; the mask of each forgery is written beside it.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from deepscan.datasets.camera import Camera, Picture, draw_camera, draw_scene, quantize, shoot
from deepscan.errors import ConfigError, DataError

VERSION = 1
"""Counted up when the same seed gives other pictures."""

CAMERAS = 8
QUALITIES = (75, 95)
"""Lowest and highest JPEG quality; both pictures of a pair get the same."""

_SETTINGS_NAME = "synthesize.json"
_COLUMNS = ("path", "label", "split", "source", "generator", "mask")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A photograph and its forgery, neither compressed.

    Attributes:
        real_HWC: As the camera developed it, RGB uint8 [H, W, 3].
        fake_HWC: The same with forged content blended in, RGB uint8 [H, W, 3].
        mask_HW: Weight of the forged content, uint8 [H, W]: 0 = untouched, 255 = all forged.
    """

    real_HWC: NDArray[np.uint8]
    fake_HWC: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8]


def synthesize(
    folder: pathlib.Path,
    count: int,
    size_px: int = 192,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pathlib.Path:
    """Write a set of pictures, half of them forged, with masks and a manifest.

    The same arguments give the same bytes (with the same versions of NumPy, SciPy and Pillow); a
    set that is complete already is left as it is, an interrupted one is written again.

    Args:
        folder: Where to write; absent, empty, or written before with the same arguments.
        count: Number of pictures, even, at least 2.
        size_px: Side of the square pictures, a multiple of 16, at least 64.
        seed: Seed of everything, at least 0.
        progress: Called with the pictures done and their number.

    Returns:
        Path of ``manifest.csv``, with the columns path, label, split (blank), source, generator
        (the kind of forgery) and mask.

    Raises:
        ConfigError: ``count``, ``size_px`` or ``seed`` is out of range.
        DataError: The folder holds other things.
    """
    if count < 2 or count % 2 or size_px < 64 or size_px % 16 or seed < 0:
        msg = (
            f"Cannot make {count} pictures of {size_px} px with seed {seed}: count must be even and at "
            "least 2, size_px a multiple of 16 and at least 64, seed at least 0."
        )
        raise ConfigError(msg)
    manifest = folder / "manifest.csv"
    rows = _list_rows(count)
    claim(folder, {"version": VERSION, "count": count, "size_px": size_px, "seed": seed})
    if manifest.exists() and all((folder / row[0]).exists() and (folder / row[-1]).exists() for row in rows):
        return manifest
    manifest.unlink(missing_ok=True)
    rng = np.random.default_rng((seed, 0))
    cameras = [draw_camera(size_px, rng) for _ in range(CAMERAS)]
    for index, (real, fake) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        # A generator of its own for each pair: a larger set begins with the smaller one.
        rng = np.random.default_rng((seed, index + 1))
        _write(folder, (real[0], fake[0], fake[-1]), make_pair(fake[4], cameras, rng), rng)
        if progress is not None:
            progress(2 * (index + 1), count)
    with manifest.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
    return manifest


def make_pair(kind: str, cameras: list[Camera], rng: np.random.Generator) -> Pair:
    """Photograph a new scene with one of the cameras and forge the picture.

    Args:
        kind: One of ``KINDS``.
        cameras: At least two, with sensors of the same size.
        rng: Source of everything random.
    """
    first, second = (cameras[i] for i in rng.choice(len(cameras), 2, replace=False))
    scene = draw_scene(first.prnu_HW.shape[0], rng)
    real_HWC = shoot(scene, first, rng)
    forged = KINDS[kind](_Case(scene=scene, picture_HWC=real_HWC.astype(np.float32), other=second), rng)
    whole = kind == "generated" and rng.random() < 0.5
    mask_HW = np.full(real_HWC.shape[:2], 255, np.uint8) if whole else _draw_mask(real_HWC.shape[0], rng)
    weight = mask_HW[..., None] / np.float32(255)
    fake_HWC = quantize(real_HWC * (1 - weight) + forged * weight)
    return Pair(real_HWC=real_HWC, fake_HWC=fake_HWC, mask_HW=mask_HW)


# --- forgeries -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    scene: Picture
    picture_HWC: Picture
    other: Camera


def _splice(case: _Case, rng: np.random.Generator) -> Picture:
    """The same scene through another, softer camera: other noise, interpolation and colours."""
    shift = rng.uniform(0.85, 1.15, 3).astype(np.float32)
    softer = dataclasses.replace(case.other, psf_sigma_px=case.other.psf_sigma_px + rng.uniform(0.4, 1.0))
    return shoot(case.scene, softer, rng) * shift


def _warp(case: _Case, rng: np.random.Generator) -> Picture:
    """The picture bent by a smooth displacement of some pixels."""
    size_px = case.picture_HWC.shape[0]
    width_px = size_px / 12
    noise: Picture = rng.standard_normal((2, size_px, size_px), np.float32)
    noise = ndimage.gaussian_filter(noise, (0, width_px, width_px))
    bend = noise / np.abs(noise).max() * rng.uniform(5, 10)
    return _resample(case.picture_HWC, np.indices((size_px, size_px), np.float32) + bend)


def _enlarge(case: _Case, rng: np.random.Generator) -> Picture:
    """The picture enlarged about a point near its middle."""
    size_px = case.picture_HWC.shape[0]
    centre = rng.uniform(0.35, 0.65, (2, 1, 1)).astype(np.float32) * size_px
    grid = np.indices((size_px, size_px), np.float32)
    return _resample(case.picture_HWC, centre + (grid - centre) / rng.uniform(1.25, 2))


def _resample(picture_HWC: Picture, at_yx: Picture) -> Picture:
    channels = [
        ndimage.map_coordinates(plane_HW, at_yx, order=1, mode="mirror")
        for plane_HW in np.moveaxis(picture_HWC, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def _generate(case: _Case, rng: np.random.Generator) -> Picture:
    return regenerate(case.picture_HWC, rng)


def regenerate(picture_HWC: Picture, rng: np.random.Generator) -> Picture:
    """Shrink a picture and let two random up-sampling layers make it large again, as generators do.

    Uneven kernels leave peaks in the spectrum at the half and quarter of the sampling rate (Odena,
    Dumoulin and Olah, "Deconvolution and checkerboard artifacts", 2016).

    Args:
        picture_HWC: Float32 [H, H, 3] on the scale [0, 255]; H is a multiple of 4.
        rng: Source of the kernels and of the layers' noise.

    Returns:
        Float32 [H, H, 3]; may leave the scale a little.
    """
    size_px = picture_HWC.shape[0]
    x_HWC: Picture = picture_HWC.reshape(size_px // 4, 4, size_px // 4, 4, 3).mean((1, 3))
    nearest = rng.random() < 0.5
    for layer in range(2):
        x_HWC += rng.uniform(2, 8) * rng.standard_normal(x_HWC.shape, np.float32)
        kernel = np.outer((0.5, 1, 0.5), (0.5, 1, 0.5)) * (1 + 0.05 * rng.standard_normal((3, 3)))
        if nearest:
            x_HWC = x_HWC.repeat(2, 0).repeat(2, 1)
        else:
            sparse = np.zeros((2 * x_HWC.shape[0], 2 * x_HWC.shape[1], 3), np.float32)
            # Once to the left and once to the right, so that the content stays in place.
            sparse[layer::2, layer::2] = 4 * x_HWC
            x_HWC = sparse
        x_HWC = ndimage.convolve(x_HWC, (kernel / kernel.sum())[..., None].astype(np.float32), mode="mirror")
    return x_HWC


KINDS: dict[str, Callable[[_Case, np.random.Generator], Picture]] = {
    "spliced": _splice,
    "warped": _warp,
    "resampled": _enlarge,
    "generated": _generate,
}
"""Ways of forging; each returns a whole picture, float32 [H, W, 3] on the scale [0, 255]."""


def _draw_mask(size_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a blob with a soft edge, a quarter to half of the picture."""
    y, x = np.indices((size_px, size_px), np.float32)
    y, x = y - rng.uniform(0.35, 0.65) * size_px, x - rng.uniform(0.35, 0.65) * size_px
    angle = np.arctan2(y, x)
    radius_px = rng.uniform(0.28, 0.42) * size_px
    outline = sum(rng.uniform(0, 0.12) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4))
    depth_px = radius_px * (1 + outline) - np.hypot(x, y)
    return quantize(255 * np.clip(0.5 + depth_px / rng.uniform(3, 10), 0, 1))


# --- files ---------------------------------------------------------------------------------------


def _list_rows(count: int) -> list[tuple[str, str, str, str, str, str]]:
    rows = []
    for index in range(count // 2):
        kind, source = list(KINDS)[index % len(KINDS)], f"scene-{index:05}"
        rows += [
            (f"real/{index:05}.jpg", "real", "", source, "", ""),
            (f"fake/{kind}/{index:05}.jpg", "fake", "", source, kind, f"masks/{index:05}.png"),
        ]
    return rows


def claim(folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Write the settings into a new folder, or check that they are those of an earlier run.

    Raises:
        DataError: The folder holds other things.
    """
    record, text = folder / _SETTINGS_NAME, json.dumps(settings)
    if record.exists():
        if record.read_text(encoding="utf-8") != text:
            msg = (
                f"{str(folder)!r} holds a set made with {record.read_text(encoding='utf-8')}, not {text}; "
                "give another folder."
            )
            raise DataError(msg)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{str(folder)!r} is no empty folder; give a new one, so that nothing of yours is written over."
        raise DataError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(text, encoding="utf-8")


def _write(folder: pathlib.Path, names: tuple[str, str, str], pair: Pair, rng: np.random.Generator) -> None:
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    for name, array in zip(names, (pair.real_HWC, pair.fake_HWC, pair.mask_HW), strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path, quality=quality)
