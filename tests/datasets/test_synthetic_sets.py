import hashlib
import json

import pytest

from deepscan.datasets.layout import scan
from deepscan.datasets.synthesize import synthesize
from deepscan.datasets.synthetic import KINDS, Order
from deepscan.datasets.synthetic.sets import File, Source, write_set
from deepscan.errors import ConfigError, DataError

SOURCES = [Source(name="anna", split="train"), Source(name="silent"), Source(name="bert", split="test")]


def make(index):
    if SOURCES[index].name == "silent":
        return []
    return [
        File(data=bytes([index, forged]), suffix=".wav", generator="vocoder" * forged, truth={"index": index})
        for forged in (0, 1)
    ]


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_set_scans_with_its_labels_sources_splits_and_truth(tmp_path):
    calls = []
    manifest = write_set(tmp_path, {"seed": 1}, SOURCES, make, lambda *done: calls.append(done))
    rows = scan(manifest).to_pylist()
    facts = [(row["label"], row["split"], row["source"], row["generator"]) for row in rows]
    assert sorted(facts) == [
        (0, "test", "bert", ""),
        (0, "train", "anna", ""),
        (1, "test", "bert", "vocoder"),
        (1, "train", "anna", "vocoder"),
    ]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    names = [source.name for source in SOURCES]
    for row in rows:
        known = json.loads((tmp_path / row["truth"]).read_text())[row["path"].removeprefix(f"{tmp_path}/")]
        assert known == {"generator": row["generator"], "index": names.index(row["source"])}


def test_an_interrupted_set_goes_on_where_it_was(tmp_path):
    made = []

    def interrupted(index):
        if index == 2 and not made.count(2):
            made.append(2)
            raise KeyboardInterrupt
        made.append(index)
        return make(index)

    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path / "a", {}, SOURCES, interrupted)
    assert not (tmp_path / "a" / "manifest.csv").exists()
    write_set(tmp_path / "a", {}, SOURCES, interrupted)
    write_set(tmp_path / "b", {}, SOURCES, make)
    assert sorted(made) == [0, 1, 2, 2]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_missing_file_is_made_again_and_nothing_else(tmp_path):
    write_set(tmp_path, {}, SOURCES, make)
    before = contents(tmp_path)
    (tmp_path / "fake" / "vocoder" / "00002.wav").unlink()
    made = []
    write_set(tmp_path, {}, SOURCES, lambda index: (made.append(index), make(index))[1])
    assert (made, contents(tmp_path)) == ([2], before)


def test_other_settings_and_other_folders_are_refused(tmp_path):
    write_set(tmp_path / "set", {"seed": 1}, SOURCES, make)
    with pytest.raises(DataError, match="another folder"):
        write_set(tmp_path / "set", {"seed": 2}, SOURCES, make)
    with pytest.raises(DataError, match="no empty folder"):
        write_set(tmp_path, {}, SOURCES, make)


@pytest.mark.parametrize("wrong", [{"count": 3}, {"count": 0}, {"seed": -1}])
def test_impossible_orders_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="count must be even"):
        Order(out=tmp_path, **wrong)


@pytest.mark.parametrize(
    ("kind", "useless"),
    [
        ("image", {"recordings": "calls"}),
        ("video", {"recordings": "calls"}),
        ("av", {"recordings": "calls"}),
        ("audio", {"recordings": "calls"}),
        ("audio", {"size_px": 192}),
        ("copy", {"size_px": 192}),
        ("copy", {"count": 2}),
        ("copy", {}),
    ],
)
def test_what_a_kind_has_no_use_for_or_lacks_is_refused_before_anything_is_written(tmp_path, kind, useless):
    with pytest.raises(ConfigError, match=next(iter(useless), "give recordings")):
        KINDS[kind](Order(out=tmp_path / "new", **useless), None)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size_px", [48, 200, 0])
@pytest.mark.parametrize("kind", ["image", "video", "av"])
def test_sets_of_impossible_sizes_are_refused(tmp_path, kind, size_px):
    with pytest.raises(ConfigError, match="multiple of 16"):
        KINDS[kind](Order(out=tmp_path, size_px=size_px), None)


def test_pictures_are_made_as_ever(tmp_path):
    KINDS["image"](Order(out=tmp_path / "new", count=2, size_px=64, seed=3), None)
    synthesize(tmp_path / "old", 2, 64, 3)
    assert contents(tmp_path / "new") == contents(tmp_path / "old")


def test_every_kind_has_a_name_and_a_maker():
    assert list(KINDS) == ["image", "video", "audio", "av", "copy"]
    assert len(set(KINDS.values())) == len(KINDS)
