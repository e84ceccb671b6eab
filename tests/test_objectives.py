import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from deepscan.errors import TrainingError
from deepscan.objectives import boundary_loss, classification, fake_loss, synchrony
from deepscan.recipe import Loss

LOGIT = torch.tensor([-100.0, -20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 20.0, 100.0])
LABEL = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])


class Given(nn.Module):
    """Returns the column it is given as the logit."""

    def forward(self, sound):
        return {"logit": sound}


def evaluate(loss, counts=(1, 1), logit=LOGIT, label=LABEL):
    objective = classification(("sound",), loss, counts)
    return objective(Given(), {"sound": logit, "label": label, "pixels": torch.zeros(1)})


def test_bce_agrees_with_torch():
    expected = functional.binary_cross_entropy_with_logits(LOGIT, LABEL)
    torch.testing.assert_close(evaluate(Loss())["loss"], expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_agrees_with_torchvision(gamma):
    expected = sigmoid_focal_loss(LOGIT, LABEL, alpha=-1, gamma=gamma)
    torch.testing.assert_close(fake_loss(LOGIT, LABEL, Loss(name="focal", gamma=gamma)), expected)


def test_label_smoothing_agrees_with_torch_on_soft_targets():
    expected = functional.binary_cross_entropy_with_logits(LOGIT, torch.where(LABEL > 0, 0.95, 0.05))
    torch.testing.assert_close(evaluate(Loss(label_smoothing=0.1))["loss"], expected)


@pytest.mark.parametrize("name", ["bce", "focal"])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_finite_at_extreme_logits(name, gamma, label_smoothing):
    for label in (0.0, 1.0):
        logit = torch.tensor([-100.0, 0.0, 100.0], requires_grad=True)
        loss = Loss(name=name, gamma=gamma, label_smoothing=label_smoothing)
        each = fake_loss(logit, torch.full((3,), label), loss)
        each.sum().backward()
        assert each.isfinite().all()
        assert (each >= 0).all()
        assert logit.grad.isfinite().all()


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_a_fake_is_pushed_up_and_a_real_down(name):
    logit = torch.zeros(2, requires_grad=True)
    fake_loss(logit, torch.tensor([1.0, 0.0]), Loss(name=name)).sum().backward()
    assert logit.grad[0] < 0 < logit.grad[1]


def test_balanced_classes_weigh_alike_and_one_in_the_mean():
    logit, label = torch.zeros(10), torch.tensor([1.0] + [0.0] * 9)
    balanced = Loss(class_weights="balanced")
    assert evaluate(balanced, (9, 1), logit, label)["loss"].item() == pytest.approx(math.log(2))
    fake = evaluate(balanced, (9, 1), logit[:1], label[:1])["loss"].item()
    real = evaluate(balanced, (9, 1), logit[1:], label[1:])["loss"].item()
    assert fake * 1 == pytest.approx(real * 9)


def test_counts_do_not_matter_unless_asked_for():
    assert torch.equal(evaluate(Loss(), (9, 1))["loss"], evaluate(Loss(), (0, 0))["loss"])


@pytest.mark.parametrize("counts", [(0, 5), (5, 0)])
def test_balanced_weights_refuse_an_empty_class(counts):
    with pytest.raises(TrainingError, match=f"{counts[0]} real and {counts[1]} fake"):
        classification(("sound",), Loss(class_weights="balanced"), counts)


def test_logit_is_handed_out_detached_and_the_loss_differentiable():
    logit = LOGIT.clone().requires_grad_()
    results = evaluate(Loss(), logit=logit)
    assert torch.equal(results["logit"], LOGIT)
    assert not results["logit"].requires_grad
    results["loss"].backward()
    assert logit.grad.any()


def test_members_are_each_trained_by_their_own_loss():
    """The mean of the members' losses, not the loss of their mean."""

    class Two(nn.Module):
        def forward(self, x):
            return {"logit": x.mean(1), "member_logits": x}

    x = torch.tensor([[3.0, -1.0], [0.5, 2.0]])
    label = torch.tensor([1.0, 0.0])
    found = classification(("x",), Loss(), (1, 1))(Two(), {"x": x, "label": label})["loss"]
    expected = functional.binary_cross_entropy_with_logits(x, label[:, None].expand(2, 2))
    torch.testing.assert_close(found, expected)


class Heard(nn.Module):
    """Returns what it is given, as a model of mouths and sounds does."""

    def forward(self, match, logit, parted_logit, share, contrast):
        assert contrast
        output = {"match": match, "share": share, "logit": logit, "parted_logit": parted_logit}
        return {**output, "own": torch.tensor(1)}


@pytest.fixture
def heard():
    """Two clips of three moments with four sounds each; of the second clip the last moment is padding."""
    torch.manual_seed(0)
    match = torch.randn(2, 3, 4)
    match[1, 2] = torch.finfo(torch.float32).min
    share = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])
    logit, parted_logit = torch.tensor([-1.0, 0.5]), torch.tensor([[2.0, -0.5], [0.0, 1.0]])
    return {"match": match, "share": share, "logit": logit, "parted_logit": parted_logit}


