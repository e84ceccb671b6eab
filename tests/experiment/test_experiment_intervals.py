"""Figures against other libraries, against formulas by hand, and against simulation."""

import numpy as np
import pytest
import scipy
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from deepscan.experiment import intervals


def draws(seed=0):
    return np.random.default_rng(seed)


def covers(figure, truth):
    return figure.low <= truth <= figure.high


def test_a_share_has_the_score_interval():
    figure = intervals.share(np.arange(40) < 13)
    other = scipy.stats.binomtest(13, 40).proportion_ci(method="wilson")
    assert (figure.value, figure.low, figure.high) == pytest.approx((13 / 40, other.low, other.high))


def test_a_mean_has_students_interval():
    values = draws().normal(size=12)
    figure = intervals.mean(values)
    other = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert (figure.value, figure.low, figure.high) == pytest.approx((values.mean(), other.low, other.high))


def test_two_arms_of_single_answers_have_nearly_welchs_interval():
    mine, other = draws(1).normal(size=60), draws(2).normal(1, 3, size=30)
    figure = intervals.arms_difference(mine, other, (np.arange(60), np.arange(30)))
    welch = scipy.stats.ttest_ind(other, mine, equal_var=False).confidence_interval()
    assert (figure.low, figure.high) == pytest.approx((welch.low, welch.high), abs=1e-9)


def test_a_caller_who_asks_ten_times_is_not_ten_callers():
    mine, other = draws(1).normal(size=30), draws(2).normal(size=30)
    once = intervals.arms_difference(mine, other, (np.arange(30), np.arange(30)))
    ten = (np.repeat(np.arange(30), 10), np.repeat(np.arange(30), 10))
    repeated = intervals.arms_difference(np.repeat(mine, 10), np.repeat(other, 10), ten)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))


def test_the_interval_of_arms_covers_the_truth_where_callers_differ():
    rng, hits, naive = draws(12), 0, 0
    for _ in range(300):
        rates, counts = rng.beta(4, 1, (2, 40)), rng.integers(1, 20, (2, 40))
        callers = tuple(np.repeat(np.arange(40), each) for each in counts)
        mine, other = ((rng.random(len(c)) < r[c]).astype(float) for r, c in zip(rates, callers, strict=True))
        hits += covers(intervals.arms_difference(mine, other, callers), 0)
        alone = (np.arange(len(mine)), np.arange(len(other)))
        naive += covers(intervals.arms_difference(mine, other, alone), 0)
    assert hits / 300 > 0.91
    assert naive / 300 < 0.85, "or callers need not be looked at"


def test_a_single_caller_makes_no_interval():
    figure = intervals.arms_difference(np.ones(5), np.zeros(5), (np.zeros(5), np.arange(5)))
    assert (figure.value, figure.low, figure.high) == (-1, None, None)


def test_arms_without_any_spread_have_an_interval_of_no_width():
    figure = intervals.arms_difference(np.ones(5), np.zeros(5), (np.arange(5), np.arange(5)))
    assert (figure.low, figure.high) == (-1, -1)


def test_the_interval_of_paired_shares_covers_the_truth():
    rng, hits = draws(3), 0
    for _ in range(500):
        mine = rng.random(80) < 0.8
        other = np.where(rng.random(80) < 0.2, rng.random(80) < 0.5, mine)
        hits += covers(intervals.paired_difference(mine, other), 0.2 * 0.5 - 0.2 * 0.8)
    assert 0.92 < hits / 500 <= 1


def test_paired_shares_by_hand():
    mine, other = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 1, 1], bool)
    figure = intervals.paired_difference(mine, other)
    half = 1.959963984540054 * ((2 + 1 + 1) - 1 / 7) ** 0.5 / 7
    assert figure.value == pytest.approx(0.2)
    assert (figure.low, figure.high) == pytest.approx((1 / 7 - half, 1 / 7 + half))


def test_shares_that_never_differ_still_have_an_interval():
    figure = intervals.paired_difference(np.ones(50, bool), np.ones(50, bool))
    assert figure.value == 0
    assert figure.low == -figure.high < 0


