"""Figures of answers with their 95 % intervals, each for one look at a fixed number of answers.

What counts as one is said by who calls: contents, or the callers who sent them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.calibration import Z_95, wilson_interval
from deepscan.metrics import Figure

Floats = NDArray[np.float64]
NOTHING = Figure(value=None, low=None, high=None)
REPLICATES = 2000


def share(hit: NDArray[Any]) -> Figure:
    """Return the share of true values in bool [N], with the score interval (Wilson, 1927)."""
    if not len(hit):
        return NOTHING
    low, high = wilson_interval(int(hit.sum()), len(hit))
    return Figure(value=float(hit.mean()), low=low, high=high)


def mean(values: Floats) -> Figure:
    """Return the mean of float [N], with Student's interval; no interval for a single value."""
    if not len(values):
        return NOTHING
    if len(values) == 1:
        return Figure(value=float(values[0]), low=None, high=None)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return _around(float(values.mean()), error, len(values) - 1)


def paired_difference(mine: NDArray[Any], other: NDArray[Any]) -> Figure:
    """Return the difference of two shares over the same things, ``other`` less ``mine``, both bool [N].

    The interval is that of Agresti & Min (2005): half a thing more in each cell of the table, so that it
    has a width where nobody was wrong.
    """
    if not len(mine):
        return NOTHING
    lost, won, size = int((mine & ~other).sum()), int((~mine & other).sum()), len(mine) + 2
    middle = (won - lost) / size
    half = Z_95 * math.sqrt(won + lost + 1 - (won - lost) ** 2 / size) / size
    value = (won - lost) / len(mine)
    return Figure(value=value, low=max(-1.0, middle - half), high=min(1.0, middle + half))


def arms_difference(mine: Floats, other: Floats, callers: tuple[NDArray[Any], NDArray[Any]]) -> Figure:
    """Return the difference of the means of two arms, ``other`` less ``mine``, float [N] and [M].

    The answers of one caller resemble each other, and a caller as a whole was put into an arm. So the
    interval rests on callers (the delta method of Deng, Knoblich & Lu, KDD 2018), with Welch's degrees of
    freedom; there is none where an arm has a single caller.

    Args:
        mine: Values of the first arm.
        other: Values of the second arm.
        callers: Who sent each of them, aligned with the values.
    """
    if not len(mine) or not len(other):
        return NOTHING
    value = float(other.mean() - mine.mean())
    errors = [_variance_of_mean(values, of) for values, of in zip((mine, other), callers, strict=True)]
    known = [each for each in errors if each is not None]
    if len(known) < 2:
        return Figure(value=value, low=None, high=None)
    total = sum(variance for variance, _ in known)
    spread = sum(variance**2 / freedom for variance, freedom in known)
    return _around(value, math.sqrt(total), total**2 / spread if spread else 1.0)


def _variance_of_mean(values: Floats, callers: NDArray[Any]) -> tuple[float, int] | None:
    """Return the variance of a mean over callers and its degrees of freedom; None for a single caller."""
    known, caller = np.unique(callers, return_inverse=True)
    if len(known) < 2:
        return None
    sums = np.bincount(caller, weights=values - values.mean())
    freedom = len(known) - 1
    return float((sums**2).sum() * len(known) / freedom / len(values) ** 2), freedom


def _around(value: float, error: float, freedom: float) -> Figure:
    half = float(scipy.stats.t.ppf(0.975, freedom)) * error
    return Figure(value=value, low=value - half, high=value + half)


def kappa(mine: Sequence[str], other: Sequence[str], rng: np.random.Generator) -> Figure:
    """Return by how much two agree beyond chance (Cohen, 1960), with a bootstrap interval over the things.

    1 is full agreement and 0 what chance gives; None where both always say the same one thing.
    """
    names = sorted({*mine, *other})
    place = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for first, second in zip(mine, other, strict=True):
        table[place[first], place[second]] += 1
    if len(names) < 2:
        return NOTHING
    drawn = rng.multinomial(len(mine), table.ravel() / table.sum(), size=REPLICATES)
    replicates = _kappas(drawn.reshape(-1, *table.shape).astype(np.float64))
    low, high = np.percentile(replicates[~np.isnan(replicates)], (2.5, 97.5))
    return Figure(value=float(_kappas(table[None])[0]), low=float(low), high=float(high))


def _kappas(tables: Floats) -> Floats:
    """Return kappa of tables float [R, K, K]; NaN where chance alone gives full agreement."""
    tables = tables / tables.sum(axis=(1, 2), keepdims=True)
    agreed = np.trace(tables, axis1=1, axis2=2)
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1, (agreed - chance) / (1 - chance), np.nan)


def quantile_ratio(mine: Floats, other: Floats, level: float, rng: np.random.Generator) -> Figure:
    """Return the ratio of a quantile of ``other`` to that of ``mine``, with a bootstrap interval.

    The quantile of a bootstrap sample is drawn at once, by the law of order statistics: the k-th of n
    uniform numbers has the distribution Beta(k, n + 1 - k). No sample has to be made, so it costs the same
    for any number of answers.

    Args:
        mine: float [N] above 0.
        other: float [M] above 0.
        level: In (0, 1); 0.5 is the median.
        rng: Draws the replicates.
    """
    if not len(mine) or not len(other):
        return NOTHING
    values, drawn = zip(*(_quantiles(np.sort(each), level, rng) for each in (mine, other)), strict=True)
    low, high = np.percentile(drawn[1] / drawn[0], (2.5, 97.5))
    return Figure(value=values[1] / values[0], low=float(low), high=float(high))


def _quantiles(ranked: Floats, level: float, rng: np.random.Generator) -> tuple[float, Floats]:
    count = len(ranked)
    place = max(1, math.ceil(level * count))
    drawn = rng.beta(place, count + 1 - place, size=REPLICATES)
    return float(ranked[place - 1]), ranked[np.minimum((drawn * count).astype(np.int64), count - 1)]


def auc(label: NDArray[Any], probability: Floats) -> Figure:
    """Return the chance that a fake ranks above a real file, with an interval (DeLong et al., 1988).

    The interval is made on the scale of log-odds, so that it stays in [0, 1]; there is none for an AUC of
    0 or 1 or for a class of one file. None where a class is missing.

    Args:
        label: [N], 1 = fake, 0 = real.
        probability: float [N], ranks the files.
    """
    fake, real = probability[label == 1], probability[label == 0]
    if not len(fake) or not len(real):
        return NOTHING
    ranks = scipy.stats.rankdata(np.concatenate([fake, real]))
    above = (ranks[: len(fake)] - scipy.stats.rankdata(fake)) / len(real)
    below = 1 - (ranks[len(fake) :] - scipy.stats.rankdata(real)) / len(fake)
    value = float(above.mean())
    if value in (0.0, 1.0) or min(len(fake), len(real)) < 2:
        return Figure(value=value, low=None, high=None)
    error = math.sqrt(above.var(ddof=1) / len(fake) + below.var(ddof=1) / len(real))
    middle, half = math.log(value / (1 - value)), Z_95 * error / (value * (1 - value))
    low, high = scipy.special.expit([middle - half, middle + half]).tolist()
    return Figure(value=value, low=low, high=high)
