"""Differences between groups: by hand, where they are chance, and where there is too little to say."""

import numpy as np
import pytest
from sklearn import metrics as sk

from deepscan.metrics import fairness
from tests.metrics.samples import judged


def grouped(sizes, errors, seed=0):
    """Return files of groups with this many of each class, of which so many (real, fake) are called wrong."""
    label, logit, group, source = [], [], [], []
    rng = np.random.default_rng(seed)
    for name, size in sizes.items():
        for is_fake, wrong in zip((0, 1), errors[name], strict=True):
            right = 1 if is_fake else -1
            label += [is_fake] * size
            logit += list(np.where(np.arange(size) < wrong, -right, right) * rng.uniform(0.5, 3, size))
            group += [name] * size
            source += [f"{name}-{is_fake}-{number % 20}" for number in rng.permutation(size)]
    return judged(label, logit, source, tone=group)


def measured(files, replicates=0):
    return fairness.disparity(files, "tone", 0.5, np.random.default_rng(0), replicates)


def test_gaps_by_hand():
    found = measured(grouped({"a": 40, "b": 40}, {"a": (4, 2), "b": (12, 4)}))
    gaps = found.gaps
    assert gaps["real_called_fake"].values == pytest.approx({"a": 0.1, "b": 0.3})
    assert gaps["real_called_fake"].difference.value == pytest.approx(0.2)
    assert gaps["fake_called_real"].difference.value == pytest.approx(0.05)
    assert gaps["accuracy"].difference.value == pytest.approx(74 / 80 - 64 / 80)
    assert {gap.worst for gap in gaps.values()} == {"b"}
    assert found.equalised_odds.value == pytest.approx(0.2)
    assert found.too_small == {}


def test_the_gap_in_auc_is_that_of_scikit_learn():
    files = grouped({"a": 40, "b": 50, "c": 30}, {"a": (4, 2), "b": (12, 9), "c": (1, 1)})
    areas = {
        name: sk.roc_auc_score(files.label[held], files.logit[held])
        for name in "abc"
        for held in (files.groups["tone"] == name,)
    }
    gap = measured(files).gaps["auc"]
    assert gap.values == pytest.approx(areas)
    assert gap.difference.value == pytest.approx(max(areas.values()) - min(areas.values()))
    assert gap.worst == min(areas, key=areas.get)


def test_groups_that_are_too_small_are_left_out_and_named():
    found = measured(grouped({"a": 40, "b": 40, "few": 8}, {"a": (4, 2), "b": (12, 4), "few": (8, 8)}))
    assert set(found.gaps["auc"].values) == {"a", "b"}
    assert list(found.too_small) == ["few"]
    assert "8 real files of 8 sources and 8 fake files" in found.too_small["few"]
    assert "at least 20 of 5 sources" in found.too_small["few"]


def test_many_files_of_few_sources_say_nothing_either():
    files = grouped({"a": 40, "b": 40}, {"a": (4, 2), "b": (12, 4)})
    one = np.where(files.groups["tone"] == "b", "b-" + files.label.astype(str), files.source)
    found = measured(judged(files.label, files.logit, one, tone=files.groups["tone"]))
    assert found.gaps["auc"].difference.value is None
    assert found.gaps["auc"].worst == ""
    assert found.equalised_odds.value is None
    assert "40 real files of 1 sources" in found.too_small["b"]


def test_a_group_of_one_class_is_compared_in_what_it_can_be():
    files = grouped({"a": 40, "b": 40}, {"a": (4, 2), "b": (12, 4)})
    found = measured(files.where((files.groups["tone"] == "a") | (files.label == 0)))
    assert found.gaps["real_called_fake"].difference.value == pytest.approx(0.2)
    assert found.gaps["fake_called_real"].difference.value is None
    assert found.gaps["auc"].difference.value is None
    assert found.equalised_odds.value is None
    assert "0 fake files of 0 sources" in found.too_small["b"]


def test_a_true_difference_has_an_interval_above_zero_and_chance_has_not():
    true = measured(grouped({"a": 200, "b": 200}, {"a": (10, 10), "b": (60, 60)}), 400)
    assert (
        0
        < true.gaps["real_called_fake"].difference.low
        < 0.25
        < true.gaps["real_called_fake"].difference.high
    )
    assert true.equalised_odds.low > 0
    sizes = dict.fromkeys("abcdef", 40)
    chance = measured(grouped(sizes, {name: (4 + n % 3, 4 + n % 2) for n, name in enumerate(sizes)}), 400)
    for gap in chance.gaps.values():
        assert gap.difference.value > 0
        assert gap.difference.low == 0
    assert chance.equalised_odds.low == 0
