"""What files carry beside their content, read from sound files and from such as were made to harm."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from deepscan.errors import MediaError
from deepscan.media.atoms import read_movie
from deepscan.media.chunks import LONGEST_TEXT, chunks, texts
from deepscan.media.embedded import embedded
from deepscan.media.exif import read_exif
from deepscan.media.iptc import iptc_of, read_iptc, resources
from deepscan.media.source import Media
from deepscan.media.xmp import read_xmp
from tests.material import Clip
from tests.provenance import (
    CAMERA,
    GENERATED,
    TAKEN,
    exif,
    exif_with_preview,
    noise,
    photoshop,
    preview,
    saved,
    user_comment,
    with_segment,
    xmp,
)

FULL = {"exif": exif(located=True), "xmp": xmp(xmp_CreatorTool="Tool", Iptc4xmpExt_Event="&lt;b&gt;")}


def carried(data):
    return embedded(Media.from_bytes(data, "file"))


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_and_xmp_are_found_where_each_format_keeps_them(container):
    options = dict(FULL)
    if container == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    said = carried(saved(noise(), container, **options))
    assert said.exif.texts["Model"] == CAMERA[0x0110]
    assert said.exif.texts["DateTimeOriginal"] == TAKEN[0x9003]
    assert said.exif.located
    assert said.xmp["xmp:CreatorTool"] == ("Tool",)
    assert said.texts == ()


def test_exif_agrees_with_the_reader_of_pillow():
    exposure, aperture = TiffImagePlugin.IFDRational(1, 200), TiffImagePlugin.IFDRational(28, 10)
    fields = {0x829A: exposure, 0x829D: aperture, 0x8827: 400, 0xA002: 4000, 0xA003: 3000}
    data = exif(camera=fields)
    other = Image.Exif()
    other.load(data)
    names = ("ExposureTime", "FNumber", "ISO", "PixelXDimension", "PixelYDimension")
    expected = {name: float(other.get_ifd(0x8769)[tag]) for tag, name in zip(fields, names, strict=True)}
    assert read_exif(data).figures == pytest.approx(expected)


@pytest.mark.parametrize("text", ["Steps: 20", "Schritte: über 20"])
@pytest.mark.parametrize("encode", [user_comment, lambda text: b"UNICODE\0" + text.encode("utf-16-le")])
def test_comments_are_read_in_either_byte_order(text, encode):
    assert read_exif(exif(camera={0x9286: encode(text)})).texts["UserComment"] == text


def test_a_position_is_told_and_never_read():
    assert "47" not in repr(read_exif(exif(located=True, camera={})))


def test_the_preview_is_found():
    small = preview(noise())
    assert read_exif(exif_with_preview(small)).thumbnail == small
    assert read_exif(exif_with_preview(small)[:-1]).thumbnail == b""


@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_that_point_at_themselves_end(order):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHII", 0x8769, 4, 1, 8)
    loop = mark + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 8)
    assert read_exif(loop).entries == 2


def test_values_that_reach_beyond_the_end_are_left_out():
    entry = struct.pack("<HHII", 0x010F, 2, 2**31, 8) + struct.pack("<HHII", 0x0110, 2, 100, 2**32 - 1)
    assert read_exif(b"II*\0" + struct.pack("<IH", 8, 65535) + entry).texts == {}


def test_lists_and_structures_of_xmp_give_their_values_in_order():
    bag = "<rdf:Seq><rdf:li>one</rdf:li><rdf:li>two</rdf:li></rdf:Seq>"
    steps = '<rdf:Seq><rdf:li stEvt:action="created"/><rdf:li stEvt:action="saved"/></rdf:Seq>'
    said = read_xmp(xmp(photoshop_Credit=bag, xmpMM_History=steps))
    assert said["photoshop:Credit"] == ("one", "two")
    assert said["stEvt:action"] == ("created", "saved")


def test_names_of_xmp_depend_on_the_address_of_their_space_and_not_on_the_prefix():
    packet = xmp(ext_DigitalSourceType=GENERATED).replace(b"ext:", b"zz:").replace(b":ext=", b":zz=")
    assert read_xmp(packet) == {"Iptc4xmpExt:DigitalSourceType": (GENERATED,)}


@pytest.mark.parametrize(
    "inside",
    [
        '<!DOCTYPE a [<!ENTITY x "y">]>',
        '<!DOCTYPE a [<!ENTITY a0 "aa">'
        + "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
        + "]>",
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    ],
)
def test_xmp_with_a_document_type_is_refused(inside):
    packet = xmp(xmp_CreatorTool="Tool")
    assert read_xmp(packet.replace(b"<x:xmpmeta", inside.encode() + b"<x:xmpmeta")) == {}


def test_xmp_is_read_up_to_where_it_is_damaged_or_too_deep():
    packet = xmp(xmp_CreatorTool="Tool", xmp_Label="x" * 50)
    assert read_xmp(packet[: packet.index(b"<xmp:Label")]) == {"xmp:CreatorTool": ("Tool",)}
    deep = b"<a:b xmlns:a='urn:a:'>" + b"<a:b>" * 100_000
    assert read_xmp(deep) == {}
    assert read_xmp(b"\xff\xfe\0\0") == {}


def test_more_values_of_xmp_than_anybody_needs_are_left_out():
    packet = xmp(photoshop_Credit="<rdf:Bag>" + "<rdf:li>a</rdf:li>" * 20_000 + "</rdf:Bag>")
    assert len(read_xmp(packet)["photoshop:Credit"]) == 1000


def test_texts_of_png_are_read_packed_or_not_and_bombs_are_cut():
    info = PngImagePlugin.PngInfo()
    info.add_text("plain", "a")
    info.add_text("packed", "b", zip=True)
    info.add_itxt("words", "ü", zip=True)
    info.add_itxt("more", "ö")
    info.add_text("bomb", "x" * (10 * LONGEST_TEXT), zip=True)
    said = dict(texts(saved(noise(), "PNG", pnginfo=info)))
    assert [said[key] for key in ("plain", "packed", "words", "more")] == ["a", "b", "ü", "ö"]
    assert len(said["bomb"]) == LONGEST_TEXT


def test_texts_behind_the_pixels_are_found_and_damaged_ones_left_out():
    data = saved(noise(), "PNG")
    end = data.index(b"IEND") - 4

    def chunk(name, raw):
        return struct.pack(">I", len(raw)) + name + raw + struct.pack(">I", zlib.crc32(name + raw))

    late = data[:end] + chunk(b"zTXt", b"bad\0\0not packed") + chunk(b"tEXt", b"late\0yes") + data[end:]
    assert list(texts(late)) == [("late", "yes")]


def test_comments_of_jpeg_are_texts():
    assert list(texts(saved(noise(), comment=b"made by hand"))) == [("comment", "made by hand")]


def test_lengths_beyond_the_end_end_the_reading():
    assert list(chunks(b"\xff\xd8\xff\xe1\xff\xff12")) == []
    assert list(chunks(b"\xff\xd8\xff\xe1\0\1")) == []
    assert list(chunks(b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xff")) == []
    assert list(chunks(b"BM")) == []


def test_iptc_is_read_from_the_segment_of_photoshop():
    segment = photoshop(d110="Agency", d80="Somebody", d200="unnamed")
    assert read_iptc(iptc_of(segment)) == {"Credit": "Agency", "Byline": "Somebody"}
    assert [number for number, _ in resources(segment)] == [0x0404, 0x03ED]
    said = carried(with_segment(saved(noise()), 0xED, segment))
    assert (said.iptc["Credit"], said.photoshop) == ("Agency", 1)


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_iptc_that_breaks_off_is_read_so_far(cut):
    segment = photoshop(d110="Agency", d80="Somebody")
    assert set(read_iptc(iptc_of(segment[:-cut]))) <= {"Credit", "Byline"}


def atom(name, data):
    return struct.pack(">I4s", 8 + len(data), name) + data


def movie(created=0, modified=0, *more):
    header = atom(b"mvhd", struct.pack(">4xII", created, modified) + b"\0" * 88)
    handler = atom(b"hdlr", b"\0" * 8 + b"vide" + b"\0" * 12 + b"Core Media Video\0")
    track = atom(b"trak", atom(b"mdia", handler))
    return atom(b"ftyp", b"qt  \0\0\0\0qt  mp42") + atom(b"moov", header + track + b"".join(more))


def test_atoms_tell_brands_dates_handlers_and_their_order():
    read = read_movie(movie(3_786_912_000, 3_786_998_400) + atom(b"mdat", b"1234"))
    assert read.layout == ("ftyp", "moov", "mdat")
    assert read.brands == ("qt", "mp42")
    assert (read.created, read.modified) == ("2024-01-01T00:00:00", "2024-01-02T00:00:00")
    assert read.handlers == ("Core Media Video",)
    assert read_movie(movie()).created == ""


def test_xmp_is_found_in_atoms():
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    assert read_movie(movie() + atom(b"uuid", uuid + b"<x/>")).xmp == b"<x/>"
    assert read_movie(movie(0, 0, atom(b"udta", atom(b"XMP_", b"<y/>")))).xmp == b"<y/>"


def test_atoms_that_nest_without_end_or_lie_about_their_size_end():
    nested = b""
    for _ in range(2000):
        nested = atom(b"moov", nested)
    assert read_movie(nested).layout == ("moov",)
    assert read_movie(struct.pack(">I4s", 2**31, b"moov") + b"x" * 20).layout == ()
    assert read_movie(struct.pack(">I4sQ", 1, b"mdat", 2**63)).layout == ()
    assert len(read_movie(atom(b"free", b"") * 100_000).layout) == 24


def test_atoms_of_a_real_file_and_its_tags_are_read():
    said = carried(Clip().encoded())
    assert set(said.movie.layout) >= {"ftyp", "moov", "mdat"}
    assert "VideoHandler" in said.movie.handlers
    assert dict(said.texts)["encoder"].startswith("Lav")


def test_changed_bytes_do_no_harm():
    rng = np.random.default_rng(0)
    files = [
        with_segment(saved(noise(), **FULL), 0xED, photoshop(d110="Agency")),
        saved(noise(), exif=exif_with_preview(preview(noise()))),
        saved(noise(), "WEBP", **FULL),
        saved(noise(), "TIFF", exif=FULL["exif"]),
        saved(noise(), "PNG", exif=FULL["exif"]),
    ]
    for data in files * 40:
        changed = bytearray(data)
        for at in rng.integers(12, min(len(data), 3000), 8):
            changed[at] = rng.integers(256)
        try:
            carried(bytes(changed))
        except MediaError:
            continue
    for _ in range(200):
        changed = bytearray(movie(1, 2, atom(b"udta", atom(b"XMP_", FULL["xmp"]))))
        changed[rng.integers(len(changed))] = rng.integers(256)
        read_movie(bytes(changed))
