"""docs/monitoring.md tells of the code as it is."""

import dataclasses
import json
import pathlib
import re
import typing

from deepscan.monitor import drift
from deepscan.monitor.alerts import DEFAULTS, FIGURES, Alert, Rule
from deepscan.monitor.drift import Drift, Histogram, Status
from deepscan.monitor.history import Keep, Minute, Window
from deepscan.onlooking import REFERENCE_FILES
from deepscan.serving.alerting import body
from deepscan.serving.exposition import METRICS
from deepscan.serving.machine import Reading
from deepscan.serving.telemetry import CHANGES, WINDOWS_S

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")


def tables():
    """Return every table as rows of cells, the header first."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", TEXT, flags=re.MULTILINE)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in table if "---" not in row[0]] for table in rows]


def column(*header):
    """Return the first cells of all tables that begin with some header."""
    return [[row[0].strip("`") for row in table[1:]] for table in tables() if table[0] == list(header)]


def names(cls):
    return [field.name for field in dataclasses.fields(cls)]


def test_the_fields_of_windows_machine_drift_and_rules_are_explained():
    assert column("field", "meaning") == [names(Window), names(Reading), names(Drift), names(Rule)]


def test_the_columns_of_the_export_are_explained():
    assert column("column", "meaning") == [names(Minute)]


def test_the_statuses_of_drift_are_explained():
    assert column("status", "meaning") == [list(typing.get_args(Status))]


def test_the_figures_of_rules_are_explained():
    told = {row[0].strip("`"): row[1] for t in tables() if t[0] == ["figure", "meaning"] for row in t[1:]}
    assert {name: told.get(name) for name in FIGURES} == FIGURES
    assert set(told) - set(FIGURES) == {drift.SCORE, drift.PARTS, "…_mean", "…_std"}


def test_the_default_rules_are_those_of_the_table():
    (table,) = (t for t in tables() if t[0][0] == "alert")
    ours = [[r.name, r.figure, f"{r.above:g}", f"{r.for_s:g} s", str(r.min_requests)] for r in DEFAULTS]
    assert table[1:] == ours


def test_the_metrics_are_those_of_the_table():
    (table,) = (t for t in tables() if t[0][0] == "metric")
    assert {row[0].strip("`"): row[3] for row in table[1:]} == METRICS


def test_the_body_of_the_webhook_is_one():
    shown = json.loads(re.search(r"```json\n(.*?)```", TEXT, flags=re.DOTALL)[1])
    assert shown == body([Alert(**alert) for alert in shown["alerts"]])


def test_numbers_in_the_text_are_those_of_the_code():
    keep = Keep()
    assert (keep.records, keep.age_s, keep.minutes) == (10_000, 3600, 24 * 60)
    assert ("10 000, or one hour" in TEXT, "last 24 hours" in TEXT) == (True, True)
    assert WINDOWS_S == (60, 15 * 60)
    assert f"fewer than {drift.FEWEST} files" in TEXT
    assert f"what {REFERENCE_FILES} or so" in TEXT
    assert f"the last {CHANGES} messages" in TEXT
    assert f"with {drift.LEAST_VALUES} values or more" in TEXT
    small = Histogram(figure="score", edges=drift.SCORE_EDGES, shares=(0.1,) * 10, count=40)
    assert f"chance alone reaches {drift.chance(small, 100):.2f}" in TEXT
