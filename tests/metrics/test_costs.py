"""Costs of ASVspoof against scikit-learn, their definitions computed one by one, and by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, isotonic_regression
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression

from deepscan.errors import ConfigError
from deepscan.metrics import bootstrap, costs, evaluate
from deepscan.metrics.costs import DetectionCosts, TandemCosts, Verifier
from deepscan.metrics.figures import cumulative
from tests.metrics.samples import judged, random

ASV = Verifier(miss=0.03, false_alarm=0.02, fake_false_alarm=0.6)


def figures(files, verifier=None, weight=None):
    weight = np.ones((1, len(files.label))) if weight is None else weight
    found = costs.detection_figures(files, cumulative(files, weight), weight, verifier)
    return {name: values[0] for name, values in found.items()}


def rates(files):
    """Miss and false alarm rate at every threshold, from scikit-learn's ROC."""
    fpr, tpr, _ = sk.roc_curve(files.label, files.logit, drop_intermediate=False)
    return fpr, 1 - tpr


@pytest.mark.parametrize("decimals", [6, 0])
@pytest.mark.parametrize("seed", range(5))
def test_the_equal_error_rate_is_the_root_of_scikit_learns_roc(decimals, seed):
    files = random(seed=seed, decimals=decimals)
    fpr, fnr = rates(files)
    root = brentq(lambda rate: np.interp(rate, fpr, fnr) - rate, 0, 1, xtol=1e-12)
    found = evaluate(files, 0.5, np.random.default_rng(0), 0).overall["eer"].value
    assert found == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("decimals", [6, 0])
def test_cllr_is_the_log_loss_in_bits_with_both_classes_alike(decimals):
    files = random(decimals=decimals)
    share = np.where(files.label == 1, files.label.mean(), 1 - files.label.mean())
    expected = sk.log_loss(files.label, files.probability, sample_weight=0.5 / share) / math.log(2)
    assert figures(files)["cllr"] == pytest.approx(expected, abs=1e-9)


def test_cllr_by_hand():
    # Odds of 3 for the fakes, of 1 and 1/3 for the real files:
    # fakes log2(1 + 1/3) = .4150; reals (log2 2 + log2 4/3) / 2 = (1 + .4150) / 2.
    files = judged([1, 1, 0, 0], np.log([3, 3, 1, 1 / 3]))
    third = math.log2(4 / 3)
    assert figures(files)["cllr"] == pytest.approx((third + (1 + third) / 2) / 2)
    assert figures(judged([1, 0], [0.0, 0.0]))["cllr"] == pytest.approx(1)


