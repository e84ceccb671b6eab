"""Clips of portraits: what is written, what is left as it is, and what cannot be used."""

import csv
import pathlib

import numpy as np
import pytest
from PIL import Image

from deepscan.datasets import layout, still_clips
from deepscan.datasets.still_clips import GENERATOR, Stills, make
from deepscan.errors import ConfigError, DataError
from deepscan.media import blend
from deepscan.media.faces import Face
from deepscan.media.source import Media, Sampling

FACE = Face(box_px=(30.0, 20.0, 98.0, 108.0), score=0.9)


@pytest.fixture
def portraits(tmp_path):
    """Five pictures of people nobody knows, in a folder of genuine ones."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "real"
    folder.mkdir(parents=True)
    for number in range(5):
        picture = np.full((128, 128, 3), 90 + 10 * number, np.uint8)
        picture[20:108, 30:98] = rng.integers(100, 200, (88, 68, 3))
        Image.fromarray(picture).save(folder / f"p{number}.png")
    return tmp_path / "data"


@pytest.fixture
def seen(monkeypatch):
    """A finder that sees a face in every picture, and which pictures it was shown."""
    shown = []

    def find_faces(picture, **_):
        shown.append(picture)
        return [FACE]

    monkeypatch.setattr(still_clips, "find_faces", find_faces)
    # Nobody lends a face to another, so that each portrait is looked at for itself alone.
    monkeypatch.setattr(still_clips, "SWAPPED", 0.0)
    return shown


def rows(manifest):
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def first_frame(path):
    return next(iter(Media.from_path(path).frames(Sampling(count=1)))).picture_HWC


def test_every_portrait_gives_a_genuine_clip_and_a_fake_one_of_its_source(portraits, seen, tmp_path):
    manifest = make(Stills(data=portraits), tmp_path / "out")
    found = rows(manifest)
    assert [row["label"] for row in found] == ["real", "fake"] * 5
    assert {row["generator"] for row in found if row["label"] == "fake"} == {GENERATOR}
    assert {row["generator"] for row in found if row["label"] == "real"} == {""}
    sources = [row["source"] for row in found]
    assert sources[::2] == sources[1::2]
    assert len(set(sources)) == 5
    table = layout.scan(manifest)
    assert table.num_rows == 10
    for path in table["path"].to_pylist():
        facts = Media.from_path(pathlib.Path(path)).facts
        assert (facts.width_px, facts.height_px) == (128, 128)
        assert facts.duration_s == pytest.approx(1, abs=0.1)


def test_clips_take_over_the_columns_that_are_named(portraits, seen, tmp_path):
    names = sorted(path.name for path in (portraits / "real").iterdir())
    lines = [
        f"real/{name},real,{name},{'left' if place % 2 else 'right'}" for place, name in enumerate(names)
    ]
    manifest = portraits / "manifest.csv"
    manifest.write_text("\n".join(["path,label,source,camera", *lines]))
    found = rows(make(Stills(data=manifest, columns=("camera",)), tmp_path / "out"))
    assert [row["camera"] for row in found] == ["right", "right", "left", "left"] * 2 + ["right"] * 2
    assert "camera" not in rows(make(Stills(data=manifest), tmp_path / "without"))[0]
    with pytest.raises(ConfigError, match="no column 'lens'"):
        make(Stills(data=manifest, columns=("lens",)), tmp_path / "other")


def test_the_two_clips_differ_where_the_face_was_altered(portraits, seen, tmp_path, monkeypatch):
    """The blend is made before the clip is coded, and both are seen by one camera."""

    def marked(picture, face, rng):
        fake = picture.copy()
        fake[50:70, 50:70] = 255
        return blend.Blend(real=picture, fake=fake, alpha_HW=np.zeros(picture.shape[:2], np.float32))

    monkeypatch.setattr(still_clips.blend, "self_blend", marked)
    make(Stills(data=portraits, count=1), tmp_path / "out")
    real, fake = (
        first_frame(tmp_path / "out" / f"00000-{label}.mp4").astype(int) for label in ("real", "fake")
    )
    difference = np.abs(real - fake).mean(2)
    assert difference[52:72, 52:72].mean() > 40
    assert difference[:30].mean() < 8


def test_in_three_of_five_fakes_the_face_is_that_of_another_portrait(portraits, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(still_clips, "SWAPPED", 0.6)
    lent = []

    def swapped(portrait, others, rng):
        lent.append(({int(other.picture[0, 0, 0]) for other in others}, int(portrait.picture[0, 0, 0])))
        return blend.self_blend(portrait.picture, portrait.face, rng)

    monkeypatch.setattr(still_clips.blend, "swap", swapped)
    for seed in range(6):
        make(Stills(data=portraits, seed=seed), tmp_path / f"out{seed}")
    assert 0.3 < len(lent) / 30 < 0.85
    everybody = {90, 100, 110, 120, 130}
    assert all(levels == everybody - {own} for levels, own in lent), "the others, of which the best is taken"


def test_what_was_made_stays_as_it_is(portraits, seen, tmp_path):
    first = make(Stills(data=portraits, count=2), tmp_path / "out")
    kept = {path.name: path.stat().st_mtime_ns for path in first.parent.glob("*.mp4")}
    looked = len(seen)
    make(Stills(data=portraits), tmp_path / "out")
    assert len(seen) == looked + 3
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in first.parent.glob("*.mp4")}.items()
    assert len(rows(first)) == 10


def test_a_portrait_gives_the_same_clips_whatever_the_others_are(portraits, seen, tmp_path):
    make(Stills(data=portraits), tmp_path / "all")
    make(Stills(data=portraits, count=2), tmp_path / "two")
    make(Stills(data=portraits, count=1, seed=1), tmp_path / "other")
    name = "00000-fake.mp4"
    assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "all" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_pictures_without_a_face_are_left_out_and_named(portraits, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(still_clips, "find_faces", lambda *_, **__: [])
    assert rows(make(Stills(data=portraits, count=1), tmp_path / "out")) == []
    assert "p0.png" in caplog.text


def test_clips_of_other_portraits_are_not_taken_for_these(portraits, seen, tmp_path):
    make(Stills(data=portraits, count=1), tmp_path / "out")
    with pytest.raises(DataError, match="give another folder"):
        make(Stills(data=portraits, count=1, seed=1), tmp_path / "out")
    (portraits / "real" / "p0.png").unlink()
    with pytest.raises(DataError, match="give another folder"):
        make(Stills(data=portraits, count=1), tmp_path / "out")


def test_data_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError):
        make(Stills(data=tmp_path / "nowhere"), tmp_path / "out")
