"""What a file carries beside its content, wherever its format keeps it: EXIF, XMP, IPTC, texts, tags."""

import dataclasses
import itertools

from deepscan.errors import MediaError
from deepscan.media.atoms import Movie, read_movie
from deepscan.media.chunks import LONGEST_TEXT, Chunk, chunks, in_words, texts
from deepscan.media.container import open_container
from deepscan.media.exif import Exif, read_exif
from deepscan.media.iptc import iptc_of, read_iptc, resources
from deepscan.media.probe import opened
from deepscan.media.signatures import sniff
from deepscan.media.source import Media
from deepscan.media.xmp import Properties, read_xmp

_XMP_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
_MOST_TEXTS = 64
_OF_IPTC = frozenset({0x0404, 0x0425})
"""Resources of IPTC and of its digest, which others than Photoshop write too."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """What a file carries.

    Attributes:
        exif: EXIF.
        xmp: Properties of XMP; of JPEG those of the main packet.
        iptc: Texts of IPTC by name.
        texts: Keys and texts of chunks, comments and tags of the container, in their order.
        movie: What the atoms of MP4 or QuickTime say.
        photoshop: How many resources Photoshop left besides IPTC.
    """

    exif: Exif
    xmp: Properties
    iptc: dict[str, str]
    texts: tuple[tuple[str, str], ...]
    movie: Movie
    photoshop: int


def embedded(media: Media) -> Embedded:
    """Read what a file carries; what is damaged is left out.

    Raises:
        MediaError: The file does not open.
    """
    data, name = media.data, media.facts.name
    known = sniff(data, name)
    movie = read_movie(data) if known.name == "mp4" else Movie()
    if known.demuxer:
        said, exif_raw, xmp_raw, photoshop = _tags(data, name), b"", movie.xmp, b""
    else:
        exif_raw, xmp_raw, photoshop = _of_picture(data, name, known.name)
        said = [*itertools.islice(texts(data), _MOST_TEXTS)]
    exif = read_exif(exif_raw)
    xmp_raw = xmp_raw or exif.xmp or _xmp_among(said)
    return Embedded(
        exif=exif,
        xmp=read_xmp(xmp_raw) if xmp_raw else {},
        iptc=read_iptc(iptc_of(photoshop) or exif.iptc),
        texts=tuple(pair for pair in said if pair[0] != _XMP_KEY),
        movie=movie,
        photoshop=sum(number not in _OF_IPTC for number, _ in resources(photoshop)),
    )


_XMP_KEY = "XML:com.adobe.xmp"


def _of_picture(data: bytes, name: str, container: str) -> tuple[bytes, bytes, bytes]:
    """Return EXIF, XMP and Photoshop's segment of a still picture, each empty where there is none."""
    if container == "tiff":
        return data, b"", b""
    if container in ("avif", "gif"):
        return _by_pillow(data, name)
    pieces = list(chunks(data))
    exif = _first(pieces, {"APP1": b"Exif\0\0", "eXIf": b"", "EXIF": b""})
    xmp = _first(pieces, {"APP1": _XMP_SIGNATURE, "XMP ": b""})
    return exif, xmp, _photoshop(pieces)


def _first(pieces: list[Chunk], begins: dict[str, bytes]) -> bytes:
    """Return the payload of the first piece of one of these names and begins, without the begin."""
    for name, data in pieces:
        begin = begins.get(name)
        if begin is not None and data[: len(begin)] == begin:
            return bytes(data[len(begin) :])
    return b""


def _photoshop(pieces: list[Chunk]) -> bytes:
    return next((bytes(data) for name, data in pieces if name == "APP13"), b"")


def _by_pillow(data: bytes, name: str) -> tuple[bytes, bytes, bytes]:
    with opened(data, name) as picture:
        exif, xmp = (picture.info.get(key, b"") for key in ("exif", "xmp"))
    return (exif if isinstance(exif, bytes) else b"", xmp if isinstance(xmp, bytes) else b"", b"")


def _xmp_among(said: list[tuple[str, str]]) -> bytes:
    return next((text.encode() for key, text in said if key == _XMP_KEY), b"")


def _tags(data: bytes, name: str) -> list[tuple[str, str]]:
    """Return the tags of a container and of its tracks, those of tracks with their number."""
    try:
        with open_container(data, name) as clip:
            found = [*clip.metadata.items()]
            for stream in clip.streams:
                found += [(f"{stream.index}.{key}", text) for key, text in stream.metadata.items()]
    except MediaError:
        return []
    return [(key[:80], in_words(text[:LONGEST_TEXT].encode("utf-8", "replace"))) for key, text in found][
        :_MOST_TEXTS
    ]
