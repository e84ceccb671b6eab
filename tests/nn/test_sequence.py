import dataclasses

import pytest
import torch

from deepscan.config import from_dict
from deepscan.errors import ConfigError
from deepscan.nn.sequence import Sequence, SequenceConfig

SMALL = SequenceConfig(cell="gru", units=(8,), heads=2)
MASK = torch.arange(5) < torch.tensor([5, 3])[:, None]


@pytest.fixture
def x():
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def built(**changes):
    torch.manual_seed(0)
    return Sequence(6, dataclasses.replace(SMALL, **changes)).eval()


def swapped(x_BTF):
    return x_BTF[:, [1, 0, 2, 3, 4]]


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(x, heads, bidirectional):
    layers = built(heads=heads, bidirectional=bidirectional)
    scored = layers(x, MASK)
    alone = layers(x[1:, :3], MASK[1:, :3])
    torch.testing.assert_close(scored["logit"][1:], alone["logit"])
    torch.testing.assert_close(scored["moment_logit"][1:, :3], alone["moment_logit"])


def test_order_of_moments_matters(x):
    layers = built()
    assert (layers(x, MASK)["logit"] - layers(swapped(x), MASK)["logit"]).abs().max() > 1e-5


def test_attention_lets_a_layer_that_reads_ahead_know_what_comes(x):
    later = x.clone()
    later[:, 2] += 3
    for heads in (0, 2):
        layers = built(heads=heads, bidirectional=False)
        first = layers(x, MASK)["moment_logit"][:, 0]
        assert torch.equal(first, layers(later, MASK)["moment_logit"][:, 0]) == (heads == 0)


@pytest.mark.parametrize(
    "wrong", [{"units": []}, {"units": [8, 0]}, {"heads": -1}, {"heads": 3, "units": [8]}, {"dropout": 1.5}]
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        from_dict(SequenceConfig, wrong)


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # torch's own cells keep a list of their weights
def test_sequences_can_be_exported_for_any_number_of_clips(x):
    layers, clips = built(), torch.export.Dim("clips")
    program = torch.export.export(layers, (x, MASK), dynamic_shapes=({0: clips}, {0: clips}))
    x_3TF, mask_3T = torch.cat([x, x[:1]]), torch.cat([MASK, MASK[:1]])
    torch.testing.assert_close(program.module()(x_3TF, mask_3T)["logit"], layers(x_3TF, mask_3T)["logit"])
