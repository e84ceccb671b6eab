import numpy as np
import pytest
import torch
from scipy.special import softmax

from deepscan.nn.moments import Moments

MASK = torch.arange(4) < torch.tensor([4, 2, 1])[:, None]


@pytest.fixture
def x():
    return torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def head():
    torch.manual_seed(0)
    return Moments(8, (6,), dropout=0.3, attention=5).eval()


def test_shares_follow_their_formula(head, x):
    hidden, _, energy = head.attention
    weight, bias = hidden.weight.detach().numpy(), hidden.bias.detach().numpy()
    expected = softmax(np.tanh(x.numpy() @ weight.T + bias) @ energy.weight.detach().numpy()[0], axis=1)
    np.testing.assert_allclose(head(x)["attention"].detach(), expected, rtol=1e-5)


def test_each_moment_is_scored_by_itself(head, x):
    found = head(x)["moment_logit"]
    torch.testing.assert_close(found[1, 2], head.head(x[1, 2:3])[0])


def test_logit_is_the_weighted_sum_of_moments(head, x):
    scored = head(x, MASK)
    expected = (scored["attention"].double() * scored["moment_logit"].double()).sum(1)
    torch.testing.assert_close(scored["logit"].double(), expected)


def test_padding_has_no_share_whatever_it_holds(head, x):
    scored, other = head(x, MASK), head(x.masked_fill(~MASK[..., None], 1e6), MASK)
    for name, value in scored.items():
        assert torch.equal(value, other[name]), name
    assert not scored["attention"][~MASK].any()
    torch.testing.assert_close(scored["attention"].sum(1), torch.ones(3))
    torch.testing.assert_close(scored["logit"][2], head.head(x[2, :1])[0])


def test_no_mask_means_that_all_moments_are_real(head, x):
    scored, other = head(x), head(x, torch.ones(3, 4, dtype=torch.bool))
    assert all(torch.equal(scored[name], other[name]) for name in scored)


def test_results_are_float32_under_autocast(head, x):
    with torch.autocast("cpu", torch.bfloat16):
        scored = head(x, MASK)
    assert {value.dtype for value in scored.values()} == {torch.float32}
