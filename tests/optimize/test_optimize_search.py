"""The fastest candidate that keeps its accuracy is chosen, from a table that says why the others were not."""

import dataclasses
import json
import types

import pytest

from deepscan import bundle as bundles
from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.optimize import search
from deepscan.optimize.held_out import Agreement, sample_of
from deepscan.optimize.measure import Speed
from deepscan.optimize.search import Candidate, Order, optimize
from deepscan.watch import LogWatch
from tests.optimize.material import small_data
from tests.tiny_bundles import PLUGIN, tiny_bundle

PACE = {"eager": 10.0, "onnx": 30.0, "onnx-int8": 50.0, "openvino": 40.0, "eager-bfloat16": 5.0}
CHOICE = (
    Candidate("eager", "bfloat16"),
    Candidate("onnx"),
    Candidate("onnx", "int8"),
    Candidate("openvino"),
    Candidate("tensorrt"),
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return sample_of(small_data(tmp_path_factory.mktemp("data")), "val", 12)


@pytest.fixture
def first(tmp_path):
    return tiny_bundle(tmp_path / "first")


class Bench:
    """Stands in for what takes long: makes copies, and tells speeds and losses that a test sets."""

    def __init__(self, monkeypatch):
        self.made: list[str] = []
        self.loss = {"onnx-int8": 0.01}
        self.pace = dict(PACE)
        self.broken: set[str] = {"tensorrt"}
        monkeypatch.setattr(search, "CANDIDATES", {"cpu": CHOICE, "gpu": (), "mobile": CHOICE})
        monkeypatch.setattr(search, "export", self.export)
        monkeypatch.setattr(search, "quantize_static", self.quantize)
        monkeypatch.setattr(search, "compare", self.compare)
        monkeypatch.setattr(search, "speeds", self.speeds)
        monkeypatch.setattr(search, "peak_memory_bytes", lambda *_: 7_000_000)

    def export(self, path, format_name, out, precision="float32"):
        name = Candidate(format_name, precision).name
        if name in self.broken:
            raise FormatError(f"no {name} here")
        self.made.append(name)
        card = dataclasses.replace(Bundle.read(path).card, parent=Bundle.read(path).card.id)
        made = bundles.write(out, card, Bundle.read(path).module())
        return types.SimpleNamespace(bundle=made.amend(change={"step": name}))

    def quantize(self, path, held_out, out, format_name, calibration, max_auc_loss):
        return self.export(path, format_name, out, "int8")

    def compare(self, first, second, sample):
        loss = self.loss.get(second.bundle.card.change["step"], 0.0)
        return Agreement(
            files=12, auc=0.9 - loss, auc_before=0.9, largest_gap=loss, mean_gap=0.0, same_labels=1.0
        )

    def speeds(self, runners, inputs, sizes):
        return {
            name: {
                size: Speed(
                    batch_size=size, p50_ms=1e3 / self.pace[name], p95_ms=200.0, per_s=self.pace[name]
                )
                for size in sizes
            }
            for name in runners
        }


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_the_fastest_that_keeps_its_accuracy_is_written_with_its_table(bench, first, sample, tmp_path):
    found = optimize(Order(bundle=first.path, out=tmp_path / "out"), sample, sample, LogWatch())
    assert found.chosen == "openvino"
    assert found.gain == 4.0
    assert [row.name for row in found.rows] == [
        "eager",
        "openvino",
        "onnx",
        "eager-bfloat16",
        "onnx-int8",
        "tensorrt",
    ]
    refused = {row.name: row.refused for row in found.rows if row.refused}
    assert refused == {
        "onnx-int8": "The AUC falls by 0.0100; 0.005 is allowed.",
        "tensorrt": "no tensorrt here",
    }
    card = Bundle.read(tmp_path / "out").card
    assert card.parent == first.card.id
    assert card.change == {
        "step": "optimize",
        "target": "cpu",
        "chosen": "openvino",
        "by": {"step": "openvino"},
    }
    assert card.metrics["optimized"]["auc"] == 0.9
    told = json.loads((tmp_path / "out" / search.TABLE).read_text())
    assert [row["name"] for row in told] == [row.name for row in found.rows]
    assert told[1]["together"]["per_s"] == 40.0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["first", "out"]
    assert Detector.load(tmp_path / "out", "cpu").bundle.card.id == found.bundle.card.id


def test_more_loss_may_be_allowed(bench, first, sample, tmp_path):
    order = Order(bundle=first.path, out=tmp_path / "out", max_auc_loss=0.02)
    assert optimize(order, sample, sample, LogWatch()).chosen == "onnx-int8"


def test_a_bundle_that_is_the_fastest_stays_as_it_is(bench, first, sample, tmp_path):
    bench.pace["eager"] = 100.0
    found = optimize(Order(bundle=first.path, out=tmp_path / "out"), sample, sample, LogWatch())
    assert (found.chosen, found.gain) == ("eager", 1.0)
    assert Bundle.read(tmp_path / "out").card.files == first.card.files


def test_an_interrupted_search_goes_on_with_the_candidates_that_it_has(
    bench, first, sample, tmp_path, monkeypatch
):
    order = Order(bundle=first.path, out=tmp_path / "out")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(search, "compare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimize(order, sample, sample, LogWatch())
    made = list(bench.made)
    assert optimize(order, sample, sample, LogWatch()).chosen == "openvino"
    assert bench.made == made


def test_candidates_of_another_bundle_are_made_again(bench, first, sample, tmp_path):
    drafts = tmp_path / ".out.candidates"
    other = tiny_bundle(tmp_path / "other", seed=5)
    bench.export(other.path, "onnx", drafts / "onnx")
    bench.made.clear()
    optimize(Order(bundle=first.path, out=tmp_path / "out"), sample, sample, LogWatch())
    assert "onnx" in bench.made


def test_a_folder_that_holds_something_is_refused_before_anything_is_done(bench, first, sample):
    with pytest.raises(ConfigError, match="holds something"):
        optimize(Order(bundle=first.path, out=first.path), sample, sample, LogWatch())
    assert bench.made == []


def test_real_candidates_are_made_compared_and_timed(first, sample, tmp_path, monkeypatch):
    choice = (Candidate("onnx"), Candidate("openvino"), Candidate("openvino", "int8"))
    monkeypatch.setattr(search, "CANDIDATES", {"cpu": choice})
    order = Order(bundle=first.path, out=tmp_path / "out", max_auc_loss=1.0, plugin=PLUGIN)
    found = optimize(order, sample, sample, LogWatch())
    by_name = {row.name: row for row in found.rows}
    assert set(by_name) == {"eager", "onnx", "openvino", "openvino-int8"}
    for row in found.rows:
        assert row.together.per_s > 0
        assert row.memory_bytes > 0
        assert row.bytes > 0
    assert by_name["onnx"].agreement.largest_gap < 1e-4
    assert by_name[found.chosen].together.per_s == max(row.together.per_s for row in found.rows)
