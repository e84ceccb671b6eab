"""The gate on statistics of files."""

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest

from deepscan import config
from deepscan.domain import gate as gates
from deepscan.domain import traits
from deepscan.domain.gate import FEWEST, Gate, fit, median, refusals
from deepscan.errors import ConfigError, OutOfDomainError
from tests.domain.files import drawing, examples, noise, scene, sounds, speech, tone

NAMES = ("pixels",)


def gate_of(files, names, rate=0.01):
    told = [traits.of_example(file[0], names) for file in files]
    columns = {name: [each[name] for each in told] for name in told[0]}
    return fit(columns, [str(number) for number in range(len(files))], rate)


@pytest.fixture(scope="module")
def gate():
    return gate_of([examples(scene(seed)) for seed in range(200)], NAMES)


def refused(gate, *pictures):
    return refusals([gate], examples(*pictures), NAMES)[0]


def test_files_alike_pass_and_others_do_not(gate):
    assert sum(refused(gate, scene(seed)) is not None for seed in range(200, 400)) <= 6
    for make in (noise, drawing):
        assert all(isinstance(refused(gate, make(seed)), OutOfDomainError) for seed in range(20))


def test_sound_alike_passes_and_tones_do_not():
    gate = gate_of([sounds(speech(seed)) for seed in range(120)], ("wave",))
    passed = [refusals([gate], sounds(speech(seed)), ("wave",)) == [None] for seed in range(120, 180)]
    assert np.mean(passed) >= 0.93
    assert all(refusals([gate], sounds(tone(seed)), ("wave",))[0] for seed in range(10))


def test_a_refusal_tells_what_is_farthest_out_and_how_far(gate):
    place = gate.place(gate.values(examples(noise(0)), NAMES))
    text = str(refused(gate, noise(0)))
    assert place.statistic in text
    assert f"{abs(place.deviations):.3g} standard deviations above" in text
    assert f"{place.distance:.2f}" in text
    assert f"99.0% of files like those stay within {gate.threshold:.2f}" in text
    told = {name: abs(value) for name, value in zip(gate.statistics, normal(gate, noise(0)), strict=True)}
    assert max(told, key=told.get) == place.statistic


def normal(gate, picture):
    value_S = gate.values(examples(picture), NAMES)
    return gates.mapped(value_S[None], np.array(gate.knots), math.inf)[0]


def test_an_odd_part_does_not_gate_a_file_but_most_of_them_do(gate):
    good = [scene(seed) for seed in range(300, 303)]
    assert refused(gate, *good, noise(0)) is None
    assert refused(gate, good[0], noise(0), noise(1)) is not None


def test_gates_on_the_same_statistics_look_once(gate, monkeypatch):
    asked = []
    real = traits.of_example
    monkeypatch.setattr(traits, "of_example", lambda *given: asked.append(1) or real(*given))
    strict = dataclasses.replace(gate, threshold=0.01)
    found = refusals([gate, None, strict], examples(scene(300)), NAMES)
    assert [each is None for each in found] == [True, True, False]
    assert len(asked) == 1
    assert refusals([None], examples(scene(300)), NAMES) == [None]
    assert len(asked) == 1


def values(files=300, size=6, seed=0):
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(files, size)) @ rng.normal(size=(size, size))
    value[:, 0] = np.exp(value[:, 0])
    return value


def told(value):
    return {f"s.{number}": column.tolist() for number, column in enumerate(value.T)}


def singles(files):
    return [str(number) for number in range(files)]


@pytest.mark.parametrize(("files", "rate"), [(400, 0.01), (400, 0.05), (99, 0.01)])
def test_the_threshold_lets_no_more_than_the_rate_of_held_out_files_be_gated(files, rate):
    found = fit(told(values(files)), singles(files), rate)
    assert (found.rate, found.files) == (rate, files)
    assert round(found.held_out * files) <= max(1, math.floor(rate * files))
    if files == 400:
        assert round(found.held_out * files) == rate * files


def test_fresh_files_are_gated_at_about_the_rate():
    both = values(3000)
    found = fit(told(both[:1000]), singles(1000), 0.05)
    gated = [found.refusal(row) is not None for row in both[1000:]]
    assert np.mean(gated) == pytest.approx(0.05, abs=0.02)


