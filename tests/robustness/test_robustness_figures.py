"""Figures of robustness against scikit-learn, other ways of computing them, and hands."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from deepscan.calibration import OperatingPoint
from deepscan.metrics import Predictions, evaluate
from deepscan.robustness import figures
from deepscan.robustness.figures import auc_interval, weighted_auc


def drawn(seed=0, files=60, sources=12):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, files)
    logit = np.round(rng.normal(label, 1.0), 1)  # with ties
    return label, logit, rng.integers(0, sources, files)


def test_the_weighted_auc_is_that_of_scikit_learn():
    label, logit, _ = drawn()
    weight_RN = np.random.default_rng(1).integers(0, 4, (5, len(label))).astype(float)
    expected = [roc_auc_score(label, logit, sample_weight=weight) for weight in weight_RN]
    np.testing.assert_allclose(weighted_auc(label, logit, weight_RN), expected, atol=1e-12)


def test_a_draw_without_a_class_has_no_auc():
    label, logit = np.array([0, 1, 1]), np.array([0.0, 1.0, 2.0])
    assert np.isnan(weighted_auc(label, logit, np.array([[0.0, 1.0, 1.0]])))[0]


def test_the_interval_of_an_auc_is_that_of_the_evaluation():
    label, logit, source = drawn(files=300, sources=40)
    found = auc_interval(label, logit[None], source, np.random.default_rng(0), 4000)
    files = Predictions(
        label=label,
        logit=logit,
        probability=1 / (1 + np.exp(-logit)),
        source=source.astype(str),
        generator=np.full(len(label), ""),
    )
    known = evaluate(files, 0.5, np.random.default_rng(1), 4000).overall["auc"]
    assert found.value == known.value
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.005)


def test_a_paired_difference_is_told_apart_where_two_intervals_overlap():
    label, logit, source = drawn(files=200, sources=60)
    worse = logit - 0.4 * (label == 1)
    rng = np.random.default_rng(0)
    change = auc_interval(label, np.stack([worse, logit]), source, rng, 1000)
    before = auc_interval(label, logit[None], source, rng, 1000)
    after = auc_interval(label, worse[None], source, rng, 1000)
    assert change.value == pytest.approx(after.value - before.value)
    assert change.high < 0
    assert after.high > before.low


def test_the_same_logits_do_not_differ():
    label, logit, source = drawn()
    change = auc_interval(label, np.stack([logit, logit]), source, np.random.default_rng(0), 100)
    assert (change.value, change.low, change.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("label", "source", "replicates", "value"),
    [([1, 1], [0, 1], 10, None), ([0, 1], [3, 3], 10, 1.0), ([0, 1], [0, 1], 0, 1.0)],
)
def test_without_a_class_or_a_second_source_there_is_no_interval(label, source, replicates, value):
    found = auc_interval(
        np.array(label), np.array([[0.0, 1.0]]), np.array(source), np.random.default_rng(0), replicates
    )
    assert (found.value, found.low, found.high) == (value, None, None)


def test_an_interval_needs_draws_with_both_classes():
    """Of two sources of one class each, half of the draws have both."""
    label, source = np.array([0, 1]), np.array([0, 1])
    found = auc_interval(label, np.array([[0.0, 1.0]]), source, np.random.default_rng(0), 20)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_in_chunks_the_interval_stays(monkeypatch):
    label, logit, source = drawn()
    whole = auc_interval(label, logit[None], source, np.random.default_rng(0), 50)
    monkeypatch.setattr(figures, "CELLS", 7 * len(label))
    assert auc_interval(label, logit[None], source, np.random.default_rng(0), 50) == whole


class _Card:
    operating = OperatingPoint(threshold=0.5, low=0.4, high=0.6)

    class calibration:
        @staticmethod
        def apply(logit):
            return np.asarray(logit)


class _Bundle:
    card = _Card


def test_flips_are_counted_by_hand():
    before = np.array([0.1, 0.1, 0.9, 0.9, 0.5])
    after = np.array([0.9, 0.5, 0.1, 0.8, 0.5])
    found = figures._flips(_Bundle, before, after)
    assert found["flipped"] == 2 / 5  # the first and the third
    assert found["changed"] == 3 / 5  # and the second, which does not decide any more
    assert found["crossed"] == 3 / 5  # from .5 on the threshold says fake: the first three
    assert found["shift"] == pytest.approx((0.8 + 0.4 + 0.8 + 0.1 + 0) / 5)


def test_no_files_flip_nothing():
    nothing = np.array([])
    assert set(figures._flips(_Bundle, nothing, nothing).values()) == {None}


def test_reasons_are_counted_the_most_frequent_first():
    table = pa.table({"reason": ["no-face", "", "CorruptMediaError: cut", "no-face"]})
    assert list(figures._reasons(table).items()) == [("no-face", 2), ("CorruptMediaError: cut", 1)]
