"""Channels that go are the least, tensors get smaller, and the rest says what it said."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepscan.errors import FormatError
from deepscan.nn.heads import Logit
from deepscan.nn.structure import restructure
from deepscan.optimize.channels import shrink

pruning = pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")


class Blocks(nn.Module):
    """A residual sum, a depthwise convolution, a gate over channels and a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)
        )
        self.gate = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.Sigmoid())
        self.side = nn.Conv2d(8, 6, 1)
        self.head = Logit(14)

    def forward(self, pixels):
        x = self.stem(pixels)
        x = x + self.inner(x)
        x = x * self.gate(x.mean((2, 3), keepdim=True))
        return {"logit": self.head(torch.cat([x, self.side(x)], 1).mean((2, 3)))}


class Recurrent(nn.Module):
    """Convolutions of every frame before a recurrent layer, whose input has to stay as wide as it is."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.order = nn.GRU(6, 5, batch_first=True)
        self.head = Logit(5)

    def forward(self, pixels):
        x = self.frames(pixels.flatten(0, 1)).view(*pixels.shape[:2], -1)
        return {"logit": self.head(self.order(x)[0][:, -1])}


class Contrast(nn.Module):
    """Divides every channel by the sum over all of them: no channel can go without a change of the others."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = Logit(8)

    def forward(self, pixels):
        x = self.conv(pixels).softmax(1)
        return {"logit": self.head(x.mean((2, 3)))}


def built(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().eval()


def pixels(*shape):
    return {"pixels": torch.randn(shape, generator=torch.Generator().manual_seed(0))}


def size(module, inputs):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logit = module(**inputs)["logit"]
    return sum(each.numel() for each in module.parameters()), counter.get_total_flops(), logit


def test_parameters_and_flops_fall_and_the_sizes_can_be_replayed():
    module, inputs = built(Blocks), pixels(2, 3, 12, 12)
    before = size(module, inputs)
    sizes = shrink(module, inputs, 0.5)
    after = size(module, inputs)
    assert after[0] < 0.6 * before[0]
    assert after[1] < 0.6 * before[1]
    assert module.inner[0].groups == module.inner[0].out_channels == 4
    fresh = restructure(built(Blocks, 1), [{"step": "channels", "sizes": sizes}])
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(size(fresh.eval(), inputs)[2], after[2])


def test_channels_that_say_nothing_go_first_and_nobody_misses_them():
    module, inputs = built(Blocks), pixels(2, 3, 12, 12)
    dead = [1, 2, 5, 6]
    with torch.no_grad():
        module.stem[0].weight[dead] = 0
        module.stem[1].weight[dead] = 0
        module.stem[1].bias[dead] = 0
        for layer in (module.inner[0], module.inner[1], module.inner[3]):
            layer.weight[dead] = 0
            layer.bias[dead] = 0
        for layer in (module.gate[0], module.side, module.inner[3]):
            layer.weight[:, dead] = 0
        module.gate[2].weight[dead] = 0
        module.head.weight[:, dead] = 0
        for layer, following in ((module.gate[0], module.gate[2]), (module.side, None)):
            half = list(range(layer.out_channels // 2))
            layer.weight[half] = 0
            layer.bias[half] = 0
            if following is not None:
                following.weight[:, half] = 0
        module.head.weight[:, 8:11] = 0
    expected = size(module, inputs)[2]
    shrink(module, inputs, 0.5)
    torch.testing.assert_close(size(module, inputs)[2], expected)
    assert module.stem[0].out_channels == 4


def test_what_a_recurrent_layer_reads_stays_as_wide_as_it_is():
    module, inputs = built(Recurrent), pixels(2, 3, 3, 9, 9)
    sizes = shrink(module, inputs, 0.5)
    assert sizes == {"frames.0": [4, 3, 1], "frames.2": [6, 4, 1]}
    assert size(module, inputs)[2].shape == (2,)


def test_what_would_say_something_else_than_with_the_channels_muted_is_left_alone():
    module, inputs = built(Contrast), pixels(2, 3, 9, 9)
    with pytest.raises(FormatError, match="No layer of Contrast"):
        shrink(module, inputs, 0.5)
    assert module.conv.out_channels == 8


def test_a_share_of_less_than_a_channel_is_refused():
    with pytest.raises(FormatError, match=r"can lose 0\.01"):
        shrink(built(Blocks), pixels(2, 3, 12, 12), 0.01)


def test_parameters_that_were_frozen_stay_so():
    module = built(Blocks).requires_grad_(False)
    shrink(module, pixels(2, 3, 12, 12), 0.5)
    assert not any(each.requires_grad for each in module.parameters())


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(FormatError, match=r"deepscan\[export\]"):
        shrink(built(Blocks), pixels(2, 3, 12, 12), 0.5)
