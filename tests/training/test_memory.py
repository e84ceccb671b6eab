import copy

import pytest
import torch
from torch import nn

from deepscan.models.catalog import load_builtin
from deepscan.training.memory import kept_bytes, recompute, statistics_held


def network():
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        for _ in range(4)
    ]
    return nn.Sequential(*blocks).train()


def stepped(module, x_BCHW):
    torch.manual_seed(1)
    loss = module(x_BCHW).square().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in module.parameters()], list(module.buffers())


def test_recomputing_changes_neither_loss_nor_gradients_nor_statistics():
    plain = network()
    lean = copy.deepcopy(plain)
    assert recompute(lean) == 4
    x_BCHW = torch.randn(2, 4, 16, 16)
    loss, gradients, buffers = stepped(plain, x_BCHW)
    lean_loss, lean_gradients, lean_buffers = stepped(lean, x_BCHW)
    assert torch.equal(loss, lean_loss)
    for ours, theirs in zip(lean_gradients + lean_buffers, gradients + buffers, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_recomputing_keeps_less():
    plain = network()
    lean = copy.deepcopy(plain)
    recompute(lean)
    x_BCHW = torch.randn(2, 4, 64, 64)
    assert kept_bytes(lambda: lean(x_BCHW)) < 0.6 * kept_bytes(lambda: plain(x_BCHW))


def test_kept_bytes_are_those_of_the_tensors():
    x_N = torch.ones(1000, requires_grad=True)
    assert kept_bytes(lambda: (x_N * 2).exp()) == 4000, "exp keeps its result; the product keeps nothing"


def test_a_recomputed_network_says_the_same_in_evaluation():
    plain = network().eval()
    lean = copy.deepcopy(plain)
    recompute(lean)
    x_BCHW = torch.randn(2, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain(x_BCHW), lean(x_BCHW))


@pytest.mark.parametrize("name", ["cnn", "mobilenet-v2", "residual", "mobilenet-v2-gru"])
def test_networks_have_blocks_to_recompute(name):
    spec = load_builtin().get(name)
    assert recompute(spec.build(spec.config())) > 1


def test_statistics_are_held_only_for_a_while():
    norm = nn.BatchNorm1d(3).train()
    with statistics_held(norm):
        norm(torch.randn(8, 3) + 5)
    assert torch.equal(norm.running_mean, torch.zeros(3))
    norm(torch.randn(8, 3) + 5)
    assert (norm.running_mean > 0.3).all()
