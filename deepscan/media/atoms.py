"""Atoms, the boxes of MP4 and QuickTime files: their order, brands, dates and names of the tracks.

The order and the names differ between cameras, editors and services (Gloe, Fischer and Kirchner, "Forensic
analysis of video file formats", Digital Investigation 2014). Sizes come from strangers and are checked.
"""

import dataclasses
import datetime
import struct
from collections.abc import Iterator
from typing import NamedTuple

from deepscan.media.chunks import in_words

_MOST_ATOMS = 4096
_DEEPEST = 6
_HOLDERS = frozenset({"moov", "trak", "mdia", "udta"})
_EPOCH = datetime.datetime(1904, 1, 1)
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_LARGEST_XMP_BYTES = 2**22
_LAYOUT = 24
"""So many atoms of the outermost level are named; fragments repeat without end."""


class Atom(NamedTuple):
    """An atom: its name, the names around it, and its payload as a view of the file."""

    name: str
    depth: int
    data: memoryview


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Movie:
    """What the atoms of a file say.

    Attributes:
        layout: Names of the outermost atoms in their order.
        brands: Major brand, then the compatible ones.
        created: When it says it was made, ``YYYY-MM-DDTHH:MM:SS``; "" = not said.
        modified: When it says it was changed last.
        handlers: What its tracks call their handlers.
        xmp: An XMP packet; empty = none.
    """

    layout: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    created: str = ""
    modified: str = ""
    handlers: tuple[str, ...] = ()
    xmp: bytes = b""


def read_movie(data: bytes) -> Movie:
    """Read what the atoms of an MP4 or QuickTime file say; damage ends the reading, nothing is raised."""
    found = list(_walk(memoryview(data)))
    dates = next((_dates(atom.data) for atom in found if atom.name == "mvhd"), ("", ""))
    handlers = [_handler(atom.data) for atom in found if atom.name == "hdlr"]
    return Movie(
        layout=tuple(atom.name for atom in found if atom.depth == 0)[:_LAYOUT],
        brands=next((_brands(atom.data) for atom in found if atom.name == "ftyp"), ()),
        created=dates[0],
        modified=dates[1],
        handlers=tuple(dict.fromkeys(filter(None, handlers))),
        xmp=next(filter(None, map(_xmp, found)), b""),
    )


def _walk(view: memoryview) -> Iterator[Atom]:
    """Yield atoms, those inside others after them, from a stack of what is left to look at."""
    pending = [(view, 0)]
    count = 0
    while pending:
        rest, depth = pending.pop()
        if len(rest) < 8 or count >= _MOST_ATOMS:
            continue
        count += 1
        size, raw = struct.unpack_from(">I4s", rest)
        begin = 8
        if size == 1 and len(rest) >= 16:
            (size,) = struct.unpack_from(">Q", rest, 8)
            begin = 16
        size = size or len(rest)
        if not begin <= size <= len(rest):
            continue
        atom = Atom(raw.decode("latin-1"), depth, rest[begin:size])
        yield atom
        pending.append((rest[size:], depth))
        if atom.name in _HOLDERS and depth < _DEEPEST:
            pending.append((atom.data, depth + 1))


def _dates(header: memoryview) -> tuple[str, str]:
    """Return when a movie header says that it was made and changed; 0 stands for nothing."""
    layout = ">4xQQ" if len(header) and header[0] == 1 else ">4xII"
    if len(header) < struct.calcsize(layout):
        return "", ""
    made, changed = struct.unpack_from(layout, header)
    return _date(made), _date(changed)


def _date(seconds: int) -> str:
    try:
        return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat() if seconds else ""
    except OverflowError:
        return ""


def _brands(data: memoryview) -> tuple[str, ...]:
    raw = bytes(data[:4]) + bytes(data[8:136])
    return tuple(dict.fromkeys(in_words(raw[at : at + 4]).strip() for at in range(0, len(raw) - 3, 4)))


def _handler(data: memoryview) -> str:
    raw = bytes(data[24:280])
    # QuickTime writes a length before the name, MP4 ends it with a NUL.
    return in_words(raw[1:] if raw[:1] and raw[0] == len(raw) - 1 else raw).strip()


def _xmp(atom: Atom) -> bytes:
    if atom.name == "XMP_":
        return bytes(atom.data[:_LARGEST_XMP_BYTES])
    if atom.name == "uuid" and atom.data[:16] == _XMP_UUID:
        return bytes(atom.data[16 : 16 + _LARGEST_XMP_BYTES])
    return b""
