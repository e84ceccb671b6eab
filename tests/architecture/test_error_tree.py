"""The tree of errors is drawn as it is, and nothing grows outside of it."""

import ast
import builtins
import inspect
import re

from survey import dotted

from deepscan import errors

BRANCH = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>\w+Error)\b *(?P<meaning>.*)$", re.MULTILINE)


def drawn():
    """Returns the parent of every error in the drawing."""
    parents, path = {}, []
    for branch in BRANCH.finditer(errors.__doc__):
        while path and path[-1][0] >= len(branch["indent"]):
            path.pop()
        parents[branch["name"]] = path[-1][1] if path else "Exception"
        path.append((len(branch["indent"]), branch["name"]))
    return parents


def test_the_drawing_is_the_tree():
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert drawn() == {kind.__name__: kind.__base__.__name__ for kind in classes}


def test_the_drawing_says_what_each_error_means():
    meanings = {branch["name"]: branch["meaning"] for branch in BRANCH.finditer(errors.__doc__)}
    assert [name for name, meaning in meanings.items() if not meaning] == ["DeepscanError"]


def test_no_error_is_defined_elsewhere(modules):
    known = set(drawn()) | {name for name, kind in vars(builtins).items() if _is_exception(kind)}
    strays = [
        f"{module.at(node)} {node.name}"
        for module in modules.values()
        if module.name != "deepscan.errors"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        if known & {dotted(base).rpartition(".")[2] for base in node.bases}
    ]
    assert strays == []


def test_what_users_meet_is_an_error_of_the_tree(modules):
    """Built-in exceptions are for callers' mistakes that Python itself would report so."""
    builtin = {"Exception", "BaseException", "RuntimeError", "OSError", "IOError", "AssertionError"}
    raised = [
        f"{module.at(node)} {name}"
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise) and node.exc
        if (name := dotted(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)) in builtin
    ]
    assert raised == []


def _is_exception(kind):
    return isinstance(kind, type) and issubclass(kind, BaseException)
