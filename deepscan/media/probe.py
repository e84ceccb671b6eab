"""What a file is, from its content: its format, the facts of its header and its packets, the limits.

Nothing looks at the file's extension, and nothing is decoded before the limits are checked. Of pictures
nothing is decoded at all; of a clip one frame, which knows the way up.
"""

import contextlib
import dataclasses
import hashlib
import io
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from deepscan.errors import CorruptMediaError, MediaTooLargeError, UnsupportedMediaError
from deepscan.media import container
from deepscan.media.animation import delays_s
from deepscan.media.signatures import Format, sniff
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
    struct.error,
    zlib.error,
    UserWarning,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
_MISSING_S = 0.5
"""A clip that ends so much before what its header promises was cut; less is rounding and padding."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is refused before it is decoded.

    Attributes:
        max_bytes: Largest file.
        max_pixels: Largest width times height.
        max_side_px: Longest side.
        max_duration_s: Longest clip or sound.
        max_animation_frames: Most frames of an animation (GIF, WebP, PNG): to see one, all that come before
            it must be decoded.
        max_animation_pixels: Largest width times height times frames of an animation.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    max_side_px: int = 20_000
    max_duration_s: float = 4 * 3600.0
    max_animation_frames: int = 20_000
    max_animation_pixels: int = 4_000_000_000


def probe(data: bytes, name: str, limits: Limits | None = None) -> MediaFacts:
    """Read a file's facts and check them against the limits.

    Durations come from the packets, because headers may not know them or promise more than there is.

    Args:
        data: The whole file.
        name: File name; folders are dropped.
        limits: What to refuse; None = the defaults of ``Limits``.

    Raises:
        MediaError: The file is empty, unsupported, too large or has a broken header; each case has
            its own subclass.
    """
    limits = limits or Limits()
    name = bare_name(name)
    check_bytes(len(data), name, limits)
    known = sniff(data, name)
    read = _read_picture if known.open else _read_clip
    return MediaFacts(
        name=name,
        container=known.name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        **read(data, name, known, limits),
    )


def bare_name(name: str) -> str:
    """Return the name of a file without its folders."""
    # The Windows flavour splits at both kinds of slash, and uploads name files in either.
    return pathlib.PureWindowsPath(name).name or "unnamed"


def _read_picture(data: bytes, name: str, known: Format, limits: Limits) -> dict[str, Any]:
    with opened(data, name) as picture:
        size_px = picture.size
        turned = orientation(data, picture) in _SIDEWAYS
    _check_size(size_px, name, limits)
    facts: dict[str, Any] = {"kind": "image"} | _upright_size(size_px, turned=turned)
    if moving := delays_s(data):
        _check_duration(sum(moving), name, limits)
        _check_animation(size_px, len(moving), name, limits)
        facts["duration_s"] = sum(moving)
    return facts


def _read_clip(data: bytes, name: str, known: Format, limits: Limits) -> dict[str, Any]:
    with container.open_container(data, name) as clip:
        pictures, sound = container.picture_track(clip), container.sound_track(clip)
        size_px = (pictures.width, pictures.height) if pictures else None
        if size_px:
            _check_size(size_px, name, limits)
        promised_s = (clip.duration or 0) / 1e6 if known.tells_duration else 0.0
        spans = container.spans(clip)
        shown, heard = (spans.get(each.index) if each else None for each in (pictures, sound))
    if not spans:
        msg = f"{name!r} is {known.name} but holds neither pictures nor sound that deepscan can decode."
        raise UnsupportedMediaError(msg)
    duration_s = max(each.end_s for each in spans.values()) - min(each.begin_s for each in spans.values())
    _check_duration(duration_s, name, limits)
    facts: dict[str, Any] = {"kind": "audio", "duration_s": duration_s, "has_sound": heard is not None}
    if promised_s - duration_s > _MISSING_S:
        note = f"The file ends after {duration_s:.1f} s of the {promised_s:.1f} s its header promises."
        facts["notes"] = (note,)
    if shown and size_px:
        facts |= {"kind": "video"} | _upright_size(size_px, turned=_way_up(data, name) in _SIDEWAYS)
    return facts


def _way_up(data: bytes, name: str) -> int:
    # Opened anew, because not every container can be read from its begin again.
    with container.open_container(data, name) as clip:
        track = container.picture_track(clip)
        frame = container.first_frame(clip, track) if track else None
        return container.orientation(frame) if frame else 1


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
    known = sniff(data, name)
    if known.open is None:
        msg = f"{name!r} is no still picture but {known.name}; take its frames or its sound."
        raise UnsupportedMediaError(msg)
    try:
        with known.open(io.BytesIO(data)) as picture:
            if picture.mode not in MODES:
                msg = (
                    f"{name!r} stores pixels as {picture.mode!r}, where black and white are not agreed; "
                    "convert it to 8 or 16 bits a sample, grey, RGB or CMYK."
                )
                raise UnsupportedMediaError(msg)
            yield picture
    except MemoryError as error:
        msg = f"{name!r} takes more memory than there is; shrink it, or give the program more."
        raise MediaTooLargeError(msg) from error
    except _BOMB as error:
        msg = f"{name!r} declares more pixels than can be decoded safely ({error}); shrink it."
        raise MediaTooLargeError(msg) from error
    except _BROKEN as error:
        msg = (
            f"{name!r} begins like {known.name} but does not decode ({error}): it is truncated, "
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


def _check_duration(duration_s: float, name: str, limits: Limits) -> None:
    if duration_s > limits.max_duration_s:
        msg = (
            f"{name!r} runs for {duration_s:.0f} s; at most {limits.max_duration_s:.0f} s are read. "
            "Cut out the part in question, or raise max_duration_s."
        )
        raise MediaTooLargeError(msg)


def _check_animation(size_px: tuple[int, int], frames: int, name: str, limits: Limits) -> None:
    if frames > limits.max_animation_frames:
        msg = (
            f"{name!r} has {frames} frames; at most {limits.max_animation_frames} of an animation are read. "
            "Cut out the part in question, convert it to MP4, or raise max_animation_frames."
        )
        raise MediaTooLargeError(msg)
    if (pixels := size_px[0] * size_px[1] * frames) > limits.max_animation_pixels:
        msg = (
            f"{name!r} has {pixels} pixels in its {frames} frames; at most {limits.max_animation_pixels} are "
            "decoded of an animation. Shrink it, convert it to MP4, or raise max_animation_pixels."
        )
        raise MediaTooLargeError(msg)


def _upright_size(size_px: tuple[int, int], *, turned: bool) -> dict[str, int]:
    width_px, height_px = reversed(size_px) if turned else size_px
    return {"width_px": width_px, "height_px": height_px}


def _check_size(size_px: tuple[int, int], name: str, limits: Limits) -> None:
    width_px, height_px = size_px
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
