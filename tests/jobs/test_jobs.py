"""The jobs: each is one call of a command, and one of them runs as users run it, by ``ray job submit``."""

import os
import pathlib
import shlex
import subprocess
import sys

import numpy as np
import pytest
import typer.main
from PIL import Image

from deepscan.bundle import Bundle
from deepscan.cli import app
from tests.jobs.heads import free_ports, started_head, submit

ROOT = pathlib.Path(__file__).parents[2]
ALONE = {"make_zoo.py", "train_finder.py"}
"""What makes what ships: run on one machine, without a command of the same name."""
JOBS = sorted(path for path in (ROOT / "jobs").glob("*.py") if path.name not in ALONE)
PLUGIN = ROOT / "tests" / "plugins" / "tiny.py"


def commands(command, path=()):
    """Every command that does something, by its words."""
    inner = getattr(command, "commands", {}).items()
    leaves = {words: leaf for name, child in inner for words, leaf in commands(child, (*path, name)).items()}
    return leaves or {" ".join(path): command}


COMMANDS = commands(typer.main.get_command(app))


def words_of(job):
    return job.stem.replace("_", " ")


def test_every_command_that_can_name_a_cluster_is_a_job():
    options = {words: {p.name for p in command.params} for words, command in COMMANDS.items()}
    assert {words_of(job) for job in JOBS} == {
        words for words, names in options.items() if "address" in names
    }


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_a_job_shows_how_it_is_submitted_with_options_that_exist(job):
    source = job.read_text(encoding="utf-8")
    line = source.split("ray job submit", 1)[1].split("\n\n", 1)[0].replace("\\\n", " ")
    words = shlex.split(line)
    assert words[:4] == ["--working-dir", ".", "--", "python"]
    assert words[4] == f"jobs/{job.name}"
    command = COMMANDS[words_of(job)]
    help_text = subprocess.run(
        [sys.executable, str(job), "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT), "TERM": "dumb"},
    ).stdout
    assert command.help.strip().splitlines()[0].split(";")[0] in help_text
    for option in (word for word in words[5:] if word.startswith("--")):
        assert option in help_text, option


@pytest.fixture
def head():
    """A Ray head of two CPUs on 127.0.0.1, as ``ray start --head`` makes it."""
    options = ("--head", "--num-cpus=2", "--dashboard-host=127.0.0.1")
    with started_head(options, free_ports(), RAY_AUTH_MODE="disabled") as environment:
        yield environment


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_training_runs_as_a_submitted_job(head, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        label = ("real", "fake")[i % 2]
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        noise = rng.normal(128, 40 if label == "real" else 10, (32, 32, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(tmp_path / "data" / label / f"{i}.png")
    out = tmp_path / "run"
    words = ["jobs/train.py", "--model", "tiny", "--plugin", PLUGIN, "--data", tmp_path / "data"]
    words += ["--out", out, "--store", tmp_path / "store", "--set", "recipe.epochs=1"]
    result = submit(head, *words)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "val_auc=" in result.stdout, "the job logs its epochs"
    assert Bundle.read(out / "bundle").card.model == "tiny"
