"""What an evaluation says beyond the figures of its table: costs, decisions, shift and fairness."""

import dataclasses
import functools

import numpy as np

from deepscan.calibration import OperatingPoint
from deepscan.errors import DataError
from deepscan.metrics import bootstrap, costs, decisions, fairness
from deepscan.metrics.bootstrap import Floats
from deepscan.metrics.costs import Verifier
from deepscan.metrics.decisions import Decided, Sources
from deepscan.metrics.fairness import Disparity
from deepscan.metrics.figures import cumulative
from deepscan.metrics.records import Figure, Predictions


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """How far an evaluation can be trusted, and for whom; plain values only, ready for JSON.

    Attributes:
        promised: Share of each class's files whose label the operating point promised to be in the prediction
            set, in (0, 1].
        replicates: Bootstrap replicates behind each interval.
        costs: ``cllr``, ``min_cllr``, ``act_dcf`` and ``min_dcf``, and where a verifier was given
            ``min_tdcf_2019`` and ``min_tdcf_2021``; see ``deepscan.metrics.costs``.
        decisions: ``covered``, ``decided``, ``decided_error`` and ``ece`` of all files, and ``aurc``; see
            ``deepscan.metrics.decisions``.
        risk_coverage: (share of files that are covered, error rate among them), the surest first.
        by_label: ``decisions`` of real files and of fakes, for each of which the promise was made.
        by_generator: The same of the fakes of each generator, without real files.
        by_group: User column -> value -> the same.
        by_source: The same by source.
        disparities: User column -> differences between its groups.
    """

    promised: float
    replicates: int
    costs: dict[str, Figure]
    decisions: dict[str, Figure]
    risk_coverage: tuple[tuple[float, float], ...]
    by_label: dict[str, Decided]
    by_generator: dict[str, Decided]
    by_group: dict[str, dict[str, Decided]]
    by_source: Sources
    disparities: dict[str, Disparity]


def examine(
    predictions: Predictions,
    point: OperatingPoint,
    rng: np.random.Generator,
    replicates: int = 1000,
    verifier: Verifier | None = None,
) -> Examination:
    """Compute what goes beyond ``evaluate``, with 95 % intervals over sources.

    Args:
        predictions: At least one judged file.
        point: Where the detector decides.
        rng: Draws the sources of each replicate.
        replicates: Number of bootstrap replicates; 0 = no intervals.
        verifier: A speaker verifier for the tandem costs; None = none.

    Raises:
        DataError: There are no files.
    """
    if not len(predictions.label):
        msg = "There are no judged files; an examination needs at least one."
        raise DataError(msg)
    threshold = point.threshold

    def judge(weight: Floats) -> dict[str, Floats]:
        above = cumulative(predictions, weight)
        return costs.detection_figures(predictions, above, weight, verifier) | {
            **decisions.figures(predictions, point, weight),
            **decisions.aurc(predictions, threshold, weight),
        }

    found = bootstrap.figures(judge, predictions.source, rng, replicates)
    costly = {name: figure for name, figure in found.items() if name in costs.NAMES}
    decide = functools.partial(decisions.decided, point=point, rng=rng, replicates=replicates)
    label, generator = predictions.label, predictions.generator
    return Examination(
        promised=1 - point.max_error_rate,
        replicates=replicates,
        costs=costly,
        decisions={name: figure for name, figure in found.items() if name not in costly},
        risk_coverage=decisions.risk_curve(predictions, threshold),
        by_label={
            name: decide(predictions.where(label == value))
            for name, value in (("real", 0), ("fake", 1))
            if (label == value).any()
        },
        by_generator={
            str(name): decide(predictions.where((label == 1) & (generator == name)))
            for name in np.unique(generator[label == 1])
        },
        by_group={
            name: {str(value): decide(predictions.where(column == value)) for value in np.unique(column)}
            for name, column in predictions.groups.items()
        },
        by_source=decisions.by_source(predictions, point),
        disparities={
            name: fairness.disparity(predictions, name, threshold, rng, replicates)
            for name in predictions.groups
        },
    )
