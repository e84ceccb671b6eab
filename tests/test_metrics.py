"""Figures against scikit-learn or a computation by hand; intervals against their own definition."""

import dataclasses
import json
import time

import numpy as np
import pydantic
import pytest
from sklearn import metrics as sk

from deepscan.errors import DataError
from deepscan.metrics import Evaluation, Predictions, auc, evaluate


def predictions(n=300, seed=0, decimals=6, sources=60, spread=1.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    logit = np.round(rng.normal(1.5 * label - 0.75, spread), decimals)
    return Predictions(
        label=label,
        logit=logit,
        probability=1 / (1 + np.exp(-logit)),
        source=np.array([f"person-{i}" for i in rng.integers(0, sources, n)]),
        generator=np.where(label == 1, np.array(["swap", "gan"])[rng.integers(0, 2, n)], ""),
        groups={"codec": np.array(["jpeg", "png"])[rng.integers(0, 2, n)]},
    )


def files(label, logit, source=None):
    label, logit = np.array(label), np.array(logit, dtype=float)
    return Predictions(
        label=label,
        logit=logit,
        probability=1 / (1 + np.exp(-logit)),
        source=np.array(source or [str(i) for i in range(len(label))]),
        generator=np.where(label == 1, "g", ""),
    )


def values(some, threshold=0.5):
    found = evaluate(some, threshold, np.random.default_rng(0), replicates=0).overall
    return {name: figure.value for name, figure in found.items()}


@pytest.mark.parametrize("decimals", [6, 0])
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_every_figure_agrees_with_scikit_learn_also_with_heavy_ties(decimals, threshold):
    some = predictions(decimals=decimals)
    called = some.probability >= threshold
    ours = values(some, threshold)
    expected = {
        "auc": sk.roc_auc_score(some.label, some.logit),
        "average_precision": sk.average_precision_score(some.label, some.logit),
        "accuracy": sk.accuracy_score(some.label, called),
        "balanced_accuracy": sk.balanced_accuracy_score(some.label, called),
        "precision": sk.precision_score(some.label, called),
        "recall": sk.recall_score(some.label, called),
        "f1": sk.f1_score(some.label, called),
        "brier": sk.brier_score_loss(some.label, some.probability),
    }
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name
    assert auc(some.label, some.logit) == pytest.approx(expected["auc"], abs=1e-12)


@pytest.mark.parametrize("decimals", [6, 0])
def test_rates_at_an_operating_point_agree_with_a_search_over_every_threshold(decimals):
    some = predictions(decimals=decimals)
    ours = values(some)
    fpr, tpr, _ = sk.roc_curve(some.label, some.logit, drop_intermediate=False)
    for name, most in (("tpr_at_fpr_1", 0.01), ("tpr_at_fpr_5", 0.05)):
        assert ours[name] == max(t for f, t in zip(fpr, tpr, strict=True) if f <= most)
    fine = np.linspace(0, 1, 2_000_001)
    error = fine[np.argmin(np.abs(1 - np.interp(fine, fpr, tpr) - fine))]
    assert ours["eer"] == pytest.approx(error, abs=1e-5)


def test_equal_error_rate_and_rates_computed_by_hand():
    # Fakes 4 3 1, reals 2 0 0 0: at a threshold of 2 one real of 4 is wrong and one fake of 3.
    # The ROC goes (0, 2/3) -> (1/4, 2/3): it meets fnr = fpr only on (1/4, 2/3) -> (1/4, 1).
    ours = values(files([1, 1, 1, 0, 0, 0, 0], [4, 3, 1, 2, 0, 0, 0]))
    assert ours["eer"] == pytest.approx(1 / 4)
    assert ours["tpr_at_fpr_1"] == pytest.approx(2 / 3)
    assert ours["auc"] == pytest.approx(11 / 12)


def test_equal_error_rate_of_a_tie_lies_on_the_segment_through_it():
    assert values(files([1, 0, 1, 0], [0, 0, 0, 0]))["eer"] == pytest.approx(0.5)
    assert values(files([1, 0, 1, 0], [0, 0, 0, 0]))["tpr_at_fpr_5"] == 0


def test_calibration_error_agrees_with_a_loop_over_fifteen_bins():
    some = predictions()
    expected = 0.0
    for index in range(15):
        held = (some.probability >= index / 15) & (some.probability < (index + 1) / 15)
        if held.any():
            expected += held.mean() * abs(some.probability[held].mean() - some.label[held].mean())
    assert values(some)["ece"] == pytest.approx(expected, abs=1e-12)


def test_perfect_and_inverted_detectors_have_the_extreme_figures():
    perfect = values(files([1, 1, 0, 0], [3, 2, -2, -3]))
    inverted = values(files([0, 0, 1, 1], [3, 2, -2, -3]))
    assert (perfect["auc"], perfect["eer"], perfect["average_precision"], perfect["f1"]) == (1, 0, 1, 1)
    assert (inverted["auc"], inverted["eer"], inverted["tpr_at_fpr_5"], inverted["recall"]) == (0, 1, 0, 0)


@pytest.mark.parametrize("label", [0, 1])
def test_a_missing_class_leaves_figures_undefined_instead_of_one_half(label):
    one_class = files([label] * 3, [1.0, -1.0, 2.0])
    ours = evaluate(one_class, 0.5, np.random.default_rng(0), replicates=20)
    undefined = {
        "auc",
        "average_precision",
        "eer",
        "balanced_accuracy",
        "precision",
        "f1",
        "tpr_at_fpr_1",
        "tpr_at_fpr_5",
    } | ({"recall"} if label == 0 else set())
    assert {name for name, figure in ours.overall.items() if figure.value is None} == undefined
    assert all(ours.overall[name].low is None for name in undefined)
    assert ours.overall["accuracy"].value == pytest.approx(2 / 3 if label else 1 / 3)
    assert ours.curves.roc == ours.curves.precision_recall == ()
    assert auc(one_class.label, one_class.logit) is None


def test_precision_is_undefined_where_nothing_is_called_fake():
    assert values(files([1, 0], [-3, -4]))["precision"] is None
    assert values(files([1, 0], [-3, -4]))["f1"] == 0


def test_intervals_equal_a_bootstrap_that_copies_the_files_of_each_drawn_source():
    some = predictions(n=80, sources=12)
    ours = evaluate(some, 0.5, np.random.default_rng(7), replicates=60).overall
    names = np.unique(some.source)
    counts = np.random.default_rng(7).multinomial(len(names), np.full(len(names), 1 / len(names)), size=60)
    copies = [
        np.concatenate(
            [
                np.flatnonzero(some.source == name).repeat(times)
                for name, times in zip(names, row, strict=True)
            ]
        )
        for row in counts
    ]
    for name, judge in {
        "auc": lambda rows: sk.roc_auc_score(some.label[rows], some.logit[rows]),
        "average_precision": lambda rows: sk.average_precision_score(some.label[rows], some.logit[rows]),
        "f1": lambda rows: sk.f1_score(some.label[rows], some.probability[rows] >= 0.5),
    }.items():
        low, high = np.percentile([judge(rows) for rows in copies], (2.5, 97.5))
        assert (ours[name].low, ours[name].high) == (pytest.approx(low), pytest.approx(high)), name


def test_files_of_few_sources_have_wider_intervals_than_independent_files():
    # Every file occurs 20 times: copies add no knowledge, and the interval must know it.
    one = predictions(n=60, sources=10**9)
    copied = Predictions(
        label=one.label.repeat(20),
        logit=one.logit.repeat(20),
        probability=one.probability.repeat(20),
        source=one.source.repeat(20),
        generator=one.generator.repeat(20),
    )
    alone = evaluate(one, 0.5, np.random.default_rng(1), replicates=300).overall["auc"]
    together = evaluate(copied, 0.5, np.random.default_rng(1), replicates=300).overall["auc"]
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=1e-9)


