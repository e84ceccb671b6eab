import pytest
import torch
from torch import nn

from deepscan.config import override
from deepscan.errors import ConfigError
from deepscan.models.cnn import CnnConfig, build
from deepscan.nn.attention import Attention


def test_attention_follows_every_block_from_the_second():
    kinds = [isinstance(part, Attention) for part in build(CnnConfig()).trunk]
    assert kinds == [False, False, True, False, True, False, True]


def test_four_blocks_halve_the_sides_and_end_in_512_channels():
    with torch.device("meta"):
        features = build(CnnConfig()).trunk(torch.empty(1, 3, 256, 256))
    assert features.shape == (1, 512, 16, 16)


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_is_the_number_of_convolutions_a_block(depth):
    block = build(CnnConfig(depth=depth)).trunk[1]
    widths = [conv.out_channels for conv in block if isinstance(conv, nn.Conv2d)]
    assert widths == [128] * depth


def test_ratio_sets_the_hidden_units_of_attention():
    assert build(CnnConfig(attention_ratio=4)).trunk[2].channel.mlp[0].out_features == 128 // 4


@pytest.mark.parametrize("assignment", ["depth=0", "attention_ratio=0", "dropout=1", "widths=[0]"])
def test_settings_out_of_range_are_refused_by_name(assignment):
    with pytest.raises(ConfigError, match=assignment.split("=")[0]):
        override(CnnConfig(), [assignment])
