"""The pieces of a file beside its pixels: segments of JPEG, chunks of PNG and RIFF, those that hold texts.

Files come from strangers: every length is checked against what is there, a piece that reaches beyond the
end is left out, and nothing is unpacked further than ``LONGEST_TEXT`` characters.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

MOST_CHUNKS = 2**14
LONGEST_TEXT = 2**17
"""Characters of a text that are read; whole workflows of generators fit, bombs do not."""

_LONGEST_BYTES = 2**20

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = frozenset({"tEXt", "zTXt", "iTXt"})
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_END_OF_IMAGE, _START_OF_SCAN, _COMMENT = 0xD9, 0xDA, 0xFE


class Chunk(NamedTuple):
    """A named piece of a file.

    Attributes:
        name: ``APP1``, ``COM`` and so on of JPEG, else the four characters of the file.
        data: Its payload, uint8 [N], a view of the file.
    """

    name: str
    data: memoryview


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the pieces of JPEG (up to the pixels), PNG or RIFF, at most ``MOST_CHUNKS``; of others none."""
    view = memoryview(data)
    if data.startswith(b"\xff\xd8"):
        found = _segments(view)
    elif data.startswith(_PNG):
        found = _records(view, 8, ">I4s", trailer=4)
    elif data.startswith((b"RIFF", b"RF64")):
        found = _records(view, 12, "<4sI", trailer=0)
    else:
        return
    for _, chunk in zip(range(MOST_CHUNKS), found, strict=False):
        yield chunk


def texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield what PNG text chunks and JPEG comments say, as key and text."""
    for chunk in chunks(data):
        if chunk.name in _TEXTS and (said := _png_text(chunk)):
            yield said
        elif chunk.name == "COM":
            yield "comment", in_words(bytes(chunk.data[:LONGEST_TEXT]))


def in_words(raw: bytes) -> str:
    """Return bytes as text: UTF-8, else Latin-1; it ends at the first NUL."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _segments(view: memoryview) -> Iterator[Chunk]:
    at = 2
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker == 0xFF or marker in _BARE_MARKERS:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", view, at + 2)
        if marker in (_START_OF_SCAN, _END_OF_IMAGE) or length < 2 or at + 2 + length > len(view):
            return
        name = "COM" if marker == _COMMENT else f"APP{marker - 0xE0}" if 0xE0 <= marker <= 0xEF else ""
        yield Chunk(name, view[at + 4 : at + 2 + length])
        at += 2 + length


def _records(view: memoryview, at: int, layout: str, *, trailer: int) -> Iterator[Chunk]:
    """Yield chunks of a length and a name each; those of RIFF are padded to an even length."""
    riff = layout.startswith("<")
    while at + 8 <= len(view):
        first, second = struct.unpack_from(layout, view, at)
        name, length = (first, second) if riff else (second, first)
        if at + 8 + length > len(view):
            return
        yield Chunk(name.decode("latin-1"), view[at + 8 : at + 8 + length])
        at += 8 + length + trailer + (length % 2 if riff else 0)


def _png_text(chunk: Chunk) -> tuple[str, str] | None:
    """Read a text chunk (ISO/IEC 15948, 11.3.3); None where it is damaged."""
    key, _, rest = bytes(chunk.data[:_LONGEST_BYTES]).partition(b"\0")
    packed = chunk.name == "zTXt"
    if chunk.name == "iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = b"".join(rest.split(b"\0", 2)[2:])
    elif packed:
        rest = rest[1:]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, LONGEST_TEXT)
        except zlib.error:
            return None
    return in_words(key[:80]), in_words(rest[:LONGEST_TEXT])
