"""The books of a service: what it did, in figures, and the log of who was answered by which variant."""

import asyncio
import dataclasses
import functools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from deepscan.errors import ConfigError
from deepscan.experiment import Entry, Feedback
from deepscan.monitor import alerts
from deepscan.monitor.alerts import Rule
from deepscan.monitor.drift import Reference
from deepscan.monitor.history import to_csv, to_json_rows
from deepscan.monitor.records import Record
from deepscan.serving.alerting import Webhook, patrol, send
from deepscan.serving.journal import Journal
from deepscan.serving.machine import Machine
from deepscan.serving.telemetry import Telemetry

Form = Literal["json", "csv"]
"""How the history is exported."""


class Books(Protocol):
    """Where everything is entered that is asked for later."""

    async def enter(self, records: Sequence[Record], entries: Sequence[Entry] = ()) -> None:
        """Enter answers, and what the log keeps of them."""

    async def stats(self) -> dict[str, Any]:
        """Return all figures as plain values."""

    async def metrics(self) -> bytes:
        """Return the metrics in Prometheus' text format."""

    async def history(self, form: Form) -> str:
        """Return the last minutes as text."""

    async def feedback(self, feedback: Feedback) -> None:
        """Enter the truth about a file."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Bookkeeping:
    """How books are kept.

    Attributes:
        references: What each bundle was calibrated on, by its id.
        rules: When somebody is told.
        webhook: Who is told; None = nobody, but ``/api/stats`` shows it.
        every_s: Seconds between two looks at the rules.
        journal: Makes the log; None = there is none. Called where the books are kept.
    """

    references: Mapping[str, Reference] = dataclasses.field(default_factory=dict)
    rules: tuple[Rule, ...] = alerts.DEFAULTS
    webhook: Webhook | None = None
    every_s: float = 15.0
    journal: functools.partial[Journal] | None = None


class LocalBooks:
    """Books in this process."""

    def __init__(self, keeping: Bookkeeping) -> None:
        """Open them.

        Raises:
            ConfigError: The rules contradict each other.
        """
        machine = Machine()
        self._telemetry = Telemetry(keeping.references, machine.read, time.time(), rules=keeping.rules)
        self._keeping = keeping
        self._journal = keeping.journal() if keeping.journal else None
        self._patrol: asyncio.Task[None] | None = None

    async def enter(self, records: Sequence[Record], entries: Sequence[Entry] = ()) -> None:
        """See ``Books``; the first call begins to look at the rules."""
        if self._patrol is None:
            self._patrol = asyncio.create_task(self._watch())
        for record in records:
            self._telemetry.add(record)
        if self._journal and entries:
            await asyncio.to_thread(self._write, entries)

    async def stats(self) -> dict[str, Any]:
        """See ``Books``."""
        return await asyncio.to_thread(self._telemetry.stats, time.time())

    async def metrics(self) -> bytes:
        """See ``Books``."""
        return await asyncio.to_thread(self._telemetry.metrics, time.time())

    async def history(self, form: Form) -> str:
        """See ``Books``."""
        minutes = await asyncio.to_thread(self._telemetry.minutes)
        return to_csv(minutes) if form == "csv" else json.dumps(to_json_rows(minutes))

    async def feedback(self, feedback: Feedback) -> None:
        """See ``Books``.

        Raises:
            ConfigError: There is no log that could keep it.
        """
        if self._journal is None:
            msg = "This service keeps no log of its answers; set experiment.log to a folder."
            raise ConfigError(msg)
        await asyncio.to_thread(self._journal.feedback, feedback)

    def stop(self) -> None:
        """Look at the rules no more; to be called on the event loop."""
        if self._patrol:
            self._patrol.cancel()

    def close(self) -> None:
        """Write what the log has not written yet.

        Raises:
            StorageError: It cannot be written.
        """
        if self._journal:
            self._journal.close()

    async def _watch(self) -> None:
        webhook = self._keeping.webhook
        tell = functools.partial(send, webhook) if webhook else _nobody
        await patrol(self._telemetry.tick, tell, every_s=self._keeping.every_s)

    def _write(self, entries: Sequence[Entry]) -> None:
        assert self._journal
        for entry in entries:
            self._journal.append(entry)


async def _nobody(changes: Sequence[alerts.Alert]) -> None:
    """Tell nobody."""
