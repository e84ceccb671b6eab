"""Clips of portraits: each genuine, and with a face blended over its own, alike in all else.

A camera drifts over the picture, and H.264 of a random quality codes what it sees: for detectors of clips,
where portraits are at hand and people in clips are not.
"""

import csv
import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from deepscan.datasets import layout
from deepscan.datasets.judged import check_columns
from deepscan.datasets.synthesize import claim
from deepscan.media import blend
from deepscan.media.blend import DONORS, SWAPPED, Blend, Portrait
from deepscan.media.encode import encode_clip
from deepscan.media.faces import find_faces
from deepscan.media.source import Media
from deepscan.media.stills import drift

logger = logging.getLogger(__name__)

GENERATOR = "blended portrait"
RATE_HZ, FRAMES = 25, 25
FINEST, COARSEST = 18, 31
"""Constant rate factors of x264."""

MANIFEST = "manifest.csv"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stills:
    """What clips are made of.

    Attributes:
        data: A manifest or folder of pictures.
        where: Which rows of it.
        count: How many portraits are taken, evenly from all of them.
        seed: Draws everything; a portrait gives the same two clips however many are taken.
        columns: Columns of the user whose values the clips take over.
    """

    data: pathlib.Path
    where: tuple[str, ...] = ()
    count: int = 600
    seed: int = 0
    columns: tuple[str, ...] = ()


def make(stills: Stills, out: pathlib.Path) -> pathlib.Path:
    """Write the clips and their manifest into a folder, and return the latter.

    What was made before stays as it is, so that an interrupted call goes on; portraits in which no face is
    found are left out.

    Raises:
        DeepscanError: The data cannot be read or lack a column, or the folder holds other things, clips of
            other data too.
    """
    table = layout.scan(stills.data, where=stills.where)
    check_columns(table.column_names, stills.columns)
    claim(out, {"portraits": layout.digest(table), "seed": stills.seed})
    rows = table.to_pylist()
    paths = [pathlib.Path(row["path"]) for row in rows]
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(stills.count, len(rows))).astype(int))
    lines = [("path", "label", "source", "generator", *stills.columns)]
    for done, number in enumerate(chosen.tolist(), 1):
        names = f"{number:05}-real.mp4", f"{number:05}-fake.mp4"
        rng = np.random.default_rng((stills.seed, number))
        if _write(paths, number, [out / name for name in names], rng):
            source, *taken = (rows[number][name] for name in ("source", *stills.columns))
            lines += [
                (names[0], "real", source, "", *taken),
                (names[1], "fake", source, GENERATOR, *taken),
            ]
        if done % 50 == 0 or done == len(chosen):
            logger.info("Clips of %d of %d portraits.", done, len(chosen))
    draft = out / f"{MANIFEST}.tmp"
    with draft.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    os.replace(draft, out / MANIFEST)
    return out / MANIFEST


def _write(
    paths: Sequence[pathlib.Path], number: int, targets: Sequence[pathlib.Path], rng: np.random.Generator
) -> bool:
    """Write the genuine clip of a portrait and the fake one; False = there is no face in it."""
    if all(target.exists() for target in targets):
        return True
    portrait = _portrait(paths[number])
    if portrait is None:
        logger.warning("%s: no face was found, it is left out.", paths[number])
        return False
    pair = _blended(portrait, [*paths[:number], *paths[number + 1 :]], rng)
    quality = int(rng.integers(FINEST, COARSEST + 1))
    shown = list(drift((pair.real, pair.fake), FRAMES, rng))
    for target, frames in zip(targets, zip(*shown, strict=True), strict=True):
        draft = target.with_suffix(".tmp")
        draft.write_bytes(encode_clip(frames, RATE_HZ, quality=quality))
        os.replace(draft, target)
    return True


def _blended(portrait: Portrait, others: Sequence[pathlib.Path], rng: np.random.Generator) -> Blend:
    if rng.random() >= SWAPPED:
        return blend.self_blend(portrait.picture, portrait.face, rng)
    drawn = rng.choice(len(others), min(DONORS, len(others)), replace=False).tolist()
    donors = [donor for donor in (_portrait(others[i]) for i in drawn) if donor is not None]
    return blend.swap(portrait, donors, rng)


@functools.lru_cache(maxsize=64)
def _portrait(path: pathlib.Path) -> Portrait | None:
    """Return a picture with its largest face; None = no face was found in it."""
    picture = Media.from_path(path).picture_HWC
    faces = find_faces(picture, finder="tiny")
    return Portrait(picture=picture, face=faces[0]) if faces else None
