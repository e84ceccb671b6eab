"""EXIF: what a camera or a program wrote of a picture, and the small preview that it kept.

A TIFF structure (CIPA DC-008) of offsets that a stranger chose: each is checked, each directory is read once,
and no value longer than ``_LONGEST_BYTES`` is looked at.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import NamedTuple

from deepscan.media.chunks import LONGEST_TEXT, in_words

_MOST_ENTRIES = 512
_LONGEST_BYTES = 2**20
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 129: 1}
_NUMBERS = {1: "B", 3: "H", 4: "I", 9: "i"}
_FRACTIONS = {5: "II", 10: "ii"}
_UTF16 = frozenset({0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F})
_TEXTS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x013C: "HostComputer",
    0x8298: "Copyright",
    0x9003: "DateTimeOriginal",
    0x9004: "DateTimeDigitized",
    0x9286: "UserComment",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9D: "XPAuthor",
    0x9C9E: "XPKeywords",
    0x9C9F: "XPSubject",
    0xA433: "LensMake",
    0xA434: "LensModel",
}
_FIGURES = {
    0x0112: "Orientation",
    0x829A: "ExposureTime",
    0x829D: "FNumber",
    0x8827: "ISO",
    0x920A: "FocalLength",
    0xA002: "PixelXDimension",
    0xA003: "PixelYDimension",
}
_EXIF, _GPS, _MAKER_NOTE, _XMP, _IPTC = 0x8769, 0x8825, 0x927C, 0x02BC, 0x83BB
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exif:
    """What EXIF says.

    Attributes:
        texts: Texts by the names of the standard.
        figures: Numbers by the names of the standard.
        located: Whether there is a position; where it is, is not read.
        maker_note: Whether there are notes in a maker's own format.
        thumbnail: The embedded preview, a JPEG file; empty = none.
        xmp: XMP that a TIFF file keeps in a field.
        iptc: IPTC that a TIFF file keeps in a field.
        entries: How many fields the directories hold.
    """

    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    located: bool = False
    maker_note: bool = False
    thumbnail: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    entries: int = 0


class _Field(NamedTuple):
    tag: int
    kind: int
    raw: bytes


def read_exif(tiff: bytes) -> Exif:
    """Read EXIF from a TIFF structure; what is damaged is left out, so that nothing is raised.

    Args:
        tiff: From the byte order mark on; ``Exif`` and two NULs before it do no harm.
    """
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return Exif()
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    main = {field.tag: field for field in _fields(tiff, order, first)}
    camera = {field.tag: field for field in _fields(tiff, order, _offset(main.get(_EXIF), order))}
    preview = {field.tag: field for field in _fields(tiff, order, _next(tiff, order, first))}
    gps = list(_fields(tiff, order, _offset(main.get(_GPS), order)))
    fields = main | camera
    return Exif(
        texts={name: text for tag, name in _TEXTS.items() if (text := _text(fields.get(tag)))},
        figures={
            name: value
            for tag, name in _FIGURES.items()
            if (value := _figure(fields.get(tag), order)) is not None
        },
        located=any(1 <= field.tag <= 4 for field in gps),
        maker_note=_MAKER_NOTE in camera,
        thumbnail=_thumbnail(tiff, preview, order),
        xmp=_raw(main.get(_XMP)),
        iptc=_raw(main.get(_IPTC)),
        entries=len(main) + len(camera) + len(gps),
    )


def _fields(tiff: bytes, order: str, at: int) -> Iterator[_Field]:
    if not 8 <= at <= len(tiff) - 2:
        return
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for number in range(min(count, _MOST_ENTRIES)):
        entry = at + 2 + 12 * number
        if entry + 12 > len(tiff):
            return
        tag, kind, length = struct.unpack_from(order + "HHI", tiff, entry)
        size = _SIZES.get(kind, 0) * length
        (start,) = (entry + 8,) if size <= 4 else struct.unpack_from(order + "I", tiff, entry + 8)
        if 0 < size <= _LONGEST_BYTES and start + size <= len(tiff):
            yield _Field(tag, kind, tiff[start : start + size])


def _next(tiff: bytes, order: str, at: int) -> int:
    """Return where the second directory begins, which is that of the preview; 0 = there is none."""
    if not 8 <= at <= len(tiff) - 2:
        return 0
    (count,) = struct.unpack_from(order + "H", tiff, at)
    end = at + 2 + 12 * count
    return int(struct.unpack_from(order + "I", tiff, end)[0]) if end + 4 <= len(tiff) else 0


def _offset(field: _Field | None, order: str) -> int:
    return int(_figure(field, order) or 0)


def _figure(field: _Field | None, order: str) -> float | None:
    if field is None:
        return None
    if field.kind in _NUMBERS:
        return float(struct.unpack_from(order + _NUMBERS[field.kind], field.raw)[0])
    if field.kind in _FRACTIONS:
        over, under = struct.unpack_from(order + _FRACTIONS[field.kind], field.raw)
        return over / under if under else None
    return None


def _text(field: _Field | None) -> str:
    if field is None or field.kind not in (1, 2, 7, 129):
        return ""
    raw = field.raw[: 2 * LONGEST_TEXT]
    if field.tag in _UTF16:
        return raw.decode("utf-16-le", "replace").strip("\0 ")
    code = raw[:8]
    if code == b"UNICODE\0":
        return _utf16(raw[8:]).strip("\0 ")
    if code in (b"ASCII\0\0\0", b"\0" * 8):
        raw = raw[8:]
    return in_words(raw).strip()


def _utf16(raw: bytes) -> str:
    # The standard leaves the byte order open: the zeros of Latin letters tell.
    big = raw[0::2].count(0) >= raw[1::2].count(0)
    return raw.decode("utf-16-be" if big else "utf-16-le", "replace")


def _raw(field: _Field | None) -> bytes:
    return field.raw if field else b""


def _thumbnail(tiff: bytes, preview: dict[int, _Field], order: str) -> bytes:
    start = _offset(preview.get(_THUMBNAIL), order)
    length = _offset(preview.get(_THUMBNAIL_BYTES), order)
    if not (start >= 8 and 0 < length <= _LONGEST_BYTES and start + length <= len(tiff)):
        return b""
    return tiff[start : start + length]
