"""JPEG as it was coded: tables, sampling, what encoders leave in the header, coefficients of the luma.

Tables and blocks are row by row, 64 values of 8 by 8, index 8 v + u for v periods down and u across.
Coefficients are those of ITU-T T.81: the orthonormal cosine transform of levels less 128.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import CorruptMediaError, NoPictureError
from deepscan.media.probe import opened

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

SIDE = 8
QUALITIES = np.arange(1, 101)
"""Of libjpeg: 50 is the table as it stands, 100 divides by nothing."""

LUMA_64 = np.array(
    (
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    )
)
"""Quantisation of luma at quality 50 (ITU-T T.81, table K.1)."""

CHROMA_64 = np.array(
    (
        *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
        *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
        *(99,) * 32,
    )
)
"""Quantisation of chroma at quality 50 (ITU-T T.81, table K.2)."""

_Y, _X = np.mgrid[:SIDE, :SIDE]
_ZIGZAG_64 = np.lexsort((np.where((_Y + _X) % 2, _Y, _X).ravel(), (_Y + _X).ravel()))
"""Where in a table, row by row, its values belong in the order in which files have them."""

LOWEST_AC = tuple(int(place) for place in _ZIGZAG_64[1:10])
"""Places of the nine lowest frequencies, in the order in which files have them."""

_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC9: "arithmetic", 0xCA: "arithmetic"}
_TABLES, _SCAN, _END, _COMMENT, _ADOBE = 0xDB, 0xDA, 0xD9, 0xFE, 0xEE
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers that nothing follows."""

