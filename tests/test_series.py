import contextlib
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepscan import series
from deepscan.assembly import Assembly
from deepscan.datasets import layout
from deepscan.datasets.dataset import Origin
from deepscan.ensemble import Ensemble
from deepscan.errors import ConfigError, DataError, UnknownNameError
from deepscan.evaluation import Outcome
from deepscan.fusion import FusionPolicy
from deepscan.metrics import Predictions, evaluate
from deepscan.series import STANDARD, Series, train_all
from deepscan.training.record import RAY_RUN
from deepscan.training.run import Order
from tests.tiny_bundles import tiny_bundle

FILES = 40


JUDGED = Predictions(
    label=np.array([0, 1, 1, 0]),
    logit=np.array([-1.0, 1.0, 0.5, 0.7]),
    probability=np.array([0.2, 0.8, 0.6, 0.7]),
    source=np.array(["a", "b", "c", "d"]),
    generator=np.array(["", "gan", "gan", ""]),
)
EVALUATION = evaluate(JUDGED, 0.5, np.random.default_rng(0), 0)


class Titles:
    """A Watch that keeps the titles of stages."""

    def __init__(self):
        self.titles = []

    def stage(self, title):
        self.titles.append(title)

    def advance(self, done, total): ...

    def epoch(self, metrics): ...


