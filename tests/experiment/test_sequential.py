"""The test that may be looked at at any time, by simulation and by hand."""

import itertools
import math

import numpy as np
import pytest
import scipy

from deepscan.errors import ConfigError
from deepscan.experiment import sequential
from deepscan.experiment.sequential import blocks, follow

ALPHA = 0.05
RUNS, STEPS = 400, 400


def pairs(rng, lost, won, size=STEPS):
    """Differences of who was right: -1 with chance ``lost``, 1 with chance ``won``."""
    return rng.choice([-1.0, 0.0, 1.0], p=[lost, 1 - lost - won, won], size=size)


def naive_ever(values):
    """Whether a test for one look calls at any of the looks, a look after each value from the tenth on."""
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    error = np.sqrt((np.cumsum(values**2) / count - mean**2) / count)
    return bool((np.abs(mean) > 1.96 * error)[10:].any())


@pytest.mark.parametrize("chance", [0.05, 0.2, 0.5])
def test_who_looks_after_every_step_is_seldom_misled(chance):
    rng = np.random.default_rng(1)
    runs = [pairs(rng, chance, chance) for _ in range(RUNS)]
    alarms = sum(follow(values, ALPHA).decided_at is not None for values in runs)
    naive = sum(map(naive_ever, runs))
    assert alarms / RUNS <= ALPHA, "the bound is on the chance; with this seed it holds for the count too"
    assert naive / RUNS > 4 * ALPHA, "or this test could not tell a test for one look from this one"


def test_a_difference_is_found():
    rng = np.random.default_rng(2)
    found = [follow(pairs(rng, 0.05, 0.15, 800), ALPHA) for _ in range(100)]
    assert np.mean([each.decided_at is not None for each in found]) > 0.9
    assert all(each.low > 0 for each in found if each.decided_at)


def test_the_interval_holds_the_truth_at_all_looks_together():
    rng = np.random.default_rng(3)
    misses = 0
    for _ in range(200):
        found = follow(pairs(rng, 0.1, 0.3, 300), ALPHA)
        misses += found.low is None or not found.low <= 0.2 <= found.high
    assert misses / 200 <= ALPHA


def test_two_arms_of_equal_accuracy_seldom_differ():
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(RUNS):
        arm = rng.choice(2, p=[0.8, 0.2], size=600)
        alarms += follow(blocks(arm, rng.random(600) < 0.8), ALPHA).decided_at is not None
    assert alarms / RUNS <= ALPHA


def test_two_arms_that_differ_are_told_apart():
    rng = np.random.default_rng(5)
    arm = rng.choice(2, size=4000)
    found = follow(blocks(arm, rng.random(4000) < np.where(arm, 0.8, 0.9)), ALPHA)
    assert found.high < 0
    assert found.low <= -0.1 <= found.high


def test_the_interval_only_shrinks_and_excludes_0_exactly_when_it_is_decided():
    values = pairs(np.random.default_rng(6), 0.05, 0.2, 200)
    looks = [follow(values[:steps], ALPHA) for steps in range(0, 201, 5)]
    assert all(a.low <= b.low and b.high <= a.high for a, b in itertools.pairwise(looks))
    assert all((look.low > 0) == (look.decided_at is not None) for look in looks)
    assert all((look.evidence >= 1 / ALPHA) == (look.decided_at is not None) for look in looks)
    assert looks[-1].decided_at in range(1, 201)
    assert {look.decided_at for look in looks} == {None, looks[-1].decided_at}, "no look takes it back"


def test_the_evidence_is_what_the_gamblers_hold():
    """By hand: bets as the paper has them, but never more than half of the wealth at risk."""
    unit = (np.array([1.0, 1.0, 0.0, 1.0]) + 1) / 2
    up = down = 0.5
    held, seen, squares = [], [0.5], [0.25]
    for step, value in enumerate(unit, 1):
        bet = math.sqrt(2 * math.log(2 / ALPHA) / (sum(squares) / step * step * math.log(step + 1)))
        bet = min(bet, 1.0)
        up, down = up * (1 + bet * (value - 0.5)), down * (1 - bet * (value - 0.5))
        held.append(max(up, down))
        seen.append(value)
        squares.append((value - sum(seen) / (step + 1)) ** 2)
    assert follow(2 * unit - 1, ALPHA).evidence == pytest.approx(max(held))


def test_the_wealth_of_a_gambler_is_fair_where_the_mean_is_true():
    """The sum over all outcomes of chance times wealth is the stake: no approximation hides in it."""
    total = 0.0
    for outcome in itertools.product([-1.0, 1.0], repeat=6):
        total += _wealth(np.array(outcome)) / 2**6
    assert total == pytest.approx(1.0)


def _wealth(values):
    unit = (values + 1) / 2
    bets = sequential._bets(unit, ALPHA)
    up, down = (sequential._log_wealth(each, bets, 0.5)[-1] for each in (unit, 1 - unit))
    return math.exp(up) + math.exp(down)


def test_it_costs_little_against_a_test_for_one_look():
    """The width at 2000 values is less than twice that of the interval that may be looked at once."""
    values = pairs(np.random.default_rng(7), 0.1, 0.1, 2000)
    found = follow(values, ALPHA)
    assert found.high - found.low < 2 * 2 * scipy.stats.norm.ppf(0.975) * math.sqrt(0.2 / 2000)


def test_a_mean_that_changes_is_told():
    found = follow(np.concatenate([np.ones(100), -np.ones(400)]), ALPHA)
    assert (found.low, found.high) == (None, None)


def test_mirrored_values_give_the_mirrored_interval():
    values = pairs(np.random.default_rng(8), 0.1, 0.3, 100)
    found, mirrored = follow(values, ALPHA), follow(-values, ALPHA)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_no_values_say_nothing():
    found = follow(np.array([]), ALPHA)
    assert (found.steps, found.value, found.low, found.high) == (0, None, -1.0, 1.0)
    assert found.decided_at is None


@pytest.mark.parametrize(("values", "alpha"), [([0.0], 0), ([0.0], 1), ([1.5], 0.05), ([math.nan], 0.05)])
def test_what_is_out_of_range_is_refused(values, alpha):
    with pytest.raises(ConfigError):
        follow(np.array(values), alpha)


def test_blocks_of_two_even_arms_are_pairs():
    assert blocks([0, 1, 1, 0, 0], [1, 0, 1, 1, 0]).tolist() == [-1, 0]


def test_blocks_of_uneven_arms_use_all_outcomes():
    """Of any nine outcomes of arm 0 in a row one is 1; the first block knows no ratio yet."""
    arm = ([0] * 9 + [1]) * 30
    outcome = ([1] + [0] * 9) * 30
    assert blocks(arm, outcome).tolist() == pytest.approx([-1.0] + [-1 / 9] * 29)


def test_a_block_waits_for_both_arms():
    assert blocks([0, 0, 0], [1, 1, 1]).tolist() == []
    assert blocks([], []).tolist() == []


def test_how_outcomes_are_blocked_does_not_depend_on_them():
    arm = np.random.default_rng(10).choice(2, p=[0.7, 0.3], size=200).tolist()
    assert len(blocks(arm, [0.0] * 200)) == len(blocks(arm, [1.0] * 200))
    assert blocks(arm, [1.0] * 200).tolist() == [0.0] * len(blocks(arm, [1.0] * 200))
