"""docs/scoring.md tells of the rows and the command as they are."""

import pathlib
import re
import shlex

import pytest
import typer.main

from deepscan.cli import app
from deepscan.scoring import pace, plan
from deepscan.scoring.actors import NUMBERED
from deepscan.scoring.rows import SCHEMA
from deepscan.scoring.run import LOOKS_PER_BATCH

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_every_column_is_explained_in_its_order():
    after = TEXT[TEXT.index("| column | what it holds |") :].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", after, re.MULTILINE) == SCHEMA.names
    assert set(NUMBERED.names) - {"number"} <= set(SCHEMA.names)


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_read(line):
    program, command, *words = shlex.split(line)
    assert (program, command) == ("deepscan", "score")
    typer.main.get_command(app).commands["score"].make_context("score", words)


def test_figures_are_those_of_the_code():
    assert (pace.PART_SHARE, pace.MIN_PART_S, pace.MAX_PART_S) == (1 / 20, 1, 60)
    assert "a twentieth of the time" in TEXT
    assert plan.ACTOR_CPUS == 0.5
    assert f"judges {LOOKS_PER_BATCH} files together" in TEXT
