"""The settings of a run: a model's defaults, what a file of settings says, and dotted overrides."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.models import ModelSpec
from deepscan.recipe import Recipe

SETTINGS = "settings.json"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of a run after overrides."""

    spec: ModelSpec
    recipe: Recipe
    model: Any
    prep: Any


def settle(spec: ModelSpec, overrides: tuple[str, ...]) -> Settings:
    """Apply dotted overrides to a model's defaults; choices left to the machine are made here.

    Raises:
        ConfigError: An override names nothing, or has a wrong value.
    """
    parts = {"recipe": spec.recipe, "model": spec.config(), "prep": spec.prep}
    chosen: dict[str, list[str]] = {name: [] for name in parts}
    for text in overrides:
        name, _, rest = text.partition(".")
        if name not in chosen or "=" not in rest:
            msg = f"{text!r} is no setting; write one of {', '.join(parts)}, a dot, and key=value."
            raise ConfigError(msg)
        chosen[name].append(rest)
    settled = {name: config.override(part, chosen[name]) for name, part in parts.items()}
    return Settings(
        spec=spec, recipe=settled["recipe"], model=settled["model"], prep=settled["prep"].resolved()
    )


def as_overrides(values: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """Return settings, dotted or nested, as the overrides that ``settle`` takes."""
    texts: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts += as_overrides(value, f"{prefix}{name}.")
        else:
            texts.append(f"{prefix}{name}={json.dumps(value)}")
    return tuple(texts)


def keep_or_compare(out: pathlib.Path, facts: Mapping[str, Any], resume: bool, otherwise: str) -> None:
    """Write down what a run or a campaign depends on; a resumed one must depend on the same.

    Args:
        out: Its folder.
        facts: What it depends on, as values of JSON.
        resume: Compare them with those that were written down, instead of writing.
        otherwise: What to do if it is to depend on others, for the error.

    Raises:
        ConfigError: They differ.
    """
    path = out / SETTINGS
    if not resume:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(name for name in facts if facts[name] != before.get(name))
    if changed:
        msg = (
            f"What {out} holds was begun with other settings ({', '.join(changed)} differ). Resume it with "
            f"those in {SETTINGS}, or {otherwise}."
        )
        raise ConfigError(msg)


def read_recipe(path: pathlib.Path) -> tuple[str, ...]:
    """Return the overrides in a recipe file: a JSON object of settings, dotted or nested.

    Raises:
        ConfigError: The file is absent or no such object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"The recipe {path} cannot be read: {error}. Give a JSON file, such as best.json of a search."
        raise ConfigError(msg) from error
    if not isinstance(values, dict):
        msg = f"The recipe {path} is a JSON {type(values).__name__}; it must be an object of settings."
        raise ConfigError(msg)
    return as_overrides(values)
