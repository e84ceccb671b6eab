"""How far what a service sees has moved from what its bundles were calibrated on.

The reference comes with the bundle: histograms over the files of its validation split. Served files
are put into the same bins and compared. Neither distance says why: more fakes than in validation
move the scores as much as worse cameras do.
"""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import ConfigError
from deepscan.monitor.records import Record

Status = Literal["measured", "too few", "no reference"]

SCORE = "score"
"""Name of the figure that follows the detector's P(fake); the others are statistics of preparation."""

PARTS = "parts"
"""Name of the statistic that counts a file's Examples."""

SCORE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FEWEST = 100
"""Files that must have been seen before a distance is told; with fewer it is mostly chance."""

BINS = 10
LEAST_VALUES = 256
"""Columns that hold fewer values an Example are times, boxes and masks: no statistic is made of them."""

LOOKED_AT = 16_384
SMOOTHING = 0.5
Z_95 = 1.6448536269514722


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """How often a figure of a file lay where.

    Attributes:
        figure: ``score``, or the name of a statistic of preparation.
        edges: Rising boundaries, E of them. Bin i holds values from edge i - 1 up to below edge i; the
            first and the last bin have no end.
        shares: Share of the files in each of the E + 1 bins, in [0, 1].
        count: Number of files.
    """

    figure: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    count: int

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: The edges do not rise, or the shares are not those of so many bins.
        """
        rising = all(low < high for low, high in itertools.pairwise(self.edges))
        whole = math.isclose(math.fsum(self.shares), 1, abs_tol=1e-6) and min(self.shares, default=-1) >= 0
        if not rising or not whole or len(self.shares) != len(self.edges) + 1 or self.count < 1:
            msg = (
                f"Histogram {self.figure!r} of {self.count} files has {len(self.edges)} edges and "
                f"{len(self.shares)} shares; it needs files, rising edges, and shares of one bin more, "
                "which sum to 1."
            )
            raise ConfigError(msg)

    @classmethod
    def of(cls, figure: str, values: Sequence[float], edges: Sequence[float]) -> Self:
        """Count values, at least one, between given edges."""
        shares = tuple(count / len(values) for count in binned(values, edges))
        return cls(figure=figure, edges=tuple(edges), shares=shares, count=len(values))

    @classmethod
    def spread(cls, figure: str, values: Sequence[float]) -> Self:
        """Count values, at least one, in bins that each hold about a tenth of them.

        Where there are fewer distinct values than bins, each has a bin of its own, and there is one for
        what lies beyond them on either side.
        """
        distinct = np.unique(np.asarray(values, np.float64))
        if len(distinct) > BINS:
            inner = np.quantile(np.asarray(values, np.float64), np.arange(1, BINS) / BINS)
            return cls.of(figure, values, np.unique(inner).tolist())
        middles = ((distinct[1:] + distinct[:-1]) / 2).tolist()
        beyond = float(np.nextafter(distinct[-1], np.inf))
        return cls.of(figure, values, [float(distinct[0]), *middles, beyond])


Reference = tuple[Histogram, ...]
"""What a bundle was calibrated on: how the files of the validation split scored, in bins of a tenth, and
their statistics of preparation. Empty where nobody wrote it down."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How far one figure of one bundle has moved.

    Attributes:
        bundle: Id of the bundle.
        figure: ``score``, or the name of a statistic of preparation.
        status: ``measured``; ``too few`` files were seen; or the bundle holds ``no reference``.
        seen: Number of files that were seen.
        psi: Population stability index, 0 or above; None unless measured.
        ks: Largest distance of the cumulative shares, in [0, 1]; None unless measured.
        chance: The index that one of 20 samples of this size exceeds although nothing moved.
    """

    bundle: str
    figure: str
    status: Status
    seen: int
    psi: float | None = None
    ks: float | None = None
    chance: float | None = None

    @property
    def excess(self) -> float | None:
        """The index, 0 where it is within chance; None unless measured."""
        if self.psi is None or self.chance is None:
            return None
        return self.psi if self.psi > self.chance else 0.0


def binned(values: Iterable[float], edges: Sequence[float]) -> list[int]:
    """Return how many values lie in each bin between some edges and beyond them."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect.bisect_right(edges, value)] += 1
    return counts


def prep_statistics(examples: Sequence[Mapping[str, NDArray[Any]]], names: Iterable[str]) -> dict[str, float]:
    """Return what is followed of a prepared file; the same for the reference and while serving.

    For every large column: mean and standard deviation of its values, the mean of these over the
    Examples. Of pictures they are brightness and contrast, of sound offset and level. Integers are
    taken as a share of the largest one of their type. And ``parts``, the number of Examples.

    Args:
        examples: Those of one file, at least one.
        names: Columns to look at; ``Prep.needs``, for others are not kept.
    """
    return merged([example_statistics(example, names) for example in examples])


