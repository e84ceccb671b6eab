"""Prediction sets, abstention and risk, counted by hand."""

import numpy as np
import pytest

from deepscan.calibration import OperatingPoint, fit_operating_point, wilson_interval
from deepscan.metrics import decisions
from deepscan.metrics.examination import examine
from tests.metrics.samples import judged, random

POINT = OperatingPoint(threshold=0.5, low=0.3, high=0.7)


def values(files, point=POINT):
    found = decisions.figures(files, point, np.ones((1, len(files.label))))
    return {name: value[0] for name, value in found.items()}


def test_a_prediction_set_holds_what_is_not_ruled_out():
    # P(fake) of about .88, .5, .12 for two fakes and two reals each; .5 is inconclusive and covers both.
    files = judged([1, 1, 1, 0, 0, 0], [2, 0, -2, 2, 0, -2])
    found = values(files)
    assert found["covered"] == pytest.approx(4 / 6)
    assert found["decided"] == pytest.approx(4 / 6)
    assert found["decided_error"] == pytest.approx(1 / 2)


def test_from_high_on_a_file_is_fake_and_below_low_it_is_real():
    point = OperatingPoint(threshold=0.5, low=0.5, high=0.5)
    assert values(judged([0, 1], [0.0, 0.0]), point)["covered"] == 0.5
    assert values(judged([0, 1], [0.0, 0.0]), point)["decided"] == 1


def test_where_nothing_is_decided_no_decision_can_be_wrong():
    files = judged([1, 0], [0.1, -0.1])
    assert values(files)["covered"] == 1
    assert np.isnan(values(files)["decided_error"])


def test_calibration_error_is_not_defined_for_a_single_class():
    assert np.isnan(values(judged([1, 1], [2, 1]))["ece"])
    some = random()
    error = 0.0
    for index in range(15):
        held = np.minimum((some.probability * 15).astype(int), 14) == index
        if held.any():
            error += held.mean() * abs(some.probability[held].mean() - some.label[held].mean())
    assert values(some)["ece"] == pytest.approx(error, abs=1e-12)


def test_the_promise_holds_on_files_like_those_of_validation_and_not_on_others():
    validation, fresh, shifted = random(4000, 1), random(4000, 2), random(4000, 3, shift=0)
    point = fit_operating_point(validation.probability, validation.label, 0.05)
    rng = np.random.default_rng(0)
    kept = examine(fresh, point, rng, 200).by_label
    for name in ("real", "fake"):
        covered = kept[name].figures["covered"]
        assert covered.low <= 0.95 <= covered.high
    broken = examine(shifted, point, rng, 200).by_label
    assert max(broken[name].figures["covered"].high for name in ("real", "fake")) < 0.95


def test_coverage_is_told_of_each_generator_and_of_each_value_of_a_column():
    label = [1, 1, 1, 1, 0, 0]
    files = judged(label, [2, 2, -2, -2, -2, 2], generator=list("aabb__"), phone=list("xyxyxy"))
    found = examine(files, POINT, np.random.default_rng(0), 20)
    told = {name: part.figures["covered"].value for name, part in found.by_generator.items()}
    assert told == {"a": 1, "b": 0}
    assert {name: part.counts.fake for name, part in found.by_generator.items()} == {"a": 2, "b": 2}
    phones = found.by_group["phone"]
    assert phones["x"].figures["covered"].value == pytest.approx(2 / 3)
    assert phones["y"].figures["covered"].value == pytest.approx(1 / 3)
    assert found.by_label["real"].figures["covered"].value == 0.5


def test_sources_below_the_promise_are_counted_and_the_lowest_shown_first():
    # Of 30 files each, source "bad" has 20 covered, "fair" 28 (whose interval reaches .95), the rest all.
    logit = np.full(120, -2.0)
    logit[:10], logit[30:32] = 2, 2
    source = np.array(["bad", "fair", "good", "best"]).repeat(30)
    found = decisions.by_source(judged(np.zeros(120, int), logit, source), POINT)
    assert (found.total, found.below) == (4, 1)
    assert list(found.lowest)[:2] == ["bad", "fair"]
    covered = found.lowest["bad"].figures["covered"]
    assert covered.value == pytest.approx(2 / 3)
    assert (covered.low, covered.high) == pytest.approx(wilson_interval(20, 30))
    assert found.lowest["bad"].counts.files == 30


def test_at_most_twenty_sources_are_shown():
    found = decisions.by_source(random(200), POINT)
    assert found.total == 200
    assert len(found.lowest) == 20
    shares = [part.figures["covered"].value for part in found.lowest.values()]
    assert shares == sorted(shares)


def test_the_surest_files_are_covered_first():
    # Margins 3, 2, 1, 1 with errors no, yes, no, yes: risk 0, 1/2, then the tie together 2/4.
    files = judged([1, 1, 0, 1], [3.0, -2.0, -1.0, -1.0])
    assert decisions.risk_curve(files, 0.5) == ((0.25, 0), (0.5, 0.5), (1, 0.5))
    area = decisions.aurc(files, 0.5, np.ones((1, 4)))["aurc"][0]
    assert area == pytest.approx(0.25 * 0 + 0.25 * 0.5 + 0.5 * 0.5)


def test_area_is_the_mean_risk_of_a_sort_where_nothing_is_tied():
    files = random(300)
    threshold = 0.6
    margin = np.abs(files.logit - np.log(0.6 / 0.4))
    wrong = ((files.probability >= threshold) != (files.label == 1))[np.argsort(-margin)]
    expected = np.mean(np.cumsum(wrong) / np.arange(1, 301))
    found = decisions.aurc(files, threshold, np.ones((1, 300)))["aurc"][0]
    assert found == pytest.approx(expected, abs=1e-9)


def test_weights_are_copies_of_files_in_the_curve_too():
    files = random(50, decimals=1)
    times = np.random.default_rng(2).integers(0, 3, 50)
    copied = judged(files.label.repeat(times), files.logit.repeat(times))
    found = decisions.aurc(files, 0.5, times[None].astype(float))["aurc"][0]
    assert found == pytest.approx(decisions.aurc(copied, 0.5, np.ones((1, times.sum())))["aurc"][0])
