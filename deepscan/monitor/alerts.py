"""Rules that say when a figure is out of bounds, and what became of them."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from deepscan.errors import ConfigError

FIGURES = {
    "latency_p50_ms": "median time of a request, in milliseconds",
    "latency_p95_ms": "time that 95 % of the requests stayed below, in milliseconds",
    "latency_p99_ms": "time that 99 % of the requests stayed below, in milliseconds",
    "throughput_hz": "requests a second",
    "error_rate": "share of the requests with a status of 500 or above",
    "abstention_rate": "share of the detectors' answers that were abstentions",
    "cache_hit_share": "share of the verdicts that were at hand already",
    "cpu_share": "share of the CPUs that is busy",
    "memory_share": "share of the memory that is in use",
    "gpu_share": "share of its time that the busiest GPU works",
    "gpu_memory_share": "share of its memory that the fullest GPU uses",
    "drift_score": "largest stability index of the scores of a bundle, 0 within chance",
    "drift_prep": "largest stability index of a statistic of preparation, 0 within chance",
}
"""What a rule can be about; the shares lie in [0, 1]."""

MACHINE = frozenset({"cpu_share", "memory_share", "gpu_share", "gpu_memory_share"})
"""Figures of the machine at the moment, for which neither window nor requests count."""

State = Literal["pending", "firing", "resolved"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When somebody is told.

    Attributes:
        name: Name of the alert.
        figure: What is looked at; one of ``FIGURES``.
        above: Highest value that is in order; None = there is none.
        below: Lowest value that is in order; None = there is none.
        for_s: How long the value must be out of order, in seconds.
        window_s: Stretch of time that a figure of requests is about, in seconds.
        min_requests: With fewer requests in the window such a figure is taken as unknown.
    """

    name: str
    figure: str
    above: float | None = None
    below: float | None = None
    for_s: float = 0.0
    window_s: float = 300.0
    min_requests: int = 1

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: The figure is unknown, there is not exactly one threshold, or a time is out of range.
        """
        if self.figure not in FIGURES:
            close = difflib.get_close_matches(self.figure, FIGURES, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            msg = f"Alert {self.name!r} is about {self.figure!r}.{hint} Known: {', '.join(FIGURES)}."
            raise ConfigError(msg)
        if (self.above is None) == (self.below is None):
            msg = f"Alert {self.name!r} needs one threshold: give either 'above' or 'below'."
            raise ConfigError(msg)
        if not self.name or self.for_s < 0 or self.window_s <= 0 or self.min_requests < 1:
            msg = (
                f"Alert {self.name!r} needs a name, for_s of 0 or above (not {self.for_s:g}), window_s "
                f"above 0 (not {self.window_s:g}) and min_requests of 1 or above (not {self.min_requests})."
            )
            raise ConfigError(msg)

    @property
    def threshold(self) -> float:
        """The bound that it watches."""
        bound = self.below if self.above is None else self.above
        assert bound is not None, "one of the two is given"
        return bound

    def is_broken(self, value: float) -> bool:
        """Tell whether a value is out of order."""
        return value < self.threshold if self.above is None else value > self.threshold


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """A rule that is or was broken.

    Attributes:
        rule: Name of the rule.
        figure: What it looks at.
        state: ``pending`` = not for long enough yet, ``firing``, or ``resolved``.
        since_s: Since when it is in this state, in seconds since 1970.
        value: The figure; None = it is not known any more.
        threshold: The bound.
    """

    rule: str
    figure: str
    state: State
    since_s: float
    value: float | None
    threshold: float


DEFAULTS = (
    Rule(name="slow", figure="latency_p95_ms", above=5000, for_s=60, min_requests=20),
    Rule(name="failing", figure="error_rate", above=0.05, for_s=60, min_requests=20),
    Rule(name="cpu", figure="cpu_share", above=0.95, for_s=300),
    Rule(name="memory", figure="memory_share", above=0.9, for_s=60),
    Rule(name="gpu-memory", figure="gpu_memory_share", above=0.95, for_s=60),
    Rule(name="scores-drift", figure="drift_score", above=0.25, window_s=3600),
    Rule(name="prep-drift", figure="drift_prep", above=0.25, window_s=3600),
)
"""Rules of a service that is given none."""


def check(rules: Sequence[Rule], longest_s: float) -> None:
    """Check rules against each other and against how long records are kept.

    Raises:
        ConfigError: Two have one name, or a window is longer than what is remembered.
    """
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1:
            msg = f"Several alerts are called {rule.name!r}; give each a name of its own."
            raise ConfigError(msg)
        if rule.window_s > longest_s:
            msg = (
                f"Alert {rule.name!r} looks {rule.window_s:g} s back; at most {longest_s:g} s are remembered."
            )
            raise ConfigError(msg)


def evaluate(
    rules: Iterable[Rule],
    read: Callable[[Rule], float | None],
    state: Mapping[str, Alert],
    now_s: float,
) -> tuple[dict[str, Alert], list[Alert]]:
    """Look at every rule once.

    An unknown value breaks no rule, so that an alert about requests ends when there are none.

    Args:
        rules: The rules.
        read: Returns the value of a rule's figure; None = unknown.
        state: The alerts of the last look, by name of the rule.
        now_s: The time, in seconds since 1970.

    Returns:
        The alerts that are pending or firing now, and the changes to tell: those that began to fire, and
        those that have resolved.
    """
    now: dict[str, Alert] = {}
    changes = []
    for rule in rules:
        value, before = read(rule), state.get(rule.name)
        after = _next(rule, value, before, now_s)
        if after is not None and after.state != "resolved":
            now[rule.name] = after
        if after is not None and after.state != "pending" and (before is None or before.state != after.state):
            changes.append(after)
    return now, changes


def _next(rule: Rule, value: float | None, before: Alert | None, now_s: float) -> Alert | None:
    if value is None or not rule.is_broken(value):
        was_firing = before is not None and before.state == "firing"
        return _alert(rule, "resolved", now_s, value) if was_firing else None
    if before is not None and before.state == "firing":
        return _alert(rule, "firing", before.since_s, value)
    since_s = now_s if before is None else before.since_s
    if now_s - since_s >= rule.for_s:
        return _alert(rule, "firing", now_s, value)
    return _alert(rule, "pending", since_s, value)


def _alert(rule: Rule, state: State, since_s: float, value: float | None) -> Alert:
    return Alert(
        rule=rule.name,
        figure=rule.figure,
        state=state,
        since_s=since_s,
        value=value,
        threshold=rule.threshold,
    )