def test_replicates_without_a_class_are_left_out():
    # Two sources of one class each: half of the draws hold one class only, the rest are perfect.
    ours = evaluate(files([1, 1, 0, 0], [2, 2, -2, -2], list("aabb")), 0.5, np.random.default_rng(0), 200)
    assert (ours.overall["auc"].low, ours.overall["auc"].high) == (1, 1)


def test_one_source_gives_figures_without_intervals():
    ours = evaluate(files([1, 0, 1], [1, 0, -1], ["a"] * 3), 0.5, np.random.default_rng(0), 50)
    assert ours.overall["auc"].value == pytest.approx(0.5)
    assert all(figure.low is None and figure.high is None for figure in ours.overall.values())


def test_intervals_hold_the_figure_and_repeat_with_the_generator():
    some = predictions()
    first, second = (evaluate(some, 0.5, np.random.default_rng(3), 200) for _ in range(2))
    assert first == second
    for name in ("auc", "average_precision", "accuracy", "recall", "brier"):
        figure = first.overall[name]
        assert figure.low < figure.value < figure.high, name


def test_rows_alike_in_everything_stay_separate_files():
    # Averaging files of equal names is a bug that gave an AUC of .90 where .84 is true.
    label, logit = [1, 1, 1, 0, 0, 0], [2.0, -2.0, 1.0, -1.0, 1.5, -1.0]
    ours = evaluate(files(label, logit, ["video-1"] * 6), 0.5, np.random.default_rng(0), 0)
    assert ours.counts.files == 6
    assert ours.counts.sources == 1
    assert ours.overall["auc"].value == pytest.approx(sk.roc_auc_score(label, logit))