def example_statistics(example: Mapping[str, NDArray[Any]], names: Iterable[str]) -> dict[str, float]:
    """Return mean and standard deviation of every large column of an Example."""
    found: dict[str, float] = {}
    for name in names:
        if example[name].size < LEAST_VALUES:
            continue
        sample_N = _sample(example[name])
        found[f"{name}_mean"] = float(sample_N.mean())
        found[f"{name}_std"] = float(sample_N.std())
    return found


def merged(statistics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the statistics of a file from those of its Examples."""
    means = {name: math.fsum(each[name] for each in statistics) / len(statistics) for name in statistics[0]}
    return means | {PARTS: float(len(statistics))}


def psi(reference: Histogram, counts: Sequence[int]) -> float:
    """Return the population stability index of counts in the bins of a reference, 0 or above.

    The sum over bins of ``(q - p) ln(q / p)``, with p the shares of the reference and q those seen
    (Siddiqi, Credit Risk Scorecards, 2006), which is the symmetric divergence of Kullback and Leibler
    (1951). Half a file is added to every bin, so that an empty one does not make it infinite.
    """
    p_B = _smooth(np.asarray(reference.shares) * reference.count)
    q_B = _smooth(np.asarray(counts, np.float64))
    return float(((q_B - p_B) * np.log(q_B / p_B)).sum())


def ks(reference: Histogram, counts: Sequence[int]) -> float:
    """Return the largest distance of the two cumulative shares at the edges, in [0, 1].

    Kolmogorov's and Smirnov's two-sample distance (Smirnov, 1948) is at least as large: it also looks
    between the edges.
    """
    seen_B = np.cumsum(counts) / sum(counts)
    return float(np.abs(seen_B - np.cumsum(reference.shares)).max())


def chance(reference: Histogram, seen: int) -> float:
    """Return the index that one of 20 samples exceeds although nothing moved.

    For n and m files and B bins the index is then about ``(1/n + 1/m)`` times a chi-squared variable
    with B - 1 degrees of freedom (Yurdakul & Naranjo, 2020); its 95 % quantile by Wilson and Hilferty
    (1931).
    """
    degrees = len(reference.shares) - 1
    cube = 1 - 2 / (9 * degrees) + Z_95 * math.sqrt(2 / (9 * degrees))
    return (1 / seen + 1 / reference.count) * degrees * cube**3


def drifts(references: Mapping[str, Reference], records: Iterable[Record]) -> tuple[Drift, ...]:
    """Compare what was seen with the reference of every bundle; only what has a reference is compared.

    Answers from a cache are left out: they repeat what was seen before.

    Args:
        references: By id of the bundle.
        records: What was seen lately.
    """
    fresh = [record for record in records if not record.cached]
    found = []
    for bundle, reference in references.items():
        known = {histogram.figure: histogram for histogram in reference}
        scores = [record.scores[bundle] for record in fresh if bundle in record.scores]
        found.append(_drift(bundle, SCORE, known.pop(SCORE, None), scores))
        told = [record.prep[bundle] for record in fresh if bundle in record.prep]
        for name in sorted({*known, *(name for each in told for name in each)}):
            values = [each[name] for each in told if name in each]
            found.append(_drift(bundle, name, known.get(name), values))
    return tuple(found)


def _drift(bundle: str, figure: str, reference: Histogram | None, values: Sequence[float]) -> Drift:
    if reference is None or len(values) < FEWEST:
        status: Status = "no reference" if reference is None else "too few"
        return Drift(bundle=bundle, figure=figure, status=status, seen=len(values))
    counts = binned(values, reference.edges)
    return Drift(
        bundle=bundle,
        figure=figure,
        status="measured",
        seen=len(values),
        psi=psi(reference, counts),
        ks=ks(reference, counts),
        chance=chance(reference, len(values)),
    )


def _smooth(counts_B: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed_B = counts_B + SMOOTHING
    return np.asarray(smoothed_B / smoothed_B.sum())


def _sample(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return evenly spaced values of an array, at most about ``LOOKED_AT``, integers in [-1, 1]."""
    step = max(1, values.size // LOOKED_AT) | 1
    # A multiple of the number of colours would look at one colour only.
    step += 2 if step % 3 == 0 else 0
    sample_N = values.reshape(-1)[::step].astype(np.float64)
    return sample_N / np.iinfo(values.dtype).max if values.dtype.kind in "iu" else sample_N
