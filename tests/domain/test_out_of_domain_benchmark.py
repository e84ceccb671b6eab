"""benchmarks/out_of_domain.py makes what it says, and counts what became of it."""

import argparse
import collections
import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import out_of_domain, strange_files
from deepscan.bundle import Bundle
from deepscan.datasets.seen import remember
from deepscan.detector import Detector
from deepscan.domain import gate as gates
from deepscan.domain import traits
from deepscan.media.source import Media
from tests.domain.files import drawing, noise, scene
from tests.material import encoded
from tests.tiny_bundles import WHOLE, tiny_bundle


@pytest.mark.parametrize("kind", strange_files.PICTURES)
def test_pictures_are_pictures_and_those_of_a_seed_the_same(kind):
    first, again, other = (strange_files.PICTURES[kind](np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (first.dtype, first.shape[2]) == (np.uint8, 3)
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize("kind", strange_files.SOUNDS)
def test_sounds_keep_to_full_scale_and_those_of_a_seed_are_the_same(kind):
    first, again = (strange_files.SOUNDS[kind](np.random.default_rng(3)) for _ in range(2))
    assert abs(first).max() <= 1
    assert (first == again).all()
    loudness = float(np.sqrt(np.mean(first**2)))
    assert (loudness < 1e-3) == (kind == "silence")


def test_files_are_media():
    pictures = list(strange_files.picture_files(1, 0))
    assert [kind for kind, _, _ in pictures] == list(strange_files.PICTURES)
    assert {Media.from_bytes(data, name).facts.kind for _, name, data in pictures} == {"image"}
    sounds = list(strange_files.sound_files(1, 0))
    assert {Media.from_bytes(data, name).facts.kind for _, name, data in sounds} == {"audio"}
    rng = np.random.default_rng(0)
    clip = strange_files.clip(strange_files.drawing(rng), strange_files.tones(rng), rng)
    facts = Media.from_bytes(clip, "a.mp4").facts
    assert (facts.kind, facts.has_sound) == ("video", True)


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    told = [traits.of_example({"pixels": scene(seed)}, WHOLE.needs) for seed in range(100)]
    columns = {name: [each[name] for each in told] for name in told[0]}
    gate = gates.fit(columns, [str(number) for number in range(100)], 0.01)
    return tiny_bundle(tmp_path_factory.mktemp("ood") / "b", gate=gate)


def test_a_group_counts_what_became_of_its_files(gated):
    detector, group = Detector.load(gated.path, "cpu"), out_of_domain.Group()
    for picture in (scene(500), noise(0), drawing(0)):
        assert out_of_domain.judge(detector, Media.from_bytes(encoded(picture), "a.png"), group) > 0
    sound = strange_files.wav(strange_files.tones(np.random.default_rng(0)))
    assert out_of_domain.judge(detector, Media.from_bytes(sound, "a.wav"), group) is None
    assert (group.files, group.gated, group.abstained) == (4, 2, {"not-applicable": 1})
    assert (group.labels.total(), group.without.total(), len(group.distances)) == (1, 2, 3)
    told = out_of_domain.told_of(group, [0.0])
    assert told["auroc"] == 1.0
    assert sum(told["labels_without_gate"].values()) == 3


def test_a_folder_is_told_by_what_the_bundle_has_seen(gated, tmp_path):
    rows = ["file\tmodality\tlabel\tgenerator\tsource"]
    for name, generator in {"a": "", "b": "X", "c": "", "d": "X", "e": "Y"}.items():
        label = "fake" if generator else "real"
        path = tmp_path / "image" / label / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(scene(ord(name))))
        rows.append(f"image/{label}/{name}.png\timage\t{label}\t{generator}\t{name}")
    (tmp_path / "image" / "real-pool").mkdir()
    (tmp_path / "image" / "real-pool" / "f.png").write_bytes(encoded(scene(6)))
    rows.append("image/real-pool/f.png\timage\treal\t\tf")
    (tmp_path / "manifest.tsv").write_text("\n".join(rows))
    learnt = [str(tmp_path / "image" / name) for name in ("real/a.png", "fake/b.png")]
    columns = {"path": learnt, "source": ["a", "b"], "split": ["train"] * 2, "status": ["used"] * 2}
    seen = remember(pa.table(columns))
    bundle = Bundle(gated.path, dataclasses.replace(gated.card, seen=seen))
    found = collections.defaultdict(list)
    for group, path in out_of_domain.genuine_rows(tmp_path, bundle, 10):
        found[group].append(path.stem)
    reals, known, unknown = out_of_domain.REALS, out_of_domain.KNOWN, out_of_domain.UNKNOWN
    assert found.pop(out_of_domain.OTHERS) == ["f"]
    assert found == {reals: ["c"], known: ["d"], unknown: ["e"], f"{unknown}: Y": ["e"]}
    given = argparse.Namespace(count=1, seed=0, most=10)
    measured = out_of_domain.measure(bundle, tmp_path, given)
    assert set(measured["groups"]) == {*found, out_of_domain.OTHERS, *strange_files.PICTURES}
    lines = list(out_of_domain.table(measured))
    assert len(lines) == 2 + len(measured["groups"])
    assert measured["auroc_strange"] > 0.9
