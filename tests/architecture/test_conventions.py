"""Words, names and habits that the package keeps to."""

import ast
import re
from collections import Counter

from survey import FUNCTIONS, ROOT, dotted, module_level

MEDIA_WORDS = {"image", "video", "audio"}
MEDIA_UNITS = {"media", "modalities", "models"}
BROAD_EXCEPT = {"deepscan.formats.executorch"}
"""Boundaries where a library raises plain exceptions; all others are let through."""

LOGGING_UNITS = {"cli", "jobs"}
ENVIRONMENT_READERS = {
    ("deepscan.media.assets", "places"),
    ("deepscan.serving.environment", "process_environment"),
}
"""Where things live, what is served. Ray's own variables are the business of ``deepscan.cluster``."""

VAGUE_MODULES = {"utils", "util", "helpers", "helper", "common", "core", "base", "misc"}
VAGUE_CLASS = re.compile(r"(Manager|Handler|Engine|Monitor|Factory)$")
UNFINISHED = re.compile(r"\b(NotImplementedError|TODO|FIXME|XXX)\b")
UNPICKLERS = re.compile(r"^(pickle|dill|cloudpickle|marshal|shelve|joblib)\.(loads?|open|Unpickler)$")
LOGGING_SETUP = re.compile(r"^logging\.(basicConfig|config\.\w+)$|\.(addHandler|setFormatter)$")
REGISTRATION = re.compile(r"^(\w+\.)?(register|add_typer)$")


def calls(module):
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def test_kinds_of_media_are_spelt_out_only_where_media_are_known(modules):
    spelt = [
        f"{module.at(node)} {node.value!r}"
        for module in modules.values()
        if module.unit not in MEDIA_UNITS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in MEDIA_WORDS
    ]
    assert spelt == []


def test_nothing_prints(modules):
    assert [m.at(c) for m in modules.values() for c in calls(m) if dotted(c.func) == "print"] == []


def test_no_handler_swallows_every_exception(modules):
    broad = [
        module.at(node)
        for module in modules.values()
        if module.name not in BROAD_EXCEPT
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        if {"", "Exception", "BaseException"} & set(_caught(node))
    ]
    assert broad == []


def test_no_module_has_a_name_that_says_nothing(modules):
    assert [name for name in modules if VAGUE_MODULES & set(name.split("."))] == []


def test_no_class_has_a_name_that_says_nothing(modules):
    classes = (node for m in modules.values() for node in ast.walk(m.tree) if isinstance(node, ast.ClassDef))
    assert [node.name for node in classes if VAGUE_CLASS.search(node.name)] == []


def test_nothing_is_left_unfinished(modules):
    unfinished = [
        f"{module.name}:{number}"
        for module in modules.values()
        for number, line in enumerate(module.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert unfinished == []


def test_only_the_command_line_and_jobs_set_up_logging(modules):
    configuring = [
        module.at(call)
        for module in modules.values()
        if module.unit not in LOGGING_UNITS
        for call in calls(module)
        if LOGGING_SETUP.search(dotted(call.func))
    ]
    assert configuring == []


def test_two_functions_read_the_environment_besides_the_start_of_ray(modules):
    readers = {
        (module.name, _function_around(module.tree, node))
        for module in modules.values()
        if module.name != "deepscan.cluster"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.expr) and dotted(node) in {"os.environ", "os.getenv", "environ", "getenv"}
    }
    assert readers == ENVIRONMENT_READERS


def test_importing_a_module_does_nothing_but_register(modules):
    acting = [
        module.at(statement)
        for module in modules.values()
        for statement in module_level(module.tree)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        if not REGISTRATION.match(dotted(statement.value.func))
        if not _within_main_guard(module.tree, statement)
    ]
    assert acting == []


def test_nothing_is_unpickled_that_a_stranger_may_have_made(modules):
    unsafe = [
        module.at(call)
        for module in modules.values()
        for call in calls(module)
        if UNPICKLERS.match(dotted(call.func))
        or (dotted(call.func) == "torch.load" and not _is_set(call, "weights_only"))
        or (dotted(call.func) == "np.load" and _is_set(call, "allow_pickle"))
    ]
    assert unsafe == []


def test_randomness_comes_from_a_generator_that_was_passed_in(modules):
    drawing = re.compile(r"^(np|numpy)\.random\.(?!default_rng$|Generator$|SeedSequence$|PCG64$)|^random\.")
    global_draws = [m.at(c) for m in modules.values() for c in calls(m) if drawing.match(dotted(c.func))]
    assert global_draws == []


def _caught(handler):
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [dotted(kind).rpartition(".")[2] if kind else "" for kind in kinds]


def _is_set(call, name):
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return isinstance(value, ast.Constant) and value.value is True


def _function_around(tree, node):
    functions = (f for f in ast.walk(tree) if isinstance(f, FUNCTIONS))
    around = [f for f in functions if f.lineno <= node.lineno <= f.end_lineno]
    return max(around, key=lambda f: f.lineno).name if around else ""


def _within_main_guard(tree, statement):
    conditions = (s for s in tree.body if isinstance(s, ast.If))
    return any(statement in c.body and ast.unparse(c.test) == "__name__ == '__main__'" for c in conditions)


def test_no_two_test_files_have_one_name():
    """pytest imports them by their names alone: a second one of a name stops the whole suite."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
