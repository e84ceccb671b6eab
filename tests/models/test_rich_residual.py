import numpy as np
import pytest
import torch

from deepscan.errors import ConfigError
from deepscan.metrics import auc
from deepscan.models.catalog import load_builtin
from deepscan.models.rich_residual import RichResidual, RichResidualConfig
from deepscan.models.rich_statistics import RichStatisticsConfig
from deepscan.objectives import classification
from deepscan.recipe import Loss

SPEC = load_builtin().get("rich-residual")


def fresh(**settings):
    torch.manual_seed(0)
    return RichResidual(RichResidualConfig(**settings))


def pictures(count, seed):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 48, 48, 3), dtype=np.uint8))


def told(module, pixels):
    with torch.no_grad():
        return module(pixels)


def test_the_log_odds_of_both_are_added_up():
    module, pixels = fresh().eval(), pictures(3, seed=1)
    apart = [told(part, pixels)["logit"] for part in (module.rich, module.network)]
    assert min(logit.abs().max() for logit in apart) > 1e-4, "neither is silent"
    torch.testing.assert_close(told(module, pixels)["logit"], apart[0] + apart[1])


def test_in_training_each_has_to_tell_by_itself():
    """A part that is right already leaves the other as much to learn."""
    module, pixels = fresh(dropout=0.0).train(), pictures(4, seed=1)
    batch = {"pixels": pixels, "label": torch.tensor([0.0, 1.0, 0.0, 1.0])}
    objective = classification(("pixels",), Loss(), (2, 2))

    def gradient():
        module.zero_grad()
        objective(module, batch)["loss"].backward()
        return module.network.head[-1].bias.grad.clone()

    alone = gradient()
    with torch.no_grad():
        module.rich.logit.bias.fill_(20.0)
    assert torch.equal(gradient(), alone)
    assert alone.abs() > 1e-4


def test_solving_is_for_the_measurements_and_leaves_the_network():
    module = fresh().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pixels, label = pictures(12, seed=2), np.tile(np.float32([0, 1]), 6)
    with torch.no_grad():
        measured = SPEC.begin_measure(module, {"pixels": pixels})
    SPEC.begin(module, {"measured": measured["measured"].numpy(), "label": label}, 0)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"rich.mean", "rich.scale", "rich.logit.weight", "rich.logit.bias"}
    assert auc(label.astype(np.int64), told(module.rich, pixels)["logit"].numpy()) == 1.0


def test_its_ridge_is_that_of_the_measurements():
    assert fresh(ridge=0.4).rich.ridge == 0.4
    assert RichResidualConfig().ridge == RichStatisticsConfig().ridge


@pytest.mark.parametrize(("setting", "value"), [("ridge", 0.0), ("dropout", 1.0)])
def test_settings_of_both_are_checked(setting, value):
    with pytest.raises(ConfigError, match=setting):
        RichResidualConfig(**{setting: value})
