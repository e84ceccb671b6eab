"""Fusion by hand, and against SciPy."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from scipy.stats import entropy as scipy_entropy

from deepscan.calibration import Calibration, OperatingPoint, Reliability
from deepscan.config import from_dict, to_dict
from deepscan.errors import ConfigError
from deepscan.fusion import Attention, FusionPolicy, Line, Vote, entropy, fuse
from deepscan.verdict import Score, Uncertainty

PLAIN = ("log-odds", "mean", "majority", "maximum", "minimum")
LEARNT = {
    "attention": {"attention": Attention(scores={"a": 0.0, "b": 1.0, "c": -1.0}, decidedness=2.0)},
    "stack": {
        "lines": (
            Line(members=("a",), weights=(1.0,), offset=0.5),
            Line(members=("a", "b"), weights=(0.7, 0.4), offset=-0.2),
            Line(members=("b",), weights=(2.0,), offset=0.0),
        )
    },
}
POLICIES = [FusionPolicy(method=method, **LEARNT.get(method, {})) for method in (*PLAIN, *LEARNT)]


def vote(probability, label="inconclusive", band=(0.4, 0.6), interval=(0.2, 0.9, 50), bundle="b"):
    low, high = band
    return Vote(
        score=Score(
            detector="d" + bundle,
            bundle=bundle,
            modality="m",
            logit=0.0,
            probability=probability,
            label=label,
        ),
        point=OperatingPoint(threshold=(low + min(high, 1)) / 2, low=low, high=high),
        uncertainty=Uncertainty(low=interval[0], high=interval[1], files=interval[2]),
    )


def votes(**probabilities):
    return [vote(probability, bundle=bundle) for bundle, probability in probabilities.items()]


def answer(given, policy):
    return fuse(given, policy)[0]


# --- the methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", PLAIN)
def test_one_vote_stands_as_it_is(method):
    only = vote(0.83, label="fake")
    probability, uncertainty, label = fuse([only], FusionPolicy(method=method))
    assert (probability, label) == (0.83, "fake")
    assert (uncertainty.low, uncertainty.high, uncertainty.files) == (0.2, 0.9, 50)
    assert uncertainty.disagreement is None


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("log-odds", 1 / (1 + math.exp(-(2 * math.log(9) + math.log(1.5) + math.log(0.25)) / 4))),
        ("mean", (2 * 0.9 + 0.6 + 0.2) / 4),
        ("majority", 1 / (1 + math.exp(-(2 * math.log(9) + math.log(1.5)) / 3))),
        ("maximum", 0.9),
        ("minimum", 0.2),
    ],
)
def test_methods_by_hand(method, expected):
    given = votes(a=0.9, b=0.6, c=0.2)
    assert answer(given, FusionPolicy(method=method, weights={"a": 2.0})) == pytest.approx(expected)


def test_several_votes_average_their_log_odds_unless_told_otherwise():
    odds = (math.log(9) + math.log(1.5) + math.log(0.25)) / 3
    probability, _, label = fuse(votes(a=0.9, b=0.6, c=0.2), FusionPolicy())
    assert probability == pytest.approx(1 / (1 + math.exp(-odds)))
    assert label == "fake"


def test_the_majority_outvotes_one_that_is_sure():
    probability, _, label = fuse(votes(a=0.3, b=0.35, c=0.999), FusionPolicy(method="majority"))
    assert probability == pytest.approx(expit((logit(0.3) + logit(0.35)) / 2))
    assert label == "real"
    assert fuse(votes(a=0.3, c=0.7), FusionPolicy(method="majority"))[0] == pytest.approx(0.5)


def test_weights_decide_who_is_the_majority():
    given = votes(a=0.3, b=0.35, c=0.9)
    assert answer(given, FusionPolicy(method="majority", weights={"c": 3.0})) == pytest.approx(0.9)


def test_attention_by_hand():
    given = votes(a=0.9, b=0.6, c=0.2)
    weights = softmax([0 + 2 * 0.8, 1 + 2 * 0.2, -1 + 2 * 0.6])
    expected = expit(weights @ logit([0.9, 0.6, 0.2]))
    assert answer(given, POLICIES[5]) == pytest.approx(expected)


def test_attention_ignores_detectors_that_it_has_not_met():
    given = votes(a=0.9, b=0.6)
    assert answer([*given, vote(0.1, bundle="new")], POLICIES[5]) == answer(given, POLICIES[5])


@pytest.mark.parametrize(
    ("given", "odds"),
    [
        ({"a": 0.9, "b": 0.3}, 0.7 * math.log(9) + 0.4 * math.log(3 / 7) - 0.2),
        ({"a": 0.9, "b": 0.3, "c": 0.99}, 0.7 * math.log(9) + 0.4 * math.log(3 / 7) - 0.2),
        ({"a": 0.9}, math.log(9) + 0.5),
        ({"b": 0.3, "c": 0.9}, 2 * math.log(3 / 7)),
    ],
)
def test_a_stack_answers_by_the_largest_line_whose_members_voted(given, odds):
    assert answer(votes(**given), POLICIES[6]) == pytest.approx(expit(odds))


def test_a_stack_says_nothing_on_votes_that_it_never_saw():
    assert fuse(votes(c=0.9), POLICIES[6]) == (None, None, "inconclusive")


# --- what holds for all of them --------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.method)
def test_order_does_not_matter(policy):
    given = votes(a=0.9, b=0.3, c=0.6)
    answers = [answer(list(order), policy) for order in itertools.permutations(given)]
    assert answers == pytest.approx([answers[0]] * 6)


@pytest.mark.parametrize("method", ["log-odds", "mean", "maximum", "minimum", "stack"])
def test_a_more_suspicious_member_never_lowers_the_answer(method):
    policy = next(policy for policy in POLICIES if policy.method == method)
    grid = np.linspace(0, 1, 41)
    for other in (0.05, 0.5, 0.95):
        assert (np.diff([answer(votes(a=p, b=other), policy) for p in grid]) >= 0).all()


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.method)
def test_members_that_agree_decide_as_each_does_alone(policy):
    if policy.method != "stack":
        for probability, label in ((0.7, "fake"), (0.5, "inconclusive"), (0.3, "real")):
            fused, _, decided = fuse(votes(a=probability, b=probability), policy)
            assert fused == pytest.approx(probability)
            assert decided == label


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.method)
def test_an_absent_member_counts_as_if_it_did_not_exist(policy):
    lines = [line for line in policy.lines if line.members == ("a",)]
    without = FusionPolicy(
        method=policy.method,
        lines=tuple(lines),
        attention=policy.attention and Attention(scores={"a": 0.0}, decidedness=2.0),
    )
    assert answer(votes(a=0.9), policy) == pytest.approx(answer(votes(a=0.9), without))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.method)
def test_a_policy_survives_json(policy):
    fitted = FusionPolicy(
        method=policy.method,
        attention=policy.attention,
        lines=policy.lines,
        calibration=Calibration(kind="logistic", temperature=0.7, offset=-0.3),
        operating=OperatingPoint(threshold=0.5, low=0.2, high=0.8, real=40, fake=50),
        reliability=Reliability(edges=(0.5,), files=(20, 30), fakes=(2, 28)),
    )
    assert from_dict(FusionPolicy, json.loads(json.dumps(to_dict(fitted)))) == fitted


# --- who counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_votes_make_no_answer_and_no_number(count):
    assert fuse([vote(0.9)] * count, FusionPolicy(min_models=2)) == (None, None, "inconclusive")


def test_weights_go_by_bundle_before_detector_and_zero_leaves_out():
    given = votes(a=0.9, b=0.2)
    assert answer(given, FusionPolicy(weights={"db": 0.0})) == 0.9
    assert answer(given, FusionPolicy(weights={"db": 0.0, "b": 1.0})) == pytest.approx(0.6)
    assert fuse(given, FusionPolicy(weights={"a": 0.0, "b": 0.0}))[0] is None
    assert fuse(given, FusionPolicy(weights={"a": 0.0}, min_models=2))[0] is None


def test_only_the_heaviest_count_where_there_are_more_than_may():
    given = votes(a=0.9, b=0.2, c=0.5)
    policy = FusionPolicy(method="mean", weights={"a": 1.0, "b": 3.0, "c": 1.0}, max_models=2)
    assert answer(given, policy) == pytest.approx((0.9 + 3 * 0.2) / 4)
    assert answer(given[::2], policy) == pytest.approx(0.7), "the next in weight takes an absent one's place"


# --- decisions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("probability", "label"), [(0.85, "fake"), (0.5, "inconclusive"), (0.15, "real")])
def test_the_label_follows_the_average_of_the_bands(probability, label):
    strict, loose = (0.1, 0.9), (0.4, 0.6)
    # Log-odds of the ends average to those of .786 and .214.
    assert fuse([vote(probability, band=strict), vote(probability, band=loose)], FusionPolicy())[2] == label


def test_what_one_member_is_never_sure_enough_to_say_they_do_not_say():
    never = math.nextafter(1, 2)
    assert fuse([vote(1.0, band=(0.4, never)), vote(1.0)], FusionPolicy())[2] == "inconclusive"
    assert fuse([vote(0.0, band=(0.0, 0.6)), vote(0.0)], FusionPolicy())[2] == "inconclusive"
    shifted = FusionPolicy(calibration=Calibration(kind="logistic", offset=5.0))
    assert fuse([vote(1.0, band=(0.0, never))], shifted)[2] == "inconclusive"


def test_a_calibration_of_the_pool_moves_its_band_along():
    policy = FusionPolicy(calibration=Calibration(kind="temperature", temperature=0.5))
    probability, _, label = fuse([vote(0.55)], policy)
    assert probability == pytest.approx(expit(2 * logit(0.55)))
    assert label == "inconclusive", "0.60 would be fake in a band that stayed where it was"


def test_a_fitted_operating_point_decides_and_a_threshold_overrules_it():
    point = OperatingPoint(threshold=0.5, low=0.1, high=0.95)
    assert fuse(votes(a=0.9), FusionPolicy(operating=point))[2] == "inconclusive"
    assert fuse(votes(a=0.9), FusionPolicy(operating=point, threshold=0.9))[2] == "fake"
    assert fuse(votes(a=0.89), FusionPolicy(operating=point, threshold=0.9))[2] == "real"


def test_certainty_of_one_member_does_not_overrule_all_others():
    assert answer([vote(1.0), vote(0.0)], FusionPolicy()) == pytest.approx(0.5)
    assert answer([vote(1.0), *[vote(0.05)] * 9], FusionPolicy()) < 0.5


# --- uncertainty -----------------------------------------------------------------------------------


def test_the_interval_spans_those_of_all_members():
    given = [vote(0.5, interval=(0.3, 0.6, 80)), vote(0.5, interval=(0.4, 0.8, 25))]
    uncertainty = fuse(given, FusionPolicy())[1]
    assert uncertainty == Uncertainty(low=0.3, high=0.8, files=25, entropy=1.0, disagreement=0.0)


def test_a_measured_fusion_has_an_interval_of_its_own():
    measured = Reliability(edges=(0.5,), files=(20, 30), fakes=(2, 28))
    uncertainty = fuse(votes(a=0.9, b=0.8), FusionPolicy(reliability=measured))[1]
    assert uncertainty.files == 30
    assert uncertainty.low == measured.uncertainty(0.9).low


@pytest.mark.parametrize("method", PLAIN)
def test_disagreement_is_the_spread_of_all_that_count(method):
    uncertainty = fuse(votes(a=0.9, b=0.6, c=0.2), FusionPolicy(method=method))[1]
    assert uncertainty.disagreement == pytest.approx(np.std([0.9, 0.6, 0.2]))


@pytest.mark.parametrize("probability", [0.0, 1e-9, 0.2, 0.5, 1.0])
def test_entropy_is_in_bits_and_that_of_the_answer(probability):
    expected = scipy_entropy([probability, 1 - probability], base=2)
    assert entropy(probability) == pytest.approx(expected, abs=1e-12)
    assert fuse([vote(probability)], FusionPolicy())[1].entropy == entropy(probability)


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_models": 0}, "1 <= min_models"),
        ({"min_models": 3, "max_models": 2}, "max_models=2"),
        ({"weights": {"a": -1.0}}, "below 0"),
        ({"weights": {"a": math.nan}}, "below 0"),
        ({"threshold": 1.5}, r"in \(0, 1\)"),
        ({"method": "stack", "weights": {"a": 1.0}}, "learns its weights"),
        ({"method": "attention", "max_models": 2}, "learns its weights"),
        ({"lines": LEARNT["stack"]["lines"]}, "another method"),
        ({"method": "stack", **LEARNT["attention"]}, "another method"),
    ],
)
def test_impossible_policies_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FusionPolicy(**settings)


@pytest.mark.parametrize("method", LEARNT)
def test_a_method_that_has_learnt_nothing_says_how_to_teach_it(method):
    with pytest.raises(ConfigError, match="ensemble fit"):
        fuse(votes(a=0.5), FusionPolicy(method=method))
