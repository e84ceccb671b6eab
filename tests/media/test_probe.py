"""Probing: the format by content, facts without decoding, limits before decoding."""

import hashlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from deepscan.errors import CorruptMediaError, EmptyMediaError, MediaTooLargeError, UnsupportedMediaError
from deepscan.media.probe import Limits, opened, probe
from deepscan.media.signatures import FORMATS, sniff

NAMES = [known.name for known in FORMATS if known.open]


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width_px: int, height_px: int) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0"))


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(self):
        pytest.fail("pixels were decoded")

    for known in FORMATS:
        if known.open:
            monkeypatch.setattr(known.open, "load", refuse)
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("name", NAMES)
def test_facts_come_from_the_header_whatever_the_extension(encode, name):
    data = encode(name)
    facts = probe(data, "holiday.mp3")
    assert (facts.container, facts.kind, facts.width_px, facts.height_px) == (name, "image", 60, 40)
    assert (facts.bytes, facts.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_picture(rotated, name, orientation):
    facts = probe(rotated(name, orientation), "a")
    assert (facts.width_px, facts.height_px) == ((40, 60) if orientation >= 5 else (60, 40))


@pytest.mark.usefixtures("no_decoding")
def test_png_orientation_behind_the_pixels_counts(encode):
    plain = encode("png")
    exif = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    end = png_chunk(b"IEND", b"")
    facts = probe(plain.removesuffix(end) + png_chunk(b"eXIf", exif) + end, "a.png")
    assert (facts.width_px, facts.height_px) == (40, 60)


@pytest.mark.parametrize("exif", [b"", b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\x00\x05"])
def test_damaged_exif_counts_as_none(encode, exif):
    assert probe(encode("png", exif=exif) if exif else encode("png"), "a.png").width_px == 60


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_outside_one_to_eight_counts_as_none(rotated, orientation):
    assert probe(rotated("jpeg", orientation), "a.jpg").width_px == 60


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a/b/c.png", "c.png"),
        ("C:\\x\\c.png", "c.png"),
        ("", "unnamed"),
    ],
)
def test_name_loses_its_folders(encode, given, kept):
    assert probe(encode("png"), given).name == kept


def test_empty_file():
    with pytest.raises(EmptyMediaError, match=r"'a\.jpg' is empty \(0 bytes\); give"):
        probe(b"", "a.jpg")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"I am no picture.\n", "plain text"),
        ("Grüße".encode(), "plain text"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"<svg xmlns='x'/>", "XML or SVG"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"PK\x03\x04\x14\0", "a ZIP archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"Rar!\x1a\7\0", "an archive"),
        (b"MThd\0\0\0\6", "a MIDI file"),
        (b"#EXTM3U\n", "a playlist"),
        (b"\x00\x01\x02\x03", "no known format"),
    ],
)
def test_foreign_content_is_named_and_the_readable_formats_are_listed(content, words):
    with pytest.raises(UnsupportedMediaError, match=f"'photo.jpg' looks like {words}") as caught:
        probe(content, "photo.jpg")
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_matches_one_signature_only(encode, name):
    data = encode(name)
    assert [known.name for known in FORMATS if known.signature.match(data)] == [name]
    assert sniff(data[:64], "a").name == name


def test_bytes_are_limited(encode):
    data = encode("png")
    assert probe(data, "a.png", Limits(max_bytes=len(data))).bytes == len(data)
    with pytest.raises(MediaTooLargeError, match=rf"has {len(data)} bytes; at most {len(data) - 1} are read"):
        probe(data, "a.png", Limits(max_bytes=len(data) - 1))


@pytest.mark.usefixtures("no_decoding")
def test_decompression_bomb_is_refused_by_its_header():
    with pytest.raises(MediaTooLargeError, match="20000x20000 px; at most 100000000 pixels"):
        probe(png_header(20_000, 20_000), "bomb.png")


@pytest.mark.usefixtures("no_decoding")
def test_side_is_limited():
    with pytest.raises(MediaTooLargeError, match="1x20001 px; no side may exceed 20000 px"):
        probe(png_header(1, 20_001), "thread.png")


def test_own_limits_replace_those_of_pillow(encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert [probe(encode(name), "a").width_px for name in NAMES] == [60] * len(NAMES)


def test_bomb_that_pillow_finds_itself_is_too_large(encode):
    data = bytearray(encode("gif"))
    frame = data.index(b"\x2c\0\0\0\0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(MediaTooLargeError, match="more pixels than can be decoded safely"):
        probe(bytes(data), "a.gif")


def test_picture_without_area_is_corrupt():
    with pytest.raises(CorruptMediaError):
        probe(png_header(0, 5), "a.png")


@pytest.mark.parametrize("name", NAMES)
def test_header_that_breaks_off_is_corrupt(encode, name):
    with pytest.raises(CorruptMediaError, match=f"'a.bin' begins like {name} but does not decode"):
        probe(encode(name)[: 24 if name != "gif" else 12], "a.bin")


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_without_an_agreed_white_are_unsupported(encode, dtype):
    with pytest.raises(UnsupportedMediaError, match="black and white are not agreed; convert it to 8 or 16"):
        probe(encode("tiff", np.ones((4, 4), dtype)), "a.tif")


def test_rare_layout_is_reported_with_its_reason():
    floats = cv2.imencode(".tiff", np.ones((4, 4, 3), np.float32))[1].tobytes()
    with pytest.raises(CorruptMediaError, match="unknown pixel mode"):
        probe(floats, "a.tif")


def test_a_picture_that_fills_the_memory_is_too_large_and_not_damaged(encode):
    with pytest.raises(MediaTooLargeError, match="memory"), opened(encode("PNG"), "a.png"):
        raise MemoryError
