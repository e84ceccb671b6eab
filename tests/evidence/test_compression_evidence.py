"""What the analyzers of compression say of pictures whose compression is known, because it was done here."""

import io

import numpy as np
import pytest
from PIL import Image

from deepscan.errors import CorruptMediaError, NoPictureError
from deepscan.evidence import double_jpeg, ela, ghosts, quantisation
from deepscan.evidence.catalog import load_builtin
from deepscan.evidence.exhibits import values_of
from deepscan.media.pixels import decode_picture
from deepscan.media.source import Media
from tests.material import Clip, encoded, shared

NAMES = ("double_jpeg", "ela", "ghosts", "quantisation")


def scene(height=240, width=320, seed=0):
    """Returns texture of many scales, which fills coefficients as photographs do."""
    rng = np.random.default_rng(seed)
    levels = np.full((height, width, 3), 128.0)
    for size in (3, 6, 12, 25, 50, 100):
        coarse = rng.normal(0, 90 / size**0.5, (size, size, 3)).astype("f4")
        channels = [Image.fromarray(coarse[..., c]).resize((width, height), 3) for c in range(3)]
        levels += np.stack([np.asarray(each) for each in channels], axis=-1)
    return np.clip(levels + rng.normal(0, 2, levels.shape), 8, 247).astype(np.uint8)


def jpeg(picture, quality, **options):
    return encoded(picture, "JPEG", quality=quality, **options)


def again(picture, quality):
    return decode_picture(jpeg(picture, quality))


def media(data, name="made.jpg"):
    return Media.from_bytes(data, name)


def with_part(first, last):
    """Returns a file of which a square alone was compressed before, and where that is, in pixels."""
    picture, part = scene(), (slice(64, 176), slice(96, 224))
    picture[part] = again(picture, first)[part]
    return media(jpeg(picture, last)), part


def part_over_rest(picture, part, size_px=(240, 320)):
    """Returns the mean of a map within and without a part of the picture."""
    values = values_of(picture)
    rows = (np.arange(values.shape[0]) + 0.5) * size_px[0] / values.shape[0]
    columns = (np.arange(values.shape[1]) + 0.5) * size_px[1] / values.shape[1]
    within = np.outer(
        (rows > part[0].start + 16) & (rows < part[0].stop - 16),
        (columns > part[1].start + 16) & (columns < part[1].stop - 16),
    )
    near = np.outer(
        (rows > part[0].start - 32) & (rows < part[0].stop + 32),
        (columns > part[1].start - 32) & (columns < part[1].stop + 32),
    )
    return values[within].mean(), values[~near].mean()


@pytest.mark.parametrize(("first", "last"), [(50, 75), (65, 80), (80, 90), (85, 75)])
def test_a_first_quality_is_found_where_there_was_one(first, last):
    once = double_jpeg.testify(media(jpeg(scene(), last)))
    twice = double_jpeg.testify(media(jpeg(again(scene(), first), last)))
    assert once.measurements["first_quality"] == 0
    assert once.finding == "ordinary"
    assert twice.measurements["first_quality"] == pytest.approx(first, abs=2)
    assert twice.measurements["region_share"] > 0.4
    assert twice.finding == "unusual"
    assert "It was JPEG before" in twice.summary


def test_histograms_of_two_compressions_are_periodic():
    once = double_jpeg.testify(media(jpeg(scene(), 90))).measurements
    twice = double_jpeg.testify(media(jpeg(again(scene(), 70), 90))).measurements
    names = [name for name in once if name.startswith("periodicity")]
    assert len(names) == 9
    assert np.mean([twice[name] for name in names]) > 3 * np.mean([once[name] for name in names])


@pytest.mark.parametrize("shift", [(3, 5), (0, 4), (7, 1)])
def test_another_grid_is_found_where_it_lies(shift):
    before = again(scene(248, 328), 60)[shift[0] : shift[0] + 240, shift[1] : shift[1] + 320]
    evidence = double_jpeg.testify(media(jpeg(np.ascontiguousarray(before), 85)))
    found = evidence.measurements["grid_down_px"], evidence.measurements["grid_across_px"]
    assert found == (-shift[0] % 8, -shift[1] % 8)
    assert evidence.measurements["grid_score"] > double_jpeg.GRID_SCORE
    assert evidence.finding == "unusual"
    assert "another grid" in evidence.summary


def test_a_part_that_was_compressed_before_is_told_and_shown():
    made, part = with_part(60, 90)
    evidence = double_jpeg.testify(made)
    assert evidence.measurements["region_quality"] == pytest.approx(60, abs=3)
    assert evidence.measurements["region_gain_nats"] > double_jpeg.REGION_NATS
    assert evidence.measurements["region_share"] < 0.4
    within, without = part_over_rest(evidence.pictures[0], part)
    assert within > 0.1 > 0 > without
    assert evidence.finding == "unusual"


def test_a_ghost_is_told_and_shown():
    made, part = with_part(62, 90)
    evidence = ghosts.testify(made)
    clean = ghosts.testify(media(jpeg(scene(), 90)))
    assert evidence.measurements["ghost_quality"] == pytest.approx(62, abs=3)
    assert evidence.measurements["ghost_lead"] > ghosts.LEAD > clean.measurements["ghost_lead"]
    within, without = part_over_rest(evidence.pictures[0], part)
    assert within > without + 0.3
    assert (evidence.finding, clean.finding) == ("unusual", "ordinary")
    (span,) = evidence.curves[0].spans
    assert span[0] <= 62 <= span[1]


def test_what_a_lossless_file_was_before_shows_as_a_dip():
    evidence = ghosts.testify(media(encoded(again(scene(), 77)), "made.png"))
    assert evidence.measurements["whole_quality"] == pytest.approx(77, abs=2)
    assert evidence.measurements["whole_dip"] > 0.5


