"""Trackers follow a run, whatever happens to them."""

import importlib.util
import json
import logging
import pathlib
import re
import socket
import struct

import pytest
from typer.testing import CliRunner

from deepscan import cli, console
from deepscan.errors import ConfigError, UnknownNameError
from deepscan.metrics import Figure
from deepscan.training import run, tracking
from deepscan.training.trackers import TRACKERS, Kind, Opening, flat
from deepscan.training.tracking import following, places

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
AWAY = ConnectionError("the server is away")


def epoch(number, **metrics):
    return {"epoch": float(number), "val_auc": 0.5 + number / 10, **metrics}


SETTINGS = {"recipe": {"epochs": 3, "optimizer": {"lr": 1e-3}}, "data": {"digest": "d1"}}
OVERALL = {"auc": Figure(value=0.9, low=0.8, high=1.0), "eer": Figure(value=None, low=None, high=None)}
FIGURES = {"test_auc": 0.9, "test_auc_low": 0.8, "test_auc_high": 1.0}


def follow(out, bundle, *names, epochs=(1, 2, 3)):
    """Goes through a whole run."""
    with following(names, Opening(out=out, name="first")) as tracked:
        tracked.settings(SETTINGS)
        for number in epochs:
            tracked.epoch(epoch(number))
        tracked.result(OVERALL, bundle)


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    return tmp_path / "bundle"


class Recorder:
    """A tracker that writes down what it is told, and fails for some time if asked to."""

    def __init__(self, opening):
        self.opening, self.run, self.place = opening, opening.run or "run-1", "a place"
        self.told, self.failing = [], 0

    def _hear(self, *news):
        if self.failing:
            self.failing -= 1
            raise AWAY
        self.told.append(news)

    def settings(self, values):
        self._hear("settings", values)

    def epoch(self, metrics):
        self._hear("epoch", metrics["epoch"])

    def result(self, figures, bundle):
        self._hear("result", figures, bundle)

    def close(self, finished):
        self._hear("close", finished)


@pytest.fixture
def recorders(monkeypatch):
    """Registers the tracker ``recorder``; those that were opened are in the list."""
    opened = []

    def open_one(opening):
        opened.append(Recorder(opening))
        return opened[-1]

    kind = Kind(open=open_one, failures=lambda: (OSError,))
    monkeypatch.setattr(TRACKERS, "_items", TRACKERS._items | {"recorder": kind})
    return opened


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


# --- the seam --------------------------------------------------------------------------------------


def test_a_tracker_is_told_everything_in_its_order(recorders, tmp_path, bundle):
    follow(tmp_path, bundle, "recorder")
    [recorder] = recorders
    assert recorder.told == [
        ("settings", SETTINGS),
        ("epoch", 1),
        ("epoch", 2),
        ("epoch", 3),
        ("result", FIGURES, bundle.resolve()),
        ("close", True),
    ]
    assert places(tmp_path) == {"recorder": "a place"}


def test_a_figure_that_is_unknown_is_told_to_nobody(recorders, tmp_path, bundle):
    follow(tmp_path, bundle, "recorder")
    assert not any("eer" in name for name in recorders[0].told[-2][1])


def test_a_tracker_that_is_named_twice_is_told_once(recorders, tmp_path, bundle):
    follow(tmp_path, bundle, "recorder", "recorder")
    assert len(recorders) == 1


