"""The figures of a service as Prometheus reads them: ``GET /metrics``."""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from deepscan.monitor.drift import Drift
from deepscan.monitor.tally import Bins, Tally
from deepscan.serving.machine import Reading

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Media type of the answer."""

METRICS = {
    "deepscan_requests_total": "Requests by route and HTTP status.",
    "deepscan_errors_total": "Errors by class.",
    "deepscan_abstentions_total": "Detectors that could not judge, by reason.",
    "deepscan_verdicts_total": "Verdicts by label.",
    "deepscan_variants_total": "Requests by the variant that answered.",
    "deepscan_cache_hits_total": "Verdicts that were at hand already.",
    "deepscan_latency_seconds": "Time of a request by stage; total is all of it.",
    "deepscan_score": "P(fake) that each bundle gave.",
    "deepscan_drift": "Population stability index against the bundle's reference.",
    "deepscan_cpu_share": "Share of the CPUs that is busy, 0 to 1.",
    "deepscan_memory_bytes": "Resident memory of the process that serves HTTP and all below it.",
    "deepscan_memory_share": "Share of the memory that is in use, 0 to 1.",
    "deepscan_gpu_share": "Share of its time that a GPU works, 0 to 1.",
    "deepscan_gpu_memory_bytes": "Memory of a GPU that is in use.",
    "deepscan_gpu_memory_share": "Share of a GPU's memory that is in use, 0 to 1.",
    "deepscan_alert_firing": "1 where the alert of a rule fires, else 0.",
}
"""Every metric, with its help text."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What is exposed: counts since the start and the state of the moment.

    Attributes:
        tally: Counts since the start.
        drift: Distances from the references.
        reading: How busy the machine is.
        rules: Names of all alert rules.
        firing: Names of those whose alert fires.
    """

    tally: Tally
    drift: tuple[Drift, ...]
    reading: Reading
    rules: tuple[str, ...]
    firing: Collection[str]


def render(snapshot: Snapshot) -> bytes:
    """Return a snapshot in the text format of Prometheus.

    The registry is a private one: the process's global one holds what Ray and others put there.
    """
    registry = CollectorRegistry()
    registry.register(_Metrics(snapshot))
    return generate_latest(registry)


class _Metrics(Collector):
    """Hands the metrics of one snapshot to a registry."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, those without values too."""
        yield from _counters(self._snapshot.tally)
        yield _histogram("deepscan_latency_seconds", "stage", self._snapshot.tally.latency_s)
        yield _histogram("deepscan_score", "bundle", self._snapshot.tally.scores)
        yield from _machine(self._snapshot.reading)
        yield _gauge(
            "deepscan_drift",
            ("bundle", "figure"),
            (((d.bundle, d.figure), d.psi) for d in self._snapshot.drift if d.psi is not None),
        )
        alerts = (((name,), float(name in self._snapshot.firing)) for name in self._snapshot.rules)
        yield _gauge("deepscan_alert_firing", ("rule",), alerts)


def _counters(tally: Tally) -> Iterator[Metric]:
    requests: dict[tuple[str, ...], int] = {
        (route, str(status)): count for (route, status), count in tally.requests.items()
    }
    yield _counter("deepscan_requests_total", ("route", "status"), requests)
    for name, label, counts in (
        ("deepscan_errors_total", "type", tally.errors),
        ("deepscan_abstentions_total", "reason", tally.abstentions),
        ("deepscan_verdicts_total", "label", tally.labels),
        ("deepscan_variants_total", "variant", tally.variants),
    ):
        yield _counter(name, (label,), {(value,): count for value, count in counts.items()})
    yield _counter("deepscan_cache_hits_total", (), {(): tally.cache_hits})


def _machine(reading: Reading) -> Iterator[Metric]:
    yield _gauge("deepscan_cpu_share", (), [((), reading.cpu_share)])
    yield _gauge("deepscan_memory_bytes", (), [((), reading.memory_bytes)])
    yield _gauge("deepscan_memory_share", (), [((), reading.memory_share)])
    for name in ("share", "memory_bytes", "memory_share"):
        values = [((str(gpu.index),), float(getattr(gpu, name))) for gpu in reading.gpus]
        yield _gauge(f"deepscan_gpu_{name}", ("gpu",), values)


def _counter(name: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, METRICS[name], labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _gauge(name: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, METRICS[name], labels=labels)
    for labelled, value in values:
        family.add_metric(labelled, value)
    return family


def _histogram(name: str, label: str, bins: Mapping[str, Bins]) -> Metric:
    family = HistogramMetricFamily(name, METRICS[name], labels=(label,))
    for value, each in bins.items():
        ends = [*(str(edge) for edge in each.edges), "+Inf"]
        counts = itertools.accumulate(each.counts)
        family.add_metric((value,), list(zip(ends, counts, strict=True)), each.total)
    return family
