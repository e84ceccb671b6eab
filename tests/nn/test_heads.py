import pytest
import torch
from torch import nn

from deepscan.config import from_dict
from deepscan.errors import ConfigError
from deepscan.nn.heads import Head, HeadConfig, Logit


def test_head_has_the_widths_it_was_given():
    dense = [part for part in Head(8, (6, 4), 0.1) if isinstance(part, nn.Linear)]
    shapes = [(part.in_features, part.out_features) for part in dense]
    assert shapes == [(8, 6), (6, 4), (4, 1)]


def test_head_without_widths_is_one_linear_unit():
    head = Head(8, (), 0.3).eval()
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head(x), x @ head[-1].weight[0] + head[-1].bias[0])


def test_dropout_changes_training_and_not_evaluation():
    torch.manual_seed(0)
    head, x = Head(64, (), 0.5), torch.ones(4, 64)
    assert not torch.equal(head(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_first_logits_are_near_zero():
    torch.manual_seed(0)
    assert Logit(1000)(torch.randn(100, 1000)).abs().max() < 2


def test_logit_keeps_full_precision_under_autocast():
    torch.manual_seed(0)
    unit, x = Logit(100), torch.randn(50, 100)
    with torch.autocast("cpu", torch.bfloat16):
        logit = unit(x)
    assert logit.dtype == torch.float32
    assert torch.equal(logit, unit(x))


def test_logit_is_float32_from_a_half_precision_module():
    assert Logit(4).bfloat16()(torch.ones(2, 4)).dtype == torch.float32


@pytest.mark.parametrize("settings", [{"dropout": 1.0}, {"dropout": -0.1}, {"widths": [8, 0]}])
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        from_dict(HeadConfig, settings)


def test_head_can_be_traced_and_exported_as_plain_operations():
    """Quantisation and folding read such graphs; a higher-order operation would stop them."""
    torch.manual_seed(0)
    head, x = Head(8, (4,), 0.1).eval(), torch.ones(3, 8)
    torch.testing.assert_close(torch.fx.symbolic_trace(head)(x), head(x))
    program = torch.export.export(head, (x,))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert all(isinstance(target, torch._ops.OpOverload) for target in called)
