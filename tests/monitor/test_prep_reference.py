"""The reference that calibration writes into a bundle."""

import dataclasses
import itertools
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest

from deepscan import onlooking
from deepscan.bundle import MANIFEST, Bundle
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.reader import Reader, ledger
from deepscan.datasets.store import USED, Row, Store
from deepscan.errors import BundleError, ConfigError
from deepscan.evaluation import Judging, calibrate
from deepscan.media.source import Limits, Media
from deepscan.modalities.catalog import load_builtin
from deepscan.modalities.image import ImagePrep
from deepscan.monitor.drift import prep_statistics
from deepscan.onlooking import prep_reference
from tests.tiny_bundles import WHOLE, noise, tiny_bundle

PARTS = (1, 3, 1, 2, 1, 1, 4, 2, 1, 1)


def example(file, part):
    pixels = np.random.default_rng([file, part]).integers(0, 250 - 20 * file, (32, 32, 3)).astype(np.uint8)
    return {"pixels": pixels, "box": np.zeros(4, np.float32)}


def dataset(paths, store, kinds, split="val"):
    columns = {"path": paths, "label": [i % 2 for i in range(len(paths))], "split": [split] * len(paths)}
    index = store.index(*kinds)
    accounted = ledger(pa.table(columns), index)
    return DataSet(
        ledger=accounted, index=index, reader=Reader(store, WHOLE, Limits(), WHOLE.needs), digest=""
    )


@pytest.fixture
def kept(tmp_path):
    """Files of several parts in a store; those of one lie in two of its row groups."""
    store = Store(tmp_path / "store", WHOLE)
    paths = [f"{file}.png" for file in range(len(PARTS))]
    rows = [Row(paths[f], part, USED, "", example(f, part)) for f, n in enumerate(PARTS) for part in range(n)]
    store.write(rows, "examples")
    return dataset(paths, store, ["examples"])


@pytest.fixture
def raw(tmp_path):
    """Files that were looked at and not kept."""
    store, paths = Store(tmp_path / "store", WHOLE), [str(tmp_path / f"{seed}.png") for seed in range(5)]
    for seed, path in enumerate(paths):
        (tmp_path / path).write_bytes(noise(seed))
    store.write([Row(path, 0, USED, "", None) for path in paths], "ledger")
    return dataset(paths, store, ["ledger"])


def served(file):
    return prep_statistics([example(file, part) for part in range(PARTS[file])], WHOLE.needs)


def by_figure(reference):
    return {histogram.figure: histogram for histogram in reference}


def test_it_is_the_statistics_of_served_files(kept):
    found = by_figure(prep_reference(kept, Judging()))
    assert set(found) == {"pixels_mean", "pixels_std", "parts"}
    expected = sorted(served(file)["pixels_mean"] for file in range(len(PARTS)))
    histogram = found["pixels_mean"]
    assert histogram.count == len(PARTS)
    assert histogram.edges[0] == pytest.approx(expected[0], rel=1e-12)
    middles = [(low + high) / 2 for low, high in itertools.pairwise(expected)]
    assert histogram.edges[1:-1] == pytest.approx(middles, rel=1e-12)
    assert found["parts"].shares == pytest.approx((0, 0.6, 0.2, 0.1, 0.1, 0))


def test_only_some_files_are_looked_at_but_all_parts_of_each(kept, monkeypatch):
    monkeypatch.setattr(onlooking, "REFERENCE_FILES", 1)
    read = []
    monkeypatch.setattr(
        onlooking, "merged", lambda parts: read.append(len(parts)) or {"parts": float(len(parts))}
    )
    (found,) = prep_reference(kept, Judging())
    assert 1 <= found.count < len(PARTS)
    assert not set(read) - set(PARTS)
    assert any(list(PARTS[i : i + len(read)]) == read for i in range(len(PARTS)))


def test_few_raw_files_are_prepared_again_here(raw, monkeypatch):
    monkeypatch.setattr(onlooking, "alone", lambda: True)
    found = by_figure(prep_reference(raw, Judging()))
    means = [
        prep_statistics(WHOLE(Media.from_bytes(noise(seed), "x.png")), WHOLE.needs)["pixels_mean"]
        for seed in range(5)
    ]
    assert found["pixels_mean"].edges[0] == pytest.approx(min(means), rel=1e-12)
    assert found["parts"].count == 5


@pytest.mark.parametrize(("few", "is_alone"), [(4, True), (32, False)])
def test_many_raw_files_and_those_of_other_machines_are_prepared_on_ray(raw, monkeypatch, few, is_alone):
    class Stream:
        def iter_batches(self, batch_format):
            assert batch_format == "numpy"
            return [self.onlooker.labelled(self.chunks)]

    def stream(chunks, onlooker, cpus):
        made = Stream()
        made.chunks, made.onlooker = chunks, pickle.loads(pickle.dumps(onlooker))
        asked.append(cpus)
        return made

    asked = []
    monkeypatch.setattr(onlooking, "FEW_RAW", 32)
    monkeypatch.setattr(onlooking, "alone", lambda: True)
    here = prep_reference(raw, Judging())
    monkeypatch.setattr(onlooking, "FEW_RAW", few)
    monkeypatch.setattr(onlooking, "alone", lambda: is_alone)
    monkeypatch.setattr(onlooking.stream, "evaluation", stream)
    assert prep_reference(raw, Judging(cpus=0.25)) == here
    assert asked == [0.25]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_what_is_prepared_on_ray_has_the_same_statistics(raw, monkeypatch):
    here = prep_reference(raw, Judging())
    monkeypatch.setattr(onlooking, "FEW_RAW", 0)
    assert prep_reference(raw, Judging()) == here


