"""The gate: a density on statistics of prepared files, and how unlikely a file may be at most.

Each statistic is mapped so that validation files are spread like a standard normal variable; what remains
is one normal density with a shrunk covariance (Ledoit & Wolf, 2004), and its Mahalanobis distance. That
sees what single statistics do not: a picture as bright and as sharp as others, but not both together.
Distances to nearest neighbours tell as much and have to keep the files; without the map by quantiles, a few
skewed statistics put the threshold so far out that noise with the spectrum of nature passes.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deepscan.domain import traits
from deepscan.errors import ConfigError, OutOfDomainError

Floats = NDArray[np.float64]

FEWEST = 50
"""Files that a gate is fitted to at least: of fewer nobody can tell what is usual."""

FOLDS = 5
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
MOST_STATISTICS = 64
LEAST_KNOWN = 0.9
DIGITS = 5
TINY = 1e-9
FARTHEST = 8.0
"""Standard deviations beyond which a statistic counts as no farther out: one odd thing about a file, such as
that it is grey, weighs less than many."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a file lies.

    Attributes:
        distance: Root mean squared distance from the validation files per statistic; theirs is about 1.
        statistic: Name of the statistic that is farthest out.
        value: Its value.
        deviations: By how many standard deviations it lies above (or, below 0, below) the usual.
        usual: The values between which 98 % of validation files lie.
    """

    distance: float
    statistic: str
    value: float
    deviations: float
    usual: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Tells files that are unlike those of the validation split.

    Attributes:
        statistics: Names of S statistics.
        knots: Of each, the values that the shares ``LEVELS`` of validation files do not exceed, rising.
        precision: Upper triangle, row by row, of the inverse covariance of the mapped statistics.
        threshold: Distance beyond which a file is out of domain.
        rate: Share of files like those of validation that may be gated, in (0, 1).
        files: Validation files that it was fitted to.
        held_out: Share of these that the threshold gates when judged by the files of other sources.
        version: Of the statistics.
    """

    statistics: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]
    precision: tuple[float, ...]
    threshold: float
    rate: float
    files: int
    held_out: float
    version: int = traits.VERSION

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: They do not fit, or the statistics are those of another version.
        """
        if self.version != traits.VERSION:
            msg = (
                f"Its gate has statistics of version {self.version}, this deepscan {traits.VERSION}; "
                "fit it again, or use the version in its card."
            )
            raise ConfigError(msg)
        size = len(self.statistics)
        rising = all(len(k) == len(LEVELS) and (np.diff(k) >= 0).all() and k[0] < k[-1] for k in self.knots)
        if not size or len(self.knots) != size or len(self.precision) != size * (size + 1) // 2 or not rising:
            msg = (
                f"A gate on {size} statistics needs {len(LEVELS)} rising values of each and a precision of "
                f"{size * (size + 1) // 2} numbers, not {len(self.knots)} and {len(self.precision)}."
            )
            raise ConfigError(msg)
        if not (self.threshold > 0 and math.isfinite(self.threshold) and 0 < self.rate < 1):
            msg = f"A gate needs a threshold above 0 and a rate in (0, 1), not {self.threshold}, {self.rate}."
            raise ConfigError(msg)

    def values(self, examples: Sequence[Mapping[str, NDArray[Any]]], names: Sequence[str]) -> Floats:
        """Return the statistics of a file, float64 [S], NaN = not told.

        Args:
            examples: Those of the file, at least one.
            names: The columns that the model's features are made of, ``Prep.needs``.
        """
        told = [traits.of_example(example, names) for example in examples]
        return median([np.array([each.get(name, math.nan) for name in self.statistics]) for each in told])

    def place(self, value_S: Floats) -> Place:
        """Return where a file of these statistics lies; one that it does not tell counts as usual."""
        knots_SK = np.array(self.knots)
        deviation_S = mapped(value_S[None], knots_SK, math.inf)[0]
        worst = int(np.argmax(abs(deviation_S)))
        normal_NS = mapped(value_S[None], knots_SK)
        return Place(
            distance=float(distances(normal_NS, _square(self.precision))[0]),
            statistic=self.statistics[worst],
            value=float(value_S[worst]),
            deviations=float(deviation_S[worst]),
            usual=(self.knots[worst][0], self.knots[worst][-1]),
        )

    def refusal(self, value_S: Floats) -> OutOfDomainError | None:
        """Return why a file of these statistics is not judged; None where it is."""
        place = self.place(value_S)
        if place.distance <= self.threshold:
            return None
        low, high = place.usual
        side = "above" if place.deviations > 0 else "below"
        return OutOfDomainError(
            f"It is unlike the files that this detector was chosen on: its distance is {place.distance:.2f}; "
            f"{1 - self.rate:.1%} of files like those stay within {self.threshold:.2f}. Farthest out is "
            f"{place.statistic}, {place.value:.3g}: {abs(place.deviations):.3g} standard deviations {side} "
            f"what is usual ({low:.3g} to {high:.3g}). Judge it by eye, or with a detector for such files."
        )


def refusals(
    gates: Sequence[Gate | None], examples: Sequence[Mapping[str, NDArray[Any]]], names: Sequence[str]
) -> list[OutOfDomainError | None]:
    """Return why each of some gates refuses one prepared file, None where it does not or is none.

    Gates on the same statistics, as siblings of one bundle have, look at the file once.

    Args:
        gates: Those of detectors that share a Prep.
        examples: What it made of the file, at least one.
        names: The columns that features are made of, ``Prep.needs``.
    """
    known: dict[tuple[str, ...], Floats] = {}
    for gate in gates:
        if gate and gate.statistics not in known:
            known[gate.statistics] = gate.values(examples, names)
    return [gate.refusal(known[gate.statistics]) if gate else None for gate in gates]


def median(traits_ES: Sequence[Floats]) -> Floats:
    """Return the median of each statistic over those Examples of a file that tell it, float64 [S]."""
    rows_ES = np.stack(list(traits_ES))
    told_S = ~np.isnan(rows_ES).all(axis=0)
    median_S = np.full(rows_ES.shape[1], math.nan)
    median_S[told_S] = np.nanmedian(rows_ES[:, told_S], axis=0)
    return median_S


@dataclasses.dataclass(frozen=True, slots=True)
class _Density:
    """What a gate keeps of some files, before it has a threshold."""

    knots_SK: Floats
    precision_SS: Floats

    @classmethod
    def of(cls, value_NS: Floats) -> Self:
        knots_SK = np.nanquantile(value_NS, LEVELS, axis=0).T
        normal_NS = mapped(value_NS, knots_SK)
        return cls(knots_SK, np.asarray(np.linalg.inv(shrunk(normal_NS)), np.float64))

    def distances(self, value_NS: Floats) -> Floats:
        return distances(mapped(value_NS, self.knots_SK), self.precision_SS)


def fit(
    told: Mapping[str, Sequence[float]], source: Sequence[str], rate: float, folds: int = FOLDS
) -> Gate | None:
    """Fit a gate to the files of the validation split.

    The threshold comes from distances of files to those of *other* sources: in-sample ones are smaller,
    the more so the fewer files there are. ``floor(rate * n)`` of the n held-out distances lie above it, so
    that about ``rate`` of further files like these are gated. Where that is none, it is what a log-normal
    distribution with the median and the median deviation of the distances puts there, and no less than the
    second of them: one odd file among few would open the gate to everything.

    Args:
        told: Statistics by name, each of all N files; NaN = not told.
        source: Source of each file.
        rate: Share of files like these that may be gated, in [0, 1); 0 = no gate.
        folds: At most so many groups of sources.

    Returns:
        The gate; None where there are fewer than ``FEWEST`` files, nothing varies in them, or rate is 0.

    Raises:
        ConfigError: The rate is out of range.
    """
    if not 0 <= rate < 1:
        msg = f"The rate of a gate must be in [0, 1), not {rate}; 0 stands for no gate."
        raise ConfigError(msg)
    chosen = _usable(told)
    if not rate or not chosen or len(source) < FEWEST:
        return None
    value_NS = np.array([told[name] for name in chosen], np.float64).T
    density = _Density.of(value_NS)
    held_out_N = _held_out(value_NS, _folds(source, folds))
    # Rounded up: the file that lies at the threshold is not gated.
    threshold = _rounded(_threshold(held_out_N, rate) * (1 + 10 ** (1 - DIGITS)))
    upper = np.triu_indices(len(chosen))
    return Gate(
        statistics=chosen,
        knots=tuple(tuple(_rounded(value) for value in row) for row in density.knots_SK.tolist()),
        precision=tuple(_rounded(value) for value in density.precision_SS[upper].tolist()),
        threshold=threshold,
        rate=rate,
        files=len(source),
        held_out=float((held_out_N > threshold).mean()),
    )


def mapped(value_NS: Floats, knots_SK: Floats, farthest: float = FARTHEST) -> Floats:
    """Return statistics as standard normal deviates of the validation files, 0 where they are not known.

    Between the knots the map is linear; beyond them it goes on with the mean slope from the median to the
    last knot, so that a value twice as far out is about twice as unusual, and ends at ``farthest``.
    """
    columns = zip(value_NS.T, knots_SK, strict=True)
    normal_NS = np.stack([_interpolated(value_N, knots_K) for value_N, knots_K in columns], axis=1)
    least, most = knots_SK[:, 0], knots_SK[:, -1]
    middle, whole = knots_SK[:, len(NORMAL) // 2], most - least
    # A side on which the files hardly vary still has a width: a tenth of the whole.
    above = NORMAL[-1] / (np.maximum(most - middle, 0.1 * whole) + TINY)
    below = NORMAL[-1] / (np.maximum(middle - least, 0.1 * whole) + TINY)
    normal_NS += np.maximum(value_NS - most, 0) * above - np.maximum(least - value_NS, 0) * below
    return np.clip(np.nan_to_num(normal_NS), -farthest, farthest)


def _interpolated(value_N: Floats, knots_K: Floats) -> Floats:
    """Interpolate between knots; equal ones, where many files tell one value, stand for their mean."""
    distinct_K, which_K = np.unique(knots_K, return_inverse=True)
    mean_K = np.bincount(which_K, NORMAL) / np.bincount(which_K)
    return np.asarray(np.interp(value_N, distinct_K, mean_K))


def distances(normal_NS: Floats, precision_SS: Floats) -> Floats:
    """Return Mahalanobis distances from 0 over the root of the number of statistics, [N]."""
    squares_N = np.einsum("ns,st,nt->n", normal_NS, precision_SS, normal_NS) / normal_NS.shape[1]
    return np.asarray(np.sqrt(np.maximum(squares_N, 0)))


def shrunk(normal_NS: Floats) -> Floats:
    """Return the covariance about 0, shrunk towards a multiple of the unit matrix (Ledoit & Wolf, 2004)."""
    files, size = normal_NS.shape
    covariance_SS = normal_NS.T @ normal_NS / files
    mean = float(np.trace(covariance_SS)) / size
    apart = float(((covariance_SS - mean * np.eye(size)) ** 2).sum()) / size
    products = float(((normal_NS**2).T @ normal_NS**2 / files - covariance_SS**2).sum()) / (files * size)
    share = 1.0 if apart <= 0 else min(1.0, products / apart)
    return np.asarray((1 - share) * covariance_SS + (share * mean + 1e-3) * np.eye(size))


def _usable(told: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return the statistics that nearly all files tell and that vary among them."""
    usable = []
    for name, values in told.items():
        known_N = np.asarray(values, np.float64)
        known_N = known_N[np.isfinite(known_N)]
        if len(known_N) and len(known_N) >= LEAST_KNOWN * len(values):
            low, high = np.quantile(known_N, [LEVELS[0], LEVELS[-1]])
            if _rounded(low) < _rounded(high):
                usable.append(name)
    return tuple(usable[:MOST_STATISTICS])


