"""Configuration as frozen dataclasses: to and from plain dicts, dotted overrides, digests.

A configuration is a dataclass whose fields are numbers, strings, booleans, ``None``, ``Literal``,
tuples of these, or other such dataclasses. Leaf values are validated by pydantic against the
field's annotation; unknown keys are refused with the nearest valid one.
"""

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import pydantic

from deepscan.errors import ConfigError
from deepscan.registry import nearest

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain dicts, lists and scalars, ready for JSON."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return result


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Build a configuration of class ``cls`` from a mapping; absent fields take their defaults.

    Args:
        cls: A dataclass.
        values: Field values, nested dataclasses as nested mappings.
        where: Dotted prefix for messages.

    Raises:
        ConfigError: A key is unknown, a value has the wrong type, or a required field is absent.
    """
    types: dict[str, Any] = _field_types(cls)  # type: ignore[arg-type]
    kwargs = {}
    for key, value in values.items():
        if key not in types:
            msg = f"Unknown setting {where + key!r}.{nearest(key, types)} Known: {', '.join(types)}."
            raise ConfigError(msg)
        kwargs[key] = _convert(types[key], value, where + key)
    try:
        return cls(**kwargs)
    except TypeError as error:
        msg = f"Incomplete {cls.__name__}: {error}."
        raise ConfigError(msg) from error


def override(config: C, assignments: Iterable[str]) -> C:
    """Return a copy of ``config`` with dotted assignments applied, e.g. ``"optimizer.lr=1e-4"``.

    The text after ``=`` is read as JSON where it is JSON and as a plain string otherwise.

    Raises:
        ConfigError: An assignment lacks ``=``, names an unknown field or has a wrong value.
    """
    values = to_dict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            msg = f"{assignment!r} is no assignment; write key=value, for example epochs=5."
            raise ConfigError(msg)
        target = values
        *parents, leaf = path.strip().split(".")
        for parent in parents:
            inner = target.get(parent)
            if not isinstance(inner, dict):
                msg = f"Unknown setting {path!r}.{nearest(parent, target)} Known: {', '.join(target)}."
                raise ConfigError(msg)
            target = inner
        target[leaf] = _literal(text.strip())
    return from_dict(type(config), values)


def digest(config: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a configuration's class name and values.

    Values count as their fields' types, so 1 and 1.0 are the same for a float.
    """
    normal = from_dict(type(config), to_dict(config))
    body = json.dumps([type(config).__name__, to_dict(normal)], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


@functools.cache
def _field_types(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _convert(annotation: Any, value: Any, where: str) -> Any:
    nested: Any = next((a for a in _union_members(annotation) if dataclasses.is_dataclass(a)), None)
    if nested is not None and isinstance(value, Mapping):
        return from_dict(nested, value, where + ".")
    if nested is not None and isinstance(value, nested):
        return value
    try:
        return _adapter(annotation).validate_python(value)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]["msg"]
        msg = f"Setting {where!r} cannot be {value!r}: {problem}."
        raise ConfigError(msg) from error


def _union_members(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) or (annotation,)


@functools.cache
def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(annotation)