_MARKS = {
    "JFIF": b"JFIF\0",
    "Exif": b"Exif\0",
    "XMP": b"http://ns.adobe.com/xap/1.0/\0",
    "ICC profile": b"ICC_PROFILE\0",
    "multi-picture": b"MPF\0",
    "Adobe": b"Adobe",
    "Ducky": b"Ducky",
    "Photoshop resources": b"Photoshop 3.0\0",
    "JUMBF": b"JP\0",
}
"""How the segments of applications begin, by what they are called."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coding:
    """How a JPEG file was coded, as its header tells.

    Attributes:
        process: Kind of coding, such as ``baseline`` or ``progressive``.
        luma_64: Quantisation of the first component, int64 [64], row by row.
        chroma_64: That of the second component; None of grey pictures.
        sampling: Samples across and down of each component, as factors.
        marks: What applications' segments are called, in the order of the file.
        comment: What the encoder or somebody else wrote, cut to 80 characters; "" = nothing.
        has_luma: Whether the first component is luma, and not red or cyan.
    """

    process: str
    luma_64: Ints
    chroma_64: Ints | None
    sampling: tuple[tuple[int, int], ...]
    marks: tuple[str, ...]
    comment: str
    has_luma: bool


def read(data: bytes, name: str) -> Coding:
    """Read the header of a JPEG file up to its first scan.

    Args:
        data: The whole file.
        name: File name, for messages only.

    Raises:
        CorruptMediaError: The header ends early or lacks a table that it names.
    """
    try:
        return _read(data)
    except (IndexError, KeyError, ValueError, StopIteration) as error:
        msg = f"{name!r} begins like jpeg but its header is damaged ({error!r}). Get a complete copy."
        raise CorruptMediaError(msg) from error


def scaled(base_64: Ints) -> Ints:
    """Return libjpeg's steps at every quality from 1 to 100, int64 [100, as many as ``base_64``]."""
    scales = np.where(QUALITIES < 50, 5000 // QUALITIES, 200 - 2 * QUALITIES)
    return np.asarray(np.clip((np.outer(scales, base_64) + 50) // 100, 1, 255), np.int64)


def nearest_quality(table_64: Ints, base_64: Ints) -> int:
    """Return the quality, 1 to 100, at which libjpeg's table from ``base_64`` is nearest to the given one."""
    return int(QUALITIES[np.abs(scaled(base_64) - table_64).sum(axis=1).argmin()])


def luma_HW(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode the luma alone, uint8 [H, W]: as stored, neither converted to RGB nor turned upright.

    Raises:
        MediaError: The picture does not decode.
        NoPictureError: It is coded as RGB or CMYK, which has no luma.
    """
    if not read(data, name).has_luma:
        msg = f"{name!r} is coded as RGB or CMYK, so there is no luma whose coefficients could be read."
        raise NoPictureError(msg)
    with opened(data, name) as picture:
        picture.draft("L", None)
        picture.load()
        return np.array(picture.convert("L"))


def blocks(levels_HW: NDArray[np.uint8], offset: tuple[int, int] = (0, 0), most: int = 1 << 13) -> Floats:
    """Return blocks of 8 by 8 as float32 [rows, columns, 64], less 128, evenly spaced where there are many.

    Args:
        levels_HW: uint8 [H, W]; what does not fill a block at the right and at the bottom is left out.
        offset: Where the first block begins, down and across, in pixels.
        most: About how many blocks to return at most.

    Raises:
        NoPictureError: Not one block fits.
    """
    shifted_HW = levels_HW[offset[0] :, offset[1] :]
    rows, columns = shifted_HW.shape[0] // SIDE, shifted_HW.shape[1] // SIDE
    if rows * columns == 0:
        msg = "The picture is smaller than one block of 8 by 8 pixels; there is nothing to transform."
        raise NoPictureError(msg)
    step = int(np.ceil(np.sqrt(rows * columns / most)))
    whole_HW = shifted_HW[: rows * SIDE, : columns * SIDE]
    spaced = whole_HW.reshape(rows, SIDE, columns, SIDE)[::step, :, ::step].transpose(0, 2, 1, 3)
    return spaced.reshape(*spaced.shape[:2], SIDE * SIDE).astype(np.float32) - 128


def transform(blocks_64: Floats, places: tuple[int, ...] = tuple(range(64))) -> Floats:
    """Return coefficients of blocks, float32 [..., places], of the frequencies at some places of a table."""
    return np.asarray(blocks_64 @ _basis()[list(places)].T)


@functools.cache
def _basis() -> Floats:
    """Return the orthonormal cosines in two dimensions, float32 [frequency, pixel] (T.81, A.3.3)."""
    k = np.arange(SIDE)
    line = np.sqrt(2 / SIDE) * np.cos(np.outer(k, 2 * k + 1) * np.pi / (2 * SIDE))
    line[0] /= np.sqrt(2)
    return np.kron(line, line).astype(np.float32)


def _read(data: bytes) -> Coding:
    tables: dict[int, Ints] = {}
    marks: list[str] = []
    frame, process, comment, adobe = b"", "", "", b""
    for marker, body in _segments(data):
        if marker == _TABLES:
            tables |= _tables(body)
        elif marker == _COMMENT:
            comment = comment or body.decode("latin-1").strip("\0 \r\n")[:80]
        elif 0xE0 <= marker <= 0xEF:
            marks += [mark for mark, begin in _MARKS.items() if body.startswith(begin)]
            adobe = body if marker == _ADOBE and body.startswith(b"Adobe") else adobe
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame, process = body, _FRAMES.get(marker, "rare")
    components = [frame[6 + 3 * n : 9 + 3 * n] for n in range(frame[5])]
    return Coding(
        process=process,
        luma_64=tables[components[0][2]],
        chroma_64=tables[components[1][2]] if len(components) > 1 else None,
        sampling=tuple((each[1] >> 4, each[1] & 15) for each in components),
        marks=tuple(marks),
        comment=comment if comment.isprintable() else "",
        has_luma=_has_luma([each[0] for each in components], adobe),
    )


def _has_luma(names: list[int], adobe: bytes) -> bool:
    """Tell by Adobe's mark, else by the components' names, as decoders do."""
    if len(names) != 3:
        return len(names) == 1
    return adobe[11] != 0 if len(adobe) >= 12 else bytes(names) != b"RGB"


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 2
    while True:
        if data[position] != 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if marker in (_SCAN, _END):
            return
        if marker in (0x00, 0xFF) or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        size = int.from_bytes(data[position + 2 : position + 4])
        yield marker, data[position + 4 : position + 2 + size]
        position += 2 + max(2, size)


def _tables(body: bytes) -> dict[int, Ints]:
    tables, position = {}, 0
    while position < len(body):
        kind, width = body[position] & 15, 1 + (body[position] >> 4)
        values = np.frombuffer(body, ">u1" if width == 1 else ">u2", 64, position + 1)
        tables[kind] = np.empty(64, np.int64)
        tables[kind][_ZIGZAG_64] = values
        position += 1 + 64 * width
    return tables
