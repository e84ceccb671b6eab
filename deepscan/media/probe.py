"""What a file is, from its content: the format by its first bytes, the header's facts, the limits.

Nothing here decodes pixels and nothing looks at the file's extension. A container is one row of
``FORMATS``; its ``kind`` says what it holds and its ``open`` reads the header.
"""

import contextlib
import dataclasses
import hashlib
import io
import pathlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from deepscan.errors import CorruptMediaError, EmptyMediaError, MediaTooLargeError, UnsupportedMediaError
from deepscan.media.container import opened as open_container
from deepscan.verdict import MediaFacts

MODES = frozenset(
    {
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBX",
        "RGBA",
        "RGBa",
        "CMYK",
        "YCbCr",
        "I;16",
        "I;16L",
        "I;16B",
        "I;16N",
    }
)
"""Pillow's names of the pixel layouts that have an agreed black and white, so that they become RGB."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    UserWarning,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})


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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A container that deepscan reads.

    Attributes:
        name: Lower-case name, e.g. ``jpeg``.
        kind: What it holds.
        signature: Matches the first bytes of every such file and of no other.
        open: Reads the header; called directly, so that no other reader ever sees the bytes and
            Pillow's own, global limit on pixels stays out of the way of ``Limits``.
    """

    name: str
    kind: str
    signature: re.Pattern[bytes]
    open: Callable[[io.BytesIO], ImageFile]


def _picture(name: str, signature: bytes, opener: Callable[[io.BytesIO], ImageFile]) -> Format:
    return Format(name=name, kind="image", signature=re.compile(signature, re.DOTALL), open=opener)


FORMATS = (
    _picture("jpeg", rb"\xff\xd8\xff", JpegImageFile),
    _picture("png", rb"\x89PNG\r\n\x1a\n", PngImageFile),
    _picture("webp", rb"RIFF.{4}WEBPVP8[ LX]", WebPImageFile),
    _picture("bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", BmpImageFile),
    _picture("tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+", TiffImageFile),
    _picture("gif", rb"GIF8[79]a", GifImageFile),
    _picture("avif", rb".{4}ftyp(?:.{4}){0,14}?avi[fs]", AvifImageFile),
)

CONTAINERS = (
    ("mp4", re.compile(rb".{4}ftyp", re.DOTALL)),
    ("matroska", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("avi", re.compile(rb"RIFF.{4}AVI ", re.DOTALL)),
    ("wav", re.compile(rb"RIFF.{4}WAVE", re.DOTALL)),
    ("mp3", re.compile(rb"ID3|\xff[\xf2-\xfb]")),
    ("ogg", re.compile(rb"OggS")),
    ("flac", re.compile(rb"fLaC")),
)
"""Containers that FFmpeg opens, by their first bytes."""

_LOOKALIKES = (
    (re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE), "a web page"),
    (re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE), "XML or SVG"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb".{4}ftyp(heic|heix|hevc|mif1)", re.DOTALL), "a HEIC picture"),
    (re.compile(rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", re.DOTALL), "a film"),
    (re.compile(rb"RIFF.{4}WAVE|ID3|OggS|fLaC|\xff[\xf2-\xfb]", re.DOTALL), "a sound file"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"[\t\n\f\r\x20-\x7e\x80-\xff]+\Z"), "plain text"),
)


def sniff(data: bytes, name: str) -> Format:
    """Return the format of the content.

    Args:
        data: The whole file, or at least its first 64 bytes.
        name: File name, for messages only.

    Raises:
        EmptyMediaError: There are no bytes.
        UnsupportedMediaError: The content is of no format in ``FORMATS``.
    """
    if not data:
        msg = f"{name!r} is empty (0 bytes); give a file that holds a picture."
        raise EmptyMediaError(msg)
    for known in FORMATS:
        if known.signature.match(data):
            return known
    msg = (
        f"The content of {name!r} looks like {_describe(data[:256])}, whatever its name says; deepscan "
        f"reads {', '.join(known.name for known in FORMATS)}. Convert it to one of these."
    )
    raise UnsupportedMediaError(msg)


def probe(data: bytes, name: str, limits: Limits | None = None) -> MediaFacts:
    """Read a file's facts from its header and check them against the limits.

    Args:
        data: The whole file.
        name: File name; folders are dropped.
        limits: What to refuse; None = the defaults of ``Limits``.

    Raises:
        MediaError: The file is empty, unsupported, too large or has a broken header; each case has
            its own subclass.
    """
    limits = limits or Limits()
    # The Windows flavour splits at both kinds of slash, and uploads name files in either.
    name = pathlib.PureWindowsPath(name).name or "unnamed"
    check_bytes(len(data), name, limits)
    still = any(known.signature.match(data) for known in FORMATS)
    timed = None if still else next((kind for kind, signature in CONTAINERS if signature.match(data)), None)
    if timed:
        return _probe_timed(data, name, timed)
    container = sniff(data, name)
    with opened(data, name) as picture:
        width_px, height_px = picture.size
        turned = orientation(data, picture) in _SIDEWAYS
    _check_size(width_px, height_px, name, limits)
    if turned:
        width_px, height_px = height_px, width_px
    return MediaFacts(
        name=name,
        kind=container.kind,
        container=container.name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        width_px=width_px,
        height_px=height_px,
    )


