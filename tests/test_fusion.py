"""Fusion against log-odds by hand."""

import math

import pytest

from deepscan.calibration import OperatingPoint
from deepscan.errors import ConfigError
from deepscan.fusion import FusionPolicy, Vote, fuse
from deepscan.verdict import Score, Uncertainty


def vote(probability, label="inconclusive", band=(0.4, 0.6), interval=(0.2, 0.9, 50)):
    low, high = band
    return Vote(
        score=Score(detector="d", bundle="b", modality="m", logit=0.0, probability=probability, label=label),
        point=OperatingPoint(threshold=(low + high) / 2, low=low, high=high),
        uncertainty=Uncertainty(low=interval[0], high=interval[1], files=interval[2]),
    )


def test_one_vote_stands_as_it_is():
    only = vote(0.83, label="fake")
    assert fuse([only], FusionPolicy()) == (0.83, only.uncertainty, "fake")


def test_several_votes_average_their_log_odds():
    probability, _, label = fuse([vote(0.9), vote(0.6), vote(0.2)], FusionPolicy())
    odds = (math.log(9) + math.log(1.5) + math.log(0.25)) / 3
    assert probability == pytest.approx(1 / (1 + math.exp(-odds)))
    assert label == "fake"


def test_opposite_votes_cancel():
    probability, _, label = fuse([vote(0.99), vote(0.01)], FusionPolicy())
    assert probability == pytest.approx(0.5)
    assert label == "inconclusive"


def test_the_interval_spans_those_of_all_members():
    _, uncertainty, _ = fuse(
        [vote(0.5, interval=(0.3, 0.6, 80)), vote(0.5, interval=(0.4, 0.8, 25))], FusionPolicy()
    )
    assert uncertainty == Uncertainty(low=0.3, high=0.8, files=25)


@pytest.mark.parametrize(("probability", "label"), [(0.85, "fake"), (0.5, "inconclusive"), (0.15, "real")])
def test_the_label_follows_the_average_of_the_bands(probability, label):
    strict, loose = (0.1, 0.9), (0.4, 0.6)
    # Log-odds of the ends average to those of .786 and .214.
    assert fuse([vote(probability, band=strict), vote(probability, band=loose)], FusionPolicy())[2] == label


def test_certainty_of_one_member_does_not_overrule_all_others():
    probability, _, _ = fuse([vote(1.0), vote(0.0)], FusionPolicy())
    assert probability == pytest.approx(0.5)
    probability, _, _ = fuse([vote(1.0), *[vote(0.05)] * 9], FusionPolicy())
    assert probability < 0.5


@pytest.mark.parametrize("votes", [0, 1])
def test_too_few_votes_make_no_answer_and_no_number(votes):
    assert fuse([vote(0.9)] * votes, FusionPolicy(min_detectors=2)) == (None, None, "inconclusive")


def test_order_does_not_matter():
    votes = [vote(0.9), vote(0.3), vote(0.6)]
    assert fuse(votes, FusionPolicy())[0] == pytest.approx(fuse(votes[::-1], FusionPolicy())[0])


def test_a_policy_that_needs_nobody_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        FusionPolicy(min_detectors=0)
