"""What Prometheus reads, parsed by the parser of its own client; the dashboard asks for all of it."""

import json
import pathlib
import re

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepscan.monitor.drift import Drift
from deepscan.monitor.tally import LATENCY_EDGES_S, Tally
from deepscan.serving.exposition import CONTENT_TYPE, METRICS, Snapshot, render

DASHBOARD = json.loads(
    (pathlib.Path(__file__).parents[2] / "serve_configs" / "grafana.json").read_text(encoding="utf-8")
)
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.fixture
def families(record, reading):
    tally = Tally()
    tally.add(record(label="fake", scores={"a": 0.95}, stages_ms={"model": 30.0}, variant="new", cached=True))
    tally.add(
        record(status=503, error="OverloadedError", elapsed_ms=70_000.0, abstentions=(("a", "no-face"),))
    )
    measured = Drift(bundle="a", figure="score", status="measured", seen=200, psi=0.4, ks=0.2, chance=0.1)
    few = Drift(bundle="b", figure="score", status="too few", seen=2)
    snapshot = Snapshot(
        tally=tally, drift=(measured, few), reading=reading, rules=("slow", "cpu"), firing={"slow"}
    )
    text = render(snapshot).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family):
    """Return values by suffix of the name and labels, the edge of a histogram last."""
    return {(s.name.removeprefix(family.name), *ordered(s.labels)): s.value for s in family.samples}


def ordered(labels):
    return [labels[name] for name in sorted(labels, key=lambda name: (name == "le", name))]


def test_counters(families):
    assert samples(families["deepscan_requests"]) == {
        ("_total", "/api/predict/x", "200"): 1,
        ("_total", "/api/predict/x", "503"): 1,
    }
    assert samples(families["deepscan_errors"]) == {("_total", "OverloadedError"): 1}
    assert samples(families["deepscan_abstentions"]) == {("_total", "no-face"): 1}
    assert samples(families["deepscan_verdicts"]) == {("_total", "fake"): 1}
    assert samples(families["deepscan_variants"]) == {("_total", "new"): 1}
    assert samples(families["deepscan_cache_hits"]) == {("_total",): 1}


def test_a_histogram_counts_all_below_each_edge(families):
    latency = samples(families["deepscan_latency_seconds"])
    assert latency["_count", "total"] == latency["_bucket", "total", "+Inf"] == 2
    assert latency["_bucket", "total", "60.0"] == latency["_bucket", "total", "0.25"] == 1
    assert latency["_bucket", "total", "0.05"] == 0
    assert latency["_sum", "total"] == pytest.approx(70.1)
    assert latency["_bucket", "model", "0.05"] == 1
    assert len([key for key in latency if key[:2] == ("_bucket", "total")]) == len(LATENCY_EDGES_S) + 1
    assert samples(families["deepscan_score"])["_bucket", "a", "0.9"] == 0


def test_gauges(families):
    told = {name: samples(family) for name, family in families.items() if family.type == "gauge"}
    assert told == {
        "deepscan_drift": {("", "a", "score"): 0.4},
        "deepscan_cpu_share": {("",): 0.5},
        "deepscan_memory_bytes": {("",): 2**20},
        "deepscan_memory_share": {("",): 0.25},
        "deepscan_gpu_share": {("", "0"): 0.9, ("", "1"): 0.2},
        "deepscan_gpu_memory_bytes": {("", "0"): 10, ("", "1"): 80},
        "deepscan_gpu_memory_share": {("", "0"): 0.1, ("", "1"): 0.8},
        "deepscan_alert_firing": {("", "slow"): 1, ("", "cpu"): 0},
    }


def exported(families):
    return {name + "_total" * (family.type == "counter") for name, family in families.items()}


def test_every_metric_has_its_help_text(families):
    assert exported(families) == set(METRICS)
    assert {family.documentation for family in families.values()} == set(METRICS.values())


def test_the_registry_of_the_process_stays_as_it_was(families):
    assert families
    assert b"deepscan" not in prometheus_client.generate_latest()
    assert CONTENT_TYPE.startswith("text/plain")


def test_the_dashboard_asks_for_every_metric_and_for_no_other(families):
    asked = {name for text in EXPRESSIONS for name in re.findall(r"deepscan_\w+", text)}
    histograms = {name for name, family in families.items() if family.type == "histogram"}
    plain = {
        re.sub(r"_(bucket|sum|count)$", "", n) if n.rpartition("_")[0] in histograms else n for n in asked
    }
    assert plain == exported(families)


def test_the_dashboard_groups_by_labels_that_there_are(families):
    labels = {key for family in families.values() for sample in family.samples for key in sample.labels}
    legends = {
        name
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
        for name in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }
    groups = {
        name for text in EXPRESSIONS for by in re.findall(r"by \(([^)]*)\)", text) for name in by.split(", ")
    }
    assert legends | groups <= labels | {"instance"}


def test_no_panel_of_the_dashboard_lies_on_another():
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
