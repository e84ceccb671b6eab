import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from deepscan.errors import ConfigError
from deepscan.media import degrade
from deepscan.metrics import auc
from deepscan.models.catalog import load_builtin
from deepscan.models.rich_statistics import LENGTH, RichStatistics, RichStatisticsConfig, ridge_regression

SIDE = 48


def pictures(count, seed):
    """Returns smooth pictures, of which fakes have a little less of the finest detail."""
    rng = np.random.default_rng(seed)
    label_N = (np.arange(count) % 3 == 0).astype(np.float32)
    noise = rng.normal(0, 6, (count, SIDE, SIDE, 3))
    drift = rng.uniform(60, 190, (count, 1, 1, 3)) + rng.normal(0, 1, (count, SIDE, 1, 1)).cumsum(1)
    noise[label_N > 0] = 0.75 * noise[label_N > 0] + 0.25 * np.roll(noise[label_N > 0], 1, 2)
    pixels = np.clip(drift + noise, 0, 255).astype(np.uint8)
    return {"pixels": np.stack([degrade.jpeg(p, 90) for p in pixels]), "label": label_N}


def begun(columns, **settings):
    torch.manual_seed(0)
    module = RichStatistics(RichStatisticsConfig(**settings)).eval()
    spec = load_builtin().get("rich-statistics")
    with torch.no_grad():
        measured = spec.begin_measure(module, {"pixels": torch.from_numpy(columns["pixels"])})
    spec.begin(module, {"measured": measured["measured"].numpy(), "label": columns["label"]}, 0)
    return module


def logits(module, columns):
    with torch.no_grad():
        return module(torch.from_numpy(columns["pixels"]))["logit"].numpy()


def test_what_is_solved_for_tells_pictures_that_it_never_saw():
    module, unseen = begun(pictures(90, seed=1)), pictures(60, seed=2)
    logit_N = logits(module, unseen)
    assert auc(unseen["label"].astype(np.int64), logit_N) > 0.9
    assert logit_N[unseen["label"] > 0].mean() > 0.5
    assert logit_N[unseen["label"] == 0].mean() < -0.5, "half as many fakes move the middle nowhere"


def test_a_larger_ridge_knows_less_of_each_picture():
    seen = pictures(60, seed=1)
    right = np.where(seen["label"] > 0, 1, -1)
    firm, smooth = (right * logits(begun(seen, ridge=ridge), seen) for ridge in (0.01, 10.0))
    assert firm.mean() > 2 * smooth.mean()


def test_standardised_measurements_have_the_length_that_is_declared():
    seen = pictures(60, seed=1)
    module = begun(seen)
    with torch.no_grad():
        x_NF = module.standardise(module.measure(torch.from_numpy(seen["pixels"])))
    assert x_NF.mean(0).abs().max() < 0.3 * x_NF.std()
    # Those that all pictures have alike are left out.
    assert 0.5 * LENGTH < x_NF.norm(dim=1).mean() <= LENGTH


def test_pictures_of_one_class_give_a_scale_and_no_weights():
    seen = pictures(12, seed=1)
    torch.manual_seed(0)
    fresh = RichStatistics(RichStatisticsConfig())
    module = begun({**seen, "label": np.zeros(12, np.float32)})
    assert torch.equal(module.logit.weight, fresh.logit.weight)
    assert not torch.equal(module.mean, fresh.mean)


def test_the_dual_form_is_the_ridge_regression_of_scikit_learn():
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(40, 100)).astype(np.float32)
    wanted_N = np.where(np.arange(40) < 10, 1.0, -1.0).astype(np.float32)
    weight_F, bias = ridge_regression(torch.from_numpy(x_NF), torch.from_numpy(wanted_N), ridge=3.0)
    share_N = np.where(wanted_N > 0, 0.5 / 0.25, 0.5 / 0.75)
    expected = Ridge(alpha=3.0).fit(x_NF, wanted_N, sample_weight=share_N)
    np.testing.assert_allclose(weight_F.numpy(), expected.coef_, rtol=1e-3, atol=1e-5)
    assert bias == pytest.approx(float(expected.intercept_), abs=1e-4)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_a_ridge_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="ridge"):
        RichStatisticsConfig(ridge=wrong)
