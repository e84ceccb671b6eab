"""Counts, windows and minutes against a computation by hand."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from deepscan.monitor.history import History, Keep, Minute, to_csv, to_json_rows
from deepscan.monitor.tally import LATENCY_EDGES_S, Bins, Tally
from tests.monitor.conftest import START_S


@pytest.fixture
def busy(record):
    """A verdict, a cached one, a refusal, an abstention and a failure, 10 s apart."""
    history = History(START_S)
    for each in (
        record(0, label="fake", probability=0.9, scores={"a": 0.9, "b": 0.72}, stages_ms={"model": 60.0}),
        record(10, label="fake", scores={"a": 0.9}, cached=True, elapsed_ms=2.0, variant="new"),
        record(20, status=415, error="UnsupportedMediaError", elapsed_ms=1.0),
        record(30, label="inconclusive", abstentions=(("a", "no-face"), ("b", "failed"))),
        record(40, status=503, error="OverloadedError", elapsed_ms=0.5),
    ):
        history.add(each)
    return history


def test_a_window_holds_what_was_answered_in_it(busy):
    window = busy.window(START_S + 60, 60)
    assert (window.requests, window.covered_s, window.throughput_hz) == (4, 60, 4 / 60)
    assert window.errors == {"UnsupportedMediaError": 1, "OverloadedError": 1}
    assert window.error_rate == 1 / 4
    assert window.abstentions == {"no-face": 1, "failed": 1}
    assert window.abstention_rate == 2 / 3
    assert (window.cache_hits, window.cache_hit_share) == (1, 1 / 2)
    assert window.labels == {"fake": 1, "inconclusive": 1}
    assert window.variants == {"new": 1}
    assert window.scores == {"a": (0, 0, 0, 0, 0, 0, 0, 0, 0, 1)}


def test_percentiles_of_a_window_are_exact(record):
    history, times_ms = History(START_S), np.random.default_rng(0).exponential(80, 200)
    for elapsed_ms in times_ms:
        history.add(record(elapsed_ms=elapsed_ms, stages_ms={"model": elapsed_ms / 2}))
    latency = history.window(START_S, 60).latency
    assert dataclasses.astuple(latency["total"]) == (200, *np.percentile(times_ms, [50, 95, 99]))
    assert latency["model"].p95_ms == pytest.approx(latency["total"].p95_ms / 2)


def test_since_the_start_nothing_is_left_out_and_percentiles_are_close(record):
    history, times_ms = History(START_S, Keep(records=3)), np.random.default_rng(0).uniform(100, 250, 500)
    for elapsed_ms in times_ms:
        history.add(record(elapsed_ms=elapsed_ms))
    whole = history.whole(START_S + 100)
    assert (whole.window_s, whole.covered_s, whole.requests) == (None, 100, 500)
    assert whole.latency["total"].p50_ms == pytest.approx(np.median(times_ms), abs=10)


def test_a_quantile_beyond_the_last_edge_is_that_edge():
    bins = Bins(LATENCY_EDGES_S)
    bins.add(1e6)
    assert bins.quantile(0.5) == LATENCY_EDGES_S[-1]


def test_a_window_without_requests_has_no_shares(busy):
    window = busy.window(START_S + 5000, 60)
    assert (window.requests, window.throughput_hz) == (0, 0)
    assert {window.error_rate, window.abstention_rate, window.cache_hit_share} == {None}


def test_a_service_that_just_began_has_covered_no_time():
    window = History(START_S).window(START_S, 60)
    assert (window.covered_s, window.throughput_hz) == (0, 0)


def test_records_are_forgotten_by_number_and_the_window_says_so(record):
    history = History(START_S, Keep(records=5))
    for second in range(20):
        history.add(record(second))
    window = history.window(START_S + 20, 15)
    assert (window.requests, window.covered_s, window.throughput_hz) == (5, 6, 5 / 6)
    assert history.total.count == 20


def test_records_are_forgotten_by_age(record):
    history = History(START_S, Keep(age_s=100))
    for second in (0, 50, 149):
        history.add(record(second))
    assert [each.time_s - START_S for each in history.since(START_S + 149, 1000)] == [50, 149]


def test_counts_of_prometheus_never_fall(busy, record):
    before = dict(busy.total.requests)
    busy.add(record(90_000))
    assert all(busy.total.requests[key] >= count for key, count in before.items())


def test_a_minute_is_what_was_answered_in_it(busy, record):
    busy.add(record(70, label="real"))
    first, second = busy.minutes()
    assert first.start_s % 60 == 0
    assert second.start_s == first.start_s + 60
    assert first.requests + second.requests == 6
    rows = [each for each in (first, second) if each.failed]
    assert [(r.failed, r.abstentions) for r in rows] == [(1, 2)]


def test_a_row_of_a_minute(record):
    history = History(START_S)
    fields = ({"label": "real"}, {"label": "fake", "cached": True}, {"status": 404}, {"status": 500})
    for each in fields:
        history.add(record(elapsed_ms=150.0, abstentions=(("a", "no-face"),), **each))
    assert history.minutes() == [
        Minute(
            start_s=int(START_S // 60 * 60),
            requests=4,
            failed=1,
            refused=1,
            real=1,
            fake=1,
            inconclusive=0,
            abstentions=4,
            cache_hits=1,
            latency_mean_ms=pytest.approx(150),
            latency_p95_ms=pytest.approx(100 + 0.95 * 150),
        )
    ]


def test_minutes_are_bounded_and_a_late_record_opens_no_old_one_again(record):
    history = History(START_S, Keep(minutes=3))
    for minute in range(6):
        history.add(record(60 * minute))
    history.add(record(0))
    starts = [minute.start_s for minute in history.minutes()]
    assert len(starts) == 3
    assert starts[0] > START_S + 60


def test_json_and_csv_hold_the_same(busy):
    minutes = busy.minutes()
    rows = list(csv.DictReader(io.StringIO(to_csv(minutes))))
    assert [{name: float(text) for name, text in row.items()} for row in rows] == to_json_rows(minutes)
    assert json.loads(json.dumps(to_json_rows(minutes))) == to_json_rows(minutes)


def test_an_empty_table_has_its_header():
    assert to_csv([]).split(",")[:2] == ["start_s", "requests"]


def test_a_tally_starts_empty():
    assert (Tally().count, Tally().failed, Tally().refused) == (0, 0, 0)
