"""The object behind /api/stats, /metrics and the export."""

import json
import threading

import numpy as np
import pytest

from deepscan.errors import ConfigError
from deepscan.monitor.alerts import Rule
from deepscan.monitor.drift import SCORE_EDGES, Histogram
from deepscan.monitor.history import Keep
from deepscan.serving.telemetry import CHANGES, Telemetry, rules_of
from tests.monitor.conftest import START_S

REFERENCES = {"a": (Histogram.of("score", np.linspace(0, 1, 500).tolist(), SCORE_EDGES),), "b": ()}
FAILING = Rule(name="failing", figure="error_rate", above=0.5, window_s=60)


@pytest.fixture
def telemetry(reading):
    return Telemetry(REFERENCES, lambda: reading, START_S, rules=(FAILING,))


def test_statistics_are_json_and_hold_every_window(telemetry, record):
    telemetry.add(record(label="fake", scores={"a": 0.9}))
    told = telemetry.stats(START_S + 120)
    assert json.loads(json.dumps(told))["start_s"] == START_S
    assert [(w["window_s"], w["requests"]) for w in told["windows"]] == [(60.0, 0), (900.0, 1), (None, 1)]
    assert [(d["bundle"], d["status"]) for d in told["drift"]] == [("a", "too few"), ("b", "no reference")]
    assert told["machine"]["gpus"][1]["memory_bytes"] == 80
    assert told["now_s"] == START_S + 120
    assert [rule["name"] for rule in told["rules"]] == ["failing"]


def test_an_alert_is_shown_while_it_fires_and_remembered_after(telemetry, record):
    telemetry.add(record(status=500, error="InternalError"))
    (firing,) = telemetry.tick(START_S + 1)
    assert (firing.rule, firing.state, firing.value) == ("failing", "firing", 1.0)
    assert telemetry.tick(START_S + 2) == []
    assert [alert["state"] for alert in telemetry.stats(START_S + 3)["alerts"]] == ["firing"]
    assert b'deepscan_alert_firing{rule="failing"} 1.0' in telemetry.metrics(START_S + 3)
    (resolved,) = telemetry.tick(START_S + 100)
    assert resolved.state == "resolved"
    told = telemetry.stats(START_S + 101)
    assert told["alerts"] == []
    assert [alert["state"] for alert in told["changes"]] == ["firing", "resolved"]
    assert b'deepscan_alert_firing{rule="failing"} 0.0' in telemetry.metrics(START_S + 101)


def test_changes_are_bounded(telemetry, record):
    for turn in range(CHANGES):
        telemetry.add(record(100 * turn, status=500))
        telemetry.tick(START_S + 100 * turn)
        telemetry.tick(START_S + 100 * turn + 70)
    assert len(telemetry.stats(START_S)["changes"]) == CHANGES


def test_metrics_tell_drift(telemetry, record):
    for _ in range(150):
        telemetry.add(record(scores={"a": 0.97}))
    text = telemetry.metrics(START_S + 1).decode()
    assert 'deepscan_drift{bundle="a",figure="score"}' in text
    assert 'bundle="b"' not in text


def test_the_export_has_a_row_a_minute(telemetry, record):
    for second in (0, 1, 100):
        telemetry.add(record(second))
    assert [minute.requests for minute in telemetry.minutes()] == [2, 1]


def test_records_may_come_from_several_threads(telemetry, record):
    def work():
        for _ in range(10):
            for _ in range(50):
                telemetry.add(record(scores={"a": 0.5}))
            telemetry.stats(START_S)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.stats(START_S)["windows"][2]["requests"] == 1500


def test_rules_that_contradict_each_other_are_refused(reading):
    with pytest.raises(ConfigError, match="Several alerts"):
        Telemetry({}, lambda: reading, START_S, rules=(FAILING, FAILING))
    with pytest.raises(ConfigError, match="at most 10 s"):
        Telemetry({}, lambda: reading, START_S, rules=(FAILING,), keep=Keep(age_s=10))


def test_rules_are_read_from_plain_values():
    values = {"name": "failing", "figure": "error_rate", "above": 0.5, "window_s": 60}
    assert rules_of([values]) == (FAILING,)


def test_an_unknown_key_of_a_rule_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'alerts\.1\.abov'.*Did you mean 'above'"):
        rules_of([{"name": "a", "figure": "cpu_share", "above": 1}, {"abov": 1}])
