import contextlib
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from deepscan import crossvalidation
from deepscan.crossvalidation import Folds, cross_validate, groups, pool, splits
from deepscan.datasets.dataset import Origin
from deepscan.errors import ConfigError, DataError
from deepscan.evaluation import Outcome, as_predictions
from deepscan.metrics import evaluate
from deepscan.training.record import RAY_RUN
from deepscan.training.run import Order
from deepscan.watch import LogWatch
from tests.tiny_bundles import tiny_bundle

FILES = 48


@pytest.fixture
def data(tmp_path):
    """Four files a source, half of them fakes of one of two generators."""
    rows = {
        "path": [str(tmp_path / f"{i}.bin") for i in range(FILES)],
        "label": [i % 2 for i in range(FILES)],
        "source": [f"s{i // 4}" for i in range(FILES)],
        "generator": ["" if i % 2 == 0 else f"gan-{i // 8 % 2}" for i in range(FILES)],
        "split": ["train"] * FILES,
    }
    for path in rows["path"]:
        pathlib.Path(path).touch()
    pq.write_table(pa.table(rows), tmp_path / "all.parquet")
    return tmp_path / "all.parquet"


@pytest.fixture
def trained(monkeypatch):
    """Training replaced by a note of what was asked; logits are known numbers."""
    notes = {"orders": [], "recalled": [], "finished": set()}

    def outcome(order):
        table = pq.read_table(order.origin.path)
        test = table.filter(pa.array([name == "test" for name in table["split"].to_pylist()]))
        logit = np.random.default_rng(len(test)).normal(test["label"].to_numpy() * 1.5 - 0.7)
        judged = test.append_column("logit", pa.array(logit * 10))
        judged = judged.append_column("probability", pa.array(1 / (1 + np.exp(-logit))))
        bundle = tiny_bundle(order.out / "bundle", len(notes["orders"]), name=order.model)
        evaluation = evaluate(as_predictions(judged), 0.5, np.random.default_rng(0), 0)
        return Outcome(bundle=bundle, split="test", evaluation=evaluation, judged=judged, account={})

    def train(order, watch):
        notes["orders"].append(order)
        return outcome(order)

    def recall(out):
        notes["recalled"].append(out)
        if out.name not in notes["finished"]:
            return None
        origin = Origin(path=out / "manifest.parquet", store=out)
        return outcome(Order(model="cnn", origin=origin, out=out))

    monkeypatch.setattr(crossvalidation, "train", train)
    monkeypatch.setattr(crossvalidation, "recall", recall)
    monkeypatch.setattr(crossvalidation, "connected", lambda address: contextlib.nullcontext())
    return notes


def folds_of(data, **fields):
    order = {"model": "cnn", "origin": Origin(path=data, store=data.parent), "out": data.parent / "cv"}
    order |= {name: fields.pop(name) for name in ("overrides", "resume", "storage") if name in fields}
    return Folds(order=Order(**order), **fields)


def test_every_file_is_judged_once_by_who_has_not_seen_its_source(data, trained):
    result = cross_validate(folds_of(data, count=4), LogWatch())
    assert len(trained["orders"]) == len(result.outcomes) == 4
    for order in trained["orders"]:
        rows = pq.read_table(order.origin.path).to_pylist()
        of = {name: {r["source"] for r in rows if r["split"] == name} for name in ("train", "val", "test")}
        assert all(of.values())
        assert not of["test"] & (of["train"] | of["val"])
        assert not of["train"] & of["val"]
        assert not order.origin.allow_leaks
    assert sorted(result.judged["path"].to_pylist()) == sorted(pq.read_table(data)["path"].to_pylist())


