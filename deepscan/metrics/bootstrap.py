"""Intervals by drawing sources again.

Files of one person or recording resemble each other. A bootstrap over files takes each for a new piece of
knowledge and gives intervals that are too narrow; this one draws whole sources with replacement (the
cluster bootstrap: Davison & Hinkley, 1997, section 3.8). ``tests/metrics/test_coverage.py`` counts how
often its intervals hold the truth.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.metrics.records import NOTHING, Figure

CHUNK_CELLS = 2_000_000
LEVELS = (2.5, 97.5)
Floats = NDArray[np.float64]
Judge = Callable[[Floats], Mapping[str, Floats]]
"""Computes figures, float [R], for weights of the files, float [R, N]; NaN where one is not defined."""


def figures(
    judge: Judge, source: NDArray[Any], rng: np.random.Generator, replicates: int
) -> dict[str, Figure]:
    """Return what ``judge`` computes of all files, with 95 % percentile intervals over sources.

    Efron & Tibshirani (1993), chapter 13. There are no intervals where all files are of one source.

    Args:
        judge: Computes the figures.
        source: str [N], the source of each file.
        rng: Draws the sources.
        replicates: Number of draws; 0 = no intervals.
    """
    values = judge(np.ones((1, len(source))))
    drawn = replicate(judge, source, rng, replicates)
    return {name: percentile(float(value[0]), drawn.get(name)) for name, value in values.items()}


def replicate(
    judge: Judge, source: NDArray[Any], rng: np.random.Generator, replicates: int
) -> dict[str, Floats]:
    """Return each figure's replicates, float [R], NaN where undefined; none for a single source."""
    chunks = [judge(weight) for weight in weights(source, rng, replicates)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]} if chunks else {}


def weights(source: NDArray[Any], rng: np.random.Generator, replicates: int) -> Iterator[Floats]:
    """Yield how often each file was drawn with its source, float [r, N], some replicates at a time."""
    sources, index = np.unique(source, return_inverse=True)
    if len(sources) < 2 or replicates == 0:
        return
    share = np.full(len(sources), 1 / len(sources))
    rows = max(1, CHUNK_CELLS // len(index))
    for start in range(0, replicates, rows):
        drawn = rng.multinomial(len(sources), share, size=min(rows, replicates - start))
        yield drawn[:, index].astype(np.float64)


def percentile(value: float, drawn: Floats | None) -> Figure:
    """Summarise; replicates in which the figure is undefined (one class drawn) do not count."""
    if np.isnan(value):
        return NOTHING
    kept = _defined(drawn)
    if not kept.size:
        return Figure(value=value, low=None, high=None)
    low, high = np.percentile(kept, LEVELS)
    return Figure(value=value, low=float(low), high=float(high))


def largest(values: Floats, drawn: Floats | None) -> Figure:
    """Return the largest size of several differences, with an interval that knows it was picked.

    The largest of several is above 0 by chance alone. So the interval holds for all differences at once: in
    95 % of the replicates none of them is further from its value than ``c`` of its standard errors (the
    bootstrap's studentised maximum: Westfall & Young, 1993, chapter 2). The truth is then at least the
    largest of ``|value| - c error`` and at most the largest of ``|value| + c error``.

    Args:
        values: float [D] in [-1, 1], the differences; NaN = undefined.
        drawn: Their replicates, float [R, D]; None = there are none.
    """
    if not values.size or np.isnan(values).any():
        return NOTHING
    sizes = np.abs(values)
    value = float(sizes.max())
    kept = np.empty((0, values.size)) if drawn is None else drawn[~np.isnan(drawn).any(axis=1)]
    if len(kept) < 2:
        return Figure(value=value, low=None, high=None)
    error = kept.std(axis=0)
    away = np.divide(np.abs(kept - values), error, out=np.zeros_like(kept), where=error > 0)
    reach = float(np.percentile(away.max(axis=1), 95)) * error
    low, high = np.clip([(sizes - reach).max(), (sizes + reach).max()], 0, 1).tolist()
    return Figure(value=value, low=low, high=high)


def two_sided(drawn: Floats | None) -> float | None:
    """Return how probable a difference as far from 0 would be, from its replicates; None without any.

    Twice the share of replicates on the rarer side of 0, the value itself counted as one of them.
    """
    kept = _defined(drawn)
    if not kept.size:
        return None
    rarer = min(int((kept <= 0).sum()), int((kept >= 0).sum()))
    return float(min(1.0, 2 * (rarer + 1) / (len(kept) + 1)))


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _defined(drawn: Floats | None) -> Floats:
    return np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
