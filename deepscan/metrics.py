"""How good a detector is: figures, intervals and curves over a set of judged files.

Every figure is computed for many weightings of the files at once. With all weights 1 that is the
figure itself; with the weights of a bootstrap over sources (how often each source was drawn) it is
the figure's sampling distribution. Files of one person or recording resemble each other, so
resampling single files would make the intervals too narrow.

Files are rows and nothing else: no figure ever looks at a file's name, so files of equal names in
different folders stay apart. In shapes, R counts weightings (replicates), N files and K distinct
logits plus one.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.errors import DataError

ECE_BINS = 15
HISTOGRAM_BINS = 40
CURVE_POINTS = 200
CHUNK_CELLS = 2_000_000
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What a detector said of N files, and what they are; aligned arrays, one row a file.

    Attributes:
        label: int [N], 1 = fake, 0 = real.
        logit: float [N], before calibration; ranks the files.
        probability: float [N] in [0, 1], calibrated P(fake).
        source: str [N], the person, recording or original clip that a file derives from.
        generator: str [N], what made a fake; ``""`` for real files.
        groups: User columns by name, each str [N].
    """

    label: NDArray[Any]
    logit: NDArray[Any]
    probability: NDArray[Any]
    source: NDArray[Any]
    generator: NDArray[Any]
    groups: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the arrays are aligned and hold what they should.

        Raises:
            DataError: Lengths differ, or a label, logit or probability is out of its range.
        """
        columns = {
            "label": self.label,
            "logit": self.logit,
            "probability": self.probability,
            "source": self.source,
            "generator": self.generator,
            **self.groups,
        }
        for name, column in columns.items():
            if column.shape != (len(self.label),):
                msg = f"Column {name!r} has shape {column.shape}; {len(self.label)} files need one row each."
                raise DataError(msg)
        if not np.isin(self.label, (0, 1)).all():
            msg = f"Labels are {np.unique(self.label)}; allowed are 1 (fake) and 0 (real)."
            raise DataError(msg)
        if not (np.isfinite(self.logit).all() and ((self.probability >= 0) & (self.probability <= 1)).all()):
            msg = "A logit is not finite or a probability not in [0, 1]; leave out files without a score."
            raise DataError(msg)

    def where(self, keep: NDArray[np.bool_]) -> "Predictions":
        """Return the rows where the mask bool [N] is true."""
        columns = {name: getattr(self, name)[keep] for name in ("label", "logit", "probability", "source")}
        groups = {name: column[keep] for name, column in self.groups.items()}
        return Predictions(**columns, generator=self.generator[keep], groups=groups)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure with its 95 % interval; None where it is not defined (a class is missing)."""

    value: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many files, sources, real and fake files something rests on."""

    files: int
    sources: int
    real: int
    fake: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The figures of some of the files."""

    counts: Counts
    figures: dict[str, Figure]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Counts of files by what they are and what they are called at the threshold."""

    fake_called_fake: int
    fake_called_real: int
    real_called_fake: int
    real_called_real: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """The files whose probability lies in [low, high): how many, the mean, the fakes among them."""

    low: float
    high: float
    files: int
    fakes: int
    mean_probability: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """What plots need, thinned to at most 200 points a curve.

    Attributes:
        roc: (false positive rate, true positive rate), rising; empty where a class is missing.
        precision_recall: (recall, precision), by rising recall; empty where a class is missing.
        reliability: The occupied ones of 15 bins of equal width, the bins of ``ece``.
        histogram_real: Real files in each of 40 bins of P(fake) of equal width over [0, 1].
        histogram_fake: Fake files in the same bins.
    """

    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]
    reliability: tuple[ReliabilityBin, ...]
    histogram_real: tuple[int, ...]
    histogram_fake: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How good a detector is on one set of files; plain values only, ready for JSON.

    ``overall`` and every Slice hold the same figures, by name:

    - ``auc``: chance that a fake file ranks above a real one, ties counting half.
    - ``average_precision``: precision averaged over the steps of recall, without interpolation.
    - ``eer``: error rate where both classes err alike, on the ROC's straight segments.
    - ``accuracy``, ``balanced_accuracy``, ``precision``, ``recall``, ``f1``: at the threshold.
    - ``brier``: mean squared difference of probability and label (Brier, 1950).
    - ``ece``: expected calibration error over 15 bins of equal width (Naeini et al., AAAI 2015). Few
      files a bin make it, and more so its interval, too large.
    - ``tpr_at_fpr_1``, ``tpr_at_fpr_5``: largest share of fakes found by a threshold that calls at
      most 1 % or 5 % of the real files fake; thresholds that exist, so no interpolation.

    All lie in [0, 1]. Figures that compare the classes are None where one is missing.

    Attributes:
        threshold: The calibrated probability from which a file is called fake.
        replicates: Bootstrap replicates behind each interval.
        counts: What ``overall`` rests on.
        overall: Figures over all files.
        confusion: Counts at the threshold.
        by_generator: The fakes of one generator against all real files.
        by_group: User column -> value -> the files of that value.
        curves: For plots.
    """

    threshold: float
    replicates: int
    counts: Counts
    overall: dict[str, Figure]
    confusion: Confusion
    by_generator: dict[str, Slice]
    by_group: dict[str, dict[str, Slice]]
    curves: Curves


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
    values = _figures(files, threshold, np.ones((1, len(files.label))))
    drawn = _bootstrap(files, threshold, rng, replicates)
    figures = {name: _figure(float(value[0]), drawn.get(name)) for name, value in values.items()}
    fake = int(files.label.sum())
    sources = len(np.unique(files.source))
    counts = Counts(files=len(files.label), sources=sources, real=len(files.label) - fake, fake=fake)
    return Slice(counts=counts, figures=figures)


