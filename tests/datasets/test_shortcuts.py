import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepscan.datasets.shortcuts import ALL, Files, probe


def files(measures, label, source=None):
    label = np.asarray(label)
    source = np.arange(len(label)).astype(str) if source is None else np.asarray(source)
    generator = np.where(label == 1, "maker", "")
    return Files(kind="any", measures=measures, label=label, source=source, generator=generator)


def probed(measures, label, source=None, seed=0):
    found = probe(files(measures, label, source), np.random.default_rng(seed))
    return {each.measure: each for each in found}


LABEL = np.arange(80) % 2


def test_a_word_that_tells_the_class_is_found():
    found = probed([{"codec": "png" if label else "jpeg"} for label in LABEL], LABEL)
    assert found["codec"].auc.value == found[ALL].auc.value == 1
    assert found["codec"].auc.low == 1
    assert (found["codec"].real, found["codec"].fake) == ("jpeg (100%)", "png (100%)")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_is_found_whichever_class_has_more_of_it(sign):
    rng = np.random.default_rng(0)
    values = rng.normal(sign * 3.0 * LABEL)
    found = probed([{"size": float(value)} for value in values], LABEL)
    assert found["size"].auc.value > 0.9
    assert float(found["size"].fake) == pytest.approx(np.median(values[LABEL == 1]), abs=0.01)


def test_a_number_that_lies_between_is_found_although_its_own_auc_is_chance():
    rng = np.random.default_rng(0)
    values = np.where(LABEL, rng.uniform(-1, 1, 80), rng.choice([-1, 1], 80) * rng.uniform(2, 3, 80))
    assert abs(roc_auc_score(LABEL, values) - 0.5) < 0.1
    assert probed([{"size": float(value)} for value in values], LABEL)["size"].auc.value > 0.9


def test_a_measure_that_says_nothing_stays_at_chance():
    """With a direction chosen on the files themselves, the mean would be about .55 here."""
    draws = [np.random.default_rng(seed).normal(size=(80, 3)) for seed in range(8)]
    rows = [[{name: float(v) for name, v in zip("abc", row, strict=True)} for row in draw] for draw in draws]
    found = [probed(each, LABEL) for each in rows]
    values = [each[name].auc.value for each in found for name in ("a", "b", "c")]
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)
    assert np.mean([each[ALL].auc.value for each in found]) == pytest.approx(0.5, abs=0.08)


def test_what_only_tells_sources_apart_is_no_shortcut():
    """Twenty files of each of four recordings, told by a number that says nothing of the class."""
    source = np.repeat(np.arange(4), 20)
    measures = [{"size": float(number)} for number in source]
    label = source % 2
    assert probed(measures, label, source.astype(str))["size"].auc.value < 0.8
    assert probed(measures, label)["size"].auc.value > 0.95, "were files divided, it would look like one"


def test_an_absent_measure_is_told_by_its_absence():
    measures = [{"other": 1.0, "rate": 5.0} if label else {"other": 1.0} for label in LABEL]
    found = probed(measures, LABEL)
    assert list(found) == [ALL, "rate"], "what never varies is left out"
    assert found["rate"].auc.value == 1
    assert (found["rate"].real, found["rate"].fake) == ("none (100%)", "5")


def test_the_most_telling_comes_first_and_generators_are_told_for_all():
    rng = np.random.default_rng(1)
    measures = [{"bad": float(rng.normal()), "good": float(label)} for label in LABEL]
    found = probe(files(measures, LABEL), np.random.default_rng(0))
    assert [each.measure for each in found] == [ALL, "good", "bad"]
    assert found[0].by_generator["maker"].value > 0.9
    assert found[1].by_generator == {}


def test_the_same_seed_gives_the_same_probes():
    measures = [{"size": float(v)} for v in np.random.default_rng(0).normal(LABEL)]
    assert probed(measures, LABEL) == probed(measures, LABEL)


def test_nothing_is_judged_where_a_class_has_one_source():
    measures = [{"size": float(n)} for n in range(6)]
    assert probed(measures, [1, 1, 1, 0, 0, 0], ["a", "b", "c", "d", "d", "d"]) == {}
    assert probed(measures, [1] * 6) == {}
