"""Speeds are measured in turn and within a budget; memory is that of a process of its own."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from deepscan.errors import BundleError, ConfigError, ResourceError
from deepscan.modalities.image import ImagePrep
from deepscan.optimize import measure, peak
from deepscan.optimize.measure import (
    Speed,
    best_batch,
    flops,
    noise_of,
    parameters,
    peak_memory_bytes,
    speed_of,
    speeds,
)
from tests.tiny_bundles import PLUGIN, WHOLE, fresh_bundle, tiny_bundle, tiny_module

INPUTS = {"pixels": np.arange(3, dtype=np.uint8)[:, None]}


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when a runner works."""

    class Clock:
        now_s, rests = 0.0, 0

        def perf_counter(self):
            return self.now_s

        def sleep(self, _):
            self.rests += 1

    made = Clock()
    monkeypatch.setattr(measure, "time", made)
    return made


def worker(clock, ms, seen):
    """A runner that takes ``ms(batch size)`` milliseconds and notes what it was given."""

    def run(inputs):
        seen.append(inputs["pixels"][:, 0].tolist())
        clock.now_s += ms(len(inputs["pixels"])) / 1000
        return {}

    return run


def test_runners_take_turns_after_a_warm_up_and_the_order_changes(clock):
    calls = []
    named = {name: lambda inputs, name=name: calls.append((name, len(inputs["pixels"]))) for name in "ab"}
    clock.perf_counter = itertools.count(0.0, 0.001).__next__
    speeds(named, INPUTS, (1, 2), rounds=3)
    turns = [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert calls == [*turns, *turns, *turns[1:], *turns[:1], *turns[2:], *turns[:2]]


def test_every_timed_call_begins_when_the_one_before_has_come_to_rest(clock):
    named = {name: worker(clock, lambda _: 1, []) for name in "ab"}
    speeds(named, INPUTS, (1, 2), rounds=3)
    assert clock.rests == 2 * 2 * 3


def test_examples_are_repeated_to_fill_a_batch(clock):
    seen = []
    speeds({"a": worker(clock, lambda _: 1, seen)}, INPUTS, (2, 5), rounds=1)
    assert seen == [[0, 1], [0, 1, 2, 0, 1]] * 2


def test_figures_leave_the_warm_up_out(clock):
    spent = iter([500, 10, 20, 30, 40])
    made = speeds({"a": worker(clock, lambda _: next(spent), [])}, INPUTS, (4,), rounds=4)["a"][4]
    assert (made.batch_size, made.p50_ms) == (4, pytest.approx(25))
    assert (made.p95_ms, made.per_s) == (pytest.approx(38.5), pytest.approx(160))


def test_the_budget_ends_the_rounds_but_one_is_always_run(clock):
    seen = []
    speeds({"a": worker(clock, lambda _: 1000, seen)}, INPUTS, (1,), rounds=100, budget_s=5)
    assert len(seen) == 5
    assert clock.now_s <= 5
    seen.clear()
    short = speeds({"a": worker(clock, lambda _: 1000, seen)}, INPUTS, (1,), budget_s=0.1)
    assert short["a"][1].per_s == pytest.approx(1)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("inputs", "sizes", "rounds"), [({}, (1,), 1), (INPUTS, (0, 1), 1), (INPUTS, (), 1), (INPUTS, (1,), 0)]
)
def test_what_cannot_be_measured_is_refused(clock, inputs, sizes, rounds):
    with pytest.raises(ConfigError, match="at least 1"):
        speeds({"a": worker(clock, lambda _: 1, [])}, inputs, sizes, rounds)


@pytest.mark.parametrize(
    ("ms", "best"),
    [
        (lambda size: 10 + size, 32),
        (lambda size: 10 * size, 1),
        (lambda size: 10 + size if size <= 4 else 100 * size, 4),
        (lambda size: size * (1 if size >= 8 else 2), 8),
        (lambda size: size * (1.02 if size == 2 else 1 if size > 2 else 3), 2),
    ],
)
def test_the_best_batch_has_the_most_examples_a_second_or_nearly_so_and_is_smaller(clock, ms, best):
    found = best_batch(worker(clock, ms, []), INPUTS)
    assert found.batch_size == best
    assert found.per_s == pytest.approx(1000 * best / ms(best))


