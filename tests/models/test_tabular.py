"""Models over measurements: what they take from the data before the first step, and what they then say."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

from deepscan.errors import ConfigError
from deepscan.metrics import auc
from deepscan.modalities.forensic import SLOTS
from deepscan.models.catalog import load_builtin
from deepscan.models.tabular import FARTHEST, BoostingConfig, Standardize, Trees

NAMES = ("forensic-logistic", "forensic-mlp", "forensic-boosting")


def table(count=200, seed=0, missing=0.2):
    """Returns files of which measurements 3 (thousands) and 7 (millionths) tell the label, others none."""
    rng = np.random.default_rng(seed)
    label_B = rng.integers(0, 2, count)
    measures_BM = np.zeros((count, SLOTS), np.float32)
    measures_BM[:, :20] = rng.standard_normal((count, 20)) * 10.0 ** rng.integers(-3, 6, 20)
    measures_BM[:, 3] = 5000 + 1000 * (rng.standard_normal(count) + 2 * label_B)
    measures_BM[:, 7] = 1e-6 * (rng.standard_normal(count) - 2 * label_B)
    known_BM = np.zeros((count, SLOTS), np.uint8)
    known_BM[:, :20] = rng.random((count, 20)) >= missing
    return {"measures": measures_BM * known_BM, "known": known_BM, "label": label_B.astype(np.float32)}


def begun(name, columns, seed=0):
    torch.manual_seed(0)
    spec = load_builtin().get(name)
    module = spec.build(spec.config())
    spec.begin(module, columns, seed)
    return module.eval()


def inputs(columns):
    return {name: torch.from_numpy(columns[name]) for name in ("measures", "known")}


def standardized(scale, columns):
    with torch.no_grad():
        return scale(*inputs(columns).values()).numpy()


def test_measurements_of_any_unit_come_to_one_scale_and_unknown_ones_to_nought():
    columns, scale = table(), Standardize()
    scale.learn(columns["measures"], columns["known"].astype(bool))
    x_BM = standardized(scale, columns)
    known_BM = columns["known"].astype(bool)
    for slot in range(20):
        values = x_BM[known_BM[:, slot], slot]
        assert abs(np.median(values)) < 0.05
        assert 0.5 < np.std(values) < 2
    assert not x_BM[~known_BM].any()


def test_a_measurement_far_from_all_others_does_not_drown_them():
    columns, scale = table(), Standardize()
    scale.learn(columns["measures"], columns["known"].astype(bool))
    columns["measures"][0, 3], columns["known"][0, 3] = 1e12, 1
    assert standardized(scale, columns)[0, 3] == FARTHEST


def test_a_constant_measurement_is_nought_and_one_that_nobody_has_stays_finite():
    columns, scale = table(), Standardize()
    columns["measures"][:, 5], columns["known"][:, 5] = 123.0, 1
    scale.learn(columns["measures"], columns["known"].astype(bool))
    x_BM = standardized(scale, columns)
    assert not x_BM[:, 5].any()
    assert np.isfinite(x_BM).all()


def test_trees_say_what_scikit_learn_says():
    rng = np.random.default_rng(1)
    x_BM = rng.standard_normal((300, SLOTS)).astype(np.float32)
    label_B = (x_BM[:, 0] * x_BM[:, 1] > 0).astype(np.int64)
    settings = BoostingConfig(trees=25, depth=3, rate=0.2)
    trees = Trees(settings)
    trees.learn(x_BM, label_B, seed=4)
    fitted = GradientBoostingClassifier(
        n_estimators=25, learning_rate=0.2, max_depth=3, subsample=0.7, max_features="sqrt", random_state=4
    ).fit(x_BM, label_B)
    expected = fitted.decision_function(x_BM) - fitted.decision_function(x_BM)[0]
    found = trees(torch.from_numpy(x_BM)).numpy()
    assert found - found[0] == pytest.approx(expected, abs=1e-4)


def test_trees_of_one_class_add_nothing():
    trees = Trees(BoostingConfig())
    trees.learn(np.ones((4, SLOTS), np.float32), np.ones(4, np.int64), seed=0)
    assert not trees(torch.ones(2, SLOTS)).any()


def test_trees_that_have_begun_rank_files_that_they_have_not_seen():
    module, other = begun("forensic-boosting", table()), table(seed=1)
    with torch.no_grad():
        logit_B = module(**inputs(other))["logit"].numpy()
    assert auc(other["label"].astype(np.int64), logit_B) > 0.9


def test_the_order_of_files_does_not_change_what_is_learnt_of_the_scale():
    columns = table()
    turned = {name: values[::-1].copy() for name, values in columns.items()}
    first, second = (begun("forensic-mlp", each).state_dict() for each in (columns, turned))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learnt_before_the_first_step_travels_with_the_weights(name):
    module, columns = begun(name, table()), table(seed=2)
    torch.manual_seed(1)
    spec = load_builtin().get(name)
    other = spec.build(spec.config())
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        said = [each.eval()(**inputs(columns))["logit"] for each in (module, other)]
    assert torch.equal(*said)


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"depth": 0}, {"depth": 9}, {"rate": 0}, {"dropout": 1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        BoostingConfig(**wrong)
