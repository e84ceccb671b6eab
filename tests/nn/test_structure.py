"""A network is brought into the structure in which its weights were written."""

import json

import pytest
import torch
from torch import nn

from deepscan.bundle import MANIFEST, Bundle
from deepscan.detector import Detector
from deepscan.errors import BundleError, ConfigError
from deepscan.nn.heads import Logit
from deepscan.nn.structure import restructure, sizes_of
from tests.tiny_bundles import tiny_bundle


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 6),
        nn.BatchNorm1d(6),
        Logit(6),
    )


def test_layers_take_the_sizes_that_they_are_told():
    sizes = {"0": [5, 3, 1], "1": [5], "2": [5, 5, 5], "5": [4, 5], "6": [4], "7": [1, 4]}
    module = restructure(network(), [{"step": "channels", "sizes": sizes}])
    assert sizes_of(module) == sizes
    module.load_state_dict(module.state_dict())
    assert module(torch.ones(2, 3, 8, 8)).shape == (2,)
    assert module[2].weight.shape == (5, 1, 3, 3)
    assert all(isinstance(layer.weight, nn.Parameter) for layer in module if hasattr(layer, "weight"))


def test_a_norm_that_was_folded_gives_way_to_a_bias():
    module = restructure(network(), [{"step": "fold", "norms": {"1": "0"}}])
    assert isinstance(module[1], nn.Identity)
    assert module[0].bias.shape == (8,)
    assert "1.weight" not in module.state_dict()


@pytest.mark.parametrize(
    "step",
    [
        {"step": "melted"},
        {"step": "channels", "sizes": {"9": [2]}},
        {"step": "channels", "sizes": {"0": [2]}},
        {"step": "fold", "norms": {"0": "1"}},
        {"step": "fold", "norms": {"3": "0"}},
    ],
)
def test_a_change_that_cannot_be_replayed_is_refused(step):
    with pytest.raises(ConfigError, match="structure was changed"):
        restructure(network(), [step])


def test_a_bundle_whose_model_has_not_the_layers_is_refused(tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    changed = bundle.amend(structure=({"step": "fold", "norms": {"layers.9": "layers.0"}},))
    assert changed.card.id != bundle.card.id
    with pytest.raises(BundleError, match=r"layers\.9"):
        Detector.load(bundle.path, "cpu")


def test_weights_that_are_not_of_the_structure_are_refused(tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    bundle.amend(structure=({"step": "channels", "sizes": {"layers.0": [4, 3, 1]}},))
    with pytest.raises(BundleError, match="do not fit the model"):
        Detector.load(bundle.path, "cpu")


def test_a_card_of_before_has_no_changes(tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    values = json.loads((bundle.path / MANIFEST).read_text())
    del values["structure"]
    (bundle.path / MANIFEST).write_text(json.dumps(values))
    assert Bundle.read(bundle.path).card == bundle.card
