"""What every analyzer of the registry keeps to, whatever it looks at."""

import dataclasses
import functools
import json
import math

import numpy as np
import pytest

from deepscan import config, pipeline
from deepscan.errors import AbstainError, MediaError
from deepscan.evidence import GROUPS
from deepscan.evidence.catalog import load_builtin
from deepscan.evidence.exhibits import MAP_PX, POINTS, THUMBNAIL_PX, values_of
from deepscan.isolation import wire
from deepscan.media.source import Media
from deepscan.verdict import Evidence
from tests.clips import clip, faces_clip, spoken
from tests.material import SHARED, DrawnFace, draw, encoded
from tests.provenance import exif_with_preview, preview, saved
from tests.provenance import noise as scenery
from tests.sounds import silence, sine, speech, wav

ANALYZERS = list(load_builtin())
RNG = np.random.default_rng(0)


def noise(height_px, width_px):
    return RNG.integers(0, 256, (height_px, width_px, 3), np.uint8)


def alive():
    """A face of 6 s that sways and whose colour beats 84 times a minute."""
    beats = 1 + 0.02 * np.sin(2 * np.pi * 1.4 * np.arange(76) / 12.5)
    faces = [DrawnFace(x_px=90 + 4 * np.sin(n / 9), y_px=80, radius_px=45) for n in range(len(beats))]
    drawn = [draw(face, size_px=(200, 160)).astype(float) for face in faces]
    light = np.array([0.3, 1.0, 0.6])
    beating = (x * (1 + (beat - 1) * light) for x, beat in zip(drawn, beats, strict=True))
    return clip([np.rint(x).astype(np.uint8) for x in beating], 12.5)


@functools.cache
def files():
    """Returns files of every kind, among them such as leave nothing to measure."""
    face = draw(DrawnFace(x_px=160, y_px=120, radius_px=70), size_px=(320, 240))
    moving = faces_clip(*([DrawnFace(x_px=80 + n, y_px=80, radius_px=45)] for n in range(30)))
    made = {
        "face.jpg": encoded(face, "JPEG", quality=90),
        "face.png": encoded(face, "PNG"),
        "grey.jpg": encoded(face[..., 0], "JPEG", quality=60),
        "flat.png": encoded(np.full((64, 64, 3), 128, np.uint8)),
        "previewed.jpg": saved(scenery(), exif=exif_with_preview(preview(scenery()))),
        "tiny.png": encoded(noise(1, 1)),
        "narrow.jpg": encoded(noise(3, 300), "JPEG"),
        "odd.jpg": encoded(noise(67, 101), "JPEG"),
        "face.webp": encoded(face, "WEBP"),
        "moving.mp4": moving,
        "still.mp4": clip([face] * 12),
        "one-frame.mp4": clip([noise(66, 98)]),
        "alive.mp4": alive(),
        "spoken.mkv": spoken(moving, speech(1.2)),
        "mute.mkv": spoken(moving, silence(1.2)),
        "speech.wav": wav(speech(3.0)),
        "humming.wav": wav(speech(6.0) + sine(100, 6.0, 0.01) + sine(200, 6.0, 0.01)),
        "silence.wav": wav(silence(1.0)),
        "one-sample.wav": wav(np.zeros((1, 1), np.float32)),
        "stereo.wav": wav(np.stack([speech(1.0), speech(1.0, seed=1)], axis=1)),
    }
    return {name: Media.from_bytes(data, name) for name, data in made.items()}


@pytest.fixture(params=ANALYZERS, ids=[each.name for each in ANALYZERS])
def analyzer(request):
    return request.param


@pytest.fixture(autouse=True)
def assets(monkeypatch):
    """Lets faces be found by the better finder where its weights are."""
    if (SHARED / "assets").is_dir():
        monkeypatch.setenv("DEEPSCAN_ASSETS", str(SHARED / "assets"))


@functools.cache
def said(name):
    """Returns what an analyzer says of every file that it accepts."""
    (analyzer,) = (each for each in ANALYZERS if each.name == name)
    return {
        file: pipeline.testify(media, [analyzer])[0]
        for file, media in files().items()
        if analyzer.accepts(media)
    }


def test_it_says_what_it_looks_at_and_what_it_measures(analyzer):
    assert analyzer.group in GROUPS
    assert analyzer.summary
    assert analyzer.measures
    assert len(set(analyzer.measures)) == len(analyzer.measures)


def test_it_measures_something_in_some_file(analyzer):
    reasons = {evidence.reason for evidence in said(analyzer.name).values()}
    assert "" in reasons


def test_evidence_holds_every_measure_and_all_of_it_is_finite(analyzer):
    for file, evidence in said(analyzer.name).items():
        if not evidence.reason:
            assert tuple(evidence.measurements) == analyzer.measures, file
            assert all(math.isfinite(value) for value in evidence.measurements.values()), file


def test_evidence_is_told_in_one_line_with_its_limits(analyzer):
    for evidence in said(analyzer.name).values():
        assert evidence.summary
        assert "\n" not in evidence.summary
        assert evidence.analyzer == analyzer.name
        assert evidence.group == analyzer.group
        assert evidence.elapsed_ms > 0
        if not evidence.reason:
            assert evidence.limits
            assert evidence.finding != "none"


def test_where_there_is_nothing_to_measure_the_reason_is_told(analyzer):
    for evidence in said(analyzer.name).values():
        if evidence.reason:
            assert (evidence.finding, evidence.measurements) == ("none", {})
            assert (evidence.pictures, evidence.curves, evidence.declaration) == ((), (), "")


def test_what_it_shows_is_small_has_words_and_its_maps_have_values(analyzer):
    for evidence in said(analyzer.name).values():
        for picture in evidence.pictures:
            assert picture.caption
            if picture.low is not None:
                values_HW = values_of(picture)
                assert max(values_HW.shape) <= max(MAP_PX, THUMBNAIL_PX)
                assert np.isfinite(values_HW).all()
        for curve in evidence.curves:
            assert curve.caption
            assert 1 <= len(curve.x) == len(curve.y) <= POINTS
            assert list(curve.x) == sorted(curve.x)


def test_evidence_travels_as_json_and_through_a_decoder(analyzer):
    evidence = tuple(said(analyzer.name).values())
    told = json.loads(json.dumps([dataclasses.asdict(each) for each in evidence], allow_nan=False))
    assert tuple(config.from_dict(Evidence, each) for each in told) == evidence
    assert wire.unpack_answer(wire.pack_answer(evidence)) == evidence


def test_the_same_file_gives_the_same_evidence(analyzer):
    for file, before in said(analyzer.name).items():
        media = Media.from_bytes(files()[file].data, file)
        again = pipeline.testify(media, [analyzer])[0]
        assert dataclasses.replace(again, elapsed_ms=before.elapsed_ms) == before


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_a_truncated_file_is_measured_or_refused_by_type(analyzer, cut):
    for name, media in files().items():
        try:
            broken = Media.from_bytes(media.data[: int(len(media.data) * cut)], name)
            if analyzer.accepts(broken):
                analyzer.testify(broken)
        except (AbstainError, MediaError):
            continue
