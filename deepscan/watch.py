"""How long work tells what it is doing, without knowing who is listening."""

import datetime
import logging
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

LINE_EVERY_S = 60.0


class Watch(Protocol):
    """Follows a piece of long work. The command line draws it; jobs log it."""

    def stage(self, title: str) -> None:
        """Begin a stage of the work."""

    def advance(self, done: int, total: int) -> None:
        """Tell how many things of the stage are done."""

    def epoch(self, metrics: dict[str, float]) -> None:
        """Tell what an epoch of training came to."""


class LogWatch:
    """Writes a line to the log for every stage, for its work every tenth or minute, and for every epoch.

    A second after the first things were done, lines begin to tell the pace and how long it may still take.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no stage; ``clock`` reads in seconds."""
        self._title, self._tenths, self._told_s = "", -1, clock()
        self._clock = clock
        self._before: int | None = None
        self._first: tuple[float, int] | None = None

    def stage(self, title: str) -> None:
        """Log the stage's title."""
        self._title, self._tenths, self._before, self._first = title, -1, None, None
        logger.info("%s", title)

    def advance(self, done: int, total: int) -> None:
        """Log when another tenth of the stage is done, or a minute has passed since the last line."""
        now_s = self._clock()
        self._note(now_s, done)
        tenths = 10 * done // max(1, total)
        if tenths > self._tenths or now_s - self._told_s >= LINE_EVERY_S:
            self._tenths, self._told_s = tenths, now_s
            logger.info("%s: %d of %d%s", self._title, done, total, self._pace(now_s, done, total))

    def epoch(self, metrics: dict[str, float]) -> None:
        """Log the epoch's figures on one line."""
        logger.info("%s", " ".join(f"{name}={value:.4g}" for name, value in metrics.items()))

    def _note(self, now_s: float, done: int) -> None:
        # What an earlier run did is no work of this one, and what came first took the time of a start.
        self._before = done if self._before is None else self._before
        if self._first is None and done > self._before:
            self._first = now_s, done

    def _pace(self, now_s: float, done: int, total: int) -> str:
        start_s, first = self._first or (now_s, done)
        if now_s - start_s < 1 or done <= first:
            return ""
        rate_hz = (done - first) / (now_s - start_s)
        left = datetime.timedelta(seconds=round((total - done) / rate_hz))
        return f", {rate_hz:.3g} a second, {left} left"


class Numbered:
    """A Watch for one run of several: says which in the title of every stage."""

    def __init__(self, watch: Watch, prefix: str) -> None:
        """Pass everything on to ``watch``."""
        self._watch, self._prefix = watch, prefix
        self.advance, self.epoch = watch.advance, watch.epoch

    def stage(self, title: str) -> None:
        """Begin a stage."""
        self._watch.stage(f"{self._prefix} {title}")
