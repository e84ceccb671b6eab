import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from deepscan.nn.recurrent import CELLS, Recurrent, RecurrentLayer, repeat_real, reverse_real

LENGTHS = torch.tensor([5, 1, 3])
MASK = torch.arange(5) < LENGTHS[:, None]


@pytest.fixture
def x():
    return torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))


def test_real_moments_are_reversed_and_padding_stays():
    x_BTF = torch.arange(15).view(3, 5, 1)
    found = reverse_real(x_BTF, MASK)[..., 0].tolist()
    assert found == [[4, 3, 2, 1, 0], [5, 6, 7, 8, 9], [12, 11, 10, 13, 14]]


def test_reversing_twice_changes_nothing(x):
    assert torch.equal(reverse_real(reverse_real(x, MASK), MASK), x)


def test_real_moments_take_the_place_of_padding_in_turn():
    frames = torch.arange(15, dtype=torch.uint8).view(3, 5, 1, 1)
    found = repeat_real(frames, MASK)
    assert found.dtype == torch.uint8
    assert found.flatten(1).tolist() == [[0, 1, 2, 3, 4], [5] * 5, [10, 11, 12, 10, 11]]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_layer_does_what_torch_does_with_packed_sequences(x, cell, bidirectional):
    torch.manual_seed(0)
    layer = RecurrentLayer(6, 4, cell, bidirectional)
    layer.norm = nn.Identity()
    other = CELLS[cell](6, 4, batch_first=True, bidirectional=bidirectional)
    weights = dict(layer.ahead.named_parameters())
    if bidirectional:
        weights |= {f"{name}_reverse": value for name, value in layer.back.named_parameters()}
    other.load_state_dict(weights)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(other(packed)[0], batch_first=True)
    torch.testing.assert_close(layer(x, MASK), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_not_seen_and_comes_out_as_zeros(x, bidirectional):
    torch.manual_seed(0)
    layers = Recurrent(6, (4, 3), "gru", bidirectional, dropout=0.5).eval()
    states = layers(x, MASK)
    assert states.shape == (3, 5, layers.width)
    assert not states[~MASK].any()
    other = x.masked_fill(~MASK[..., None], 7.0)
    assert torch.equal(layers(other, MASK), states)


def test_one_direction_knows_the_past_only_and_two_know_all(x):
    other = x.clone()
    other[0, 4] += 1
    torch.manual_seed(0)
    for bidirectional in (False, True):
        layers = Recurrent(6, (4,), "lstm", bidirectional, dropout=0.0)
        changed = (layers(x, MASK) != layers(other, MASK)).any(2)
        assert changed[0].tolist() == [bidirectional] * 4 + [True]
        assert not changed[1:].any()


def test_dropout_acts_between_layers_and_not_after_the_last(x):
    torch.manual_seed(0)
    one, two = (Recurrent(6, units, "gru", True, dropout=0.5) for units in ((4,), (4, 4)))
    assert torch.equal(one(x, MASK), one(x, MASK))
    assert not torch.equal(two(x, MASK), two(x, MASK))


def test_deep_layers_still_tell_clips_apart(x):
    torch.manual_seed(0)
    states = Recurrent(6, (32, 16, 8), "lstm", False, dropout=0.0)(x, MASK)
    assert (states[0, 0] - states[1, 0]).abs().max() > 0.1
