"""Distances against SciPy, a computation by hand and simulation; statistics of preparation by hand."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import chi2, entropy, ks_2samp

from deepscan.errors import ConfigError
from deepscan.monitor import drift
from deepscan.monitor.drift import SCORE_EDGES, Histogram, binned, drifts, prep_statistics

HALVES = Histogram(figure="score", edges=(0.5,), shares=(0.5, 0.5), count=1000)


def test_values_on_an_edge_belong_to_the_bin_above_it():
    assert binned([-9, 0.5, 0.49, 1.0, 7], (0.5, 1.0)) == [2, 1, 2]


def test_a_histogram_counts_between_given_edges():
    histogram = Histogram.of("score", [0.0, 0.05, 0.95, 1.0], SCORE_EDGES)
    assert histogram.shares == (0.5, *[0] * 8, 0.5)
    assert histogram.count == 4


def test_bins_of_many_values_hold_a_tenth_each():
    histogram = Histogram.spread("x_mean", np.random.default_rng(0).normal(size=1000).tolist())
    assert histogram.shares == pytest.approx([0.1] * 10, abs=0.002)
    assert histogram.edges == pytest.approx(normal_deciles(), abs=0.15)


def normal_deciles():
    return [-1.28, -0.84, -0.52, -0.25, 0, 0.25, 0.52, 0.84, 1.28]


def test_few_distinct_values_have_a_bin_each_and_one_on_either_side():
    histogram = Histogram.spread("parts", [1.0, 1.0, 2.0, 4.0])
    assert histogram.shares == (0, 0.5, 0.25, 0.25, 0)
    assert binned([0, 1, 2, 4, 5], histogram.edges) == [1] * 5


def test_another_value_than_the_only_one_of_the_reference_is_seen():
    only = Histogram.spread("parts", [1.0] * 50)
    assert drift.psi(only, binned([1.0] * 200, only.edges)) < 0.05
    assert drift.psi(only, binned([2.0] * 200, only.edges)) > 4


@pytest.mark.parametrize(
    "changes",
    [
        {"edges": (0.5, 0.5), "shares": (0.5, 0.25, 0.25)},
        {"shares": (1.0,)},
        {"shares": (0.5, 0.6)},
        {"shares": (1.5, -0.5)},
        {"count": 0},
    ],
)
def test_a_histogram_that_is_none_is_refused(changes):
    with pytest.raises(ConfigError, match="rising edges"):
        dataclasses.replace(HALVES, **changes)


def test_the_index_is_the_symmetric_divergence():
    counts = [600, 1400]
    p, q = np.array([500.5, 500.5]) / 1001, np.array([600.5, 1400.5]) / 2001
    assert drift.psi(HALVES, counts) == pytest.approx(entropy(p, q) + entropy(q, p), rel=1e-12)


def test_an_empty_bin_leaves_the_index_finite():
    assert 1 < drift.psi(HALVES, [0, 1000]) < 10


def test_the_distance_of_cumulative_shares_is_that_of_scipy_at_the_edges():
    rng = np.random.default_rng(1)
    old, new = rng.beta(2, 2, 500), rng.beta(3, 2, 400)
    histogram = Histogram.of("score", old.tolist(), SCORE_EDGES)
    rounded = ks_2samp(np.floor(old * 10), np.floor(new * 10)).statistic
    ours = drift.ks(histogram, binned(new.tolist(), SCORE_EDGES))
    assert ours == pytest.approx(rounded)
    assert ours <= ks_2samp(old, new).statistic


@pytest.mark.parametrize(("bins", "seen", "count"), [(10, 100, 40), (10, 5000, 300), (3, 200, 200)])
def test_chance_is_the_quantile_of_a_chi_squared_variable(bins, seen, count):
    histogram = Histogram(
        figure="score", edges=tuple(range(bins - 1)), shares=(1 / bins,) * bins, count=count
    )
    exact = (1 / seen + 1 / count) * chi2.ppf(0.95, bins - 1)
    assert drift.chance(histogram, seen) == pytest.approx(exact, rel=0.01)


def test_one_of_twenty_samples_of_the_same_files_exceeds_chance():
    rng = np.random.default_rng(2)
    exceeding = 0
    for _ in range(1000):
        histogram = Histogram.of("score", rng.random(300).tolist(), SCORE_EDGES)
        counts = binned(rng.random(200).tolist(), SCORE_EDGES)
        exceeding += drift.psi(histogram, counts) > drift.chance(histogram, 200)
    assert 0.03 < exceeding / 1000 < 0.07


@pytest.fixture
def references():
    scores = Histogram.of("score", np.linspace(0, 1, 500).tolist(), SCORE_EDGES)
    return {"a": (scores, Histogram.spread("parts", [1.0] * 400)), "b": ()}


def found(references, records):
    return {(each.bundle, each.figure): each for each in drifts(references, records)}


def test_scores_that_move_are_told_from_scores_that_do_not(references, record):
    even = np.linspace(0, 1, 400)
    same = [record(scores={"a": p}) for p in even]
    moved = [record(scores={"a": p**3}) for p in even]
    assert found(references, same)["a", "score"].excess == 0
    away = found(references, moved)["a", "score"]
    assert away.status == "measured"
    assert away.seen == 400
    assert away.excess == away.psi > 0.25 > away.chance
    assert away.ks == pytest.approx(max(p - p**3 for p in even), abs=0.1)


def test_fewer_files_than_the_least_give_no_figure(references, record):
    short = found(references, [record(scores={"a": 0.9})] * (drift.FEWEST - 1))["a", "score"]
    assert (short.status, short.seen, short.psi, short.excess) == ("too few", drift.FEWEST - 1, None, None)
    assert found(references, [record(scores={"a": 0.9})] * drift.FEWEST)["a", "score"].status == "measured"


def test_what_has_no_reference_is_not_compared(references, record):
    prep = {"a": {"parts": 3.0, "new_mean": 0.1}, "b": {"parts": 1.0}}
    seen = found(references, [record(scores={"a": 0.5, "b": 0.5}, prep=prep)] * 200)
    assert {key: each.status for key, each in seen.items()} == {
        ("a", "score"): "measured",
        ("a", "new_mean"): "no reference",
        ("a", "parts"): "measured",
        ("b", "score"): "no reference",
        ("b", "parts"): "no reference",
    }
    assert seen["b", "score"].seen == 200
    assert seen["a", "parts"].excess > 1


def test_answers_from_the_cache_do_not_count(references, record):
    assert found(references, [record(scores={"a": 0.9}, cached=True)] * 300)["a", "score"].seen == 0


def test_statistics_of_pictures_are_brightness_and_contrast():
    half = np.zeros((64, 64, 3), np.uint8)
    half[:32] = 255
    grey = np.full((64, 64, 3), 51, np.uint8)
    told = prep_statistics([{"pixels": half}, {"pixels": grey}], ("pixels",))
    assert told == pytest.approx({"pixels_mean": (0.5 + 0.2) / 2, "pixels_std": 0.25, "parts": 2}, abs=1e-3)


def test_statistics_of_sound_are_offset_and_level():
    wave = (32767 * 0.5 * np.sin(np.linspace(0, 200 * np.pi, 16_000))).astype(np.int16)
    told = prep_statistics([{"wave": wave}], ("wave",))
    assert told == pytest.approx({"wave_mean": 0, "wave_std": 0.5 / np.sqrt(2), "parts": 1}, abs=1e-3)


def test_floats_are_taken_as_they_are_and_small_columns_not_at_all():
    example = {"features": np.full((20, 40), 3.0, np.float32), "box": np.ones(4), "other": np.ones(999)}
    told = prep_statistics([example], ("features", "box"))
    assert told == {"features_mean": 3.0, "features_std": 0.0, "parts": 1.0}


@pytest.mark.parametrize("side", [64, 224, 299, 380])
def test_a_sample_of_a_large_picture_has_its_statistics_in_every_colour(side):
    rng = np.random.default_rng(side)
    picture = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
    picture[..., 1] //= 4
    told = prep_statistics([{"pixels": picture}], ("pixels",))
    assert told["pixels_mean"] == pytest.approx(picture.mean() / 255, abs=0.01)
    assert told["pixels_std"] == pytest.approx(picture.std() / 255, abs=0.01)
    assert drift._sample(picture).size < 2 * drift.LOOKED_AT
