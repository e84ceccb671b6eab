import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from scipy.special import expit

from deepscan.nn.attention import Attention, ChannelAttention, MomentAttention, SpatialAttention


@pytest.fixture
def x():
    return torch.randn(2, 8, 9, 11, generator=torch.Generator().manual_seed(0))


def test_channel_attention_follows_its_formula(x):
    torch.manual_seed(0)
    layer = ChannelAttention(8, ratio=4)
    squeeze, expand = (part.weight.detach().numpy() for part in (layer.mlp[0], layer.mlp[2]))

    def mlp(pooled):
        return np.maximum(pooled @ squeeze.T, 0) @ expand.T

    values = x.numpy()
    expected = expit(mlp(values.mean((2, 3))) + mlp(values.max((2, 3))))
    np.testing.assert_allclose(layer(x).detach().numpy()[:, :, 0, 0], expected, rtol=1e-5)


def test_spatial_attention_follows_its_formula(x):
    torch.manual_seed(0)
    layer = SpatialAttention()
    kernel, values = layer.conv.weight.detach().numpy()[0], x.numpy()[0]
    expected = expit(
        correlate2d(values.mean(0), kernel[0], "same") + correlate2d(values.max(0), kernel[1], "same")
    )
    np.testing.assert_allclose(layer(x).detach().numpy()[0, 0], expected, rtol=1e-4)


def test_attention_scales_channels_first_then_places(x):
    torch.manual_seed(0)
    layer = Attention(8, ratio=2)
    weighted = x * layer.channel(x)
    torch.testing.assert_close(layer(x), weighted * layer.spatial(weighted))
    assert layer(x).shape == x.shape


def test_ratio_above_the_channels_leaves_one_hidden_unit():
    assert ChannelAttention(8, ratio=16).mlp[0].out_features == 1


def test_moments_look_at_each_other_as_torch_does_it():
    torch.manual_seed(0)
    layer = MomentAttention(8, heads=2)
    other = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    other.load_state_dict({"in_proj_weight": layer.ask.weight, "out_proj.weight": layer.gather.weight})
    x, mask = torch.randn(3, 5, 8), torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    normal = layer.norm(x)
    expected = x + other(normal, normal, normal, key_padding_mask=~mask, need_weights=False)[0]
    torch.testing.assert_close(layer(x, mask), expected)


def test_a_single_real_moment_sees_only_itself():
    torch.manual_seed(0)
    layer, x = MomentAttention(8, heads=4), torch.randn(1, 3, 8)
    mask = torch.tensor([[True, False, False]])
    torch.testing.assert_close(layer(x, mask)[:, :1], layer(x[:, :1], mask[:, :1]))