def test_the_threshold_comes_from_files_of_other_sources():
    """Of sources that lie apart each is far from the others, though close to what it was fitted with."""
    rng = np.random.default_rng(0)
    center = np.repeat(rng.normal(0, 5, (5, 6)), 30, axis=0)
    value, source = center + rng.normal(size=(150, 6)), [str(number // 30) for number in range(150)]
    apart, mixed = fit(told(value), source, 0.05), fit(told(value), singles(150), 0.05)
    assert apart.threshold > 1.5 * mixed.threshold
    assert fit(told(value), ["one"] * 150, 0.05).threshold == pytest.approx(mixed.threshold, rel=0.3)


def test_with_few_files_the_threshold_is_put_where_a_lognormal_has_it():
    found = fit(told(values(60)), singles(60), 0.01)
    held_out_N = np.sort(gates._held_out(values(60), gates._folds(singles(60), gates.FOLDS)))
    log_N = np.log(held_out_N)
    middle = np.median(log_N)
    spread = 1.482602 * np.median(abs(log_N - middle))
    tail = math.exp(middle + NormalDist().inv_cdf(0.99) * spread)
    assert found.threshold == pytest.approx(max(tail, held_out_N[-2]), rel=3e-4)
    assert found.held_out <= 1 / 60


def test_an_odd_file_among_few_does_not_open_the_gate():
    plain = values(60)
    odd = plain.copy()
    odd[0] = 1e3
    opened, usual = (fit(told(each), singles(60), 0.01) for each in (odd, plain))
    assert opened.threshold < 1.5 * usual.threshold
    assert opened.refusal(odd[0]) is not None


def test_no_gate_of_too_few_files_of_equal_ones_or_for_a_rate_of_nothing():
    assert fit(told(values(FEWEST - 1)), singles(FEWEST - 1), 0.01) is None
    assert fit(told(np.ones((80, 3))), singles(80), 0.01) is None
    assert fit(told(values(80)), singles(80), 0.0) is None
    assert fit(told(values(80)), singles(80), 0.01) is not None


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ConfigError, match="0 stands for no gate"):
        fit(told(values(80)), singles(80), rate)


def test_statistics_that_hardly_any_file_tells_or_that_never_vary_are_left_out():
    columns = told(values(100)) | {"s.same": [1.0] * 100, "s.rare": [math.nan] * 20 + list(range(80))}
    columns["s.most"] = [math.nan, *np.linspace(0, 1, 99)]
    found = fit(columns, singles(100), 0.01)
    assert found.statistics == (*told(values(1)), "s.most")


def test_a_statistic_that_is_not_told_counts_as_usual():
    found = fit(told(values()), singles(300), 0.01)
    usual = np.array(found.knots)[:, 3]
    missing = usual.copy()
    missing[2] = math.nan
    assert found.place(missing).distance == pytest.approx(found.place(usual).distance, abs=1e-9)


def test_mapped_statistics_are_standard_normal_and_go_on_beyond_the_knots():
    value = values(5000)
    knots = np.quantile(value, gates.LEVELS, axis=0).T
    normal = gates.mapped(value, knots)
    for level in (0.02, 0.1, 0.5, 0.9, 0.98):
        at = np.quantile(normal, level, axis=0)
        assert at == pytest.approx(NormalDist().inv_cdf(level), abs=0.35)
    line = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]).T
    at = gates.mapped(np.array([[6.0], [9.0], [12.0], [-3.0], [1e9]]), line)[:, 0]
    edge = NormalDist().inv_cdf(0.99)
    assert at == pytest.approx([edge, 2 * edge, 3 * edge, -2 * edge, gates.FARTHEST])
    assert 3 * edge < gates.FARTHEST


def test_a_value_that_most_files_tell_is_usual():
    knots = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0]])
    at = gates.mapped(np.array([[0.0], [0.5]]), knots)[:, 0]
    assert at == pytest.approx([np.mean(gates.NORMAL[:5]), gates.NORMAL[5]])
    assert abs(at[0]) < 1


def test_a_value_beside_the_only_one_that_files_tell_is_as_far_out_as_can_be():
    at = gates.mapped(np.array([[1.0], [1.1], [0.0]]), np.ones((1, len(gates.LEVELS))))[:, 0]
    assert at == pytest.approx([0, gates.FARTHEST, -gates.FARTHEST], abs=1e-6)


def test_the_covariance_is_shrunk_as_scikit_learn_does():
    from sklearn.covariance import ledoit_wolf

    value = values(60, 12)
    expected, share = ledoit_wolf(value, assume_centered=True)
    assert 0 < share < 1
    np.testing.assert_allclose(gates.shrunk(value) - 1e-3 * np.eye(12), expected, rtol=1e-9, atol=1e-9)


def test_the_distance_is_that_of_mahalanobis():
    rows, precision = values(10, 3), np.array([[2.0, 0.5, 0], [0.5, 1, 0], [0, 0, 3]])
    expected = [math.sqrt(row @ precision @ row / 3) for row in rows]
    assert gates.distances(rows, precision) == pytest.approx(expected)


def test_it_sees_what_single_statistics_do_not():
    rng = np.random.default_rng(0)
    first = rng.normal(size=300)
    value = np.stack([first, first + rng.normal(0, 0.1, 300)], axis=1)
    found = fit(told(value), singles(300), 0.01)
    assert found.refusal(np.array([1.5, 1.5])) is None
    assert found.refusal(np.array([1.5, -1.5])) is not None


def test_it_survives_being_written(gate):
    again = config.from_dict(Gate, config.to_dict(gate))
    assert again == gate
    value_S = gate.values(examples(noise(0)), NAMES)
    assert again.place(value_S) == gate.place(value_S)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 0}, "statistics of version 0"),
        ({"threshold": 0.0}, "threshold above 0"),
        ({"rate": 1.0}, "rate in"),
        ({"precision": (1.0,)}, "precision of"),
        ({"knots": ()}, "rising values"),
        ({"statistics": (), "knots": (), "precision": ()}, "0 statistics"),
    ],
)
def test_what_makes_no_gate_is_refused(gate, change, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(gate, **change)


def test_the_median_leaves_out_what_is_not_told():
    rows = [np.array([1.0, np.nan, np.nan]), np.array([2.0, 5.0, np.nan]), np.array([9.0, np.nan, np.nan])]
    found = median(rows)
    assert found[:2].tolist() == [2, 5]
    assert math.isnan(found[2])