def test_a_generator_is_judged_against_all_real_files():
    some = predictions()
    ours = evaluate(some, 0.5, np.random.default_rng(0), 20)
    assert list(ours.by_generator) == ["gan", "swap"]
    kept = (some.label == 0) | (some.generator == "gan")
    gan = ours.by_generator["gan"]
    assert gan.counts.real == ours.counts.real == (some.label == 0).sum()
    assert gan.figures["auc"].value == pytest.approx(sk.roc_auc_score(some.label[kept], some.logit[kept]))


def test_a_user_column_is_judged_value_by_value():
    some = predictions()
    ours = evaluate(some, 0.5, np.random.default_rng(0), 0).by_group["codec"]
    kept = some.groups["codec"] == "png"
    assert set(ours) == {"jpeg", "png"}
    assert ours["png"].counts.files == kept.sum()
    expected = sk.roc_auc_score(some.label[kept], some.logit[kept])
    assert ours["png"].figures["auc"].value == pytest.approx(expected)


def test_confusion_counts_agree_with_scikit_learn():
    some = predictions()
    ours = evaluate(some, 0.4, np.random.default_rng(0), 0).confusion
    (real_real, real_fake), (fake_real, fake_fake) = sk.confusion_matrix(some.label, some.probability >= 0.4)
    assert (ours.real_called_real, ours.real_called_fake) == (real_real, real_fake)
    assert (ours.fake_called_real, ours.fake_called_fake) == (fake_real, fake_fake)


def test_curves_are_thin_complete_and_hold_every_file():
    some = predictions(n=3000)
    curves = evaluate(some, 0.5, np.random.default_rng(0), 0).curves
    assert curves.roc[0] == (0, 0)
    assert curves.roc[-1] == (1, 1)
    assert curves.precision_recall[-1] == (1, pytest.approx(some.label.mean()))
    assert len(curves.roc) == len(curves.precision_recall) == 200
    assert sum(curves.histogram_fake) == some.label.sum()
    assert sum(curves.histogram_real) + sum(curves.histogram_fake) == 3000
    assert sum(held.files for held in curves.reliability) == 3000
    assert all(held.low <= held.mean_probability < held.high for held in curves.reliability)


def test_an_evaluation_survives_json():
    ours = evaluate(predictions(), 0.5, np.random.default_rng(0), 20)
    text = json.dumps(dataclasses.asdict(ours), allow_nan=False)
    assert pydantic.TypeAdapter(Evaluation).validate_json(text) == ours


def test_a_thousand_replicates_of_two_thousand_files_take_seconds():
    some = predictions(n=2000, sources=500)
    start = time.perf_counter()
    evaluate(some, 0.5, np.random.default_rng(0), 1000)
    assert time.perf_counter() - start < 20  # 2 s on a free core; the limit only catches a lost vectorisation


def test_chunks_of_replicates_do_not_change_the_intervals(monkeypatch):
    some = predictions(n=50)
    whole = evaluate(some, 0.5, np.random.default_rng(0), 30).overall
    monkeypatch.setattr("deepscan.metrics.bootstrap.CHUNK_CELLS", 350)
    for name, figure in evaluate(some, 0.5, np.random.default_rng(0), 30).overall.items():
        assert dataclasses.astuple(figure) == pytest.approx(dataclasses.astuple(whole[name])), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logit": np.zeros(2)}, "'logit' has shape"),
        ({"label": np.array([0, 1, 2])}, "allowed are 1"),
        ({"logit": np.array([0, np.nan, 1])}, "not finite"),
        ({"probability": np.array([0, 0.5, 1.5])}, r"not in \[0, 1\]"),
        ({"groups": {"codec": np.array(["a"])}}, "'codec' has shape"),
    ],
)
def test_malformed_predictions_are_refused(change, message):
    good = files([0, 1, 1], [0, 1, 2])
    with pytest.raises(DataError, match=message):
        dataclasses.replace(good, **change)


def test_no_files_are_refused():
    with pytest.raises(DataError, match="at least one"):
        evaluate(predictions().where(np.zeros(300, dtype=bool)), 0.5, np.random.default_rng(0))
