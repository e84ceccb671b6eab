"""docs/shrinking.md tells of the steps as the code has them, and its line of distillation works."""

import pathlib
import re
import shlex
import typing

import pyarrow.parquet as pq
import pytest

from deepscan.bundle import Bundle
from deepscan.optimize.finetune import RATE
from deepscan.optimize.prune import Method
from tests.optimize.splits import split_data
from tests.test_cli import run
from tests.tiny_bundles import PLUGIN, tiny_bundle

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "shrinking.md").read_text(encoding="utf-8")


def test_every_method_has_its_row():
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == sorted(typing.get_args(Method))


def test_the_rate_is_that_of_the_code():
    assert RATE == 0.1
    assert "at a tenth of its rate" in PAGE


@pytest.mark.ray
@pytest.mark.slow
def test_the_documented_line_distils_a_teacher_into_a_student_that_can_be_folded(ray_cluster, tmp_path):
    data = split_data(tmp_path / "pictures")
    pq.write_table(data.ledger, tmp_path / "ledger.parquet")
    teacher = tiny_bundle(tmp_path / "teacher", seed=1)
    (line,) = re.findall(r"^deepscan (train .*--teacher.*)$", PAGE, re.MULTILINE)
    here = {
        "mobilenet-v2": "tiny",
        "faces": tmp_path / "ledger.parquet",
        "runs/first/bundle": teacher.path,
        "runs/light": tmp_path / "light",
    }
    words = [here.get(word, word) for word in shlex.split(line)]
    extra = ("--plugin", PLUGIN, "--device", "cpu", "--store", tmp_path / "store", "--set", "recipe.epochs=1")
    done = run(*words, *extra, "--allow-leaks")
    assert done.exit_code == 0, done.stderr
    student = Bundle.read(tmp_path / "light" / "bundle").card
    assert student.teachers == (teacher.card.id,)
    folded = run("fold", tmp_path / "light" / "bundle", "--out", tmp_path / "folded")
    assert folded.exit_code == 0, folded.stderr
