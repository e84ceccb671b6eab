"""Two detectors on the same files: DeLong by its definition, McNemar by hand, the bootstrap by copies."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from deepscan.errors import DataError
from deepscan.metrics import auc
from deepscan.metrics.paired import compare, delong, delong_difference, mcnemar
from tests.metrics.samples import judged, random


def placements(label, logit):
    """By the definition: of each fake the share of reals below it, of each real that of fakes above it."""
    wins = [[1.0 if f > r else 0.5 if f == r else 0.0 for r in logit[label == 0]] for f in logit[label == 1]]
    return np.mean(wins, axis=1), np.mean(wins, axis=0)


def slowly(label, logits):
    over_fakes, over_reals = zip(*(placements(label, logit) for logit in logits), strict=True)
    fakes, reals = len(over_fakes[0]), len(over_reals[0])
    return [np.mean(each) for each in over_fakes], np.cov(over_fakes) / fakes + np.cov(over_reals) / reals


@pytest.mark.parametrize("decimals", [6, 0])
def test_the_fast_algorithm_gives_what_the_definition_gives(decimals):
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 90)
    logits = np.round(label + rng.normal(0, 1, (3, 90)) + rng.normal(0, 1, 90), decimals)
    aucs, covariance = delong(label, logits)
    slow_aucs, slow_covariance = slowly(label, logits)
    assert aucs == pytest.approx(slow_aucs, abs=1e-12)
    assert covariance == pytest.approx(slow_covariance, abs=1e-12)
    assert aucs == pytest.approx([auc(label, each) for each in logits], abs=1e-12)


def test_the_difference_rests_on_the_covariance():
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 120)
    first, second = label + rng.normal(0, 1, (2, 120)) + rng.normal(0, 1, 120)
    (one, two), found = delong_difference(label, first, second)
    _, cov = slowly(label, [first, second])
    error = math.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    assert found.figure.value == pytest.approx(one - two)
    assert found.figure.high - found.figure.low == pytest.approx(2 * 1.959963985 * error)
    assert found.p == pytest.approx(math.erfc(abs(one - two) / error / math.sqrt(2)))


def test_a_detector_does_not_differ_from_itself():
    files = random()
    found = compare(files, files, (0.5, 0.5), np.random.default_rng(0), 50)
    assert found.delong.figure.value == found.delong.figure.low == found.delong.figure.high == 0
    assert found.delong.p == found.bootstrap.p == found.mcnemar.p == 1
    assert found.bootstrap.figure.low == found.bootstrap.figure.high == 0
    assert found.accuracy.figure.value == 0


def test_classes_of_too_few_files_have_no_p():
    label = np.array([1, 0, 0])
    (one, two), found = delong_difference(label, np.array([2.0, 1, 0]), np.array([0.5, 1, 0]))
    assert (one, two) == (1, 0.5)
    assert (found.figure.value, found.figure.low, found.p) == (0.5, None, None)
    assert delong_difference(np.ones(3), np.arange(3.0), np.arange(3.0))[0] == (None, None)


def test_two_perfect_orders_that_differ_from_two_inverted_ones_have_no_spread_to_judge_by():
    label = np.array([1, 1, 0, 0])
    _, found = delong_difference(label, np.array([2.0, 2, 1, 1]), np.array([1.0, 1, 2, 2]))
    assert found.figure.value == 1
    assert found.p is None


def test_mcnemar_by_hand():
    first = np.array([1] * 9 + [0] * 1 + [1] * 5, bool)
    second = np.array([0] * 9 + [1] * 1 + [1] * 5, bool)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (9, 1)
    assert found.p == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert mcnemar(first, first).p == 1


def test_each_detector_is_called_at_its_own_threshold():
    files = judged([1, 0, 1, 0], [3.0, -3, 3, -3])
    low = judged([1, 0, 1, 0], [-1.0, -3, -1, -3])
    fair = compare(files, low, (0.5, 0.2), np.random.default_rng(0), 0)
    assert (fair.mcnemar.only_first, fair.accuracy.figure.value) == (0, 0)
    unfair = compare(files, low, (0.5, 0.5), np.random.default_rng(0), 0)
    assert (unfair.mcnemar.only_first, unfair.accuracy.figure.value) == (2, 0.5)


def test_copies_of_files_make_delong_surer_and_the_bootstrap_over_sources_not():
    rng = np.random.default_rng(5)
    label = np.arange(60) % 2
    first, second = label * 1.5 + rng.normal(0, 1, (2, 60))
    source = np.arange(60).astype(str)
    once, tenfold = (
        compare(
            judged(label.repeat(n), first.repeat(n), source.repeat(n)),
            judged(label.repeat(n), second.repeat(n), source.repeat(n)),
            (0.5, 0.5),
            np.random.default_rng(0),
            300,
        )
        for n in (1, 10)
    )

    def width(difference):
        return difference.figure.high - difference.figure.low

    assert width(tenfold.delong) < 0.4 * width(once.delong)
    assert width(tenfold.bootstrap) == pytest.approx(width(once.bootstrap), rel=1e-9)
    assert tenfold.bootstrap.p == once.bootstrap.p


def test_other_files_cannot_be_compared_in_pairs():
    files = random(20)
    with pytest.raises(DataError, match="20 and 19 files"):
        compare(files, files.where(np.arange(20) > 0), (0.5, 0.5), np.random.default_rng(0))
    turned = judged(1 - files.label, files.logit)
    with pytest.raises(DataError, match="in one order"):
        compare(files, turned, (0.5, 0.5), np.random.default_rng(0))
