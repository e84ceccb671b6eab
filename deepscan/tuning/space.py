"""What a search may change: ranges and choices by dotted setting, as a model states them or a file does."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.models import ModelSpec
from deepscan.recipe import Choice, Range, SearchSpace
from deepscan.training.settings import as_overrides, settle

EPOCHS = "recipe.epochs"
PREP = "prep."
Setting = str | float | int | bool
Chosen = Mapping[str, Setting]
"""The value of every searched setting, by its dotted name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A checked search space.

    Attributes:
        ranges: What is searched, by dotted setting.
        whole: Those among them whose values are whole numbers.
    """

    ranges: SearchSpace
    whole: frozenset[str]

    def holds(self, chosen: Chosen) -> bool:
        """Tell whether a point has exactly the settings of this space, each with a value within it."""
        return set(chosen) == set(self.ranges) and all(
            self._holds(name, value) for name, value in chosen.items()
        )

    def clipped(self, chosen: Chosen) -> dict[str, Setting]:
        """Return a point whose numbers are moved to the nearest end of their ranges where outside."""
        return {name: self._clip(name, value) for name, value in chosen.items()}

    def _holds(self, name: str, value: Setting) -> bool:
        within = self.ranges[name]
        if isinstance(within, Choice):
            return any(value == each and type(value) is type(each) for each in within.values)
        return isinstance(value, int | float) and within.low <= value <= within.high

    def _clip(self, name: str, value: Setting) -> Setting:
        within = self.ranges[name]
        if isinstance(within, Choice) or isinstance(value, str):
            return value
        clipped = min(max(value, within.low), within.high)
        return round(clipped) if name in self.whole else clipped


def read_space(path: pathlib.Path) -> dict[str, Range | Choice | None]:
    """Read a search space from a JSON file; ``null`` takes a setting out of the model's own space.

    A list is the values to choose from; ``{"low": .., "high": .., "log": true}`` is a range.

    Raises:
        ConfigError: The file is absent, no JSON, or an entry is neither.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"The search space {path} cannot be read: {error}. It is a JSON object of settings."
        raise ConfigError(msg) from error
    if not isinstance(given, dict):
        msg = f"The search space {path} is a JSON {type(given).__name__}; it must be an object of settings."
        raise ConfigError(msg)
    return {name: _entry(name, value) for name, value in given.items()}


def space_of(spec: ModelSpec, overrides: tuple[str, ...], path: pathlib.Path | None) -> Space:
    """Return what is searched: the model's space, changed by a file, without what overrides fix.

    Raises:
        ConfigError: Nothing is left, a range is empty, or an entry names no setting or a wrong value.
    """
    fixed = {text.partition("=")[0].strip() for text in overrides}
    merged = {**spec.search, **(read_space(path) if path else {})}
    ranges = {name: each for name, each in merged.items() if each is not None and name not in fixed}
    if not ranges:
        msg = (
            f"There is nothing to search: model {spec.name!r} states {', '.join(spec.search) or 'no ranges'},"
            " and what --set fixes is not searched. Give ranges with --space FILE."
        )
        raise ConfigError(msg)
    for name, each in ranges.items():
        _check(spec, overrides, name, each)
    return Space(ranges=ranges, whole=frozenset(name for name in ranges if _is_whole(spec, name)))


def _entry(name: str, value: Any) -> Range | Choice | None:
    if value is None:
        return None
    if isinstance(value, list):
        return Choice(values=tuple(value))
    if isinstance(value, dict):
        return config.from_dict(Range, value, f"{name}.")
    msg = (
        f"The search space gives {value!r} for {name!r}; give a list of values, an object with low and high, "
        "or null to leave it out. A fixed value is given with --set."
    )
    raise ConfigError(msg)


def _check(spec: ModelSpec, overrides: tuple[str, ...], name: str, each: Range | Choice) -> None:
    if name.startswith(PREP):
        msg = (
            f"{name!r} cannot be searched: it changes the prepared data, which all trials share. Fix it with "
            "--set, and search once for each value."
        )
        raise ConfigError(msg)
    if isinstance(each, Range) and not (each.low < each.high and (each.low > 0 or not each.log)):
        given = f"{each.low:g} to {each.high:g}"
        msg = f"The range of {name!r} is {given}; low must be below high, and above 0 for log."
        raise ConfigError(msg)
    if isinstance(each, Choice) and not each.values:
        msg = f"The search space gives no values for {name!r}; give at least one."
        raise ConfigError(msg)
    for value in _samples(spec, name, each):
        settle(spec, (*overrides, *as_overrides({name: value})))


def _samples(spec: ModelSpec, name: str, each: Range | Choice) -> Iterable[Setting]:
    """Return the values by which an entry is tried before the search."""
    if isinstance(each, Choice):
        return each.values
    ends = (each.low, each.high)
    return [round(end) for end in ends] if _is_whole(spec, name) else ends


def _is_whole(spec: ModelSpec, name: str) -> bool:
    """Tell whether a setting of a model is a whole number by its default."""
    value: Any = {"recipe": config.to_dict(spec.recipe), "model": config.to_dict(spec.config())}
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return isinstance(value, int) and not isinstance(value, bool)
