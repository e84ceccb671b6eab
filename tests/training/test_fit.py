"""The training run on Ray: two workers, the stream, checkpoints, recovery."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

from deepscan import evaluation
from deepscan.bundle import Bundle
from deepscan.cluster import ENVIRONMENT
from deepscan.datasets.dataset import Origin, open_dataset
from deepscan.datasets.seen import overlap
from deepscan.detector import Detector
from deepscan.errors import ConfigError, StalledError, TooManyBadFilesError, TrainingError
from deepscan.evaluation import Judging
from deepscan.training.fit import HeldOut
from deepscan.training.record import Place, read_history
from deepscan.training.run import Order, recall, train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]
ROOT = pathlib.Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugins" / "tiny.py"
FILES = 72


class Recorder:
    """Follows a run."""

    def __init__(self):
        self.stages, self.epochs, self.work = [], [], []

    def stage(self, title):
        self.stages.append(title)
        self.work.append([])

    def advance(self, done, total):
        self.work[-1].append((done, total))

    def epoch(self, metrics):
        self.epochs.append(metrics)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Noisy pictures; the fakes are smoother. One file is broken."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i in range(FILES):
        label = ("real", "fake")[i % 2]
        noise = rng.normal(0, 40 if label == "real" else 10, (32, 32, 3))
        picture = np.clip(128 + rng.normal(0, 20) + noise, 0, 255).astype(np.uint8)
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / label / f"{i:03}.png")
    (folder / "real" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def order_of(data, store, out, **changes):
    order = Order(
        model="tiny",
        plugin=PLUGIN,
        out=out,
        workers=2,
        name="test",
        origin=Origin(path=data, store=store, fractions=(0.5, 0.25, 0.25)),
    )
    return dataclasses.replace(order, **changes)


def weights(out):
    """The weights at the end of the run, not of its best epoch."""
    [*_, latest] = sorted((out / "ray").glob("epoch-*"))
    return safetensors.torch.load_file(latest / "weights.safetensors")


@pytest.fixture(scope="module")
def finished(ray_cluster, data, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    watch = Recorder()
    return out, train(order_of(data, store, out, track=("jsonl",)), watch), watch


def test_a_run_leaves_everything_that_it_promises(finished):
    out, outcome, watch = finished
    assert [e["epoch"] for e in watch.epochs] == [1, 2, 3]
    assert read_history(out / "history.jsonl") == watch.epochs == list(outcome.history)
    assert list((out / "tensorboard").glob("events*"))
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["evaluation"]["overall"]["auc"]
    told = pq.read_table(out / "predictions.parquet")
    assert set(told["split"].to_pylist()) == {"val", "test"}
    kept = recall(out)
    assert kept.judged.equals(outcome.judged)
    assert kept.validation.equals(outcome.validation)


def test_a_bundle_remembers_what_trained_and_chose_it(finished):
    out, outcome, _ = finished
    ledger, memory = pq.read_table(out / "ledger.parquet"), Bundle.read(out / "bundle").card.seen
    for split in ("train", "val", "test"):
        rows = ledger.filter(pc.field("split") == split)
        found = overlap(memory, rows, same_data=False)
        assert set(found.files) == (set() if split == "test" else set(rows["path"].to_pylist()))
    assert outcome.seen.total == ledger["split"].to_pylist().count("test")
    assert outcome.seen.sentences == ()
    assert outcome.examination.by_label.keys() == {"real", "fake"}


def test_trackers_are_told_the_whole_run(finished):
    out, outcome, watch = finished
    lines = (out / "run.jsonl").read_text(encoding="utf-8").splitlines()
    first, *epochs, last, end = [json.loads(line) for line in lines]
    card = outcome.bundle.card
    assert first["settings"]["data"]["digest"] == card.data["digest"]
    assert first["settings"]["recipe"] == card.recipe
    assert [told["epoch"] for told in epochs] == watch.epochs
    assert last["figures"]["test_auc"] == outcome.evaluation.overall["auc"].value
    assert Bundle.read(pathlib.Path(last["bundle"])).card.id == card.id
    assert end == {"finished": True}


def test_what_a_bundle_said_before_is_not_asked_again(finished, data, store, tmp_path, monkeypatch):
    _, outcome, _ = finished
    asked = []

    def judge(bundle, reader, chunks, judging):
        asked.extend(file for chunk in chunks for file in chunk.files)
        return dict.fromkeys(asked, 9.0)

    monkeypatch.setattr(evaluation, "file_logits", judge)
    origin = order_of(data, store, None).origin
    opened = open_dataset(origin, outcome.bundle.prep(), tmp_path / "ledger.parquet", 1.0, Recorder())
    known = dict(zip(*(outcome.said[name].to_pylist() for name in ("path", "logit")), strict=True))
    forgotten = outcome.judged["path"][0].as_py()
    del known[forgotten]
    said = evaluation.predictions(outcome.bundle, opened, ("val", "test"), Judging(), known)
    assert [opened.ledger["path"][file].as_py() for file in asked] == [forgotten]
    logits = dict(zip(*(said[name].to_pylist() for name in ("path", "logit")), strict=True))
    assert logits == known | {forgotten: 9.0}


def test_few_prepared_files_are_judged_here_just_as_on_ray(finished, data, store, tmp_path, monkeypatch):
    _, outcome, _ = finished
    origin = order_of(data, store, None).origin
    opened = open_dataset(origin, outcome.bundle.prep(), tmp_path / "ledger.parquet", 1.0, Recorder())
    chunks, judging = opened.held_out("test"), Judging(plugin=PLUGIN)
    here = evaluation.file_logits(outcome.bundle, opened.reader, chunks, judging)
    monkeypatch.setattr(evaluation, "FEW", 0)
    monkeypatch.setattr(evaluation, "_judged_here", None)
    on_ray = evaluation.file_logits(outcome.bundle, opened.reader, chunks, judging)
    assert here == pytest.approx(on_ray, abs=1e-5)


def test_a_student_follows_the_bundle_of_an_earlier_run(finished, data, store, tmp_path):
    _, outcome, _ = finished
    settings = ("recipe.epochs=1", "recipe.sampling.classes=balanced", "recipe.recompute=true")
    order = order_of(data, store, tmp_path / "student", overrides=settings, workers=1)
    student = train(dataclasses.replace(order, teachers=(outcome.bundle.path,)), Recorder())
    alone = train(dataclasses.replace(order, out=tmp_path / "alone"), Recorder())
    assert student.bundle.card.teachers == (outcome.bundle.card.id,)
    assert student.bundle.card.recipe["distill"] == {"weight": 0.5, "temperature": 2.0}
    assert student.history[0]["train_loss"] != alone.history[0]["train_loss"]
    facts = json.loads((tmp_path / "student" / "settings.json").read_text(encoding="utf-8"))
    assert facts["teachers"] == [outcome.bundle.card.id]
    other = dataclasses.replace(order, resume=True)
    with pytest.raises(ConfigError, match="teachers differ"):
        train(other, Recorder())


def test_every_file_is_accounted_for(finished):
    out, outcome, _ = finished
    ledger = pq.read_table(out / "ledger.parquet").to_pylist()
    assert len(ledger) == FILES + 1
    assert outcome.account == {"used": FILES, "corrupt": 1}
    [broken] = [row for row in ledger if row["status"] == "corrupt"]
    assert broken["path"].endswith("broken.png")
    assert "broken.png" in broken["reason"]


def test_the_bundle_explains_itself(finished):
    _, outcome, watch = finished
    card = outcome.bundle.card
    best = max(e["val_auc"] for e in watch.epochs)
    assert card.metrics["validation"]["val_auc"] == best
    assert card.metrics["test"]["figures"]["auc"]["value"] == outcome.evaluation.overall["auc"].value
    assert card.calibration.kind == "temperature"
    assert card.reliability is not None
    assert card.plugin == "tiny.py"
    assert card.training["way"] in {"float32, channels last", "bfloat16, channels last"}
    assert f"Its steps were computed in {card.training['way']}" in watch.stages
    assert sum(card.data["files"].values()) == FILES + 1
    assert card.data["status"] == {"used": FILES, "corrupt": 1}
    assert Bundle.read(outcome.bundle.path).card == card


def test_the_card_tells_of_the_run_and_of_what_the_data_are_made(finished):
    _, outcome, watch = finished
    card = outcome.bundle.card
    assert card.training["time_s"] > 0
    assert card.training["epochs"] == len(watch.epochs)
    assert not card.training["resumed"]
    counts = card.data["counts"]
    assert {name: each["files"] for name, each in counts.items()} == card.data["files"]
    assert all(sum(each["generators"].values()) == each["fake"] for each in counts.values())
    said = card.metrics["test"]["verdicts"]
    assert sum(sum(each.values()) for each in said.values()) == counts["test"]["files"]
    assert isinstance(card.data["split_seed"], int)


def test_calibration_and_threshold_come_from_validation_alone(finished, data):
    """The same calibration results from the validation rows of the ledger, judged in this process."""
    from deepscan.calibration import fit, fit_operating_point
    from deepscan.media.source import Media

    out, outcome, _ = finished
    detector = Detector.load(outcome.bundle.path)
    rows = [
        r
        for r in pq.read_table(out / "ledger.parquet").to_pylist()
        if r["split"] == "val" and r["status"] == "used"
    ]
    logit = np.asarray(
        [detector.run(detector.prep(Media.from_path(pathlib.Path(r["path"]))))["logit"].max() for r in rows]
    )
    label = np.asarray([r["label"] for r in rows])
    expected = fit("temperature", logit, label)
    assert outcome.bundle.card.calibration.temperature == pytest.approx(expected.temperature, rel=1e-4)
    operating = fit_operating_point(expected.apply(logit), label)
    assert outcome.bundle.card.operating.threshold == pytest.approx(operating.threshold, abs=1e-5)


def test_the_same_seed_gives_the_same_weights(finished, data, store, tmp_path):
    out, _, watch = finished
    again = Recorder()
    train(order_of(data, store, tmp_path / "again"), again)
    assert [e["val_auc"] for e in again.epochs] == [e["val_auc"] for e in watch.epochs]
    for name, value in weights(out).items():
        assert torch.equal(value, weights(tmp_path / "again")[name]), name
    [prepared] = [w for s, w in zip(again.stages, again.work, strict=True) if s == "Preparing Examples"]
    assert prepared == [(FILES + 1, FILES + 1)], "a second run prepares nothing"


def test_raw_files_train_without_keeping_examples(finished, data, tmp_path):
    """The order of Examples differs from that of kept ones, so the weights do; the files do not."""
    _, kept, _ = finished
    origin = Origin(path=data, store=tmp_path / "store", fractions=(0.5, 0.25, 0.25), keep=False)
    outcome = train(order_of(data, None, tmp_path / "raw", origin=origin), Recorder())
    assert not list((tmp_path / "store").rglob("examples-*"))
    assert outcome.account == {"used": FILES, "corrupt": 1}
    assert [epoch["epoch"] for epoch in outcome.history] == [1, 2, 3]
    assert outcome.evaluation.counts == kept.evaluation.counts
    assert outcome.judged.column("path").to_pylist() == kept.judged.column("path").to_pylist()


def test_a_killed_worker_is_replaced_and_the_weights_are_the_same(finished, data, store, tmp_path):
    out, _, _ = finished
    bomb = tmp_path / "bomb"
    late = tmp_path / "late"

    class Arming(Recorder):
        def epoch(self, metrics):
            super().epoch(metrics)
            if metrics["epoch"] == 1:
                bomb.touch()

    watch = Arming()
    order = order_of(data, store, late, overrides=(f"model.crash={bomb}",))
    train(order, watch)
    assert not bomb.exists(), "the worker died"
    assert [e["epoch"] for e in watch.epochs] == [1, 2, 3]
    assert [e["epoch"] for e in read_history(late / "history.jsonl")] == [1, 2, 3]
    for name, value in weights(out).items():
        assert torch.equal(value, weights(late)[name]), name


@pytest.mark.timeout(300)
def test_a_lost_node_leaves_a_run_that_ends_with_fewer_workers(data, store, tmp_path):
    command = [sys.executable, "-m", "tests.training.node_loss", str(data), str(store), str(tmp_path / "run")]
    environment = os.environ | ENVIRONMENT | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    environment |= {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}
    with tempfile.TemporaryDirectory(prefix="r") as short:
        told = subprocess.run(
            command,
            cwd=ROOT,
            env=environment | {"RAY_TMPDIR": short},
            capture_output=True,
            text=True,
            timeout=280,
        )
    assert told.returncode == 0, told.stderr[-3000:]
    facts = json.loads(told.stdout.splitlines()[-1])
    assert facts == {"waited": True, "epochs": list(range(1, 13)), "files": FILES // 4, "nodes": 2}


@pytest.mark.parametrize(("blow", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopped_driver_leaves_a_run_that_can_be_resumed(ray_cluster, data, store, tmp_path, blow, code):
    """The killed one was on another machine, so that nothing but the storage is left of its run."""
    stopped, elsewhere = tmp_path / "stopped", blow == signal.SIGKILL
    place = Place(stopped, str(tmp_path / "storage") if elsewhere else "")
    command = [
        sys.executable,
        "-c",
        "from deepscan.cli import main; main()",
        "train",
        "--model",
        "tiny",
        "--plugin",
        str(PLUGIN),
        "--data",
        str(data),
        "--out",
        str(stopped),
        "--store",
        str(store),
        "--workers",
        "2",
        "--materialize",
        "--set",
        "recipe.epochs=40",
        *(("--storage", place.storage) if elsewhere else ()),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline_s = time.monotonic() + 120
        while place.epochs_done() < 1 and time.monotonic() < deadline_s:
            time.sleep(0.2)
        os.kill(process.pid, blow)
        _, complaint = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == code, complaint
    assert "--resume" in complaint or blow == signal.SIGKILL
    done = place.epochs_done()
    assert 1 <= done < 40
    if elsewhere:
        shutil.rmtree(stopped)
    watch = Recorder()
    order = order_of(
        data,
        store,
        stopped,
        resume=True,
        name="tiny",
        overrides=("recipe.epochs=40",),
        origin=Origin(path=data, store=store),
        storage=place.storage,
    )
    outcome = train(order, watch)
    assert [e["epoch"] for e in watch.epochs] == list(range(1 if elsewhere else done + 1, 41))
    assert [e["epoch"] for e in read_history(stopped / "history.jsonl")] == list(range(1, 41))
    assert (stopped / "ray").exists() != elsewhere
    kept = recall(tmp_path / "storage" if elsewhere else stopped)
    assert kept.bundle.card.id == outcome.bundle.card.id
    assert kept.history == outcome.history


def test_a_rank_without_validation_examples_reads_none():
    held_out = HeldOut(chunks=["of rank 0"], reader=None, cpus=1.0)
    assert list(held_out.batches(types.SimpleNamespace(rank=1, world=2))) == []


def test_two_runs_are_never_mixed_in_one_folder(finished, data, store, tmp_path):
    out, _, _ = finished
    with pytest.raises(ConfigError, match="--resume"):
        train(order_of(data, store, out), Recorder())
    with pytest.raises(ConfigError, match="no training run to resume"):
        train(order_of(data, store, tmp_path / "new", resume=True), Recorder())
    with pytest.raises(ConfigError, match="recipe differ"):
        train(order_of(data, store, out, resume=True, overrides=("recipe.optimizer.lr=0.5",)), Recorder())


def test_too_many_bad_files_stop_the_run_and_the_ledger_names_them(ray_cluster, data, tmp_path):
    origin = Origin(path=data, store=tmp_path / "store", max_bad=0.0)
    with pytest.raises(TooManyBadFilesError, match="1 of 73 files are corrupt"):
        train(order_of(data, None, tmp_path / "out", origin=origin), Recorder())
    ledger = pq.read_table(tmp_path / "out" / "ledger.parquet").to_pylist()
    assert len(ledger) == FILES + 1
    assert "broken.png" in {pathlib.Path(r["path"]).name for r in ledger if r["status"] == "corrupt"}


def test_divergence_is_reported_as_such_and_not_retried(ray_cluster, data, store, tmp_path):
    overrides = ("recipe.optimizer.lr=1e30", "recipe.optimizer.name=sgd", "recipe.clip_norm=0")
    with pytest.raises(TrainingError, match=r"optimizer\.lr"):
        train(order_of(data, store, tmp_path / "out", overrides=overrides), Recorder())
    assert read_history(tmp_path / "out" / "history.jsonl") == []


def test_work_that_cannot_begin_says_who_waits_for_what(finished, data, store, tmp_path):
    """Another program holds the CPUs. Ray would wait for them without a word."""
    import ray

    class Hog:  # here, so that it travels by value
        def ready(self):
            return True

    hog = ray.remote(num_cpus=1.6)(Hog).remote()
    ray.get(hog.ready.remote())
    order = order_of(data, store, tmp_path / "out", patience_s=12.0)
    try:
        with pytest.raises(StalledError, match=r"Training workers wait for .*'CPU': 0\.5.* 2 CPUs") as caught:
            train(order, Recorder())
        unprepared = dataclasses.replace(order.origin, store=tmp_path / "new")
        with pytest.raises(StalledError, match=r"tasks of 1 CPUs wait for room.*0\.4"):
            train(dataclasses.replace(order, origin=unprepared, out=tmp_path / "other"), Recorder())
    finally:
        ray.kill(hog)
    assert "of which 0.4" in str(caught.value)
    outcome = train(dataclasses.replace(order, patience_s=300.0), Recorder())
    assert len(outcome.history) == 3, "the places that were asked for have been given back"
