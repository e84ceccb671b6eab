"""What the operating point decides: how often it abstains, how often it is right, and for whom.

A detector is calibrated on validation files. On files of another kind its promises may not hold, and
these figures tell where: by source, by generator and by the user's columns. The operating point gives
every file a *prediction set* of labels that are not ruled out: ``{real}`` below ``low``, ``{fake}`` from
``high`` on, and both in between, where the verdict is inconclusive. Conformal prediction promises that the
true label is in the set for at least ``1 - max_error_rate`` of the files of each class (Vovk, 2012), if
they come as those of validation did.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from deepscan.calibration import OperatingPoint, wilson_interval
from deepscan.metrics import bootstrap
from deepscan.metrics.bootstrap import Floats, ratio
from deepscan.metrics.figures import ECE_BINS, bins, thin
from deepscan.metrics.records import NOTHING, Counts, Figure, Predictions

SHOWN_SOURCES = 20
TINY = 2.0**-52


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """How decisions fall on some of the files.

    ``figures`` are shares in [0, 1]:

    - ``covered``: files whose true label is in the prediction set.
    - ``decided``: files that get a verdict and not ``inconclusive``.
    - ``decided_error``: wrong verdicts among those; not defined where nothing is decided.
    - ``ece``: expected calibration error over 15 bins of equal width; not defined for a single class, which
      no probability but 0 or 1 would suit.
    """

    counts: Counts
    figures: dict[str, Figure]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """How coverage differs from source to source.

    Attributes:
        total: Number of sources.
        below: Those whose whole 95 % interval of coverage lies below what was promised.
        lowest: The 20 of lowest coverage, lowest first (among equals the ones of most files), each with the
            score interval of its files (Wilson, 1927): it tells of files of this source, not of others.
    """

    total: int
    below: int
    lowest: dict[str, Decided]


def figures(files: Predictions, point: OperatingPoint, weight: Floats) -> dict[str, Floats]:
    """Return the figures of ``Decided``, float [R], for weights of the files, float [R, N]."""
    covered, decided, wrong = outcomes(files, point)
    total, fake = weight.sum(axis=1), weight @ files.label
    excess = files.probability - files.label
    in_bin = bins(files.probability, ECE_BINS)[:, None] == np.arange(ECE_BINS)
    error = ratio(np.abs(weight @ (excess[:, None] * in_bin)).sum(axis=1), total)
    return {
        "covered": ratio(weight @ covered, total),
        "decided": ratio(weight @ decided, total),
        "decided_error": ratio(weight @ wrong, weight @ decided),
        "ece": np.where((fake > 0) & (fake < total), error, np.nan),
    }


def outcomes(
    files: Predictions, point: OperatingPoint
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return bool [N] each: the file's label is in its prediction set; it is decided; it is so wrongly."""
    said_fake, said_real = files.probability >= point.high, files.probability < point.low
    wrong = np.where(files.label == 1, said_real, said_fake)
    return ~wrong, said_fake | said_real, wrong


def decided(files: Predictions, point: OperatingPoint, rng: np.random.Generator, replicates: int) -> Decided:
    """Return how decisions fall on files, with intervals over their sources."""
    judge = functools.partial(figures, files, point)
    return Decided(counts=files.counts, figures=bootstrap.figures(judge, files.source, rng, replicates))


def by_source(files: Predictions, point: OperatingPoint) -> Sources:
    """Return how coverage differs from source to source."""
    names, source = np.unique(files.source, return_inverse=True)
    sizes = np.bincount(source, minlength=len(names))
    covered, _, _ = outcomes(files, point)
    hits = np.bincount(source, weights=covered, minlength=len(names)).astype(np.int64)
    promised = 1 - point.max_error_rate
    below = [wilson_interval(k, n)[1] < promised for k, n in zip(hits.tolist(), sizes.tolist(), strict=True)]
    lowest = np.lexsort((-sizes, hits / sizes))[:SHOWN_SOURCES].tolist()
    return Sources(
        total=len(names),
        below=sum(below),
        lowest={str(names[number]): _of_source(files.where(source == number), point) for number in lowest},
    )


def _of_source(files: Predictions, point: OperatingPoint) -> Decided:
    covered, said, wrong = outcomes(files, point)
    (ece,) = figures(files, point, np.ones((1, len(files.label))))["ece"].tolist()
    return Decided(
        counts=files.counts,
        figures={
            "covered": _share(covered),
            "decided": _share(said),
            "decided_error": _share(wrong[said]),
            "ece": bootstrap.percentile(ece, None),
        },
    )


def _share(hit: NDArray[np.bool_]) -> Figure:
    if not len(hit):
        return NOTHING
    low, high = wilson_interval(int(hit.sum()), len(hit))
    return Figure(value=float(hit.mean()), low=low, high=high)


def risk_coverage(files: Predictions, threshold: float, weight: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return coverage and the error rate among the covered files, float [R, K] each, by rising coverage.

    The files that are surest are covered first: those whose log odds lie furthest from the threshold's. Files
    equally far enter together. An error is a file on the wrong side of the threshold.
    """
    odds = logit(files.probability.astype(np.float64).clip(TINY, 1 - TINY))
    margin = np.abs(odds - logit(min(max(threshold, TINY), 1 - TINY)))
    wrong = (files.probability >= threshold) != (files.label == 1)
    order = np.argsort(-margin, kind="stable")
    run_ends = np.append(np.flatnonzero(np.diff(margin[order])), len(order) - 1)
    weight, wrong = weight[:, order], wrong[order]
    covered = np.cumsum(weight, axis=1)[:, run_ends]
    risk = ratio(np.cumsum(weight * wrong, axis=1)[:, run_ends], covered)
    return covered / covered[:, -1:], risk


def aurc(files: Predictions, threshold: float, weight: Floats) -> dict[str, Floats]:
    """Return the area under the risk-coverage curve, float [R] (Geifman, Uziel & El-Yaniv, ICLR 2019).

    The mean over all files of the error rate among those at least as sure. 0 = no error; the error rate at
    the threshold = being sure means nothing.
    """
    coverage, risk = risk_coverage(files, threshold, weight)
    steps = np.diff(coverage, axis=1, prepend=0)
    return {"aurc": np.where(steps > 0, steps * np.nan_to_num(risk), 0).sum(axis=1)}


def risk_curve(files: Predictions, threshold: float) -> tuple[tuple[float, float], ...]:
    """Return (coverage, error rate among the covered files) by rising coverage, at most 200 points."""
    (coverage,), (risk,) = risk_coverage(files, threshold, np.ones((1, len(files.label))))
    return thin(coverage, risk)
