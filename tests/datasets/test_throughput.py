import dataclasses
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deepscan.cli import app
from deepscan.datasets import throughput
from deepscan.datasets.throughput import BARE, HELD, KEPT, LOADER, RAW, RAY, Rate, advice, measure
from tests.tiny_bundles import PLUGIN

FILES = 48


def rate(source, way, examples_per_s):
    return Rate(source=source, way=way, start_s=1.0, examples_per_s=examples_per_s, ratio=1.0, of_limit=1.0)


@pytest.mark.parametrize(
    ("kept", "raw", "words"),
    [(300.0, 100.0, "--materialize: kept Examples arrive 3.0 times"), (110.0, 100.0, "Train from raw files")],
)
def test_the_advice_follows_the_rates_of_ray_data(kept, raw, words):
    others = [rate(source, way, 1e9) for source in (KEPT, RAW) for way in (BARE, LOADER)]
    assert words in advice([*others, rate(KEPT, RAY, kept), rate(RAW, RAY, raw)])
    assert words in advice([*others, rate(KEPT, RAY, 1.0), rate(HELD, RAY, kept), rate(RAW, RAY, raw)])


def test_ratios_compare_ways_of_the_same_files(monkeypatch):
    """Twelve Examples a batch and epoch, at a pace that is known after a slow first epoch."""

    def paced(seconds):
        def batches(training, processes, epochs):
            for number in range(epochs):
                time.sleep(seconds * training.slower * (1 if number else 5))
                yield {"label": np.zeros(12)}

        return batches

    def stream(slower):
        return SimpleNamespace(slower=slower, plan=SimpleNamespace(rows=12))

    monkeypatch.setattr(throughput, "_WAYS", {BARE: paced(0.04), LOADER: paced(0.02), RAY: paced(0.01)})
    stages = []
    watch = type("Watch", (), {"stage": lambda self, title: stages.append(title)})()
    streams = {KEPT: stream(1), HELD: stream(0.5), RAW: stream(3)}
    rates = {(r.source, r.way): r for r in measure(streams, 2, 5, watch)}
    assert len(stages) == len(rates) == 7
    for source, slower in ((KEPT, 1), (RAW, 3)):
        assert rates[source, LOADER].ratio == rates[source, BARE].of_limit == 1
        assert rates[source, RAY].ratio == pytest.approx(2, rel=0.4)
        assert rates[source, BARE].examples_per_s == pytest.approx(2 * 12 / 0.04 / slower, rel=0.4)
        assert rates[source, RAY].of_limit == pytest.approx(2, rel=0.4)
        assert rates[source, RAY].start_s == pytest.approx(0.05 * slower, abs=0.02)
    held = rates[HELD, RAY]
    assert (held.ratio, held.of_limit) == pytest.approx((4, 4), rel=0.4)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_command_measures_every_way_and_writes_it_down(ray_cluster, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(FILES):
        folder = tmp_path / "data" / ("real", "fake")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i:03}.png")
    words = ["benchmark", "data", "--data", tmp_path / "data", "--model", "tiny", "--plugin", PLUGIN]
    words += ["--out", tmp_path / "out", "--store", tmp_path / "store", "--workers", 1, "--epochs", 3]
    told = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert "Train " in told.output
    rates = json.loads((tmp_path / "out" / "data.json").read_text(encoding="utf-8"))["rates"]
    both = {(source, way) for source in (KEPT, RAW) for way in (BARE, LOADER, RAY)}
    assert {(r["source"], r["way"]) for r in rates} == both | {(HELD, RAY)}
    assert {field.name for field in dataclasses.fields(Rate)} == set(rates[0])
    assert all(r["examples_per_s"] > 0 for r in rates)
