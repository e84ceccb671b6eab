"""What is measured and what comes of it: records of plain values, ready for JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import DataError


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

    @property
    def counts(self) -> "Counts":
        """How many files, sources, real and fake files there are."""
        fake, files = int(self.label.sum()), len(self.label)
        return Counts(files=files, sources=len(np.unique(self.source)), real=files - fake, fake=fake)

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


NOTHING = Figure(value=None, low=None, high=None)
"""A figure that is not defined."""


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
