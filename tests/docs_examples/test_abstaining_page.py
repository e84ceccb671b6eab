"""docs/abstaining.md tells what the code does, and what the benchmark wrote."""

import json
import pathlib
import re

from deepscan.domain import gate
from deepscan.recipe import Recipe

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "abstaining.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "out_of_domain.json").read_text(encoding="utf-8"))
ROW = r"^\| ([^|]+?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$"


def row_of(name, group):
    labels, without = group["labels"], group["labels_without_gate"]
    decided = [labels.get(label, 0) for label in ("real", "fake", "inconclusive")]
    other = sum(group["abstained"].values())
    counts = (
        group["files"],
        group["gated"],
        other,
        *decided,
        without.get("real", 0) + without.get("fake", 0),
    )
    return (name, *map(str, counts))


def test_the_tables_are_what_the_benchmark_wrote():
    written = [row_of(name, group) for each in RESULTS["bundles"] for name, group in each["groups"].items()]
    assert re.findall(ROW, PAGE, re.MULTILINE) == written
    for each in RESULTS["bundles"]:
        assert f"AUROC {each['auroc_strange']:.3f}" in PAGE
        assert f"fitted to {each['gate']['files']} files" in PAGE


def test_the_limits_are_those_of_the_code():
    assert Recipe().gate == 0.01
    assert "than 50 files there is no gate" in PAGE
    assert gate.FEWEST == 50
    assert "cut off at 8" in PAGE
    assert gate.FARTHEST == 8
    assert gate.FOLDS == 5
    assert "(five folds)" in PAGE
