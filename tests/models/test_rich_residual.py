import numpy as np
import pytest
import torch

from deepscan.errors import ConfigError
from deepscan.metrics import auc
from deepscan.models.catalog import load_builtin
from deepscan.models.rich_residual import RichResidual, RichResidualConfig
from deepscan.models.rich_statistics import RichStatisticsConfig

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


def solved(module, count=12, seed=2):
    pixels, label = pictures(count, seed), np.tile(np.float32([0, 1]), count // 2)
    with torch.no_grad():
        measured = SPEC.begin_measure(module, {"pixels": pixels})
    SPEC.begin(module, {"measured": measured["measured"].numpy(), "label": label}, 0)
    return pixels, label


def test_the_log_odds_of_both_are_added_up():
    module, pixels = fresh().eval(), pictures(3, seed=1)
    solved(module)
    apart = [told(part, pixels)["logit"] for part in (module.rich, module.network)]
    assert min(logit.abs().max() for logit in apart) > 1e-3, "neither is silent"
    torch.testing.assert_close(told(module, pixels)["logit"], apart[0] + apart[1])


def test_the_network_speaks_alone_until_the_measurements_have_weights():
    module, pixels = fresh().eval(), pictures(3, seed=1)
    assert torch.equal(told(module, pixels)["logit"], told(module.network, pixels)["logit"])


def test_steps_teach_the_network_and_leave_what_was_solved_for():
    module = fresh(dropout=0.0)
    pixels, label = solved(module)
    before = {name: value.clone() for name, value in module.rich.state_dict().items()}
    assert module.rich.logit.weight.abs().max() > 0
    optimizer = torch.optim.AdamW(module.train().parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        logit = module(pixels)["logit"]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(label))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The measurements tell these apart already; in the sum there would be little to learn.
    assert losses[0] > 0.6
    assert losses[-1] < losses[0] - 0.05
    for name, value in module.rich.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_solving_is_for_the_measurements_and_leaves_the_network():
    module = fresh().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pixels, label = solved(module)
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