def test_without_trackers_nothing_is_written(tmp_path, bundle):
    follow(tmp_path, bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert places(tmp_path) == {}


def test_what_a_tracker_could_not_take_it_is_told_later(recorders, tmp_path, bundle, caplog):
    with following(["recorder"], Opening(out=tmp_path, name="first")) as tracked:
        tracked.settings(SETTINGS)
        recorders[0].failing = 2
        for number in (1, 2, 3):
            tracked.epoch(epoch(number))
        tracked.result(OVERALL, bundle)
    assert [news[1] for news in recorders[0].told if news[0] == "epoch"] == [1, 2, 3]
    assert recorders[0].told[-1] == ("close", True)
    [warning] = warnings(caplog)
    assert "recorder does not answer" in warning
    assert "the server is away" in warning


def test_a_second_failure_is_warned_of_again(recorders, tmp_path, caplog):
    with following(["recorder"], Opening(out=tmp_path, name="first")) as tracked:
        tracked.settings(SETTINGS)
        for number in (1, 2):
            recorders[0].failing = 1
            tracked.epoch(epoch(number))
            tracked.epoch(epoch(number + 10))
    assert len(warnings(caplog)) == 2


def test_a_tracker_that_never_answers_does_not_end_the_run(recorders, tmp_path, bundle, caplog):
    with following(["recorder", "jsonl"], Opening(out=tmp_path, name="first")) as tracked:
        tracked.settings(SETTINGS)
        recorders[0].failing = 1000
        tracked.epoch(epoch(1))
        tracked.result(OVERALL, bundle)
    first, last = warnings(caplog)
    assert "does not answer" in first
    assert "recorder never learnt 3 things" in last
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 4, "the other is told all the same"


def test_a_tracker_that_cannot_be_opened_is_opened_later(recorders, tmp_path, bundle, monkeypatch, caplog):
    attempts = []

    def open_one(opening):
        attempts.append(opening)
        if len(attempts) < 3:
            raise AWAY
        recorders.append(Recorder(opening))
        return recorders[-1]

    kind = Kind(open=open_one, failures=lambda: (OSError,))
    monkeypatch.setitem(TRACKERS._items, "recorder", kind)
    follow(tmp_path, bundle, "recorder")
    assert len(attempts) == 3
    assert [news[0] for news in recorders[0].told] == ["settings", *["epoch"] * 3, "result", "close"]


def test_an_error_in_the_run_ends_it_as_unfinished(recorders, tmp_path):
    def interrupted():
        with following(["recorder"], Opening(out=tmp_path, name="first")) as tracked:
            tracked.epoch(epoch(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert recorders[0].told[-1] == ("close", False)


def test_a_mistake_of_our_own_is_not_taken_for_a_failing_server(recorders, tmp_path):
    with following(["recorder"], Opening(out=tmp_path, name="first")) as tracked, pytest.raises(KeyError):
        tracked.epoch({"val_auc": 0.5})


def test_a_resumed_run_goes_on_in_the_same_place_with_what_was_missed(recorders, tmp_path, bundle):
    with following(["recorder"], Opening(out=tmp_path, name="first")) as tracked:
        tracked.settings(SETTINGS)
        tracked.epoch(epoch(1))
    follow(tmp_path, bundle, "recorder", epochs=(1, 2, 3, 4))
    again = recorders[1]
    assert again.opening.run == "run-1"
    assert [news[:2] for news in again.told[:-2]] == [("epoch", 2), ("epoch", 3), ("epoch", 4)]
    assert json.loads((tmp_path / tracking.STATE).read_text())["recorder"]["epochs"] == 4


def test_settings_that_a_tracker_never_got_are_told_when_the_run_goes_on(recorders, tmp_path, bundle):
    with following(["recorder"], Opening(out=tmp_path, name="first")) as tracked:
        tracked.epoch(epoch(1))
        recorders[0].failing = 1000
        tracked.settings(SETTINGS)
    follow(tmp_path, bundle, "recorder", epochs=(2,))
    assert recorders[1].told[0] == ("settings", SETTINGS)


def test_an_epoch_that_is_run_again_is_told_once(recorders, tmp_path, bundle):
    follow(tmp_path, bundle, "recorder", epochs=(1, 2, 2, 3))
    assert [news[1] for news in recorders[0].told if news[0] == "epoch"] == [1, 2, 3]


def test_trackers_of_an_earlier_part_of_the_run_are_remembered(recorders, tmp_path, bundle):
    follow(tmp_path, bundle, "jsonl")
    follow(tmp_path, bundle, "recorder")
    assert set(places(tmp_path)) == {"jsonl", "recorder"}


def test_nested_values_become_dotted_names():
    assert flat(SETTINGS) == {"recipe.epochs": 3, "recipe.optimizer.lr": 1e-3, "data.digest": "d1"}


# --- before any work -------------------------------------------------------------------------------


def test_an_unknown_tracker_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="mlflow"):
        tracking.check(["mlflo"])


def test_a_missing_package_is_refused_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else object())
    tracking.check(["jsonl", "mlflow"])
    with pytest.raises(ConfigError, match=r"needs wandb.*deepscan\[track\]"):
        tracking.check(["jsonl", "wandb"])


@pytest.mark.parametrize("scope", ["", "all "])
def test_the_command_line_refuses_before_it_looks_at_the_data(scope, tmp_path):
    line = f"train {scope}--model cnn --data {tmp_path / 'absent'} --out {tmp_path / 'out'} --track mlflo"
    done = CliRunner().invoke(cli.app, line.split())
    assert done.exit_code == 2
    assert "Did you mean 'mlflow'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_line_says_where_the_run_can_be_looked_at(monkeypatch, tmp_path, bundle):
    def train(order, watch):
        follow(order.out, bundle, *order.track)

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(console, "show_outcome", lambda *_: None)
    line = f"train --model cnn --data d --out {tmp_path} --track jsonl --track jsonl"
    done = CliRunner().invoke(cli.app, line.split())
    assert done.exit_code == 0, done.output
    assert done.stdout.replace("\n", "") == f"Tracked by jsonl: {tmp_path / 'run.jsonl'}"


# --- the trackers ----------------------------------------------------------------------------------


def test_json_lines_hold_the_whole_run(tmp_path, bundle):
    follow(tmp_path, bundle, "jsonl")
    assert [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()] == [
        {"settings": SETTINGS},
        {"epoch": epoch(1)},
        {"epoch": epoch(2)},
        {"epoch": epoch(3)},
        {"figures": FIGURES, "bundle": str(bundle)},
        {"finished": True},
    ]


@pytest.fixture
def mlflow(monkeypatch):
    """MLflow without the settings of whoever runs the tests."""
    reason = "needs the extra 'track'"
    pytest.importorskip("sqlalchemy", reason=reason)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DISABLE_TELEMETRY", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_{name}", "1")
    return pytest.importorskip("mlflow", reason=reason)


