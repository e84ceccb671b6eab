"""docs/evidence.md lists every analyzer and heat map as the registries have them, and lines that are read."""

import pathlib
import re
import shlex

import pytest
import typer.main

from deepscan import heatmaps
from deepscan.cli import app
from deepscan.evidence import GROUPS
from deepscan.evidence.catalog import load_builtin

ROOT = pathlib.Path(__file__).parents[2]
PATH = ROOT / "docs" / "evidence.md"
PAGE = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
LINES = [line for line in PAGE.splitlines() if line.startswith("deepscan ")]
BENCHMARKS = re.findall(r"python -m benchmarks\.(\w+)", PAGE)


def analyzers():
    """Those of this package, in the order in which their evidence is shown."""
    built_in = [each for each in load_builtin() if each.testify.__module__.startswith("deepscan.")]
    return sorted(built_in, key=lambda each: (GROUPS.index(each.group), each.name))


def methods():
    """The heat maps by name: their order depends on which was imported first."""
    return sorted(heatmaps.load_builtin(), key=lambda each: each.name)


def analyzer_row(analyzer):
    return f"| `{analyzer.name}` | {analyzer.group} | {len(analyzer.measures)} | {analyzer.summary} |"


def method_row(method):
    return f"| `{method.name}` | {'yes' if method.quick else ''} | {method.summary} |"


def rows(heading):
    return re.findall(r"^\| `.*\|$", PAGE.split(f"## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)


def test_every_analyzer_has_its_row_in_its_place():
    assert rows("Analyzers") == [analyzer_row(each) for each in analyzers()]


def test_every_heat_map_has_its_row():
    assert rows("Heat maps") == [method_row(each) for each in methods()]


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_read(line):
    command, *words = shlex.split(line)[1:]
    typer.main.get_command(app).commands[command].make_context(command, words)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_there(name):
    assert (ROOT / "benchmarks" / f"{name}.py").is_file()
