"""The figures of one detector on one set of files, for many weightings of the files at once.

With all weights 1 that is the figure itself; with the weights of a bootstrap over sources (how often
each source was drawn) it is the figure's sampling distribution. In shapes, R counts weightings
(replicates), N files and K distinct logits plus one.
"""

import functools
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.errors import DataError
from deepscan.metrics import bootstrap
from deepscan.metrics.bootstrap import Floats, ratio
from deepscan.metrics.records import Confusion, Curves, Evaluation, Predictions, ReliabilityBin, Slice

ECE_BINS = 15
HISTOGRAM_BINS = 40
CURVE_POINTS = 200


def evaluate(
    predictions: Predictions, threshold: float, rng: np.random.Generator, replicates: int = 1000
) -> Evaluation:
    """Compute all figures with 95 % percentile intervals (Efron & Tibshirani, 1993, chapter 13).

    Args:
        predictions: At least one judged file.
        threshold: Calibrated probability from which a file is called fake.
        rng: Draws the sources of each replicate.
        replicates: Number of bootstrap replicates; 0 = no intervals.

    Raises:
        DataError: There are no files.
    """
    if len(predictions.label) == 0:
        msg = "There are no judged files; evaluation needs at least one."
        raise DataError(msg)
    judge = functools.partial(_slice, threshold=threshold, rng=rng, replicates=replicates)
    whole = judge(predictions)
    real = predictions.label == 0
    generator = predictions.generator
    return Evaluation(
        threshold=float(threshold),
        replicates=replicates,
        counts=whole.counts,
        overall=whole.figures,
        confusion=_confusion(predictions, threshold),
        by_generator={
            str(name): judge(predictions.where(real | (generator == name)))
            for name in np.unique(generator[~real])
        },
        by_group={
            name: {str(value): judge(predictions.where(column == value)) for value in np.unique(column)}
            for name, column in predictions.groups.items()
        },
        curves=_curves(predictions),
    )


def auc(label: NDArray[Any], logit: NDArray[Any]) -> float | None:
    """Return the area under the ROC curve from ranks (Mann & Whitney, 1947); None for one class.

    Args:
        label: int [N], 1 = fake, 0 = real.
        logit: float [N].
    """
    is_fake = np.asarray(label) == 1
    fake, real = int(is_fake.sum()), int((~is_fake).sum())
    if not fake or not real:
        return None
    rank_sum = scipy.stats.rankdata(logit)[is_fake].sum()
    return float((rank_sum - fake * (fake + 1) / 2) / (fake * real))


def _slice(files: Predictions, threshold: float, rng: np.random.Generator, replicates: int) -> Slice:
    judge = functools.partial(_figures, files, threshold)
    return Slice(counts=files.counts, figures=bootstrap.figures(judge, files.source, rng, replicates))


def _figures(files: Predictions, threshold: float, weight: Floats) -> dict[str, Floats]:
    """Return every figure, float [R], for the weights of the files, float [R, N]; NaN = undefined."""
    return {
        **ranking_figures(*cumulative(files, weight)),
        **_decision_figures(files, threshold, weight),
        **_probability_figures(files, weight),
    }


def cumulative(files: Predictions, weight: Floats) -> tuple[Floats, Floats]:
    """Return the weight of fakes and of reals at or above each distinct logit, float [R, K].

    Logits fall from left to right, starting above all of them (weight 0). Files of equal logits
    enter together: no order among ties can flatter or hurt a figure.
    """
    order = np.argsort(-files.logit, kind="stable")
    run_ends = np.append(np.flatnonzero(np.diff(files.logit[order])), len(order) - 1)
    weight, fake = weight[:, order], files.label[order]
    fake_above = np.cumsum(weight * fake, axis=1)[:, run_ends]
    real_above = np.cumsum(weight * (1 - fake), axis=1)[:, run_ends]
    return np.pad(fake_above, ((0, 0), (1, 0))), np.pad(real_above, ((0, 0), (1, 0)))