def ask(heard, loss=None, **label):
    inputs = ("match", "share", "logit", "parted_logit")
    return synchrony(inputs, loss or Loss(), (2, 0))(Heard(), {**heard, **label})


def test_synchrony_agrees_with_torch_on_matches_and_logits(heard):
    moments = [
        functional.cross_entropy(heard["match"][clip, :count], torch.ones(count, dtype=torch.long))
        for clip, count in ((0, 3), (1, 2))
    ]
    own = functional.binary_cross_entropy_with_logits(heard["logit"], torch.zeros(2))
    parted = functional.binary_cross_entropy_with_logits(heard["parted_logit"], torch.ones(2, 2))
    torch.testing.assert_close(ask(heard)["loss"], sum(moments) / 2 + (own + parted) / 2)


def test_synchrony_takes_every_example_for_real(heard):
    assert torch.equal(ask(heard, label=torch.ones(2))["loss"], ask(heard, label=torch.zeros(2))["loss"])


def test_synchrony_has_finite_gradients_where_moments_are_padding(heard):
    heard["match"].requires_grad_()
    results = ask(heard)
    results["loss"].backward()
    assert heard["match"].grad.isfinite().all()
    assert not heard["match"].grad[1, 2].any()
    assert (heard["match"].grad[0, :, 1] < 0).all(), "the right sound is drawn nearer"
    assert torch.equal(results["logit"], heard["logit"])


def test_synchrony_smooths_the_labels_of_its_logits(heard):
    assert ask(heard, Loss(label_smoothing=0.2))["loss"] != ask(heard)["loss"]


class Mapped(nn.Module):
    """Returns the columns it is given as the logit and the map."""

    def forward(self, sound, map_in):
        return {"logit": sound, "mask_logit": map_in}


def test_the_edge_is_where_both_pictures_are_as_strong():
    """A cell that is half the one and half the other counts as fully mixed, however sharp the edge."""
    alpha = torch.zeros(1, 4, 8, dtype=torch.uint8)
    alpha[:, :, 2:] = 255
    target = torch.tensor([[[1.0, 0.0]]])
    logit = torch.tensor([[[0.3, -0.7]]])
    expected = functional.binary_cross_entropy_with_logits(logit, target)
    torch.testing.assert_close(boundary_loss(logit, alpha, torch.ones(1)), expected)


def test_the_boundary_loss_agrees_with_a_reckoning_by_hand():
    rng = torch.Generator().manual_seed(0)
    alpha = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=rng)
    logit = torch.randn(3, 2, 2, generator=rng)
    expected = []
    for b in (0, 2):
        for i in range(2):
            for j in range(2):
                m = alpha[b, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].double().mean().item() / 255
                t, p = 4 * m * (1 - m), 1 / (1 + math.exp(-logit[b, i, j].item()))
                expected.append(-t * math.log(p) - (1 - t) * math.log(1 - p))
    found = boundary_loss(logit, alpha, torch.tensor([1.0, 0.0, 1.0])).item()
    assert found == pytest.approx(sum(expected) / 8, rel=1e-5)


def test_where_nobody_knows_what_was_altered_nothing_is_asked():
    logit = torch.randn(2, 3, 3, requires_grad=True)
    loss = boundary_loss(logit, torch.zeros(2, 6, 6, dtype=torch.uint8), torch.tensor([0.0, 1.0]))
    loss.backward()
    assert not logit.grad[0].any()
    assert logit.grad[1].all()
    assert boundary_loss(logit, torch.zeros(2, 6, 6, dtype=torch.uint8), torch.zeros(2)) == 0


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_classification_adds_the_boundary_where_model_and_batch_have_it(weight):
    alpha = torch.full((9, 4, 4), 128, dtype=torch.uint8)
    batch = {"sound": LOGIT, "map_in": torch.randn(9, 2, 2), "label": LABEL}
    told = {**batch, "alpha": alpha, "alpha_known": torch.ones(9)}
    objective = classification(("sound", "map_in"), Loss(mask_weight=weight), (1, 1))
    plain = classification(("sound",), Loss(mask_weight=weight), (1, 1))
    without = objective(Mapped(), batch)["loss"]
    extra = weight * boundary_loss(batch["map_in"], alpha, torch.ones(9))
    torch.testing.assert_close(objective(Mapped(), told)["loss"], without + extra)
    torch.testing.assert_close(plain(Given(), told)["loss"], without)