def test_error_levels_are_those_of_one_more_compression():
    picture = scene(80, 96)
    grey = picture[..., 1]
    evidence = ela.testify(media(encoded(grey), "grey.png"))
    for quality in ela.QUALITIES:
        change = np.abs(grey.astype(int) - np.asarray(Image.open(io.BytesIO(jpeg(grey, quality)))))
        assert evidence.measurements[f"error_at_{quality}_levels"] == pytest.approx(change.mean(), rel=0.02)
    assert evidence.finding == "ordinary"


def test_a_noisy_part_has_higher_error_levels():
    picture = np.full((240, 320, 3), 120, np.uint8)
    part = (slice(64, 176), slice(96, 224))
    picture[part] = scene()[part]
    evidence = ela.testify(media(encoded(picture), "made.png"))
    within, without = part_over_rest(evidence.pictures[0], part)
    assert within > without + 0.5
    assert evidence.measurements["unevenness_at_90_share"] > 1


def test_maps_lie_over_the_upright_picture():
    picture = np.full((160, 320, 3), 120, np.uint8)
    picture[:, :80] = scene(160, 80)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = ela.testify(media(jpeg(picture, 95, exif=exif)))
    values = values_of(turned.pictures[0])
    assert values.shape == (40, 20)
    assert values[:8].mean() > values[12:].mean() + 0.2


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"quality": 75}, {"sampling": "4:2:0", "process": "baseline"}),
        ({"quality": 92, "subsampling": 0}, {"sampling": "4:4:4"}),
        (
            {"quality": 30, "subsampling": 1, "progressive": True},
            {"sampling": "4:2:2", "process": "progressive"},
        ),
    ],
)
def test_the_header_is_read(options, facts):
    evidence = quantisation.testify(media(encoded(scene(64, 64), "JPEG", **options)))
    assert evidence.measurements["luma_quality"] == options["quality"]
    assert evidence.measurements["chroma_quality"] == options["quality"]
    assert evidence.measurements["standard_table_share"] == 1
    assert evidence.measurements["progressive_share"] == ("progressive" in options)
    assert facts.items() <= evidence.facts.items()
    assert evidence.facts["tables"].startswith("the standard tables")


def test_tables_of_other_encoders_are_known_and_strange_ones_are_not():
    moving = Clip(container="image2pipe", codec="mjpeg", pixels="yuvj420p", times_s=(0.0,)).encoded()
    ffmpeg = quantisation.testify(media(moving)).facts
    assert ffmpeg["tables"] == "the tables of MPEG, as scaled by FFmpeg"
    assert ffmpeg["encoder"] == "FFmpeg"
    flat = quantisation.testify(media(encoded(scene(64, 64), "JPEG", qtables=[[7] * 64] * 2))).facts
    assert flat["tables"].startswith("flat tables")
    symmetric = quantisation._SYMMETRIC_64
    half = [int(value) for value in np.clip((symmetric * 50 + 50) // 100, 1, 255)]
    own = quantisation.testify(media(encoded(scene(64, 64), "JPEG", qtables=[half, half]))).facts
    assert own["tables"] == "the default tables of MozJPEG"
    strange = quantisation.testify(media(encoded(scene(64, 64), "JPEG", qtables=[list(range(1, 65))] * 2)))
    assert strange.facts["tables"] == "unknown tables"
    assert strange.measurements["standard_table_share"] == 0


def test_what_an_encoder_writes_of_itself_is_told():
    data = jpeg(scene(64, 64), 90)
    comment = b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n"
    marked = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:]
    facts = quantisation.testify(media(marked)).facts
    assert facts["encoder"] == "GD"
    assert facts["comment"].startswith("CREATOR: gd-jpeg")
    assert facts["segments"] == "JFIF"
    assert quantisation.testify(media(data)).facts["encoder"] == "unknown"


def test_what_cannot_be_measured_is_said_by_type():
    tiny = media(jpeg(scene(40, 40), 90))
    for analyzer in (double_jpeg, ghosts, ela):
        with pytest.raises(NoPictureError):
            analyzer.testify(media(jpeg(scene(7, 300), 90)))
    with pytest.raises(NoPictureError):
        double_jpeg.testify(tiny)
    cyan = io.BytesIO()
    Image.fromarray(scene()).convert("CMYK").save(cyan, "JPEG")
    with pytest.raises(NoPictureError):
        double_jpeg.testify(media(cyan.getvalue()))
    assert ela.testify(media(cyan.getvalue())).measurements["error_at_90_levels"] > 0


def test_a_damaged_header_is_refused():
    data = jpeg(scene(64, 64), 90)
    broken = Media(data[:40], media(data).facts)
    with pytest.raises(CorruptMediaError):
        quantisation.testify(broken)


def test_only_files_that_were_coded_so_are_accepted():
    accepting = {
        name: [load_builtin().get(each).accepts(media(data, name)) for each in NAMES]
        for name, data in (
            ("a.jpg", jpeg(scene(64, 64), 90)),
            ("a.png", encoded(scene(64, 64))),
            ("a.mp4", Clip().encoded()),
        )
    }
    assert accepting == {"a.jpg": [True] * 4, "a.png": [False, True, True, False], "a.mp4": [False] * 4}


@pytest.mark.media
def test_few_genuine_pictures_are_called_unusual():
    files = sorted((shared("media") / "image" / "real").rglob("*.jpg"))[::30]
    unusual = {
        analyzer.__name__: sum(analyzer.testify(Media.from_path(path)).finding == "unusual" for path in files)
        for analyzer in (double_jpeg, ghosts, ela, quantisation)
    }
    assert max(unusual.values()) <= 0.1 * len(files), unusual