def test_kappa_is_that_of_another_library():
    rng = draws(4)
    mine = rng.choice(["real", "fake", "inconclusive"], 200)
    other = np.where(rng.random(200) < 0.7, mine, rng.choice(["real", "fake", "inconclusive"], 200))
    figure = intervals.kappa(mine.tolist(), other.tolist(), draws())
    assert figure.value == pytest.approx(cohen_kappa_score(mine, other))
    assert figure.low < figure.value < figure.high


def test_the_interval_of_kappa_covers_the_truth():
    rng, hits = draws(11), 0
    for _ in range(200):
        mine, chance = rng.choice(["real", "fake", "inconclusive"], (2, 120))
        other = np.where(rng.random(120) < 0.7, mine, chance)
        hits += covers(intervals.kappa(mine.tolist(), other.tolist(), rng), 0.7)
    assert 0.9 < hits / 200 <= 1


def test_kappa_is_not_defined_where_there_is_one_label_only():
    assert intervals.kappa(["real"] * 5, ["real"] * 5, draws()) == intervals.NOTHING


def test_kappa_of_full_agreement_is_1():
    figure = intervals.kappa(["real", "fake"] * 20, ["real", "fake"] * 20, draws())
    assert (figure.value, figure.low, figure.high) == (1, 1, 1)


def test_the_bootstrap_of_a_quantile_is_that_of_samples_that_were_drawn():
    ranked = np.sort(draws(5).lognormal(size=301))
    value, drawn = intervals._quantiles(ranked, 0.95, draws(6))
    samples = draws(7).choice(ranked, size=(4000, 301))
    other = np.quantile(samples, 0.95, axis=1, method="inverted_cdf")
    assert value == np.quantile(ranked, 0.95, method="inverted_cdf")
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    assert np.quantile(drawn, levels) == pytest.approx(np.quantile(other, levels), rel=0.1)


def test_a_ratio_of_times_covers_the_truth():
    rng, hits = draws(8), 0
    for _ in range(200):
        mine, other = rng.lognormal(size=150), 1.3 * rng.lognormal(size=100)
        hits += covers(intervals.quantile_ratio(mine, other, 0.5, rng), 1.3)
    assert 0.9 < hits / 200 <= 1


def test_auc_is_that_of_another_library():
    rng = draws(9)
    label = rng.choice(2, 300)
    probability = np.round(rng.random(300) * 0.7 + 0.3 * label, 2)
    figure = intervals.auc(label, probability)
    assert figure.value == pytest.approx(roc_auc_score(label, probability))
    assert 0 < figure.low < figure.value < figure.high < 1


def test_the_interval_of_auc_covers_the_truth():
    rng, hits = draws(10), 0
    truth = scipy.stats.norm.cdf(1 / 2**0.5)
    for _ in range(300):
        label = np.repeat([0, 1], [60, 40])
        hits += covers(intervals.auc(label, rng.normal(size=100) + label), truth)
    assert 0.92 < hits / 300 <= 1


def test_auc_has_no_interval_at_its_end_and_no_value_for_one_class():
    figure = intervals.auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert (figure.value, figure.low, figure.high) == (1, None, None)
    assert intervals.auc(np.array([1, 1]), np.array([0.1, 0.2])) == intervals.NOTHING


def test_a_single_value_has_no_interval():
    figure = intervals.mean(np.array([0.5]))
    assert (figure.value, figure.low, figure.high) == (0.5, None, None)


@pytest.mark.parametrize(
    "empty",
    [
        lambda none: intervals.share(none.astype(bool)),
        intervals.mean,
        lambda none: intervals.paired_difference(none.astype(bool), none.astype(bool)),
        lambda none: intervals.arms_difference(none, np.ones(3), (none, np.arange(3))),
        lambda none: intervals.quantile_ratio(none, np.ones(3), 0.5, draws()),
        lambda none: intervals.kappa([], [], draws()),
    ],
)
def test_nothing_gives_no_figure(empty):
    assert empty(np.array([])) == intervals.NOTHING
