import pytest
import torch
from torch import nn

from deepscan.nn.initialize import he_normal


@pytest.mark.parametrize("groups", [1, 64])
def test_relu_layers_keep_the_scale_of_the_signal(groups):
    torch.manual_seed(0)
    layers = nn.Sequential(
        *(part for _ in range(6) for part in (nn.Conv2d(64, 64, 3, groups=groups, bias=False), nn.ReLU()))
    )
    he_normal(layers)
    before = torch.randn(4, 64, 32, 32)
    after = layers(before)
    assert (after.square().mean() / before.square().mean()).item() == pytest.approx(1, abs=0.6)