@pytest.fixture
def data(tmp_path):
    """Half of the files are pictures, half recordings; two files a source."""
    kinds = ["image", "audio"]
    rows = {
        "path": [str(tmp_path / f"{i}.bin") for i in range(FILES)],
        "label": [i % 2 for i in range(FILES)],
        "source": [f"s{i // 4}" for i in range(FILES)],
        "modality": [kinds[i // 2 % 2] for i in range(FILES)],
    }
    for path in rows["path"]:
        pathlib.Path(path).touch()
    pq.write_table(pa.table(rows), tmp_path / "all.parquet")
    return tmp_path / "all.parquet"


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Training, recalling and assembling replaced by notes of what was asked."""
    notes = {"orders": [], "assemblies": [], "short": set(), "finished": set()}

    def outcome(order):
        bundle = tiny_bundle(order.out / "bundle", len(notes["orders"]), name=order.model)
        return Outcome(bundle=bundle, split="test", evaluation=EVALUATION, judged=pa.table({}), account={})

    def train(order, watch):
        watch.stage("Training")
        notes["orders"].append(order)
        if order.model in notes["short"]:
            raise DataError("too few files")
        return outcome(order)

    def assemble(order, watch):
        notes["assemblies"].append(order)
        ensemble = Ensemble(entries=(), policy=order.policy, data={}, metrics={})
        return Assembly(ensemble=ensemble, evaluations={"ensemble": EVALUATION}, files=5)

    monkeypatch.setattr(series, "train", train)
    monkeypatch.setattr(series, "recall", lambda out: outcome_of(out, notes, outcome))
    monkeypatch.setattr(series.assembly, "assemble", assemble)
    monkeypatch.setattr(series, "connected", lambda address: contextlib.nullcontext())
    return notes


def outcome_of(out, notes, outcome):
    if out.name not in notes["finished"]:
        return None
    return outcome(Order(model=out.name, origin=Origin(path=out, store=out), out=out.with_name("recalled")))


def order(data, **fields):
    return Order(model="", origin=Origin(path=data, store=data.parent), out=data.parent / "runs", **fields)


def test_every_model_learns_from_its_own_files_of_one_division(data, trained):
    result = train_all(Series(models=("cnn", "gru-light"), order=order(data)), Titles())
    assert list(result.outcomes) == ["cnn", "gru-light"]
    found = {}
    for one in trained["orders"]:
        assert one.origin.fractions is None, "the division is not divided again"
        assert one.out == data.parent / "runs" / one.model
        rows = layout.scan(one.origin.path, where=one.origin.where).to_pylist()
        assert len(rows) == FILES / 2
        found |= {row["path"]: row["split"] for row in rows}
        assert {row["modality"] for row in rows} == {"image" if one.model == "cnn" else "audio"}
    assert len(found) == FILES
    whole = pq.read_table(data.parent / "runs" / "manifest.parquet").to_pylist()
    assert found == {row["path"]: row["split"] for row in whole}
    assert {row["split"] for row in whole} == {"train", "val", "test"}


def test_without_a_column_of_modalities_every_model_looks_at_every_file(data, trained):
    plain = data.with_name("plain.parquet")
    pq.write_table(pq.read_table(data).drop_columns("modality"), plain)
    train_all(Series(models=("cnn", "gru-light"), order=order(plain)), Titles())
    assert [one.origin.where for one in trained["orders"]] == [(), ()]


def test_the_ensemble_is_fitted_on_every_file_that_nobody_learnt_from(data, trained):
    policy = FusionPolicy(method="stack")
    given = Series(models=("cnn", "gru-light"), order=order(data), policy=policy, max_error_rate=0.1)
    result = train_all(given, Titles())
    assert result.assembly.ensemble.policy == policy
    (asked,) = trained["assemblies"]
    assert asked.out == data.parent / "runs" / "ensemble.json"
    assert asked.bundles == tuple(each.bundle.path for each in result.outcomes.values())
    assert (asked.policy, asked.max_error_rate) == (policy, 0.1)
    assert asked.origin.fractions is None
    assert asked.on_seen == "count", "what was trained is not lost to what it took over"
    rows = layout.scan(asked.origin.path, where=asked.origin.where).to_pylist()
    assert {row["split"] for row in rows} == {"val", "test"}
    assert {row["modality"] for row in rows} == {"image", "audio"}
    assert asked.known == {each.bundle.card.id: each.said for each in result.outcomes.values()}


def test_the_report_shows_the_ensemble_and_names_every_model(data, trained):
    trained["short"] = {"voice"}
    train_all(Series(models=("cnn", "gru-light", "voice"), order=order(data)), Titles())
    text = (data.parent / "runs" / "report.html").read_text()
    assert "2 models on the test split, and their ensemble" in text
    assert "AUC 0.750 on 4 files of 4 sources, cnn-" in text
    assert "too few files" in text


def test_settings_are_for_all_models_or_for_one(data, trained):
    overrides = ("recipe.epochs=3", "cnn:recipe.batch_size=4", "gru-light:prep.window_s=2.0")
    train_all(Series(models=("cnn", "gru_light"), order=order(data, overrides=overrides)), Titles())
    assert [one.overrides for one in trained["orders"]] == [
        ("recipe.epochs=3", "recipe.batch_size=4"),
        ("recipe.epochs=3", "prep.window_s=2.0"),
    ]


def test_stages_tell_which_model_they_are_for(data, trained):
    watch = Titles()
    train_all(Series(models=("cnn", "gru-light"), order=order(data)), watch)
    assert watch.titles == ["Scanning and splitting the data", "1/2 cnn: Training", "2/2 gru-light: Training"]


def test_a_model_without_enough_files_is_left_out_by_name(data, trained):
    trained["short"] = {"cnn"}
    result = train_all(Series(models=("cnn", "gru-light"), order=order(data)), Titles())
    assert result.left_out == {"cnn": "too few files"}
    assert list(result.outcomes) == ["gru-light"]
    assert result.assembly is None, "one detector is no ensemble"
    assert trained["assemblies"] == []


def test_where_no_model_can_be_trained_the_reasons_are_told(data, trained):
    trained["short"] = {"cnn", "gru-light"}
    with pytest.raises(DataError, match="cnn: too few files gru-light: too few files"):
        train_all(Series(models=("cnn", "gru-light"), order=order(data)), Titles())


@pytest.mark.parametrize(
    ("models", "overrides", "error", "message"),
    [
        (("cnn", "nonesuch"), (), UnknownNameError, "nonesuch"),
        (("cnn", "cnn"), (), ConfigError, "once"),
        (("cnn",), ("xception:recipe.epochs=1",), ConfigError, "'xception'"),
        (("cnn",), ("recipe.epoch=1",), ConfigError, "epoch"),
        (("cnn", "gru-light"), ("cnn:prep.window_s=1.0",), ConfigError, "window_s"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(data, trained, models, overrides, error, message):
    with pytest.raises(error, match=message):
        train_all(Series(models=models, order=order(data, overrides=overrides)), Titles())
    assert trained["orders"] == []
    assert not (data.parent / "runs").exists()


def test_a_series_goes_on_where_it_stopped(data, trained):
    runs = data.parent / "runs"
    given = Series(models=("cnn", "gru-light", "voice"), order=order(data, resume=True))
    for begun in ("cnn", "gru-light"):
        (runs / begun / RAY_RUN).mkdir(parents=True)
    trained["finished"] = {"cnn"}
    result = train_all(given, Titles())
    assert list(result.outcomes) == ["cnn", "gru-light", "voice"]
    assert [(one.model, one.resume) for one in trained["orders"]] == [("gru-light", True), ("voice", False)]


def test_a_series_is_not_begun_twice_in_one_folder(data, trained):
    (data.parent / "runs" / "cnn" / RAY_RUN).mkdir(parents=True)
    with pytest.raises(ConfigError, match="--resume"):
        train_all(Series(models=("cnn",), order=order(data)), Titles())


def test_the_standard_models_are_one_for_each_kind_of_media():
    modalities = [series.load_builtin().get(name).modality for name in STANDARD]
    assert sorted(modalities) == ["audio", "av", "image", "video"]