@pytest.mark.parametrize("decimals", [6, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_min_cllr_is_what_scikit_learns_staircase_leaves(decimals, seed):
    files = random(seed=seed, decimals=decimals)
    share = np.where(files.label == 1, files.label.mean(), 1 - files.label.mean())
    weight = 0.5 / share
    stated = IsotonicRegression().fit_transform(files.logit, files.label, sample_weight=weight)
    expected = sk.log_loss(files.label, stated.clip(1e-15, 1 - 1e-15), sample_weight=weight) / math.log(2)
    found = figures(files)
    assert found["min_cllr"] == pytest.approx(expected, abs=1e-6)
    assert found["min_cllr"] <= found["cllr"]


def test_min_cllr_of_extremes():
    assert figures(judged([1, 1, 0, 0], [3, 2, -2, -3]))["min_cllr"] == 0
    assert figures(judged([0, 0, 1, 1], [3, 2, -2, -3]))["min_cllr"] == pytest.approx(1)
    # A fake above, a tie of one each and a real file below: the tie alone leaves a bit to each of its files.
    assert figures(judged([1, 1, 0, 0], [2, 0, 0, -2]))["min_cllr"] == pytest.approx(1 / 2)


def test_weights_are_copies_of_files():
    files = random(60, decimals=1)
    times = np.random.default_rng(1).integers(0, 4, 60)
    copied = judged(files.label.repeat(times), files.logit.repeat(times))
    weighted, expected = figures(files, ASV, times[None].astype(float)), figures(copied, ASV)
    assert weighted == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [6, 0])
def test_detection_costs_are_the_definition_at_every_threshold(decimals):
    files = random(decimals=decimals)
    fpr, fnr = rates(files)
    found = figures(files)
    # ASVspoof 5: a miss costs 1, a false alarm 10, one in twenty is a fake.
    assert found["min_dcf"] == pytest.approx(((0.95 * fpr + 0.5 * fnr) / 0.5).min(), abs=1e-9)
    called = files.logit >= math.log(0.95 / 0.5)
    missed, passed = called[files.label == 0].mean(), (~called)[files.label == 1].mean()
    assert found["act_dcf"] == pytest.approx((0.95 * missed + 0.5 * passed) / 0.5, abs=1e-9)
    assert found["min_dcf"] <= min(found["act_dcf"], 1)


def test_detection_costs_by_hand():
    # Fakes 2, 1, -1 and reals 0, -2, -3, -4. Above 0 one fake of three is missed: .5 * (1/3) / .5 = 1/3;
    # from -1 on one real of four is lost: .95 * (1/4) / .5 = .475. At log(.95 / .5) = .64 it is 1/3, too.
    files = judged([1, 1, 1, 0, 0, 0, 0], [2, 1, -1, 0, -2, -3, -4])
    found = figures(files)
    assert found["min_dcf"] == pytest.approx(1 / 3)
    assert found["act_dcf"] == pytest.approx(1 / 3)
    # Stated too high by 1, the real file at 0 is called fake and the missed fake is not found.
    assert figures(judged(files.label, files.logit + 1))["act_dcf"] == pytest.approx(
        (0.95 / 4 + 0.5 / 3) / 0.5
    )


@pytest.mark.parametrize("decimals", [6, 0])
def test_tandem_costs_are_the_formulas_of_the_challenges(decimals):
    files = random(decimals=decimals)
    fpr, fnr = rates(files)
    # ASVspoof 2019, written out with its constants.
    c1 = 0.9405 * (1 - 1 * 0.03) - 0.0095 * 10 * 0.02
    c2 = 10 * 0.05 * (1 - 0.4)
    found = figures(files, ASV)
    assert found["min_tdcf_2019"] == pytest.approx((c1 * fpr + c2 * fnr).min() / min(c1, c2), abs=1e-9)
    c0 = 0.9405 * 1 * 0.03 + 0.0095 * 10 * 0.02
    normalised = (c0 + c1 * fpr + c2 * fnr).min() / (c0 + min(c1, c2))
    assert found["min_tdcf_2021"] == pytest.approx(normalised, abs=1e-9)


def test_tandem_costs_by_hand():
    # A third of the fakes is missed at no cost of real files: C2 / 3 = .1 of min(C1, C2) = .3.
    files = judged([1, 1, 1, 0, 0], [2, 1, -1, 0, -2])
    found = figures(files, ASV)
    assert found["min_tdcf_2019"] == pytest.approx(1 / 3)
    assert found["min_tdcf_2021"] == pytest.approx((0.030115 + 0.1) / (0.030115 + 0.3))
    perfect = figures(judged([1, 0], [1, -1]), ASV)
    assert perfect["min_tdcf_2019"] == 0
    assert perfect["min_tdcf_2021"] == pytest.approx(0.030115 / 0.330115)


def test_other_costs_weigh_otherwise():
    costly = Verifier(
        miss=0.1,
        false_alarm=0.1,
        fake_false_alarm=0.5,
        costs=TandemCosts(
            miss=2,
            false_alarm=3,
            detector_miss=4,
            detector_false_alarm=5,
            p_target=0.5,
            p_nontarget=0.3,
            p_fake=0.2,
        ),
    )
    assert costly.own == pytest.approx(0.5 * 2 * 0.1 + 0.3 * 3 * 0.1)
    assert costly.weights == pytest.approx((0.5 * 4 - 0.19, 0.2 * 5 * 0.5))


def test_without_a_verifier_there_are_no_tandem_costs():
    assert set(figures(random())) == {"cllr", "min_cllr", "act_dcf", "min_dcf"}


@pytest.mark.parametrize("label", [0, 1])
def test_a_missing_class_leaves_every_cost_undefined(label):
    found = figures(judged([label] * 3, [1.0, 0.0, -1.0]), ASV)
    assert all(np.isnan(value) for value in found.values())


def test_certainty_in_the_wrong_costs_much_and_is_still_a_number():
    found = figures(judged([1, 0, 1, 0], [-5000.0, 5000.0, 1.0, -1.0]))
    assert 20 < found["cllr"] < 53


@pytest.mark.parametrize(
    ("record", "settings", "words"),
    [
        (Verifier, {"miss": 1.2, "false_alarm": 0, "fake_false_alarm": 0.5}, "lie in"),
        (Verifier, {"miss": 1.0, "false_alarm": 1, "fake_false_alarm": 0.5}, "not defined"),
        (Verifier, {"miss": 0.1, "false_alarm": 0.1, "fake_false_alarm": 0.0}, "not defined"),
        (TandemCosts, {"p_fake": 0.2}, "sum to 1"),
        (TandemCosts, {"miss": 0.0}, "above 0"),
        (DetectionCosts, {"p_fake": 1.0}, "between 0 and 1"),
    ],
)
def test_impossible_costs_are_refused(record, settings, words):
    with pytest.raises(ConfigError, match=words):
        record(**settings)


def test_the_best_map_of_a_replicate_ignores_files_that_were_not_drawn():
    # scipy needs weights above 0: what was not drawn must not reach it.
    files = random(40, decimals=1)
    weight = (np.arange(40) % 2).astype(float)[None]
    assert np.isfinite(bootstrap.ratio(weight, weight.sum())).all()
    assert figures(files, None, weight)["min_cllr"] == pytest.approx(
        figures(files.where(weight[0] > 0))["min_cllr"]
    )
    assert isotonic_regression([1.0, 0.0], weights=[1.0, 1.0]).x.tolist() == [0.5, 0.5]
