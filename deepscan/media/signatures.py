"""Which formats deepscan reads, told apart by the first bytes of a file and never by its name.

A format is one row of ``FORMATS``: its signature, and who reads it. Pillow reads pictures, FFmpeg whatever
has time. Each reader is called by name for its one format, so that no content can pick another one (a
playlist that makes FFmpeg open files of its choice, for instance).
"""

import dataclasses
import io
import re
from collections.abc import Callable

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from deepscan.errors import EmptyMediaError, UnsupportedMediaError

HEAD_BYTES = 1024
"""So many bytes tell every format."""

Opener = Callable[[io.BytesIO], ImageFile]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A file format that deepscan reads.

    Attributes:
        name: Lower-case name, e.g. ``jpeg``.
        signature: Matches the first bytes of every such file and of no other format.
        open: Pillow's reader of a picture's header, called directly so that Pillow's own, global limit on
            pixels stays out of the way of ``Limits``; None where FFmpeg reads.
        demuxer: FFmpeg's name of the container; empty where Pillow reads.
        tells_duration: Whether the header says how long the content is, so that a file that was cut can
            be told from a whole one.
    """

    name: str
    signature: re.Pattern[bytes]
    open: Opener | None = None
    demuxer: str = ""
    tells_duration: bool = False


def _picture(name: str, signature: bytes, opener: Opener) -> Format:
    return Format(name=name, signature=re.compile(signature, re.DOTALL), open=opener)


def _container(name: str, signature: bytes, demuxer: str, *, tells_duration: bool = False) -> Format:
    pattern = re.compile(signature, re.DOTALL)
    return Format(name=name, signature=pattern, demuxer=demuxer, tells_duration=tells_duration)


_AVIF = rb"(?:.{4}){0,14}?avi[fs]"
_HEIF = rb"hei[cfmsvx]|hev[cmsx]|mif1|msf1"

FORMATS = (
    _picture("jpeg", rb"\xff\xd8\xff", JpegImageFile),
    _picture("png", rb"\x89PNG\r\n\x1a\n", PngImageFile),
    _picture("webp", rb"RIFF.{4}WEBPVP8[ LX]", WebPImageFile),
    _picture("bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", BmpImageFile),
    _picture("tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+", TiffImageFile),
    _picture("gif", rb"GIF8[79]a", GifImageFile),
    _picture("avif", rb".{4}ftyp" + _AVIF, AvifImageFile),
    _container(
        "mp4",
        rb".{4}(?:ftyp(?!" + _AVIF + rb"|" + _HEIF + rb")|moov|mdat|wide|pnot)",
        "mov",
        tells_duration=True,
    ),
    _container("matroska", rb"\x1a\x45\xdf\xa3", "matroska", tells_duration=True),
    _container("avi", rb"RIFF.{4}AVI ", "avi", tells_duration=True),
    _container("flv", rb"FLV\x01", "flv", tells_duration=True),
    _container("asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", tells_duration=True),
    _container("mpeg-ts", rb"(?:.{4})?G.{187}G.{187}G|.{4}G.{191}G.{191}G", "mpegts"),
    _container("mpeg-ps", rb"\0\0\x01\xba", "mpeg"),
    _container("wav", rb"(?:RIFF|RF64).{4}WAVE", "wav", tells_duration=True),
    _container("mp3", rb"ID3|\xff[\xe2\xe3\xf2-\xf5\xfa-\xfd]", "mp3"),
    _container("aac", rb"\xff[\xf0\xf1\xf8\xf9]", "aac"),
    _container("ogg", rb"OggS", "ogg"),
    _container("flac", rb"fLaC", "flac", tells_duration=True),
    _container("amr", rb"#!AMR", "amr"),
    _container("aiff", rb"FORM.{4}AIF[FC]", "aiff", tells_duration=True),
    _container("caf", rb"caff\0\x01", "caf"),
    _container("au", rb"\.snd", "au"),
)

_LOOKALIKES = (
    (re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE), "a web page"),
    (re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE), "XML or SVG"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"Rar!|7z\xbc\xaf|\x1f\x8b"), "an archive"),
    (re.compile(rb".{4}ftyp(" + _HEIF + rb")", re.DOTALL), "a HEIC picture"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "a JPEG XL picture"),
    (re.compile(rb"MThd"), "a MIDI file"),
    (re.compile(rb"\.RMF|\.ra\xfd"), "RealMedia"),
    (re.compile(rb"#EXTM3U|\[playlist\]"), "a playlist"),
    (re.compile(rb"[\t\n\f\r\x20-\x7e\x80-\xff]+\Z"), "plain text"),
)


def sniff(data: bytes, name: str) -> Format:
    """Return the format of the content.

    Args:
        data: The whole file, or at least its first ``HEAD_BYTES``.
        name: File name, for messages only.

    Raises:
        EmptyMediaError: There are no bytes.
        UnsupportedMediaError: The content is of no format in ``FORMATS``.
    """
    if not data:
        msg = f"{name!r} is empty (0 bytes); give a file that holds a picture, moving pictures or sound."
        raise EmptyMediaError(msg)
    for known in FORMATS:
        if known.signature.match(data):
            return known
    msg = (
        f"The content of {name!r} looks like {_describe(data[:256])}, whatever its name says; deepscan "
        f"reads {', '.join(known.name for known in FORMATS)}. Convert it to one of these."
    )
    raise UnsupportedMediaError(msg)


def _describe(head: bytes) -> str:
    return next((words for pattern, words in _LOOKALIKES if pattern.match(head)), "no known format")
