"""The reader of sources sees what it is meant to see; otherwise the other tests here prove nothing."""

import ast

import pytest
from survey import body_lines, dotted, loaded_libraries, module_level, own, parameters, parse, survey

SAMPLE = """
import a.b
from c import d as e
from . import near
from .near import thing
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import hints
def f():
    import late
    class Inner:
        from later import x
"""


def test_imports_are_found_wherever_they_stand():
    found = {i.target: (i.lazy, i.typing_only) for i in parse("p.q.r", SAMPLE).imports()}
    now, late = (False, False), (True, False)
    assert found == {
        "a.b": now,
        "c.d": now,
        "p.q.near": now,
        "p.q.near.thing": now,
        "typing.TYPE_CHECKING": now,
        "hints": (False, True),
        "late": late,
        "later.x": late,
    }


@pytest.mark.parametrize(
    ("name", "unit"), [("deepscan", "deepscan"), ("deepscan.media.probe", "media"), ("jobs.train", "jobs")]
)
def test_a_unit_is_the_first_name_below_the_package(name, unit):
    assert parse(name, "").unit == unit


def test_an_imported_name_is_traced_to_the_module_that_holds_it():
    modules = {name: parse(name, "") for name in ("ours", "ours.a")}
    assert own("ours.a.thing", modules) == "ours.a"
    assert own("ours.b", modules) == "ours"
    assert own("torch.nn", modules) is None


def test_loaded_libraries_follow_our_modules_and_their_packages_but_no_lazy_import():
    sources = {
        "ours": "import everywhere",
        "ours.top": "from ours import low\nimport json",
        "ours.low": "import torch.nn\ndef f(): import ray",
    }
    modules = {name: parse(name, text) for name, text in sources.items()}
    assert loaded_libraries("ours.top", modules) == {"everywhere", "json", "torch"}


def test_lines_of_a_function_leave_its_docstring_out():
    text = 'def f(self, a, /, b, *c, d, **e):\n    """One\n\n    two.\n    """\n    g = a\n    return g\n'
    function = ast.parse(text).body[0]
    assert body_lines(function) == 3
    assert [arg.arg for arg in parameters(function)] == ["a", "b", "d", "c", "e"]


def test_dotted_names_and_module_level_statements():
    tree = ast.parse("import os\nfor n in x:\n    os.environ.get(n)\ndef f():\n    g()\n")
    calls = [s.value for s in module_level(tree) if isinstance(s, ast.Expr)]
    assert [dotted(call.func) for call in calls] == ["os.environ.get"]


def test_the_survey_finds_the_package():
    assert {"deepscan", "deepscan.media.probe", "deepscan.pipeline", "deepscan.cli"} <= set(survey())