def test_the_figures_of_all_folds_compare_calibrated_log_odds(data, trained):
    result = cross_validate(folds_of(data, count=3), LogWatch())
    expected = roc_auc_score(result.judged["label"].to_numpy(), result.judged["probability"].to_numpy())
    assert result.evaluation.overall["auc"].value == pytest.approx(expected)
    assert result.evaluation.overall["auc"].low < expected
    names = ["fold 1", "fold 2", "fold 3", "all folds", "gan-0", "gan-1"]
    assert list(result.metrics) == names
    assert result.metrics["all folds"]["counts"]["files"] == FILES
    again = pq.read_table(data.parent / "cv" / "predictions.parquet")
    odds = again["logit"].to_numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), again["probability"].to_numpy(), rtol=1e-9)
    assert "3 folds of sources" in (data.parent / "cv" / "report.html").read_text(encoding="utf-8")


def test_files_may_choose_the_epoch_where_there_are_few_sources(data, trained):
    cross_validate(folds_of(data, count=12, validation="files", share=0.25), LogWatch())
    for order in trained["orders"]:
        assert order.origin.allow_leaks
        rows = [r for r in pq.read_table(order.origin.path).to_pylist() if r["split"] != "test"]
        val = [r for r in rows if r["split"] == "val"]
        assert len(val) / len(rows) == pytest.approx(0.25, abs=0.05)
        assert {r["generator"] for r in val} == {"", "gan-0", "gan-1"}


def test_an_interrupted_validation_goes_on_with_what_is_missing(data, trained):
    cross_validate(folds_of(data, count=3), LogWatch())
    for number in (1, 2):
        (data.parent / "cv" / f"fold-{number}" / RAY_RUN).mkdir()
    with pytest.raises(ConfigError, match="Add --resume"):
        cross_validate(folds_of(data, count=3), LogWatch())
    trained["orders"].clear()
    trained["finished"] = {"fold-1"}
    cross_validate(folds_of(data, count=3, resume=True), LogWatch())
    assert [(order.out.name, order.resume) for order in trained["orders"]] == [
        ("fold-2", True),
        ("fold-3", False),
    ]


def test_the_storage_brings_back_what_the_folder_has_lost(data, trained):
    kept, out = data.parent / "kept", data.parent / "cv"
    cross_validate(folds_of(data, count=3, storage=str(kept)), LogWatch())
    assert {order.storage for order in trained["orders"]} == {str(kept / f"fold-{n}") for n in (1, 2, 3)}
    assert (kept / "report.html").is_file()
    (kept / "fold-1" / RAY_RUN).mkdir()
    (kept / "fold-1" / "history.jsonl").write_text("", encoding="utf-8")
    shutil.rmtree(out)
    with pytest.raises(ConfigError, match="fold-1 holds a training run"):
        cross_validate(folds_of(data, count=3, storage=str(kept)), LogWatch())
    trained["orders"].clear()
    cross_validate(folds_of(data, count=3, storage=str(kept), resume=True), LogWatch())
    assert [order.resume for order in trained["orders"]] == [True, False, False]
    assert (out / "fold-1" / "history.jsonl").is_file()


def test_what_cannot_be_done_is_refused_before_any_work(data, trained):
    with pytest.raises(DataError, match="the data have 12"):
        cross_validate(folds_of(data, count=13), LogWatch())
    with pytest.raises(ConfigError, match="Two folds or more"):
        cross_validate(folds_of(data, share=1.0), LogWatch())
    with pytest.raises(ConfigError, match="Unknown setting"):
        cross_validate(folds_of(data, overrides=("recipe.epoch=1",)), LogWatch())
    assert trained["orders"] == []


def test_the_same_seed_gives_the_same_folds(data):
    table = pq.read_table(data)
    assert np.array_equal(groups(table, 4, 1), groups(table, 4, 1))
    assert not np.array_equal(groups(table, 4, 1), groups(table, 4, 2))
    names = splits(table, groups(table, 4, 1), 2, folds_of(data))
    assert names.count("test") == FILES / 4


def test_files_that_could_not_be_judged_are_left_out():
    table = pa.table({"logit": [1.0, None], "probability": [0.5, None], "label": [1, 0]})
    assert pool([table, table])["logit"].to_pylist() == [0.0, 0.0]
