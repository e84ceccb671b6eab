"""A test that may be looked at whenever one likes: a confidence sequence for a difference of shares.

An ordinary interval holds for one look at a number of files that was fixed before. Who looks every day
and stops at the first good one is wrong far more often than it says. The interval here holds at all
looks at once, however often and why ever one looks (Ville, 1939).

It is the hedged betting sequence of Waudby-Smith & Ramdas, "Estimating means of bounded random variables
by betting" (JRSS B, 2024, section 4.4): for every candidate mean m one gambler bets that the mean is
larger, one that it is smaller. Where m is true no gambler can expect to win, so both together reach
1 / alpha times their stake with a chance of at most alpha, ever. The m at which nobody has are the
interval. Nothing is approximated: the values only have to be bounded and of one mean given their past.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import ConfigError

Floats = NDArray[np.float64]
MOST_BET = 0.5
"""Largest share of its wealth that a gambler can lose in one bet."""

_HALVINGS = 40


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sequential:
    """What the values say after any number of looks.

    Attributes:
        steps: How many values there were.
        value: Their mean in [-1, 1]; None where there were none.
        low: Lower end of the interval in [-1, 1]; with ``high`` None where no mean fits: it changed.
        high: Upper end.
        alpha: Rate of false alarms, over all looks together.
        evidence: The most that the gamblers ever had, in stakes, had the mean been 0: 1 / alpha decides.
        decided_at: The step at which 0 was left out of the interval; None = not yet.
    """

    steps: int
    value: float | None
    low: float | None
    high: float | None
    alpha: float
    evidence: float
    decided_at: int | None


def follow(values: NDArray[Any], alpha: float) -> Sequential:
    """Return the confidence sequence for the mean of values, at its present end.

    Args:
        values: float [N] in [-1, 1], in the order in which they became known.
        alpha: In (0, 1).

    Raises:
        ConfigError: ``alpha`` or a value is out of range.
    """
    values = np.asarray(values, dtype=np.float64)
    if not 0 < alpha < 1:
        msg = f"The rate of false alarms cannot be {alpha}; give a number between 0 and 1, such as 0.05."
        raise ConfigError(msg)
    if not (np.abs(values) <= 1).all():
        msg = "A value of a confidence sequence is outside of [-1, 1]; give differences of shares."
        raise ConfigError(msg)
    unit = (values + 1) / 2
    bets = _bets(unit, alpha)
    low, high = 2 * _bound(unit, bets, alpha) - 1, 1 - 2 * _bound(1 - unit, bets, alpha)
    fits = low <= high
    wealth = np.maximum(_log_wealth(unit, bets, 0.5), _log_wealth(1 - unit, bets, 0.5))
    reached = np.flatnonzero(wealth >= -math.log(alpha))
    return Sequential(
        steps=len(values),
        value=float(values.mean()) if len(values) else None,
        low=low if fits else None,
        high=high if fits else None,
        alpha=alpha,
        evidence=math.exp(min(float(wealth.max(initial=math.log(0.5))), 700.0)),
        decided_at=int(reached[0]) + 1 if reached.size else None,
    )


def blocks(arm: Sequence[int], outcome: Sequence[float]) -> Floats:
    """Return differences of arm 1 and arm 0, float [B] in [-1, 1], one for each block of both arms' outcomes.

    Each has the difference of the arms' means as its own mean, however many outcomes are in it. How many
    are follows from how often the arms were seen before the block, and never from the outcomes: with one
    in ten callers in an arm, nine outcomes of the other stand against one of it. What does not fill a block
    yet waits.

    Args:
        arm: 0 or 1 for each outcome, in the order in which they became known.
        outcome: In [0, 1].
    """
    waiting: tuple[list[float], list[float]] = ([], [])
    seen, needed = [0, 0], (1, 1)
    differences = []
    for side, value in zip(arm, outcome, strict=True):
        waiting[side].append(value)
        seen[side] += 1
        if all(len(held) >= count for held, count in zip(waiting, needed, strict=True)):
            mine, other = (sum(held[:count]) / count for held, count in zip(waiting, needed, strict=True))
            differences.append(other - mine)
            for held, count in zip(waiting, needed, strict=True):
                del held[:count]
            least = min(seen)
            needed = (round(seen[0] / least), round(seen[1] / least))
    return np.array(differences, dtype=np.float64)


def _bets(unit: Floats, alpha: float) -> Floats:
    """Return how much is bet at each step, float [N], known before the step (the paper's equation 26)."""
    step = np.arange(1, len(unit) + 1)
    mean = (0.5 + np.cumsum(unit)) / (step + 1)
    variance = (0.25 + np.cumsum((unit - mean) ** 2)) / (step + 1)
    before = np.concatenate([[0.25], variance])[: len(unit)]
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (before * step * np.log(step + 1))))


def _log_wealth(unit: Floats, bets: Floats, mean: float) -> Floats:
    """Return the logarithm of what the gambler has after each step who bets on more than ``mean``.

    Both have half a stake each, so that at any time either has no more than both.
    """
    allowed = np.minimum(bets, MOST_BET / mean)
    return np.asarray(math.log(0.5) + np.cumsum(np.log1p(allowed * (unit - mean))))


def _bound(unit: Floats, bets: Floats, alpha: float) -> float:
    """Return the smallest mean in [0, 1] against which the gambler has never won 1 / alpha."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        won = _log_wealth(unit, bets, middle).max(initial=-math.inf) >= -math.log(alpha)
        low, high = (middle, high) if won else (low, middle)
    return low
