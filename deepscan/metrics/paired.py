"""Two detectors on the same files: which is better, and could that be chance?

Both are judged on the same files, so what is hard for both cancels out, and much smaller differences show
than two separate intervals could tell apart.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from deepscan.errors import DataError
from deepscan.metrics import bootstrap
from deepscan.metrics.bootstrap import Floats
from deepscan.metrics.figures import auc, cumulative, ranking_figures
from deepscan.metrics.records import NOTHING, Counts, Figure, Predictions

Z_95 = 1.959963984540054


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference with its 95 % interval and how probable one as large is where there is none.

    Attributes:
        figure: The first detector's value less the second's.
        p: Two-sided; None where it cannot be told.
    """

    figure: Figure
    p: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Files that only one of two detectors calls right, each at its own threshold.

    Attributes:
        only_first: Files that the first calls right and the second wrong.
        only_second: The other way round.
        p: Chance of so uneven a count if each detector had as many: the exact, two-sided binomial test
            (McNemar, 1947).
    """

    only_first: int
    only_second: int
    p: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What sets two detectors apart on the files that both judged.

    Attributes:
        counts: Files that both judged.
        auc: The AUC of the first and of the second; None where a class is missing.
        delong: Difference of the AUCs, each file a piece of knowledge of its own (DeLong et al., 1988).
        bootstrap: The same difference, with whole sources drawn: the one to trust where sources have several
            files.
        accuracy: Difference of the shares of files called right, with whole sources drawn.
        mcnemar: Files that only one of them calls right; it takes each file for knowledge of its own, too.
    """

    counts: Counts
    auc: tuple[float | None, float | None]
    delong: Difference
    bootstrap: Difference
    accuracy: Difference
    mcnemar: McNemar


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """Another detector, and how the first compares with it.

    Attributes:
        bundle: Id of the other.
        only_first: Files that the other abstained from, or could not read; they are not compared.
        only_second: Files that only the other judged.
        comparison: On the files that both judged.
    """

    bundle: str
    only_first: int
    only_second: int
    comparison: Comparison


def compare(
    first: Predictions,
    second: Predictions,
    thresholds: tuple[float, float],
    rng: np.random.Generator,
    replicates: int = 1000,
) -> Comparison:
    """Compare two detectors on the same files.

    Args:
        first: What one said of N files.
        second: What the other said of them, in the same order.
        thresholds: The calibrated probability from which each calls a file fake.
        rng: Draws the sources.
        replicates: Number of draws; 0 = no bootstrap intervals.

    Raises:
        DataError: There are no files, or they are not the same ones.
    """
    same = len(first.label) == len(second.label) and bool(
        (first.label == second.label).all() and (first.source == second.source).all()
    )
    if not same or not len(first.label):
        msg = (
            f"{len(first.label)} and {len(second.label)} files cannot be compared in pairs: "
            "both detectors need scores of the same files, in one order."
        )
        raise DataError(msg)
    right = [
        (files.probability >= threshold) == (files.label == 1)
        for files, threshold in zip((first, second), thresholds, strict=True)
    ]

    def judge(weight: Floats) -> dict[str, Floats]:
        one, two = (ranking_figures(*cumulative(files, weight))["auc"] for files in (first, second))
        shares = [weight @ each / weight.sum(axis=1) for each in right]
        return {"auc": one - two, "accuracy": shares[0] - shares[1]}

    values = judge(np.ones((1, len(first.label))))
    drawn = bootstrap.replicate(judge, first.source, rng, replicates)
    differences = {
        name: Difference(
            figure=bootstrap.percentile(float(value[0]), drawn.get(name)),
            p=bootstrap.two_sided(drawn.get(name)),
        )
        for name, value in values.items()
    }
    aucs, delonged = delong_difference(first.label, first.logit, second.logit)
    return Comparison(
        counts=first.counts,
        auc=aucs,
        delong=delonged,
        bootstrap=differences["auc"],
        accuracy=differences["accuracy"],
        mcnemar=mcnemar(*right),
    )


def delong(label: NDArray[Any], logit_MN: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the AUCs of M detectors, float [M], and the covariance of these estimates, float [M, M].

    The estimate of DeLong, DeLong & Clarke-Pearson (1988), from mid-ranks, which takes N log N steps (Sun &
    Xu, IEEE Signal Processing Letters 21(11), 2014) where the definition takes the product of the sizes.

    Args:
        label: int [N], 1 = fake, 0 = real; at least two files of each.
        logit_MN: float [M, N], ranks the files.
    """
    is_fake = np.asarray(label) == 1
    fakes, reals = logit_MN[:, is_fake], logit_MN[:, ~is_fake]
    m, n = fakes.shape[1], reals.shape[1]
    ranks = scipy.stats.rankdata(np.concatenate([fakes, reals], axis=1), axis=1)
    # The share of real files below each fake, and of fakes above each real file, ties counting half.
    above = (ranks[:, :m] - scipy.stats.rankdata(fakes, axis=1)) / n
    below = 1 - (ranks[:, m:] - scipy.stats.rankdata(reals, axis=1)) / m
    return above.mean(axis=1), np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n


def delong_difference(
    label: NDArray[Any], first: NDArray[Any], second: NDArray[Any]
) -> tuple[tuple[float | None, float | None], Difference]:
    """Return both AUCs and their difference with its normal interval; see ``delong``."""
    fakes, files = int((label == 1).sum()), len(label)
    if min(fakes, files - fakes) == 0:
        return (None, None), Difference(figure=NOTHING, p=None)
    if min(fakes, files - fakes) == 1:
        one, two = auc(label, first), auc(label, second)
        apart = bootstrap.percentile(math.nan if one is None or two is None else one - two, None)
        return (one, two), Difference(figure=apart, p=None)
    aucs, covariance = delong(label, np.stack([first, second]))
    value = float(aucs[0] - aucs[1])
    # Rounding can leave a little less than 0 where both rank alike.
    error = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    half = Z_95 * error
    figure = Figure(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))
    known = error > 1e-12
    p = float(2 * scipy.stats.norm.sf(abs(value) / error)) if known else (1.0 if abs(value) < 1e-12 else None)
    return (float(aucs[0]), float(aucs[1])), Difference(figure=figure, p=p)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Return what McNemar's test says of who is right on which file, bool [N] each."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    apart = only_first + only_second
    p = float(scipy.stats.binomtest(only_first, apart, 0.5).pvalue) if apart else 1.0
    return McNemar(only_first=only_first, only_second=only_second, p=p)
