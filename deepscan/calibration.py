"""From a model's logit to a probability that means what it says, and from there to a decision.

Everything here is fitted on the validation split and nowhere else.

A calibrated probability holds for the mix of real and fake files it was fitted on: in a validation
split with 80 % fakes, P = .8 is what a file without any trace gets. Temperature has no offset, so it
leaves P(logit 0) = .5 whatever the mix; isotonic follows the mix. Where fakes are rarer than in
validation, add ``log(odds there / odds in validation)`` to the log-odds. A validation split of about
as many real files as fakes keeps all of this simple, and both error rates well measured.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import expit

from deepscan.errors import ConfigError, DataError
from deepscan.verdict import Label, Uncertainty

Kind = Literal["none", "temperature", "logistic", "isotonic"]
Floats = NDArray[np.float64]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
MIN_BIN_FILES, MAX_BINS = 20, 15
Z_95 = 1.959963984540054
ABOVE_ONE = math.nextafter(1.0, 2.0)

MAX_ERROR_RATE = 0.05
"""Share of each class that an operating point may call wrong, where nobody states another."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A monotone map from a file's logit to P(fake).

    Attributes:
        kind: ``none`` takes the sigmoid as it is; ``temperature`` divides the logit first (Guo et
            al., ICML 2017); ``logistic`` adds an offset too, for logits whose zero means nothing, such as
            the error of a reconstruction (Platt, 1999); ``isotonic`` interpolates a fitted staircase
            (Zadrozny & Elkan, KDD 2002).
        temperature: Divisor of the logit, above 0.
        offset: Added after the division; 0 unless the kind is ``logistic``.
        knot_logits: Rising logits of the staircase; beyond its ends it is flat.
        knot_probabilities: P(fake) at each of them, never falling, inside (0, 1).
    """

    kind: Kind = "none"
    temperature: float = 1.0
    offset: float = 0.0
    knot_logits: tuple[float, ...] = ()
    knot_probabilities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: The temperature is not above 0, the offset belongs to another kind, or the knots
                do not make a monotone map.
        """
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            msg = f"Setting 'temperature' must be above 0, not {self.temperature}."
            raise ConfigError(msg)
        if not math.isfinite(self.offset) or (self.offset and self.kind != "logistic"):
            msg = f"Calibration {self.kind!r} cannot have offset {self.offset}; only 'logistic' has one."
            raise ConfigError(msg)
        x, y = self.knot_logits, self.knot_probabilities
        monotone = bool((np.diff(x) > 0).all() and (np.diff(y) >= 0).all())
        if len(x) != len(y) or not monotone or not all(0 < p < 1 for p in y):
            msg = "Knots of a calibration need as many rising logits as probabilities rising inside (0, 1)."
            raise ConfigError(msg)
        if (self.kind == "isotonic") != bool(x):
            msg = f"Calibration {self.kind!r} has {len(x)} knots; isotonic needs some, the others none."
            raise ConfigError(msg)

    def apply(self, logit: NDArray[Any]) -> Floats:
        """Return P(fake), float64 in [0, 1], for logits of any float type and any shape."""
        logit = np.asarray(logit, dtype=np.float64)
        if self.kind == "isotonic":
            return np.asarray(np.interp(logit, self.knot_logits, self.knot_probabilities))
        return np.asarray(expit(logit / self.temperature + self.offset))


