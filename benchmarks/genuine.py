"""The genuine pictures that benchmarks of traces are made from."""

import csv
import dataclasses
import io
import pathlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Genuine:
    """A genuine picture: the file it came from, whom or what it shows, and RGB uint8 [H, W, 3]."""

    file: str
    source: str
    picture_HWC: Pixels


def genuine(media: pathlib.Path, part: str = "image/real/") -> list[Genuine]:
    """Return the genuine pictures of a part of a folder of media, in the order of their sources."""
    with (media / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith(part)]
    rows.sort(key=lambda row: (row["source"], row["file"]))
    return [Genuine(row["file"], row["source"], read(media / row["file"])) for row in rows]


def read(path: pathlib.Path) -> Pixels:
    """Return the pixels of a file."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def saved(picture_HWC: Pixels, quality: int | None) -> bytes:
    """Return a picture as the bytes of a JPEG of this quality, or of a PNG for None."""
    stream = io.BytesIO()
    image = Image.fromarray(picture_HWC)
    image.save(stream, "JPEG", quality=quality) if quality else image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def rounded(values: NDArray[np.floating]) -> Pixels:
    """Return values as pixels."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
