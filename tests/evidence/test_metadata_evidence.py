"""What the analyzer of metadata says of files whose history is known."""

import pytest

from deepscan.evidence import metadata
from deepscan.evidence.wording import LONGEST, MOST_FACTS, clean, code_of, facts_of
from deepscan.media.source import Media
from tests.material import Clip, tone
from tests.material import sound_file as sound
from tests.provenance import (
    CAMERA,
    CAPTURED,
    GENERATED,
    TAKEN,
    exif,
    noise,
    photoshop,
    saved,
    with_segment,
    xmp,
)

SIZE = {0xA002: 160, 0xA003: 120}


def said(data):
    return metadata.testify(Media.from_bytes(data, "file"))


def test_a_picture_of_a_camera_is_ordinary_and_names_it():
    evidence = said(saved(noise(), exif=exif(camera=TAKEN | SIZE)))
    assert evidence.finding == "ordinary"
    assert "Canon EOS 5D" in evidence.summary
    assert evidence.facts["EXIF DateTimeOriginal"] == TAKEN[0x9003]
    assert evidence.measurements["size_share"] == evidence.measurements["aspect_share"] == 1


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_picture_without_any_says_nothing_and_that_is_ordinary(container):
    evidence = said(saved(noise(), container))
    assert evidence.finding == "ordinary"
    assert "says nothing" in evidence.summary
    assert evidence.measurements["exif_fields"] == 0


@pytest.mark.parametrize(
    ("source", "finding", "word"),
    [
        (GENERATED, "telling", "made by a generative model"),
        ("compositeWithTrainedAlgorithmicMedia", "telling", "composed with parts"),
        (CAPTURED, "ordinary", "taken by a digital camera"),
        ("unheardOf", "ordinary", "says nothing"),
    ],
)
def test_a_declared_source_is_told_and_that_it_is_unsigned(source, finding, word):
    evidence = said(saved(noise(), xmp=xmp(ext_DigitalSourceType=source)))
    assert evidence.finding == finding
    assert word in evidence.summary
    assert evidence.declaration == ""
    assert ("unsigned" in evidence.summary) == (source != "unheardOf")


@pytest.mark.parametrize(
    ("main", "camera", "conflicts"),
    [
        ({}, {}, 0),
        ({0x0132: "2024:05:03 08:00:00"}, {}, 0),
        ({0x0132: "2024:05:01 09:00:00"}, {}, 0),
        ({0x0132: "2023:05:01 09:00:00"}, {}, 2),
        ({}, {0x9004: "2023:05:02 10:00:00"}, 1),
        ({0x0132: "0000:00:00 00:00:00"}, {0x9004: "2024:13:45 99:00:00"}, 0),
    ],
)
def test_dates_in_the_wrong_order_are_counted_beyond_what_time_zones_explain(main, camera, conflicts):
    evidence = said(saved(noise(), exif=exif(CAMERA | main, TAKEN | camera)))
    assert evidence.measurements["date_conflicts"] == conflicts
    assert (evidence.finding == "unusual") == (conflicts > 0)
    assert ("lies before" in evidence.summary) == (conflicts > 0)


@pytest.mark.parametrize(
    ("size", "finding", "word"),
    [
        ((160, 120), "ordinary", "Canon"),
        ((120, 160), "ordinary", "Canon"),
        ((1600, 1200), "ordinary", "10% of the size"),
        ((1600, 900), "unusual", "cropped"),
    ],
)
def test_another_shape_than_exif_says_was_cropped(size, finding, word):
    camera = {0xA002: size[0], 0xA003: size[1]}
    evidence = said(saved(noise(), exif=exif(camera=camera)))
    assert (evidence.finding, word in evidence.summary) == (finding, True)


@pytest.mark.parametrize(
    ("program", "finding", "word"),
    [
        ("Adobe Photoshop 25.1 (Windows)", "ordinary", "edited it"),
        ("GIMP 2.10", "ordinary", "edited it"),
        ("FaceApp", "unusual", "changes faces"),
        ("HDR+ 1.0", "ordinary", "wrote it"),
    ],
)
def test_programs_are_named(program, finding, word):
    evidence = said(saved(noise(), exif=exif(CAMERA | {0x0131: program})))
    assert evidence.finding == finding
    assert word in evidence.summary
    assert program in evidence.summary


def test_history_and_the_traces_of_photoshop_are_counted():
    steps = '<rdf:Seq><rdf:li stEvt:action="created"/><rdf:li stEvt:action="saved"/></rdf:Seq>'
    evidence = said(
        with_segment(saved(noise(), xmp=xmp(xmpMM_History=steps)), 0xED, photoshop(d110="Agency"))
    )
    assert evidence.measurements["history_steps"] == 2
    assert evidence.measurements["photoshop_resources"] == 1
    assert evidence.facts["IPTC Credit"] == "Agency"
    assert "2 steps" in evidence.summary


@pytest.mark.parametrize(
    "options",
    [{"exif": exif(located=True)}, {"xmp": xmp(exif_GPSLatitude="47,22.6N"), "exif": exif()}],
)
def test_a_position_is_told_and_never_shown(options):
    evidence = said(saved(noise(), **options))
    assert evidence.facts["position"].startswith("present")
    assert "22" not in repr(evidence.facts)


def test_clips_tell_the_order_of_their_atoms_and_their_tags():
    evidence = said(Clip().encoded())
    assert evidence.finding == "ordinary"
    assert evidence.facts["container layout"].startswith("ftyp")
    assert evidence.facts["container handlers"] == "VideoHandler"
    assert evidence.measurements["tags"] > 0


def test_sound_tells_its_tags():
    evidence = said(sound(tone(16_000)[None], "flac", "flac", 16_000))
    assert "Lav" in evidence.facts["tag encoder"]


def test_facts_are_few_short_and_in_one_line():
    assert clean("a\n b\x00\x1b[31m‮c" + "x" * 500).startswith("a b[31mc")
    assert len(clean("x" * 500)) == LONGEST
    many = facts_of((str(number), "x" * 300) for number in range(100))
    assert len(many) == MOST_FACTS
    assert facts_of([("a", "1"), ("a", "2"), ("b", " \n"), ("", "3")]) == {"a": "1"}


def test_codes_of_sources_are_the_last_part_of_an_address():
    assert [code_of(text) for text in (GENERATED, "digitalCapture", " http://x/print/ ")] == [
        "trainedAlgorithmicMedia",
        "digitalCapture",
        "print",
    ]
