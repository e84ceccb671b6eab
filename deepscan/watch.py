"""How long work tells what it is doing, without knowing who is listening."""

import logging
from typing import Protocol

logger = logging.getLogger(__name__)


class Watch(Protocol):
    """Follows a piece of long work. The command line draws it; jobs log it."""

    def stage(self, title: str) -> None:
        """Begin a stage of the work."""

    def advance(self, done: int, total: int) -> None:
        """Tell how many things of the stage are done."""

    def epoch(self, metrics: dict[str, float]) -> None:
        """Tell what an epoch of training came to."""


class LogWatch:
    """Writes a line to the log for every stage, every tenth of its work, and every epoch."""

    def __init__(self) -> None:
        """Begin with no stage."""
        self._title, self._tenths = "", -1

    def stage(self, title: str) -> None:
        """Log the stage's title."""
        self._title, self._tenths = title, -1
        logger.info("%s", title)

    def advance(self, done: int, total: int) -> None:
        """Log when another tenth of the stage is done."""
        tenths = 10 * done // max(1, total)
        if tenths > self._tenths:
            self._tenths = tenths
            logger.info("%s: %d of %d", self._title, done, total)

    def epoch(self, metrics: dict[str, float]) -> None:
        """Log the epoch's figures on one line."""
        logger.info("%s", " ".join(f"{name}={value:.4g}" for name, value in metrics.items()))


class Numbered:
    """A Watch for one run of several: says which in the title of every stage."""

    def __init__(self, watch: Watch, prefix: str) -> None:
        """Pass everything on to ``watch``."""
        self._watch, self._prefix = watch, prefix
        self.advance, self.epoch = watch.advance, watch.epoch

    def stage(self, title: str) -> None:
        """Begin a stage."""
        self._watch.stage(f"{self._prefix} {title}")
