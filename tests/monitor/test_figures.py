"""The value of every figure that a rule can be about."""

import numpy as np
import pytest

from deepscan.monitor import figures
from deepscan.monitor.alerts import FIGURES, MACHINE, Rule
from deepscan.monitor.drift import SCORE_EDGES, Histogram
from deepscan.monitor.figures import Look
from deepscan.monitor.history import History
from tests.monitor.conftest import START_S

REFERENCE = (
    Histogram.of("score", np.linspace(0, 1, 500).tolist(), SCORE_EDGES),
    Histogram.spread("parts", [1.0] * 300),
)


@pytest.fixture
def look(record, reading):
    history = History(START_S)
    for number in range(200):
        low = {"scores": {"a": 0.01}, "prep": {"a": {"parts": 1.0}}, "abstentions": (("b", "no-face"),)}
        history.add(record(label="real", elapsed_ms=float(number), **low))
    history.add(record(status=503, error="OverloadedError"))
    history.add(record(label="real", cached=True))
    return Look(history, {"a": REFERENCE, "b": ()}, reading.shares, START_S + 100)


def value(look, figure, **fields):
    return look.value(Rule(name="x", figure=figure, above=1, **fields))


def test_figures_of_requests(look):
    assert value(look, "error_rate") == 1 / 202
    assert value(look, "abstention_rate") == 1 / 2
    assert value(look, "cache_hit_share") == 1 / 201
    assert value(look, "throughput_hz") == 202 / 100
    assert value(look, "latency_p50_ms") == pytest.approx(100, abs=1)
    assert value(look, "latency_p95_ms") == pytest.approx(190, abs=2)
    assert value(look, "latency_p99_ms") == pytest.approx(197, abs=2)


def test_figures_of_the_machine_are_those_of_the_busiest_gpu(look):
    assert [value(look, name) for name in sorted(MACHINE)] == [0.5, 0.8, 0.9, 0.25]


def test_drift_of_scores_and_of_preparation_are_told_apart(look):
    assert value(look, "drift_score") > 1
    assert value(look, "drift_prep") == 0


def test_every_figure_has_a_value(look):
    assert [name for name in FIGURES if value(look, name) is None] == []


def test_with_too_few_requests_a_figure_is_unknown(look):
    assert value(look, "error_rate", min_requests=203) is None
    assert value(look, "error_rate", window_s=50) is None
    assert value(look, "cpu_share", min_requests=203) == 0.5


def test_what_nobody_measures_is_unknown(record):
    history = History(START_S)
    history.add(record())
    look = Look(history, {"a": ()}, {}, START_S + 1)
    names = ("gpu_share", "drift_score", "drift_prep", "abstention_rate", "cache_hit_share")
    assert [value(look, name) for name in names] == [None] * 5


def test_drift_is_worked_out_once_for_several_rules(look, monkeypatch):
    calls = []
    monkeypatch.setattr(figures, "drifts", lambda *given: calls.append(given) or ())
    for name in ("drift_score", "drift_prep"):
        value(look, name, window_s=600)
    assert len(calls) == 1
