"""Counts of what a service did, which only grow: since its start, or within a minute."""

import bisect
import collections
import dataclasses

from deepscan.monitor.drift import SCORE_EDGES
from deepscan.monitor.records import Record

TOTAL = "total"
"""Name of the stage that is all of a request."""

LATENCY_EDGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclasses.dataclass(slots=True)
class Bins:
    """Counts of values between edges.

    Attributes:
        edges: Rising boundaries; a value on one counts as above it.
        counts: Values below the first edge, between two, and above the last.
        total: Sum of all values.
    """

    edges: tuple[float, ...]
    counts: list[int] = dataclasses.field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.counts = [0] * (len(self.edges) + 1)

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_right(self.edges, value)] += 1
        self.total += value

    def quantile(self, share: float) -> float:
        """Return about the value that a share of all, in (0, 1], lies below; there must be some.

        Values are taken to lie evenly between edges, as Prometheus does; those above the last count as it.
        """
        rank, behind = share * self.count, 0
        for number, count in enumerate(self.counts[:-1]):
            if count and behind + count >= rank:
                low = self.edges[number - 1] if number else 0.0
                return low + (self.edges[number] - low) * (rank - behind) / count
            behind += count
        return self.edges[-1]


def _latencies() -> Bins:
    return Bins(LATENCY_EDGES_S)


def _scores() -> Bins:
    return Bins(SCORE_EDGES)


@dataclasses.dataclass(slots=True)
class Tally:
    """Counts over some records.

    Attributes:
        requests: By route and HTTP status.
        errors: By class.
        abstentions: By reason; a request counts once for each detector that abstained.
        labels: Verdicts by label.
        variants: Requests by the variant that answered.
        cache_hits: Verdicts that were at hand already.
        latency_s: Seconds by stage; ``total`` is all of a request.
        scores: P(fake) by id of the bundle.
    """

    requests: collections.Counter[tuple[str, int]] = dataclasses.field(default_factory=collections.Counter)
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    abstentions: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    labels: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    variants: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    cache_hits: int = 0
    latency_s: dict[str, Bins] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(_latencies)
    )
    scores: dict[str, Bins] = dataclasses.field(default_factory=lambda: collections.defaultdict(_scores))

    def add(self, record: Record) -> None:
        """Count a record."""
        self.requests[record.route, record.status] += 1
        self.cache_hits += record.cached
        named = ((self.errors, record.error), (self.labels, record.label), (self.variants, record.variant))
        for counts, name in named:
            if name is not None:
                counts[name] += 1
        for _, reason in record.abstentions:
            self.abstentions[reason] += 1
        for stage, elapsed_ms in spans_ms(record).items():
            self.latency_s[stage].add(elapsed_ms / 1000)
        for bundle, probability in record.scores.items():
            self.scores[bundle].add(probability)

    @property
    def count(self) -> int:
        """Number of requests."""
        return self.requests.total()

    @property
    def failed(self) -> int:
        """Requests that the service could not answer: those with a status of 500 or above."""
        return sum(count for (_, status), count in self.requests.items() if status >= 500)

    @property
    def refused(self) -> int:
        """Requests that were not in order: those with a status from 400 to 499."""
        return sum(count for (_, status), count in self.requests.items() if 400 <= status < 500)


def spans_ms(record: Record) -> dict[str, float]:
    """Return how long each stage of a request took, and all of it as ``total``."""
    return {**record.stages_ms, TOTAL: record.elapsed_ms}