def fit(kind: Kind, logit: NDArray[Any], label: NDArray[Any]) -> Calibration:
    """Fit a calibration on the validation files.

    Files that the logit separates without error would drive the temperature to 0 and every probability
    to 0 or 1. Two guards: n files of a class have 1 / (n + 2) of their target on the other class, for no
    finite sample shows that a class never scores so (Platt, 1999), and the temperature stays within
    [0.01, 100]. Where the logit ranks worse than chance the upper bound is reached: every probability
    is then close to .5, as it should be. The staircase keeps the same distance from 0 and 1.

    Args:
        kind: ``none`` fits nothing.
        logit: float [N].
        label: int [N], 1 = fake, 0 = real.

    Raises:
        DataError: There are no files, one class is missing, or a logit is not finite.
    """
    logit = np.asarray(logit, dtype=np.float64)
    fake, real = _count_classes(logit, label)
    floor, ceiling = 1 / (real + 2), (fake + 1) / (fake + 2)
    if kind == "temperature":
        target = np.where(np.asarray(label) == 1, ceiling, floor)
        return Calibration(kind=kind, temperature=_best_temperature(logit, target))
    if kind == "logistic":
        temperature, offset = _best_line(logit, np.where(np.asarray(label) == 1, ceiling, floor))
        return Calibration(kind=kind, temperature=temperature, offset=offset)
    if kind == "isotonic":
        from sklearn.isotonic import IsotonicRegression  # scikit-learn takes a second to import

        staircase = IsotonicRegression(y_min=floor, y_max=ceiling, out_of_bounds="clip").fit(logit, label)
        return Calibration(
            kind=kind,
            knot_logits=tuple(staircase.X_thresholds_.tolist()),
            knot_probabilities=tuple(staircase.y_thresholds_.tolist()),
        )
    return Calibration()


def _best_temperature(logit: Floats, target: Floats) -> float:
    """Minimise the negative log-likelihood, which is convex in 1 / temperature."""

    def loss(log_inverse: float) -> float:
        scaled = math.exp(log_inverse) * logit
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    bounds = (-math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE))
    return math.exp(
        -scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x
    )


