"""The numbers that keep the code readable."""

import ast
import statistics

import pytest
from survey import FUNCTIONS, body_lines, dotted, parameters

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60
MOST_MEDIAN_LINES = 10
MOST_PARAMETERS = 6


@pytest.fixture(scope="session")
def functions(modules):
    """Every function of the package: (where, node)."""
    return [
        (f"{module.at(node)} {node.name}", node)
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, FUNCTIONS)
    ]


def test_files_are_short(modules):
    sizes = {name: len(module.text.splitlines()) for name, module in modules.items()}
    assert {name: lines for name, lines in sizes.items() if lines > MOST_FILE_LINES} == {}


def test_functions_are_short(functions):
    lengths = {where: body_lines(node) for where, node in functions}
    assert {where: lines for where, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


def test_half_of_the_functions_are_very_short(functions):
    assert statistics.median(body_lines(node) for _, node in functions) <= MOST_MEDIAN_LINES


def test_functions_take_few_arguments(functions):
    """Commands are exempt: each option of the command line is a parameter."""
    counts = {where: len(parameters(node)) for where, node in functions if not _is_command(node)}
    assert {where: count for where, count in counts.items() if count > MOST_PARAMETERS} == {}


def test_everything_is_annotated(functions):
    bare = [
        where
        for where, node in functions
        if node.returns is None or any(arg.annotation is None for arg in parameters(node))
    ]
    assert bare == []


def _is_command(node):
    decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(dotted(d).endswith((".command", ".callback")) for d in decorators)