def _figure(value: float, drawn: Floats | None) -> Figure:
    """Summarise; replicates in which the figure is undefined (one class drawn) do not count."""
    if np.isnan(value):
        return Figure(value=None, low=None, high=None)
    kept = np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
    if not kept.size:
        return Figure(value=value, low=None, high=None)
    low, high = np.percentile(kept, (2.5, 97.5))
    return Figure(value=value, low=float(low), high=float(high))


def _bootstrap(
    files: Predictions, threshold: float, rng: np.random.Generator, replicates: int
) -> dict[str, Floats]:
    """Return each figure's replicates, float [R], NaN where undefined; none for a single source."""
    sources, source = np.unique(files.source, return_inverse=True)
    if len(sources) < 2 or replicates == 0:
        return {}
    share = np.full(len(sources), 1 / len(sources))
    rows = max(1, CHUNK_CELLS // len(source))
    sizes = [min(rows, replicates - start) for start in range(0, replicates, rows)]
    draws = (rng.multinomial(len(sources), share, size=size) for size in sizes)
    chunks = [_figures(files, threshold, drawn[:, source].astype(np.float64)) for drawn in draws]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _figures(files: Predictions, threshold: float, weight: Floats) -> dict[str, Floats]:
    """Return every figure, float [R], for the weights of the files, float [R, N]; NaN = undefined."""
    return {
        **_ranking_figures(*_cumulative(files, weight)),
        **_decision_figures(files, threshold, weight),
        **_probability_figures(files, weight),
    }


def _cumulative(files: Predictions, weight: Floats) -> tuple[Floats, Floats]:
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


def _ranking_figures(fake_above: Floats, real_above: Floats) -> dict[str, Floats]:
    tpr, fpr = _ratio(fake_above, fake_above[:, -1:]), _ratio(real_above, real_above[:, -1:])
    precision = np.nan_to_num(_ratio(fake_above, fake_above + real_above))
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
    recall, specificity = _ratio(hit, fake), 1 - _ratio(alarm, real)
    both = (fake > 0) & (real > 0)
    return {
        "accuracy": (hit + real - alarm) / (fake + real),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": np.where(both, _ratio(hit, hit + alarm), np.nan),
        "recall": recall,
        "f1": np.where(both, _ratio(2 * hit, hit + alarm + fake), np.nan),
    }


def _probability_figures(files: Predictions, weight: Floats) -> dict[str, Floats]:
    excess = files.probability - files.label
    in_bin = _bins(files.probability, ECE_BINS)[:, None] == np.arange(ECE_BINS)
    total = weight.sum(axis=1)
    return {
        "brier": weight @ excess**2 / total,
        "ece": np.abs(weight @ (excess[:, None] * in_bin)).sum(axis=1) / total,
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _bins(probability: NDArray[Any], bins: int) -> NDArray[np.int64]:
    """Return the bin of equal width over [0, 1] that holds each probability; 1 is in the last."""
    return np.minimum((probability * bins).astype(np.int64), bins - 1)


def _confusion(files: Predictions, threshold: float) -> Confusion:
    called = files.probability >= threshold
    cells = np.bincount(2 * files.label + called, minlength=4).tolist()
    names = ("real_called_real", "real_called_fake", "fake_called_real", "fake_called_fake")
    return Confusion(**dict(zip(names, cells, strict=True)))


def _curves(files: Predictions) -> Curves:
    (fake_above,), (real_above,) = _cumulative(files, np.ones((1, len(files.label))))
    both = fake_above[-1] > 0 and real_above[-1] > 0
    tpr, fpr = _ratio(fake_above, fake_above[-1:]), _ratio(real_above, real_above[-1:])
    cell = _bins(files.probability, HISTOGRAM_BINS)
    return Curves(
        roc=_thin(fpr, tpr) if both else (),
        precision_recall=_thin(tpr[1:], _ratio(fake_above, fake_above + real_above)[1:]) if both else (),
        reliability=_reliability(files),
        histogram_real=tuple(np.bincount(cell[files.label == 0], minlength=HISTOGRAM_BINS).tolist()),
        histogram_fake=tuple(np.bincount(cell[files.label == 1], minlength=HISTOGRAM_BINS).tolist()),
    )


def _thin(x: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    """Return at most 200 of a curve's points, evenly by position, with both ends."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), CURVE_POINTS)).astype(np.int64))
    return tuple(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _reliability(files: Predictions) -> tuple[ReliabilityBin, ...]:
    held_by = _bins(files.probability, ECE_BINS)
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
