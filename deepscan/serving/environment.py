"""The arguments of a service from variables: those of the environment, and those of a ``.env`` file.

Every setting has exactly one variable, and what was given otherwise goes first: the command line or the
``args`` of a configuration, then the environment, then the file, then the default.
"""

import dataclasses
import json
import os
import pathlib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dotenv.parser import parse_stream
from pydantic import BaseModel

from deepscan.errors import ConfigError
from deepscan.registry import nearest
from deepscan.serving.config import ServeArgs, parse

Setting = tuple[str, ...]
"""Where a setting is in ``ServeArgs``: its field, or section and field."""

PREFIX = "DEEPSCAN_SERVE_"
ENV_FILE = PREFIX + "ENV_FILE"
"""Names the file where no option can: in a container, or for ``serve run``."""

THRESHOLD = PREFIX + "THRESHOLD"
"""The one setting of the fusion that is asked for so often that it has a variable of its own."""

SHORT: dict[Setting, str] = {("gate", "keys_file"): "API_KEYS"}
"""Settings whose variable does not have the name of the field."""

UNPREFIXED = ("limits", "gate")
"""Sections whose fields stand on their own: MAX_BYTES, not LIMITS__MAX_BYTES."""

# A pod is told of every service of its namespace by such variables; the one of this service is often
# called deepscan-serve or deepscan-serve-svc, whose variables then begin like ours.
KUBERNETES = re.compile(r"(^|_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")


def variables() -> dict[str, Setting]:
    """Return every variable that sets something, with what it sets."""
    return {_variable(setting): setting for setting in _settings()}


def process_environment() -> dict[str, str]:
    """Return the environment of this process."""
    return dict(os.environ)


def from_environment(
    environment: Mapping[str, str],
    env_file: pathlib.Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> ServeArgs:
    """Put the arguments of a service together.

    Args:
        environment: Variables, of which those that begin with ``PREFIX`` are looked at.
        env_file: A file of more variables; None = the one that ``DEEPSCAN_SERVE_ENV_FILE`` names, if any.
        given: Arguments that go before variables, as plain values. Sections are put together field by
            field; settings of the fusion are added, and the last one of a name counts.

    Raises:
        ConfigError: A variable is unknown or malformed, the file cannot be read, or an argument is wrong
            or missing.
    """
    named = environment.get(ENV_FILE)
    file = env_file or (pathlib.Path(named) if named else None)
    texts = _read(file) if file else {}
    texts |= {name: text for name, text in environment.items() if name.startswith(PREFIX)}
    taken = {name: text for name, text in texts.items() if text and name != ENV_FILE and not _foreign(name)}
    values = _merged(_values(taken), given or {})
    if not values.get("bundles"):
        msg = f"No bundle was named; give --bundle PATH, or set {PREFIX}BUNDLES or the argument bundles."
        raise ConfigError(msg)
    try:
        return parse(values)
    except ConfigError as error:
        raise _blamed(error, taken) from error


def _settings() -> Iterator[Setting]:
    for name, field in ServeArgs.model_fields.items():
        inner = _fields(field.annotation)
        yield from ((name, each) for each in inner) if inner else ((name,),)


def _fields(kind: Any) -> Iterable[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields
    # A section may be a dataclass of another layer, as Limits is.
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else ()


def _variable(setting: Setting) -> str:
    own = setting[1:] if setting[0] in UNPREFIXED else setting
    return PREFIX + SHORT.get(setting, "__".join(own).upper())


def _foreign(name: str) -> bool:
    return name not in variables() and bool(KUBERNETES.search(name.removeprefix(PREFIX)))


def _values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return variables as the plain values of arguments."""
    known, values = variables(), dict[str, Any]()
    for name, text in sorted(texts.items()):
        if name == THRESHOLD:
            continue
        if name not in known:
            msg = (
                f"Unknown variable {name}.{nearest(name, (*known, THRESHOLD))} docs/deploying.md lists "
                f"all that begin with {PREFIX}."
            )
            raise ConfigError(msg)
        *section, field = known[name]
        inner = values.setdefault(section[0], {}) if section else values
        inner[field] = _listed(name, text) if _is_list(known[name]) else text.strip()
    if THRESHOLD in texts:
        values["fusion"] = [*values.get("fusion", ()), f"threshold={texts[THRESHOLD].strip()}"]
    return values


def _is_list(setting: Setting) -> bool:
    kind: Any = ServeArgs
    for name in setting:
        kind = typing.get_type_hints(kind)[name]
    return typing.get_origin(kind) is tuple


def _listed(name: str, text: str) -> list[Any]:
    """Return what stands between commas, or in a JSON list, where an item may hold commas."""
    if not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f'{name} begins like a list in JSON but is none ({error}); write a,b or ["a", "b"].'
        raise ConfigError(msg) from error
    return [item if isinstance(item, dict) else str(item) for item in items]


def _merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, value in given.items():
        below = values.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = {**below, **value}
        elif name == "fusion" and below:
            merged[name] = [*below, *([value] if isinstance(value, str) else value)]
        else:
            merged[name] = value
    return merged


def _blamed(error: ConfigError, taken: Mapping[str, str]) -> ConfigError:
    """Name the variable that a complaint about an argument is about."""
    known = variables()
    guilty = [name for name in taken if name in known and repr(".".join(known[name])) in str(error)]
    return ConfigError(f"{', '.join(guilty)}: {error}") if guilty else error


def _read(path: pathlib.Path) -> dict[str, str]:
    """Return the variables of a ``.env`` file that are ours."""
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, ValueError) as error:
        msg = f"The file of variables {path} cannot be read ({error}); check --env-file and {ENV_FILE}."
        raise ConfigError(msg) from error
    texts = {}
    for binding in bindings:
        where = f"{path}, line {binding.original.line}"
        if binding.error or (binding.key and binding.value is None):
            msg = f"{where} is no assignment; write NAME=value, and # before a comment."
            raise ConfigError(msg)
        if binding.key and binding.value is not None and _is_ours(binding.key, where):
            texts[binding.key] = binding.value
    return texts


def _is_ours(name: str, where: str) -> bool:
    if name.startswith("DEEPSCAN_") and (not name.startswith(PREFIX) or name == ENV_FILE):
        msg = f"{where}: {name} has no effect in this file, which is read for {PREFIX}*; set it outside."
        raise ConfigError(msg)
    return name.startswith(PREFIX)
