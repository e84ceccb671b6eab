"""The last requests, what they come to within a window of time, and minutes for export.

Nothing here grows without end: records are dropped by number and by age, minutes by number.
"""

import collections
import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepscan.monitor.records import Record
from deepscan.monitor.tally import TOTAL, Tally, spans_ms

MINUTE_S = 60
PERCENTILES = (50, 95, 99)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """How much is remembered.

    Attributes:
        records: Most records of requests.
        age_s: Records that are older are dropped; no window can be longer.
        minutes: Most minutes for export.
    """

    records: int = 10_000
    age_s: float = 3600.0
    minutes: int = 1440


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """How long requests took, or a stage of them: their number and percentiles, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What some stretch of time came to.

    Attributes:
        window_s: Length that was asked for; None = since the start.
        covered_s: Length that the figures stand for: less where the service is younger, or has had more
            requests than it remembers.
        requests: Number of requests.
        throughput_hz: Requests a second.
        latency: By stage; ``total`` is all of a request. Exact within a window, and interpolated from a
            histogram since the start.
        errors: Errors by class.
        error_rate: Share of requests with a status of 500 or above; None without requests.
        abstentions: Abstentions by reason.
        abstention_rate: Share of the detectors' answers that were abstentions; None without answers.
        cache_hits: Verdicts that were at hand already.
        cache_hit_share: Their share of the verdicts; None without verdicts.
        labels: Verdicts by label.
        variants: Requests by the variant that answered.
        scores: By id of the bundle, the number of P(fake) in each tenth from 0 to 1.
    """

    window_s: float | None
    covered_s: float
    requests: int
    throughput_hz: float
    latency: dict[str, Latency]
    errors: dict[str, int]
    error_rate: float | None
    abstentions: dict[str, int]
    abstention_rate: float | None
    cache_hits: int
    cache_hit_share: float | None
    labels: dict[str, int]
    variants: dict[str, int]
    scores: dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Minute:
    """A row of the export.

    Attributes:
        start_s: When the minute began, in seconds since 1970.
        requests: Requests that were answered in it.
        failed: Those with a status of 500 or above.
        refused: Those with a status from 400 to 499.
        real: Verdicts with this label.
        fake: Verdicts with this label.
        inconclusive: Verdicts with this label.
        abstentions: Detectors that could not judge.
        cache_hits: Verdicts that were at hand already.
        latency_mean_ms: Mean time of a request.
        latency_p95_ms: The time that 95 % of them stayed below, interpolated from a histogram.
    """

    start_s: int
    requests: int
    failed: int
    refused: int
    real: int
    fake: int
    inconclusive: int
    abstentions: int
    cache_hits: int
    latency_mean_ms: float
    latency_p95_ms: float


class History:
    """What a service did: all of it in counts, the last of it in records and minutes."""

    def __init__(self, start_s: float, keep: Keep | None = None) -> None:
        """Begin at a time, in seconds since 1970."""
        self.keep = keep or Keep()
        self.start_s = start_s
        self.total = Tally()
        self._records: collections.deque[Record] = collections.deque()
        self._minutes: dict[int, Tally] = {}
        self._forgotten_s = start_s

    def add(self, record: Record) -> None:
        """Remember a record and forget the oldest."""
        self.total.add(record)
        self._records.append(record)
        oldest_s = record.time_s - self.keep.age_s
        while len(self._records) > self.keep.records or self._records[0].time_s < oldest_s:
            self._forgotten_s = max(self._forgotten_s, self._records.popleft().time_s)
        self._minutes.setdefault(int(record.time_s // MINUTE_S), Tally()).add(record)
        while len(self._minutes) > self.keep.minutes:
            del self._minutes[min(self._minutes)]

    def since(self, now_s: float, window_s: float) -> list[Record]:
        """Return the records of the last so many seconds."""
        return [record for record in self._records if now_s - window_s < record.time_s <= now_s]

    def window(self, now_s: float, window_s: float) -> Window:
        """Return what the last so many seconds came to."""
        records = self.since(now_s, window_s)
        tally = Tally()
        for record in records:
            tally.add(record)
        covered_s = min(window_s, now_s - self._forgotten_s)
        return _window(tally, window_s, covered_s, _latency(records))

    def whole(self, now_s: float) -> Window:
        """Return what all time since the start came to."""
        bins = self.total.latency_s
        latency = {
            stage: Latency(
                count=each.count,
                p50_ms=1000 * each.quantile(0.50),
                p95_ms=1000 * each.quantile(0.95),
                p99_ms=1000 * each.quantile(0.99),
            )
            for stage, each in bins.items()
        }
        return _window(self.total, None, now_s - self.start_s, latency)

    def minutes(self) -> list[Minute]:
        """Return the minutes that had requests, oldest first; the last one may still go on."""
        return [_minute(number, self._minutes[number]) for number in sorted(self._minutes)]


def to_json_rows(minutes: Sequence[Minute]) -> list[dict[str, Any]]:
    """Return minutes as plain values, ready for JSON."""
    return [dataclasses.asdict(minute) for minute in minutes]


def to_csv(minutes: Sequence[Minute]) -> str:
    """Return minutes as a table with a header, lines ended by CRLF (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Minute)])
    writer.writeheader()
    writer.writerows(to_json_rows(minutes))
    return text.getvalue()


def _latency(records: Sequence[Record]) -> dict[str, Latency]:
    times_ms: dict[str, list[float]] = {}
    for record in records:
        for stage, elapsed_ms in spans_ms(record).items():
            times_ms.setdefault(stage, []).append(elapsed_ms)
    found = {}
    for stage, values in times_ms.items():
        p50_ms, p95_ms, p99_ms = np.percentile(values, PERCENTILES).tolist()
        found[stage] = Latency(count=len(values), p50_ms=p50_ms, p95_ms=p95_ms, p99_ms=p99_ms)
    return found


def _window(tally: Tally, window_s: float | None, covered_s: float, latency: dict[str, Latency]) -> Window:
    said = sum(bins.count for bins in tally.scores.values())
    abstained, verdicts = tally.abstentions.total(), tally.labels.total()
    return Window(
        window_s=window_s,
        covered_s=covered_s,
        requests=tally.count,
        throughput_hz=tally.count / covered_s if covered_s > 0 else 0.0,
        latency=latency,
        errors=dict(tally.errors),
        error_rate=_share(tally.failed, tally.count),
        abstentions=dict(tally.abstentions),
        abstention_rate=_share(abstained, abstained + said),
        cache_hits=tally.cache_hits,
        cache_hit_share=_share(tally.cache_hits, verdicts),
        labels=dict(tally.labels),
        variants=dict(tally.variants),
        scores={bundle: tuple(bins.counts) for bundle, bins in tally.scores.items()},
    )


def _minute(number: int, tally: Tally) -> Minute:
    total = tally.latency_s[TOTAL]
    return Minute(
        start_s=number * MINUTE_S,
        requests=tally.count,
        failed=tally.failed,
        refused=tally.refused,
        real=tally.labels["real"],
        fake=tally.labels["fake"],
        inconclusive=tally.labels["inconclusive"],
        abstentions=tally.abstentions.total(),
        cache_hits=tally.cache_hits,
        latency_mean_ms=1000 * total.total / total.count,
        latency_p95_ms=1000 * total.quantile(0.95),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