def ranking_figures(fake_above: Floats, real_above: Floats) -> dict[str, Floats]:
    """Return the figures that rest on the order of the logits alone, float [R], from ``cumulative``."""
    tpr, fpr = ratio(fake_above, fake_above[:, -1:]), ratio(real_above, real_above[:, -1:])
    precision = np.nan_to_num(ratio(fake_above, fake_above + real_above))
    figures = {
        "auc": np.trapezoid(tpr, fpr, axis=1),
        "average_precision": (np.diff(tpr) * precision[:, 1:]).sum(axis=1),
        "eer": _equal_error_rate(tpr, fpr),
        "tpr_at_fpr_1": np.where(fpr <= 0.01, tpr, 0).max(axis=1),
        "tpr_at_fpr_5": np.where(fpr <= 0.05, tpr, 0).max(axis=1),
    }
    both = (fake_above[:, -1] > 0) & (real_above[:, -1] > 0)
    return {name: np.where(both, figure, np.nan) for name, figure in figures.items()}


def _equal_error_rate(tpr: Floats, fpr: Floats) -> Floats:
    """Return where the ROC, made of straight segments, meets the diagonal of equal errors."""
    gap = 1 - tpr - fpr
    end = np.maximum(1, np.argmax(gap <= 0, axis=1))
    row = np.arange(len(end))
    before, after = gap[row, end - 1], gap[row, end]
    begin_fpr, end_fpr = fpr[row, end - 1], fpr[row, end]
    return np.asarray(begin_fpr + before / (before - after) * (end_fpr - begin_fpr))


def _decision_figures(files: Predictions, threshold: float, weight: Floats) -> dict[str, Floats]:
    is_fake, called = files.label == 1, files.probability >= threshold
    fake, real = weight @ is_fake, weight @ ~is_fake
    hit, alarm = weight @ (is_fake & called), weight @ (~is_fake & called)
    recall, specificity = ratio(hit, fake), 1 - ratio(alarm, real)
    both = (fake > 0) & (real > 0)
    return {
        "accuracy": (hit + real - alarm) / (fake + real),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": np.where(both, ratio(hit, hit + alarm), np.nan),
        "recall": recall,
        "f1": np.where(both, ratio(2 * hit, hit + alarm + fake), np.nan),
    }


def _probability_figures(files: Predictions, weight: Floats) -> dict[str, Floats]:
    excess = files.probability - files.label
    in_bin = bins(files.probability, ECE_BINS)[:, None] == np.arange(ECE_BINS)
    total = weight.sum(axis=1)
    return {
        "brier": weight @ excess**2 / total,
        "ece": np.abs(weight @ (excess[:, None] * in_bin)).sum(axis=1) / total,
    }


def bins(probability: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return the bin of equal width over [0, 1] that holds each probability; 1 is in the last."""
    return np.minimum((probability * count).astype(np.int64), count - 1)


def _confusion(files: Predictions, threshold: float) -> Confusion:
    called = files.probability >= threshold
    cells = np.bincount(2 * files.label + called, minlength=4).tolist()
    names = ("real_called_real", "real_called_fake", "fake_called_real", "fake_called_fake")
    return Confusion(**dict(zip(names, cells, strict=True)))


def _curves(files: Predictions) -> Curves:
    (fake_above,), (real_above,) = cumulative(files, np.ones((1, len(files.label))))
    both = fake_above[-1] > 0 and real_above[-1] > 0
    tpr, fpr = ratio(fake_above, fake_above[-1:]), ratio(real_above, real_above[-1:])
    cell = bins(files.probability, HISTOGRAM_BINS)
    return Curves(
        roc=thin(fpr, tpr) if both else (),
        precision_recall=thin(tpr[1:], ratio(fake_above, fake_above + real_above)[1:]) if both else (),
        reliability=_reliability(files),
        histogram_real=tuple(np.bincount(cell[files.label == 0], minlength=HISTOGRAM_BINS).tolist()),
        histogram_fake=tuple(np.bincount(cell[files.label == 1], minlength=HISTOGRAM_BINS).tolist()),
    )


def thin(x: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    """Return at most 200 of a curve's points, evenly by position, with both ends."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), CURVE_POINTS)).astype(np.int64))
    return tuple(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _reliability(files: Predictions) -> tuple[ReliabilityBin, ...]:
    held_by = bins(files.probability, ECE_BINS)
    return tuple(
        ReliabilityBin(
            low=index / ECE_BINS,
            high=(index + 1) / ECE_BINS,
            files=int(held.sum()),
            fakes=int(files.label[held].sum()),
            mean_probability=float(files.probability[held].mean()),
        )
        for index, held in ((index, held_by == index) for index in np.unique(held_by).tolist())
    )