def _best_line(logit: Floats, target: Floats) -> tuple[float, float]:
    """Return the temperature and offset of least negative log-likelihood, which is convex in both."""
    center, unit = float(logit.mean()), float(logit.std()) or 1.0
    z = (logit - center) / unit

    def loss(line: Floats) -> tuple[float, Floats]:
        scaled = line[0] * z + line[1]
        error = expit(scaled) - target
        value = float(np.mean(np.logaddexp(0, scaled) - target * scaled))
        return value, np.array([np.mean(error * z), np.mean(error)])

    bounds: list[tuple[float | None, float | None]] = [
        (1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE),
        (None, None),
    ]
    found = scipy.optimize.minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    )
    slope, height = found.x.tolist()
    return unit / slope, height - slope * center / unit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """Where decisions fall on the calibrated probability: ``low <= threshold <= high``.

    Attributes:
        threshold: Splits real from fake when an answer is forced, as in the figures of a report.
        low: Below it a file is called real; 0 where no probability suffices.
        high: From it on a file is called fake; between the two the verdict is inconclusive. May lie
            just above 1: then no probability suffices.
        max_error_rate: The stated rate: at most this share of the real files is called fake, and at most
            this share of the fakes real; see ``fit_operating_point``.
        real: Real validation files that it was fitted on; 0 = it was not fitted.
        fake: Fakes that it was fitted on.
        groups: Groups of real files in each of which the rate was kept, too; 0 = it was not asked for.
    """

    threshold: float = 0.5
    low: float = 0.5
    high: float = 0.5
    max_error_rate: float = MAX_ERROR_RATE
    real: int = 0
    fake: int = 0
    groups: int = 0

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: The order is wrong or the error rate is not in [0, 1).
        """
        if not 0 <= self.low <= self.threshold <= self.high:
            msg = f"An operating point needs 0 <= low <= threshold <= high, not {self}."
            raise ConfigError(msg)
        if not 0 <= self.max_error_rate < 1:
            msg = f"Setting 'max_error_rate' must be in [0, 1), not {self.max_error_rate}."
            raise ConfigError(msg)

    @property
    def shortfall(self) -> str:
        """What too few validation files keep it from saying, in one sentence; empty where they suffice."""
        if not self.real or not self.fake:
            return ""
        judged = {"fake": (self.real, "real"), "real": (self.fake, "fake")}
        never = [said for said, (files, _) in judged.items() if _allowed(files, self.max_error_rate) < 0]
        if not never:
            return ""
        had = " and ".join(f"{judged[said][0]} {judged[said][1]}" for said in never)
        return (
            f"No file is called {' or '.join(never)}: the {had} validation files cannot show an error rate "
            f"of at most {self.max_error_rate:.2%}; {_needed(self.max_error_rate)}."
        )


def fit_operating_point(
    probability: NDArray[Any],
    label: NDArray[Any],
    max_error_rate: float = MAX_ERROR_RATE,
    calls_real: bool = True,
    group: Sequence[str] | None = None,
) -> OperatingPoint:
    """Choose the band and the threshold on the validation files, by the conformal rule for each class.

    A file is called fake when at most ``max_error_rate`` of the real validation files *and itself* score
    as high, and real when at most this share of the fakes and itself score as low (split conformal
    prediction within each class: Vovk, 2012). For files like those of validation this keeps both error
    rates in the long run, however few files there are: of n real files ``floor(rate * (n + 1)) - 1`` may
    reach ``high``. Where that is below 0 no file is ever called fake; ``OperatingPoint.shortfall`` says so.

    With groups it does so within each of them, too, that has files enough to show the rate, and the most
    cautious decides (Mondrian conformal prediction: Vovk, 2012, section 4).

    Where the classes are apart enough for one value to keep both promises there is no band: both are
    the threshold. The threshold has the best balanced accuracy among the mid-points between neighbouring
    scores, moved into the band where one lies outside, so that a verdict never contradicts the forced
    answer; among equals the nearest to .5.

    Args:
        probability: float [N], calibrated P(fake).
        label: int [N], 1 = fake, 0 = real.
        max_error_rate: Share of each class, in [0, 1).
        calls_real: Files may be called real; without it ``low`` is 0.
        group: The group of every file; None = all are of one.

    Raises:
        DataError: There are no files, one class is missing, or a probability is not finite.
        ConfigError: The error rate is out of range.
    """
    probability = np.asarray(probability, dtype=np.float64)
    fakes, reals = _count_classes(probability, label)
    real_N = np.asarray(label) == 0
    real, fake = np.sort(probability[real_N]), np.sort(probability[~real_N])
    group_N = np.array([""] * len(probability) if group is None else group)
    top, large = _outermost(probability[real_N], group_N[real_N], max_error_rate)
    bottom, _ = _outermost(-probability[~real_N], group_N[~real_N], max_error_rate)
    high = float(np.nextafter(top, 2)) if math.isfinite(top) else ABOVE_ONE
    low = -bottom if calls_real and math.isfinite(bottom) else 0.0
    threshold = _best_threshold(real, fake, (min(low, high), max(low, high)))
    if low >= high:
        low = high = threshold
    groups = 0 if group is None else large
    band = {"low": low, "threshold": threshold, "high": high}
    return OperatingPoint(**band, max_error_rate=max_error_rate, real=reals, fake=fakes, groups=groups)


def _outermost(score_N: Floats, group_N: NDArray[Any], rate: float) -> tuple[float, int]:
    """Return the least score that few enough exceed, of all and of the large groups, and these' number."""
    if _allowed(len(score_N), rate) < 0:
        return math.inf, 0
    parts = [score_N[group_N == name] for name in np.unique(group_N)]
    large = [part for part in parts if _allowed(len(part), rate) >= 0]
    kept = [np.sort(part)[::-1][_allowed(len(part), rate)] for part in (score_N, *large)]
    return float(max(kept)), len(large)


def _allowed(files: int, max_error_rate: float) -> int:
    """Return how many files may be wrong, -1 = too few to tell; the tiny term undoes rounding."""
    if not 0 <= max_error_rate < 1:
        msg = f"Setting 'max_error_rate' must be in [0, 1), not {max_error_rate}."
        raise ConfigError(msg)
    return math.floor((files + 1) * max_error_rate + 1e-9) - 1


def _needed(max_error_rate: float) -> str:
    if not max_error_rate:
        return "no number of files can show that there are no errors"
    return f"at least {math.ceil(1 / max_error_rate - 1e-9) - 1} files of a class are needed"