@pytest.mark.slow
def test_mlflow_keeps_a_run_in_its_folder_and_goes_on_with_it(mlflow, tmp_path, bundle):
    follow(tmp_path, bundle, "mlflow", epochs=(1, 2))
    follow(tmp_path, bundle, "mlflow", epochs=(3,))
    uri = places(tmp_path)["mlflow"]
    assert uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("deepscan").experiment_id])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"recipe.epochs": "3", "recipe.optimizer.lr": "0.001", "data.digest": "d1"}
    assert run.data.metrics.items() >= FIGURES.items()
    history = client.get_metric_history(run.info.run_id, "val_auc")
    assert [(m.step, m.value) for m in history] == [(n, epoch(n)["val_auc"]) for n in (1, 2, 3)]
    kept = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/bundle")
    assert (pathlib.Path(kept) / "bundle.json").read_text() == "{}"


def test_mlflow_goes_where_its_variables_say_and_may_be_away(mlflow, tmp_path, bundle, monkeypatch, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        follow(tmp_path, bundle, "mlflow", epochs=(1,))
    assert "mlflow does not answer" in warnings(caplog)[0]
    assert not (tmp_path / "mlflow.db").exists()


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """Weights & Biases without the settings of whoever runs the tests."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return pytest.importorskip("wandb", reason="needs the extra 'track'")


def records(path):
    """Reads a log of Weights & Biases: a header, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {1, 4}:
            yield Record.FromString(parts)
            parts = b""


def values(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.slow
def test_wandb_keeps_a_run_in_its_folder_and_sends_nothing(wandb, tmp_path, bundle):
    (tmp_path / "out").mkdir()
    follow(tmp_path / "out", bundle, "wandb")
    wandb.teardown()  # as at the end of the process: its own writes what is left
    place = pathlib.Path(places(tmp_path / "out")["wandb"])
    assert place.parent == tmp_path / "out" / "wandb"
    assert place.name.startswith("offline-run-")
    [path] = place.glob("run-*.wandb")
    told = list(records(path))
    [run] = [record.run for record in told if record.HasField("run")]
    assert (run.project, run.display_name) == ("deepscan", "first")
    assert values(item for r in told for item in r.config.update).items() >= SETTINGS.items()
    history = [values(r.history.item) for r in told if r.HasField("history")]
    assert [(h["_step"], h["val_auc"]) for h in history] == [(n, epoch(n)["val_auc"]) for n in (1, 2, 3)]
    assert values(item for r in told for item in r.summary.update).items() >= FIGURES.items()
    kept = [r for r in told if r.HasField("artifact") or r.request.HasField("log_artifact")]
    [artifact] = [r.artifact if r.HasField("artifact") else r.request.log_artifact.artifact for r in kept]
    assert (artifact.type, [entry.path for entry in artifact.manifest.contents]) == ("model", ["bundle.json"])


# --- the page --------------------------------------------------------------------------------------


def test_the_page_has_a_row_for_every_tracker():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(TRACKERS.names())


def test_the_option_names_every_tracker():
    from deepscan.cli.training import train

    help_text = train.__annotations__["track"].__metadata__[0].help
    assert all(name in help_text for name in TRACKERS.names())
