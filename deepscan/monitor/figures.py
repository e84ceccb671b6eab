"""The values that alert rules are about, read from what a service remembers."""

from collections.abc import Iterable, Mapping

from deepscan.monitor.alerts import MACHINE, Rule
from deepscan.monitor.drift import SCORE, Drift, Reference, drifts
from deepscan.monitor.history import History, Window
from deepscan.monitor.tally import TOTAL


class Look:
    """One look at a service; what several rules ask for is worked out once."""

    def __init__(
        self,
        history: History,
        references: Mapping[str, Reference],
        machine: Mapping[str, float],
        now_s: float,
    ) -> None:
        """Take what is looked at.

        Args:
            history: What the service did.
            references: What each bundle was calibrated on, by its id.
            machine: Figures of the machine by name; one that is absent is unknown.
            now_s: The time, in seconds since 1970.
        """
        self._history, self._references, self._machine, self._now_s = history, references, machine, now_s
        self._windows: dict[float, Window] = {}
        self._drifts: dict[float, tuple[Drift, ...]] = {}

    def value(self, rule: Rule) -> float | None:
        """Return the value of a rule's figure; None = it is not known."""
        if rule.figure in MACHINE:
            return self._machine.get(rule.figure)
        window = self._window(rule.window_s)
        if window.requests < rule.min_requests:
            return None
        if rule.figure == "drift_score":
            return _largest(each for each in self._drift(rule.window_s) if each.figure == SCORE)
        if rule.figure == "drift_prep":
            return _largest(each for each in self._drift(rule.window_s) if each.figure != SCORE)
        return _of_window(window, rule.figure)

    def _window(self, window_s: float) -> Window:
        if window_s not in self._windows:
            self._windows[window_s] = self._history.window(self._now_s, window_s)
        return self._windows[window_s]

    def _drift(self, window_s: float) -> tuple[Drift, ...]:
        if window_s not in self._drifts:
            self._drifts[window_s] = drifts(self._references, self._history.since(self._now_s, window_s))
        return self._drifts[window_s]


def _of_window(window: Window, figure: str) -> float | None:
    if not figure.startswith("latency_"):
        value: float | None = getattr(window, figure)
        return value
    percentile: float = getattr(window.latency[TOTAL], figure.removeprefix("latency_"))
    return percentile


def _largest(drift: Iterable[Drift]) -> float | None:
    return max((each.excess for each in drift if each.excess is not None), default=None)