def test_sizes_that_would_take_too_long_are_not_tried(clock):
    seen = []
    found = best_batch(worker(clock, lambda size: 100 * size**0.5, seen), INPUTS, budget_s=2)
    assert clock.now_s <= 2
    assert found.batch_size == max(map(len, seen)) < 32


def test_a_speed_of_one_call_is_that_call():
    assert speed_of(8, [20.0]) == Speed(batch_size=8, p50_ms=20, p95_ms=20, per_s=400)


def test_operations_are_counted_as_the_field_counts_them():
    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.line = torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.line(self.conv(x).mean((2, 3)))

    inputs = {"x": np.zeros((2, 3, 16, 16), np.float32)}
    assert flops(Layers().eval(), inputs) == 2 * (2 * 16 * 16 * 8 * 3 * 9 + 2 * 8 * 2)
    assert parameters(Layers()) == 8 * 27 + 8 * 2 + 2


def test_noise_is_the_same_in_every_run_and_fits_the_model():
    first, second = (noise_of(WHOLE.inputs, 3) for _ in range(2))
    np.testing.assert_array_equal(first["pixels"], second["pixels"])
    assert len(tiny_module().eval()(**{name: torch.from_numpy(x) for name, x in first.items()})["logit"]) == 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("peak") / "bundle").path


def test_memory_counts_the_weights_but_neither_imports_nor_what_this_process_holds(tiny, tmp_path):
    large = fresh_bundle(tmp_path, "xception", ImagePrep(region="whole", size_px=64)).path
    weights = (large / "weights.safetensors").stat().st_size
    held = np.ones(600_000_000, np.uint8)
    assert 0 < peak_memory_bytes(tiny, batch_size=2, plugin=PLUGIN) < 60e6
    assert weights < peak_memory_bytes(large, batch_size=1) < 6 * weights < held.nbytes


HOLDS = """
import numpy as np
from deepscan.optimize import peak
before = peak.resident_bytes()
held = np.ones(80_000_000, np.uint8)
assert held[-1] == 1
del held
print(peak.peak_bytes() - before)
"""


def test_the_peak_is_what_was_held_for_a_moment():
    """In a process of its own, as it is measured: one that has lived may give memory back meanwhile."""
    told = subprocess.run([sys.executable, "-c", HOLDS], capture_output=True, text=True, check=True)
    assert int(told.stdout) == pytest.approx(80e6, rel=0.1)


def test_without_linux_memory_is_what_the_system_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(peak, "STATUS", tmp_path / "none")
    monkeypatch.setattr(peak, "RESET", tmp_path / "no" / "folder")
    usage = type("Usage", (), {"ru_maxrss": 5000})
    monkeypatch.setattr(peak.resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(peak.sys, "platform", "linux")
    assert (peak.resident_bytes(), peak.peak_bytes()) == (5_120_000, 5_120_000)
    monkeypatch.setattr(peak.sys, "platform", "darwin")
    assert peak.peak_bytes() == 5000


def test_what_memory_cannot_be_measured_of_is_an_error_that_says_why(tiny, tmp_path, monkeypatch):
    with pytest.raises(BundleError):
        peak_memory_bytes(tmp_path)
    with pytest.raises(ConfigError, match="at least 1 Example"):
        peak_memory_bytes(tiny, batch_size=0)
    with pytest.raises(ConfigError, match="no device"):
        peak_memory_bytes(tiny, device="tpu")
    with pytest.raises(BundleError, match="add --plugin"):
        peak_memory_bytes(tiny)
    dead = subprocess.CompletedProcess([], -9, stdout="", stderr="Killed")
    monkeypatch.setattr(measure.subprocess, "run", lambda *_, **__: dead)
    with pytest.raises(ResourceError, match=r"\(Killed\); use a smaller batch"):
        peak_memory_bytes(tiny)