def _probe_timed(data: bytes, name: str, kind: str) -> MediaFacts:
    with open_container(data, name) as container:
        pictures, sounds = container.streams.video, container.streams.audio
        return MediaFacts(
            name=name,
            kind="video" if pictures else "audio",
            container=kind,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width_px=pictures[0].width if pictures else None,
            height_px=pictures[0].height if pictures else None,
            duration_s=(container.duration or 0) / 1e6,
            has_sound=bool(sounds),
        )


def check_bytes(size_bytes: int, name: str, limits: Limits) -> None:
    """Check a file's size, which is known before the file is read.

    Raises:
        MediaTooLargeError: The file is larger than ``limits.max_bytes``.
    """
    if size_bytes > limits.max_bytes:
        msg = (
            f"{name!r} has {size_bytes} bytes; at most {limits.max_bytes} are read. "
            "Compress or shrink it, or raise max_bytes."
        )
        raise MediaTooLargeError(msg)


@contextlib.contextmanager
def opened(data: bytes, name: str) -> Iterator[ImageFile]:
    """Open a picture's header and turn whatever Pillow raises inside the block into a MediaError.

    The block may load the pixels; it should do little else, because errors of its own would be
    taken for errors of the file.

    Raises:
        MediaError: The content is unsupported, too large or broken.
    """
    container = sniff(data, name)
    try:
        with container.open(io.BytesIO(data)) as picture:
            if picture.mode not in MODES:
                msg = (
                    f"{name!r} stores pixels as {picture.mode!r}, where black and white are not agreed; "
                    "convert it to 8 or 16 bits a sample, grey, RGB or CMYK."
                )
                raise UnsupportedMediaError(msg)
            yield picture
    except _BOMB as error:
        msg = f"{name!r} declares more pixels than can be decoded safely ({error}); shrink it."
        raise MediaTooLargeError(msg) from error
    except _BROKEN as error:
        msg = (
            f"{name!r} begins like {container.name} but does not decode ({error}): it is truncated, "
            "damaged or of a rare kind. Get a complete copy or convert it."
        )
        raise CorruptMediaError(msg) from error


def orientation(data: bytes, picture: ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8, that still has to be applied to an opened picture's pixels.

    Damaged EXIF data counts as none, because the pixels are sound. TIFF always gives 1: Pillow
    turns these pictures itself, as their orientation belongs to the format and not to EXIF.
    """
    if isinstance(picture, TiffImageFile):
        return 1
    exif = _png_exif(data) if isinstance(picture, PngImageFile) else picture.info.get("exif", b"")
    try:
        value = _exif_orientation(exif.removeprefix(b"Exif\0\0"))
    except (struct.error, KeyError):
        return 1
    return value if 1 <= value <= 8 else 1


def _exif_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (offset,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, value = struct.unpack_from(order + "H6xH", tiff, entry)
        if tag == _ORIENTATION_TAG:
            return int(value)
    return 1


def _png_exif(data: bytes) -> bytes:
    """Find EXIF in a PNG by its chunks: where it follows the pixels, Pillow must decode these to see it."""
    at = 8
    while at + 8 <= len(data):
        length, chunk = struct.unpack_from(">I4s", data, at)
        if chunk == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _check_size(width_px: int, height_px: int, name: str, limits: Limits) -> None:
    if min(width_px, height_px) < 1:
        msg = f"{name!r} declares a picture of {width_px}x{height_px} px; get a sound copy of it."
        raise CorruptMediaError(msg)
    if max(width_px, height_px) > limits.max_side_px:
        msg = (
            f"{name!r} is {width_px}x{height_px} px; no side may exceed {limits.max_side_px} px. "
            "Shrink or crop it, or raise max_side_px."
        )
        raise MediaTooLargeError(msg)
    if width_px * height_px > limits.max_pixels:
        msg = (
            f"{name!r} is {width_px}x{height_px} px; at most {limits.max_pixels} pixels are decoded. "
            "Shrink it, or raise max_pixels."
        )
        raise MediaTooLargeError(msg)


def _describe(head: bytes) -> str:
    return next((words for pattern, words in _LOOKALIKES if pattern.match(head)), "no known format")
