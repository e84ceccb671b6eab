"""Reads the sources of the package and of the jobs as syntax trees, for the tests of this folder."""

import ast
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

ROOT = pathlib.Path(__file__).parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name: ``from a.b import c`` is ``a.b.c``."""

    target: str
    line: int
    lazy: bool
    typing_only: bool

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class Module:
    """A source file under its dotted name."""

    name: str
    text: str
    tree: ast.Module

    @property
    def unit(self) -> str:
        """The first name below the package; the package itself is ``deepscan``, a job is ``jobs``."""
        package, _, rest = self.name.partition(".")
        return rest.partition(".")[0] if rest and package == "deepscan" else package

    def imports(self) -> Iterator[Import]:
        return _imports(self.tree, self.name, lazy=False, typing_only=False)

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{node.lineno}"


def survey(root: pathlib.Path = ROOT) -> dict[str, Module]:
    """Return every module of ``deepscan/`` and ``jobs/`` by name."""
    paths = sorted(path for folder in ("deepscan", "jobs") for path in (root / folder).rglob("*.py"))
    modules = (parse(_dotted(path.relative_to(root)), path.read_text(encoding="utf-8")) for path in paths)
    return {module.name: module for module in modules}


def parse(name: str, text: str) -> Module:
    return Module(name, text, ast.parse(text))


def own(target: str, modules: Mapping[str, Module]) -> str | None:
    """Return the module of ours that an imported name lives in; None for a foreign one."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target or None


def loaded_libraries(name: str, modules: Mapping[str, Module]) -> set[str]:
    """Return the libraries in memory once a module is imported, by way of our modules."""
    seen: set[str] = set()
    pending, libraries = [name], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        parents = current.split(".")
        pending.extend(".".join(parents[:i]) for i in range(1, len(parents)))
        for found in modules[current].imports():
            if not (found.lazy or found.typing_only):
                ours = own(found.target, modules)
                pending.append(ours) if ours else libraries.add(found.library)
    return libraries


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines from ``def`` to the end, docstring left out."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Return the parameters of a function, ``self`` and ``cls`` left out."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    starred = [star for star in (given.vararg, given.kwarg) if star]
    return [arg for arg in [*named, *starred] if arg.arg not in {"self", "cls"}]


def dotted(node: ast.expr) -> str:
    """Return the text of a name such as ``logging.basicConfig``; ``""`` for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, also those in loops and conditions."""
    pending: list[ast.AST] = [tree]
    while pending:
        for child in ast.iter_child_nodes(pending.pop()):
            if isinstance(child, ast.stmt) and not isinstance(child, FUNCTIONS):
                yield child
                pending.append(child)


def _dotted(path: pathlib.Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(node: ast.AST, name: str, *, lazy: bool, typing_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, lazy, typing_only)
    elif isinstance(node, ast.ImportFrom):
        package = ".".join(name.split(".")[: -node.level]) + "." if node.level else ""
        for alias in node.names:
            target = f"{package}{node.module or ''}.{alias.name}".replace("..", ".")
            yield Import(target, node.lineno, lazy, typing_only)
    lazy = lazy or isinstance(node, FUNCTIONS)
    typing_only = typing_only or (isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"))
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, name, lazy=lazy, typing_only=typing_only)
