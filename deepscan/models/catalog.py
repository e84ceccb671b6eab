"""Filling the registry of models: those of this folder, and those of a user's own files."""

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

from deepscan import models
from deepscan.errors import ConfigError
from deepscan.models import MODELS, ModelSpec
from deepscan.registry import Registry

DEFECTS = (
    ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError,
    ArithmeticError, AssertionError, OSError, RuntimeError,
)  # fmt: skip
"""What executing a defective Python file raises; an interrupt or lack of memory is no defect."""

_loaded: dict[str, tuple[ModelSpec, ...]] = {}


def load_builtin() -> Registry[ModelSpec]:
    """Import every model file of ``deepscan.models`` and return the registry they fill.

    Each file is imported once, however often this is called.
    """
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    return MODELS


def load_plugin(path: Path) -> tuple[ModelSpec, ...]:
    """Import a Python file that registers models, after the built-in ones.

    A file is known by its content: loading it, or a copy of it, again does nothing.

    Args:
        path: The file; it is executed, so trust it as you trust any program.

    Returns:
        The specs that the file registered.

    Raises:
        ConfigError: The file is absent, fails to import, registers nothing or takes a used name.
    """
    if not path.is_file() or path.suffix != ".py":
        msg = f"No plug-in at {path}: give the path of a Python file (.py) that registers a model."
        raise ConfigError(msg)
    load_builtin()
    name = f"deepscan_plugin_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if name not in _loaded:
        before = set(MODELS.names())
        _execute(path, name)
        _loaded[name] = tuple(spec for spec in MODELS if spec.name not in before)
    if not _loaded[name]:
        msg = f"Plug-in {path} registers no model; it must call deepscan.models.register(ModelSpec(...))."
        raise ConfigError(msg)
    return _loaded[name]


def _execute(path: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    # A dataclass of the file looks its module up by name while it is being defined.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except DEFECTS as error:
        msg = f"Plug-in {path} does not import: {type(error).__name__}: {error}. Correct the file."
        raise ConfigError(msg) from error
