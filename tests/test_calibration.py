"""Calibration against scikit-learn and SciPy; bands and bins against a search by hand."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from deepscan.calibration import (
    Calibration,
    OperatingPoint,
    Reliability,
    decide,
    fit,
    fit_operating_point,
    fit_reliability,
    wilson_interval,
)
from deepscan.config import from_dict, to_dict
from deepscan.errors import ConfigError, DataError

KINDS = ("none", "temperature", "logistic", "isotonic")


def validation(n=400, true_temperature=1.0, seed=0, decimals=8):
    """Logits whose labels are drawn from the sigmoid of logit / true temperature."""
    rng = np.random.default_rng(seed)
    logit = np.round(rng.normal(0, 2 * true_temperature, n), decimals)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit / true_temperature))).astype(int)
    return logit, label


def test_temperature_agrees_with_logistic_regression_without_offset():
    logit, label = validation()
    fake, real = label.sum(), (label == 0).sum()
    target = np.where(label == 1, (fake + 1) / (fake + 2), 1 / (real + 2))
    slope = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10).fit(
        np.tile(logit, 2)[:, None], np.repeat([1, 0], len(logit)), np.concatenate([target, 1 - target])
    )
    assert 1 / fit("temperature", logit, label).temperature == pytest.approx(slope.coef_[0, 0], rel=1e-4)


@pytest.mark.parametrize("mix", [1.0, 0.1])
def test_the_logistic_kind_agrees_with_logistic_regression(mix):
    logit, label = validation(true_temperature=0.5)
    kept = np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[: int(mix * label.sum())]])
    # Like the error of a reconstruction: all above 0, and on a scale of its own.
    score, label = 40 + 7 * logit[kept], label[kept]
    fake, real = label.sum(), (label == 0).sum()
    target = np.where(label == 1, (fake + 1) / (fake + 2), 1 / (real + 2))
    line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(score - 40, 2)[:, None],
        np.repeat([1, 0], len(score)),
        np.concatenate([target, 1 - target]),
    )
    fitted = fit("logistic", score, label)
    assert 1 / fitted.temperature == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert fitted.offset == pytest.approx(line.intercept_[0] - 40 * line.coef_[0, 0], rel=1e-4)


def test_the_logistic_kind_never_turns_a_detector_round():
    logit, label = validation()
    calibration = fit("logistic", -logit, label)
    assert calibration.temperature > 0
    # The flattest slope that is allowed: every probability is close to the share of fakes.
    assert calibration.apply(logit) == pytest.approx(np.full(len(logit), label.mean()), abs=0.05)


def test_logits_that_are_all_equal_become_the_share_of_fakes():
    label = np.array([1] * 30 + [0] * 10)
    assert fit("logistic", np.full(40, 12.5), label).apply(np.array([12.5])) == pytest.approx(
        [(30 * 31 / 32 + 10 / 12) / 40], abs=1e-4
    )


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_temperature_recovers_how_overconfident_the_logits_are(true_temperature):
    logit, label = validation(20_000, true_temperature)
    assert fit("temperature", logit, label).temperature == pytest.approx(true_temperature, rel=0.05)


def test_separable_files_do_not_make_certainty():
    logit = np.array([-2.0] * 10 + [2.0] * 10)
    label = np.array([0] * 10 + [1] * 10)
    # Ten of ten: Platt's target is 11 / 12, and a temperature can meet it exactly.
    assert fit("temperature", logit, label).apply(np.array([-2.0, 2.0])) == pytest.approx([1 / 12, 11 / 12])
    assert fit("isotonic", logit, label).apply(np.array([-9.0, 9.0])) == pytest.approx([1 / 12, 11 / 12])


def test_logits_that_rank_worse_than_chance_become_nearly_one_half():
    logit, label = validation()
    calibration = fit("temperature", -logit, label)
    assert calibration.temperature == pytest.approx(100, rel=1e-3)
    assert np.abs(calibration.apply(logit) - 0.5).max() < 0.03


def test_isotonic_agrees_with_scikit_learn_at_its_files_and_beyond_them():
    logit, label = validation(decimals=1)
    grid = np.concatenate([logit, [-99, 99]])
    expected = IsotonicRegression(out_of_bounds="clip").fit(logit, label).predict(grid)
    floor, ceiling = 1 / ((label == 0).sum() + 2), 1 - 1 / (label.sum() + 2)
    assert fit("isotonic", logit, label).apply(grid) == pytest.approx(np.clip(expected, floor, ceiling))


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_rise_with_the_logit_and_stay_in_range(kind):
    grid = np.linspace(-2000, 2000, 4001, dtype=np.float32)
    probability = fit(kind, *validation()).apply(grid)
    assert probability.dtype == np.float64
    assert (np.diff(probability) >= 0).all()
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert probability[0] < 0.1 < 0.9 < probability[-1]


@pytest.mark.parametrize("kind", ["none", "temperature"])
def test_a_logit_of_zero_is_one_half_also_for_unequal_classes(kind):
    logit, label = validation()
    rare = np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[:20]])
    assert fit(kind, logit[rare], label[rare]).apply(np.zeros(1)) == pytest.approx([0.5])


def test_isotonic_follows_the_mix_of_classes():
    # Logits that say nothing: the probability is the share of fakes in validation.
    label = np.array([1] * 30 + [0] * 10)
    assert fit("isotonic", np.zeros(40), label).apply(np.zeros(1)) == pytest.approx([0.75])


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_survives_json_to_the_last_bit(kind):
    calibration = fit(kind, *validation(decimals=2))
    again = from_dict(Calibration, json.loads(json.dumps(to_dict(calibration))))
    assert again == calibration
    grid = np.linspace(-5, 5, 100)
    assert (again.apply(grid) == calibration.apply(grid)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"offset": 0.1}, "only 'logistic'"),
        ({"kind": "logistic", "offset": float("inf")}, "offset inf"),
        ({"kind": "isotonic"}, "0 knots"),
        ({"kind": "none", "knot_logits": (0.0,), "knot_probabilities": (0.5,)}, "1 knots"),
        ({"kind": "isotonic", "knot_logits": (0.0, 1.0), "knot_probabilities": (0.5, 0.4)}, "rising"),
        ({"kind": "isotonic", "knot_logits": (1.0, 0.0), "knot_probabilities": (0.4, 0.5)}, "rising"),
        ({"kind": "isotonic", "knot_logits": (0.0, 1.0), "knot_probabilities": (0.4, 1.0)}, "inside"),
        ({"kind": "isotonic", "knot_logits": (0.0,), "knot_probabilities": (0.4, 0.5)}, "as many"),
    ],
)
def test_impossible_calibrations_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Calibration(**settings)


def errors(probability, label, point):
    """Share of real files called fake and of fakes called real."""
    called = np.array([decide(p, point) for p in probability])
    return (called[label == 0] == "fake").mean(), (called[label == 1] == "real").mean()


def could_be(score, others, rate):
    """Whether a file that scores so is among the most extreme ``rate`` of a class and itself."""
    return (others >= score).sum() + 1 <= rate * (len(others) + 1) + 1e-9


@pytest.mark.parametrize("decimals", [2, 8])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.05, 0.2])
def test_a_file_is_called_what_its_conformal_p_value_leaves(decimals, rate):
    logit, label = validation()
    probability = np.round(1 / (1 + np.exp(-logit)), decimals)
    real, fake = probability[label == 0], probability[label == 1]
    point = fit_operating_point(probability, label, rate)
    assert point.low < point.high
    for score in np.unique(np.concatenate([probability, np.linspace(0, 1, 501)])):
        called = decide(score, point)
        assert (called == "fake") == could_be(score, real, rate), score
        assert (called == "real") == could_be(-score, -fake, rate), score


@pytest.mark.parametrize(("rate", "files"), [(0.05, 19), (0.05, 150), (0.1, 55), (0.01, 98)])
def test_the_stated_rate_holds_for_new_files_in_the_long_run(rate, files):
    rng = np.random.default_rng(files)
    label = np.repeat([0, 1], files)
    wrong = []
    for _ in range(400):
        drawn = expit(rng.normal(np.where(np.tile(label, 2), 1, -1), 1.5))
        point = fit_operating_point(drawn[: 2 * files], label, rate)
        wrong.append(errors(drawn[2 * files :], label, point))
    allowed = max(0, np.floor(rate * (files + 1)) / (files + 1))
    # Exactly what the rule promises, within the noise of 400 data sets.
    assert np.mean(wrong, axis=0) == pytest.approx([allowed, allowed], abs=0.006)
    assert allowed <= rate


def test_too_few_files_of_a_class_make_it_say_so():
    few = fit_operating_point(np.linspace(0, 1, 28), np.repeat([0, 1], [18, 10]))
    assert {decide(p, few) for p in (0.0, 0.5, 1.0)} == {"inconclusive"}
    assert few.shortfall == (
        "No file is called fake or real: the 18 real and 10 fake validation files cannot show an error rate "
        "of at most 5.00%; at least 19 files of a class are needed."
    )
    half = fit_operating_point(np.linspace(0, 1, 29), np.repeat([0, 1], [19, 10]))
    assert [decide(p, half) for p in (0.0, 1.0)] == ["inconclusive", "fake"]
    assert half.shortfall.startswith("No file is called real: the 10 fake validation files")
    assert (
        "no number of files" in fit_operating_point(np.linspace(0, 1, 200), np.arange(200) % 2, 0).shortfall
    )


def test_enough_files_or_none_at_all_leave_nothing_to_say():
    assert fit_operating_point(np.linspace(0, 1, 38), np.repeat([0, 1], 19)).shortfall == ""
    assert OperatingPoint().shortfall == ""


@pytest.mark.parametrize(("rate", "files"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.3, 3)])
def test_the_fewest_files_for_a_rate(rate, files):
    def called(real):
        point = fit_operating_point(
            np.append(np.linspace(0, 0.5, real), 0.9), np.array([0] * real + [1]), rate
        )
        return decide(1.0, point)

    assert (called(files - 1), called(files)) == ("inconclusive", "fake")
    shortfall = OperatingPoint(max_error_rate=rate, real=files - 1, fake=1).shortfall
    assert f"at least {files} files" in shortfall


def test_the_threshold_has_the_best_balanced_accuracy_of_all():
    logit, label = validation()
    probability = 1 / (1 + np.exp(-logit))
    point = fit_operating_point(probability, label)

    def balanced(threshold):
        return (probability[label == 1] >= threshold).mean() + (probability[label == 0] < threshold).mean()

    assert balanced(point.threshold) == pytest.approx(max(balanced(t) for t in probability))


def test_separate_classes_have_one_threshold_in_the_middle_of_the_gap_and_no_band():
    point = fit_operating_point(np.array([0.1, 0.2, 0.7, 0.9]), np.array([0, 0, 1, 1]), 0.4)
    assert point.threshold == pytest.approx(0.45)
    assert point.low == point.threshold == point.high


def test_equally_good_thresholds_are_settled_towards_one_half():
    # .15 and .55 each get one file of four wrong; .35 gets two wrong.
    point = fit_operating_point(np.array([0.1, 0.2, 0.5, 0.6]), np.array([0, 1, 0, 1]), 0.7)
    assert point.threshold == pytest.approx(0.55)


def test_no_band_still_keeps_the_promise_where_the_best_threshold_would_break_it():
    # One real file of 39 may be wrong (5 %); the best balanced accuracy alone would allow two.
    probability = np.array([0.1] * 37 + [0.6, 0.6] + [0.5, 0.5] + [0.9] * 18)
    label = np.array([0] * 39 + [1] * 20)
    point = fit_operating_point(probability, label, 0.05)
    assert errors(probability, label, point)[0] <= 0.05
    assert point.low <= point.threshold <= point.high


def test_the_band_is_known_by_hand():
    probability = np.array([0.1, 0.2, 0.3, 0.8, 0.4, 0.6, 0.7, 0.9])
    # A share of .2 of five files is one: the new file itself.
    point = fit_operating_point(probability, np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.2)
    assert point.low == 0.4
    assert point.high == pytest.approx(0.8)
    decided = [decide(p, point) for p in (0.39, 0.4, 0.8, 0.81)]
    assert decided == ["real", "inconclusive", "inconclusive", "fake"]


def test_who_may_not_call_files_real_calls_them_fake_as_before():
    logit, label = validation()
    probability = 1 / (1 + np.exp(-logit))
    usual, wary = (fit_operating_point(probability, label, 0.05, calls) for calls in (True, False))
    assert usual.low > 0
    assert (wary.low, wary.high) == (0.0, usual.high)
    assert {decide(p, wary) for p in probability} == {"inconclusive", "fake"}


def test_classes_that_are_apart_are_told_by_fakes_alone_where_nothing_may_be_called_real():
    point = fit_operating_point(np.array([0.1, 0.2, 0.7, 0.9]), np.array([0, 0, 1, 1]), 0.4, calls_real=False)
    assert [decide(p, point) for p in (0.1, 0.2, 0.7)] == ["inconclusive", "inconclusive", "fake"]


def test_within_groups_the_most_cautious_of_them_decides():
    real = np.concatenate([np.linspace(0.0, 0.3, 60), np.linspace(0.3, 0.6, 40)])
    fake = np.linspace(0.2, 1, 100)
    probability, label = np.append(real, fake), np.array([0] * 100 + [1] * 100)
    group = ["phone"] * 60 + ["studio"] * 40 + ["phone", "studio"] * 50
    pooled = fit_operating_point(probability, label, 0.05)
    kept = fit_operating_point(probability, label, 0.05, group=group)
    # 40 may have one wrong, and of a hundred in all four more than that, who are of the same group.
    assert pooled.high == np.nextafter(real[-5], 2)
    assert kept.high == np.nextafter(real[-2], 2)
    assert (kept.low, kept.groups) == (min(pooled.low, fake[::2][1], fake[1::2][1]), 2)
    assert pooled.groups == 0


def test_groups_that_are_too_small_to_show_the_rate_count_among_all():
    logit, label = validation(400)
    probability = 1 / (1 + np.exp(-logit))
    group = np.array(["most"] * 400)
    group[np.flatnonzero(label == 0)[:18]] = "few"
    point = fit_operating_point(probability, label, 0.05, group=group.tolist())
    assert point.groups == 1
    assert point.high >= fit_operating_point(probability, label, 0.05).high
    alone = fit_operating_point(probability, label, 0.05, group=["all"] * 400)
    assert dataclasses.replace(alone, groups=0) == fit_operating_point(probability, label, 0.05)


def test_new_files_of_every_group_keep_to_the_rate():
    rng = np.random.default_rng(0)
    wrong = {"dark": [], "light": []}
    for _ in range(200):
        group = rng.choice(["dark", "light"], 160, p=[0.3, 0.7])
        score = rng.normal(np.where(group == "dark", 1.5, 0.0))
        label = np.arange(160) % 2
        point = fit_operating_point(1 / (1 + np.exp(-score - 3 * label)), label, 0.1, group=group.tolist())
        for name, mean in (("dark", 1.5), ("light", 0.0)):
            fresh = 1 / (1 + np.exp(-rng.normal(mean, 1, 200)))
            wrong[name].append((fresh >= point.high).mean())
    # Pooled, 3 in 10 of the dark ones would be called fake at the rate of 1 in 10.
    assert np.mean(wrong["dark"]) <= 0.1
    assert np.mean(wrong["light"]) <= 0.1


def test_a_detector_that_gives_real_files_full_marks_may_never_call_fake():
    point = fit_operating_point(np.array([1.0, 1.0, 0.4, 1.0]), np.array([0, 0, 1, 1]), 0.4)
    assert point.shortfall == ""
    assert decide(1.0, point) == "inconclusive"


def test_an_operating_point_survives_json():
    point = fit_operating_point(np.array([1.0, 0.3, 0.4, 1.0]), np.array([0, 0, 1, 1]))
    assert from_dict(OperatingPoint, json.loads(json.dumps(to_dict(point)))) == point


@pytest.mark.parametrize("settings", [{"low": 0.6}, {"high": 0.4}, {"max_error_rate": 1.0}])
def test_impossible_operating_points_are_refused(settings):
    with pytest.raises(ConfigError):
        OperatingPoint(**settings)


def test_an_impossible_error_rate_is_refused_while_fitting():
    with pytest.raises(ConfigError, match="max_error_rate"):
        fit_operating_point(np.array([0.1, 0.9]), np.array([0, 1]), 1.0)


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 20), (7, 20), (20, 20), (150, 1000)])
def test_wilson_interval_agrees_with_scipy(hits, trials):
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n", [30, 39, 40, 299, 400, 5000])
def test_bins_hold_at_least_twenty_files_and_about_equally_many(n):
    logit, label = validation(n)
    bins = fit_reliability(1 / (1 + np.exp(-logit)), label)
    assert sum(bins.files) == n
    assert sum(bins.fakes) == label.sum()
    assert len(bins.files) == max(1, min(15, n // 20))
    assert len(bins.files) == 1 or min(bins.files) >= 20
    assert max(bins.files) < 2 * max(20, -(-n // 15))


def test_files_of_one_probability_share_a_bin():
    probability = np.array([0.1] * 70 + [0.2] * 5 + [0.9] * 25)
    bins = fit_reliability(probability, np.array([0] * 65 + [1] * 35))
    assert bins == Reliability(edges=(pytest.approx(0.15),), files=(70, 30), fakes=(5, 30))


def test_uncertainty_comes_from_the_bin_that_holds_the_probability():
    bins = Reliability(edges=(0.3, 0.7), files=(20, 40, 100), fakes=(1, 20, 99))
    low, middle, high = (bins.uncertainty(p) for p in (0.0, 0.3, 1.0))
    assert (low.files, middle.files, high.files) == (20, 40, 100)
    assert (middle.low, middle.high) == wilson_interval(20, 40)
    assert low.high < middle.low < middle.high < high.low
    assert high.high - high.low < low.high - low.low


def test_reliability_survives_json_and_refuses_impossible_counts():
    bins = fit_reliability(*(np.random.default_rng(0).random(100), np.arange(100) % 2))
    assert from_dict(Reliability, json.loads(json.dumps(to_dict(bins)))) == bins
    for change in ({"edges": ()}, {"fakes": tuple(n + 1 for n in bins.files)}):
        with pytest.raises(ConfigError, match="edge"):
            dataclasses.replace(bins, **change)


@pytest.mark.parametrize(
    "fitted",
    [
        *(pytest.param(lambda p, y, kind=kind: fit(kind, p, y), id=kind) for kind in KINDS),
        fit_operating_point,
        fit_reliability,
    ],
)
@pytest.mark.parametrize(("score", "label"), [([], []), ([0.2, 0.4], [0, 0]), ([0.2], [1]), ([0.2], [0, 1])])
def test_validation_without_both_classes_is_refused_with_advice(fitted, score, label):
    with pytest.raises(DataError, match="validation split"):
        fitted(np.array(score), np.array(label, dtype=int))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(bad):
    with pytest.raises(DataError, match="not finite"):
        fit("temperature", np.array([0.1, bad]), np.array([0, 1]))
