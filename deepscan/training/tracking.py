"""Telling trackers about a training run while it goes on.

A tracker is told the settings, every epoch, the figures and where the bundle is, by the process that
started the run. Whatever a tracker does, the run goes on: what it could not take is offered again with the
next epoch, and once more at the end. ``OUT/trackers.json`` remembers which run of a tracker is the one in
OUT and what it knows, so that a resumed run goes on in the same place.

TensorBoard and ``history.jsonl`` are written by the run itself, see ``deepscan.training.fit``.
"""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from deepscan.errors import ConfigError
from deepscan.metrics import Figure
from deepscan.training.trackers import TRACKERS, Opening, Tracker, flat

logger = logging.getLogger(__name__)
STATE = "trackers.json"


def check(names: Sequence[str]) -> None:
    """Check, before any work, that trackers exist and can be used here.

    Raises:
        UnknownNameError: There is no tracker of that name.
        ConfigError: A package that it needs is not installed.
    """
    for name in names:
        missing = [p for p in TRACKERS.get(name).packages if importlib.util.find_spec(p) is None]
        if missing:
            msg = (
                f"Tracker {name!r} needs {' and '.join(missing)}, which is not installed. Install deepscan "
                f"with its extra: pip install 'deepscan[track]'. Or leave --track {name} out."
            )
            raise ConfigError(msg)


def places(out: pathlib.Path) -> dict[str, str]:
    """Return where the trackers of a run can be looked at, by their names."""
    return {name: known["place"] for name, known in _read(out).items()}


@contextlib.contextmanager
def following(names: Iterable[str], opening: Opening) -> Iterator["Tracking"]:
    """Let trackers follow a training run for the time of the block.

    Args:
        names: Names of trackers.
        opening: The run; what ``trackers.json`` in its folder remembers is gone on with.
    """
    remembered = _read(opening.out)
    followers = [_Follower.recalled(name, opening, remembered.get(name, {})) for name in dict.fromkeys(names)]
    tracking = Tracking(followers, opening.out)
    try:
        yield tracking
    finally:
        tracking.close()


class Tracking:
    """Tells all trackers of a run what happens in it."""

    def __init__(self, followers: Sequence["_Follower"], out: pathlib.Path) -> None:
        """Tell ``followers``; what they know is remembered in ``out``."""
        self._followers, self._out = followers, out
        self._finished = False

    def settings(self, values: Mapping[str, Any]) -> None:
        """Tell what the run was asked for and what it learns from, to those who do not know it."""
        for follower in self._followers:
            follower.offer_settings(values)
        self._tell()

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Tell the metrics of an epoch, to those who do not know them."""
        for follower in self._followers:
            follower.offer_epoch(metrics)
        self._tell()

    def result(self, overall: Mapping[str, Figure], bundle: pathlib.Path) -> None:
        """Tell the figures on the test split and the bundle: the run came to its end."""
        self._finished = True
        told = flat({f"test_{name}": dataclasses.asdict(figure) for name, figure in overall.items()}, "_")
        figures = {name.removesuffix("_value"): v for name, v in told.items() if v is not None}
        self._tell(lambda tracker: tracker.result(figures, bundle.resolve()))

    def close(self) -> None:
        """End the run everywhere, with a warning about those who do not know all of it."""
        self._tell(lambda tracker: tracker.close(self._finished))
        for follower in self._followers:
            if follower.waiting:
                logger.warning(
                    "%s never learnt %d things about this run; history.jsonl and bundle.json have them.",
                    follower.name,
                    len(follower.waiting),
                )

    def _tell(self, *news: Callable[[Tracker], None]) -> None:
        for follower in self._followers:
            follower.waiting.extend(news)
            follower.deliver()
        opened = {f.name: f.memory() for f in self._followers if f.tracker}
        if opened:
            (self._out / STATE).write_text(json.dumps(_read(self._out) | opened, indent=1) + "\n", "utf-8")


@dataclasses.dataclass(slots=True)
class _Follower:
    """A tracker, opened once it can be, and what it has yet to be told."""

    name: str
    opening: Opening
    knows_settings: bool = False
    epochs: int = 0
    tracker: Tracker | None = None
    waiting: deque[Callable[[Tracker], None]] = dataclasses.field(default_factory=deque)
    is_well: bool = True

    @classmethod
    def recalled(cls, name: str, opening: Opening, memory: Mapping[str, Any]) -> "_Follower":
        opening = dataclasses.replace(opening, run=memory.get("run", ""))
        return cls(name, opening, memory.get("settings", False), memory.get("epochs", 0))

    def memory(self) -> dict[str, Any]:
        assert self.tracker is not None
        known = {"settings": self.knows_settings, "epochs": self.epochs}
        return {"run": self.tracker.run, "place": self.tracker.place} | known

    def offer_settings(self, values: Mapping[str, Any]) -> None:
        def tell(tracker: Tracker) -> None:
            tracker.settings(values)
            self.knows_settings = True

        if not self.knows_settings:
            self.waiting.append(tell)

    def offer_epoch(self, metrics: Mapping[str, float]) -> None:
        number = int(metrics["epoch"])

        def tell(tracker: Tracker) -> None:
            if number > self.epochs:
                tracker.epoch(metrics)
                self.epochs = number

        self.waiting.append(tell)

    def deliver(self) -> None:
        """Tell what is waiting, in order; stop at the first failure, and warn of it once."""
        kind = TRACKERS.get(self.name)
        failures = kind.failures()
        try:
            if self.tracker is None:
                self.tracker = kind.open(self.opening)
                logger.info("%s follows the run: %s", self.name, self.tracker.place)
            while self.waiting:
                self.waiting[0](self.tracker)
                self.waiting.popleft()
            self.is_well = True
        except failures as error:
            if self.is_well:
                logger.warning("%s does not answer; it is asked again later. Cause: %s", self.name, error)
            self.is_well = False


def _read(out: pathlib.Path) -> dict[str, Any]:
    path = out / STATE
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known