def _best_threshold(real: Floats, fake: Floats, band: tuple[float, float]) -> float:
    """Return the threshold of the best balanced accuracy in the band; scores come sorted."""
    scores = np.unique(np.concatenate([real, fake]))
    between = (scores[:-1] + scores[1:]) / 2 if len(scores) > 1 else scores
    candidates = np.clip(between, *band)
    specificity = np.searchsorted(real, candidates) / len(real)
    recall = 1 - np.searchsorted(fake, candidates) / len(fake)
    balanced = np.round(specificity + recall, 12)
    best = candidates[balanced == balanced.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def decide(probability: float, point: OperatingPoint) -> Label:
    """Return ``fake`` from ``point.high`` on, ``real`` below ``point.low``, else ``inconclusive``."""
    if probability >= point.high:
        return "fake"
    return "real" if probability < point.low else "inconclusive"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """How often validation files of like probability were fake, in bins of about equal counts.

    Attributes:
        edges: Rising probabilities between neighbouring bins, one fewer than there are bins.
        files: Validation files in each bin.
        fakes: Fakes among them.
    """

    edges: tuple[float, ...]
    files: tuple[int, ...]
    fakes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: The bins do not fit their edges or hold an impossible count.
        """
        aligned = len(self.files) == len(self.fakes) == len(self.edges) + 1
        if not aligned or not all(0 <= k <= n > 0 for k, n in zip(self.fakes, self.files, strict=True)):
            msg = f"Bins need an edge between each two, files, and no more fakes than files, not {self}."
            raise ConfigError(msg)

    def uncertainty(self, probability: float) -> Uncertainty:
        """Return the 95 % interval of the share of fakes among files that scored alike (Wilson, 1927)."""
        index = int(np.searchsorted(self.edges, probability, side="right"))
        low, high = wilson_interval(self.fakes[index], self.files[index])
        return Uncertainty(low=low, high=high, files=self.files[index])


def fit_reliability(probability: NDArray[Any], label: NDArray[Any]) -> Reliability:
    """Count validation files in at most 15 bins of equal mass, each of at least 20 files.

    Files of equal probability share a bin. Fewer than 40 files make a single bin.

    Args:
        probability: float [N], calibrated P(fake).
        label: int [N], 1 = fake, 0 = real.

    Raises:
        DataError: There are no files, one class is missing, or a probability is not finite.
    """
    probability = np.asarray(probability, dtype=np.float64)
    _count_classes(probability, label)
    edges = _equal_mass_edges(probability)
    held_by = np.searchsorted(edges, probability, side="right")
    files = np.bincount(held_by, minlength=len(edges) + 1)
    fakes = np.bincount(held_by[np.asarray(label) == 1], minlength=len(edges) + 1)
    return Reliability(edges=tuple(edges), files=tuple(files.tolist()), fakes=tuple(fakes.tolist()))


def _equal_mass_edges(probability: Floats) -> list[float]:
    values, counts = np.unique(probability, return_counts=True)
    size = max(MIN_BIN_FILES, len(probability) // MAX_BINS)
    edges: list[float] = []
    held, left = 0, len(probability)
    for value, following, count in zip(values[:-1], values[1:], counts[:-1], strict=True):
        held, left = held + count, left - count
        if held >= size and left >= size:
            edges.append(float(value + following) / 2)
            held = 0
    return edges


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of ``hits`` in at least one trial (Wilson, 1927)."""
    share, spread = hits / trials, Z_95**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _count_classes(score: Floats, label: NDArray[Any]) -> tuple[int, int]:
    fake, real = int((np.asarray(label) == 1).sum()), int((np.asarray(label) == 0).sum())
    if not fake or not real or fake + real != len(score):
        msg = (
            f"{len(score)} validation scores come with {fake} fake and {real} real files; calibration needs "
            "both classes and one label a score: add sources of the missing class to the validation split."
        )
        raise DataError(msg)
    if not np.isfinite(score).all():
        msg = "A validation score is not finite; leave out files without one, or train with a lower rate."
        raise DataError(msg)
    return fake, real