def _folds(source: Sequence[str], folds: int) -> NDArray[np.intp]:
    """Return the fold of each file; files of a source share one, unless there is one source only."""
    names, member_N, counts = np.unique(np.asarray(source, str), return_inverse=True, return_counts=True)
    if len(names) == 1:
        return np.arange(len(source)) % folds
    fold_of, size = np.zeros(len(names), np.intp), np.zeros(min(folds, len(names)), np.intp)
    for number in np.argsort(-counts, kind="stable"):
        fold_of[number] = size.argmin()
        size[fold_of[number]] += counts[number]
    return np.asarray(fold_of[member_N])


def _held_out(value_NS: Floats, fold_N: NDArray[np.intp]) -> Floats:
    found_N = np.empty(len(value_NS))
    for fold in range(int(fold_N.max()) + 1):
        mine_N = fold_N == fold
        found_N[mine_N] = _Density.of(value_NS[~mine_N]).distances(value_NS[mine_N])
    return found_N


def _threshold(distance_N: Floats, rate: float) -> float:
    falling_N = np.sort(distance_N)[::-1]
    above = math.floor(rate * len(distance_N) + 1e-9)
    if above:
        return float(falling_N[above])
    log_N = np.log(np.maximum(distance_N, 1e-9))
    middle = float(np.median(log_N))
    spread = float(np.median(abs(log_N - middle))) / NormalDist().inv_cdf(0.75)
    return max(math.exp(middle + NormalDist().inv_cdf(1 - rate) * spread), float(falling_N[1]))


def _square(upper: Sequence[float]) -> Floats:
    size = math.isqrt(2 * len(upper))
    square_SS = np.zeros((size, size))
    square_SS[np.triu_indices(size)] = upper
    return np.asarray(square_SS + np.triu(square_SS, 1).T)


def _rounded(value: float) -> float:
    """Return a number with so many digits that it can be read back, and no more than it has meaning."""
    return float(f"{value:.{DIGITS}g}")
