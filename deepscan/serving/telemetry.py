"""What the service knows of itself: requests, drift, machine and alerts, for routes and rules.

One ``Telemetry`` stands behind the routes; they tell it every answer as a ``Record`` and ask it for
``/api/stats``, ``/metrics`` and the export.
"""

import collections
import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deepscan import config
from deepscan.monitor import alerts
from deepscan.monitor.alerts import Alert, Rule
from deepscan.monitor.drift import Drift, Reference, drifts
from deepscan.monitor.figures import Look
from deepscan.monitor.history import History, Keep, Minute
from deepscan.monitor.records import Record
from deepscan.serving.exposition import Snapshot, render
from deepscan.serving.machine import Reading

WINDOWS_S = (60.0, 900.0)
"""Windows that the statistics show, besides all time since the start."""

DRIFT_S = 3600.0
"""Stretch of time that drift is shown for; an alert rule has its own."""

CHANGES = 50
"""Changes of alerts that are remembered."""


def rules_of(values: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Build alert rules from plain values, as in the configuration of a service.

    Raises:
        ConfigError: A key or figure is unknown, or a value is out of range.
    """
    return tuple(config.from_dict(Rule, value, f"alerts.{number}.") for number, value in enumerate(values))


class Telemetry:
    """Collects what a service did and judges it by rules; may be used from several threads."""

    def __init__(
        self,
        references: Mapping[str, Reference],
        machine: Callable[[], Reading],
        start_s: float,
        rules: Sequence[Rule] = alerts.DEFAULTS,
        keep: Keep | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            references: What each bundle was calibrated on, by its id; the ``reference`` of its card.
            machine: Tells how busy the machine is; ``Machine().read``.
            start_s: The time, in seconds since 1970.
            rules: When somebody is told.
            keep: How much is remembered; None = the defaults of ``Keep``.

        Raises:
            ConfigError: Two rules have one name, or one looks further back than is remembered.
        """
        self._history = History(start_s, keep)
        alerts.check(rules, self._history.keep.age_s)
        self._references, self._machine, self._rules = dict(references), machine, tuple(rules)
        self._alerts: dict[str, Alert] = {}
        self._changes: collections.deque[Alert] = collections.deque(maxlen=CHANGES)
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Count an answer; one with an unhandled error has its class, too."""
        with self._lock:
            self._history.add(record)

    def stats(self, now_s: float) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON; see docs/monitoring.md."""
        reading = self._machine()
        with self._lock:
            windows = [self._history.window(now_s, window_s) for window_s in WINDOWS_S]
            return {
                "start_s": self._history.start_s,
                "now_s": now_s,
                "windows": [dataclasses.asdict(each) for each in [*windows, self._history.whole(now_s)]],
                "drift": [dataclasses.asdict(each) for each in self._drift(now_s)],
                "machine": dataclasses.asdict(reading),
                "rules": [dataclasses.asdict(rule) for rule in self._rules],
                "alerts": [dataclasses.asdict(alert) for alert in self._alerts.values()],
                "changes": [dataclasses.asdict(alert) for alert in self._changes],
            }

    def metrics(self, now_s: float) -> bytes:
        """Return the metrics in Prometheus' text format; their type is ``exposition.CONTENT_TYPE``."""
        reading = self._machine()
        with self._lock:
            snapshot = Snapshot(
                tally=self._history.total,
                drift=self._drift(now_s),
                reading=reading,
                rules=tuple(rule.name for rule in self._rules),
                firing={name for name, alert in self._alerts.items() if alert.state == "firing"},
            )
            return render(snapshot)

    def minutes(self) -> list[Minute]:
        """Return the last minutes for export; see ``to_json_rows`` and ``to_csv``."""
        with self._lock:
            return self._history.minutes()

    def tick(self, now_s: float) -> list[Alert]:
        """Evaluate the rules once; return the alerts that began to fire and those that have resolved."""
        reading = self._machine()
        with self._lock:
            look = Look(self._history, self._references, reading.shares, now_s)
            self._alerts, changes = alerts.evaluate(self._rules, look.value, self._alerts, now_s)
            self._changes.extend(changes)
        return changes

    def _drift(self, now_s: float) -> tuple[Drift, ...]:
        return drifts(self._references, self._history.since(now_s, DRIFT_S))