def test_a_split_without_files_has_no_statistics(kept):
    empty = dataclasses.replace(kept, ledger=kept.ledger.slice(0, 0))
    assert prep_reference(empty, Judging()) == ()


def judged(n=60):
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    return pa.table({"logit": rng.normal(2 * label - 1, 1.0), "label": label})


def test_calibration_writes_how_validation_files_scored(tmp_path):
    bundle = calibrate(tiny_bundle(tmp_path / "b"), judged(), "temperature")
    (scores,) = Bundle.read(bundle.path).card.reference
    probability = bundle.card.calibration.apply(judged()["logit"].to_numpy())
    assert scores.shares == pytest.approx(np.histogram(probability, 10, (0, 1))[0] / 60)
    assert (scores.figure, scores.count) == ("score", 60)


def test_it_also_writes_what_prepared_files_look_like(tmp_path, kept):
    seen = prep_reference(kept, Judging())
    bundle = calibrate(tiny_bundle(tmp_path / "b"), judged(), "none", seen)
    assert Bundle.read(bundle.path) == bundle
    assert bundle.card.reference[1:] == seen


def test_the_operating_point_keeps_to_the_error_rate_of_the_recipe(tmp_path):
    few = calibrate(tiny_bundle(tmp_path / "a"), judged(200), "none").card.operating
    stated = tiny_bundle(tmp_path / "b").amend(recipe={"max_error_rate": 0.2})
    many = calibrate(stated, judged(200), "none").card.operating
    assert (few.max_error_rate, many.max_error_rate) == (0.05, 0.2)
    assert many.low > few.low
    assert many.high < few.high


def test_a_recipe_that_calls_nothing_real_keeps_its_bundle_from_it(tmp_path):
    usual = calibrate(tiny_bundle(tmp_path / "a"), judged(200), "none").card.operating
    wary = tiny_bundle(tmp_path / "b").amend(recipe={"calls_real": False})
    point = calibrate(wary, judged(200), "none").card.operating
    assert usual.low > 0
    assert (point.low, point.high) == (0.0, usual.high)


def test_the_operating_point_keeps_to_it_within_the_column_that_the_recipe_names(tmp_path):
    rows = judged(200)
    scores = rows.column("logit").to_pylist()
    median = np.median(
        [each for each, label in zip(scores, rows["label"].to_pylist(), strict=True) if not label]
    )
    rows = rows.append_column("camera", pa.array(["upper" if each > median else "lower" for each in scores]))
    usual = calibrate(tiny_bundle(tmp_path / "a"), rows, "none").card.operating
    wary = tiny_bundle(tmp_path / "b").amend(recipe={"error_rate_by": "camera"})
    within = calibrate(wary, rows, "none").card.operating
    assert within.high > usual.high
    assert within.groups == 2
    with pytest.raises(ConfigError, match="no column 'camera'"):
        calibrate(wary, judged(200), "none")


def test_the_id_of_a_bundle_does_not_follow_its_reference(tmp_path):
    bundle = calibrate(tiny_bundle(tmp_path / "b"), judged(), "none")
    assert bundle.amend(reference=()).card.id == bundle.card.id


def rewritten(path, change):
    card = json.loads((path / MANIFEST).read_text())
    change(card)
    (path / MANIFEST).write_text(json.dumps(card))
    return Bundle.read(path)


def test_a_bundle_without_a_reference_loads(tmp_path):
    path = tiny_bundle(tmp_path / "b").path
    assert rewritten(path, lambda card: card.pop("reference")).card.reference == ()


def test_a_bundle_with_a_reference_that_is_none_is_refused(tmp_path):
    bundle = calibrate(tiny_bundle(tmp_path / "b"), judged(), "none")
    with pytest.raises(BundleError, match="rising edges"):
        rewritten(bundle.path, lambda card: card["reference"][0].update(count=0))


@pytest.mark.parametrize(
    ("modality", "figures"),
    [
        ("image", {"pixels_mean", "pixels_std"}),
        ("video", {"frames_mean", "frames_std"}),
        ("audio", {"wave_mean", "wave_std"}),
        ("av", {"mouth_mean", "mouth_std", "wave_mean", "wave_std"}),
    ],
)
def test_every_modality_has_statistics_of_what_its_models_see(modality, figures):
    prep = load_builtin().get(modality).prep()
    columns = {name: np.zeros(column.shape, column.dtype) for name, column in prep.columns.items()}
    assert set(prep_statistics([columns], prep.needs)) == figures | {"parts"}


def test_the_statistics_do_not_depend_on_columns_that_are_not_kept():
    prep = ImagePrep(region="whole")
    only = {name: np.zeros(prep.columns[name].shape, np.uint8) for name in prep.needs}
    assert prep_statistics([only | {"box": np.ones(4)}], prep.needs) == prep_statistics([only], prep.needs)
