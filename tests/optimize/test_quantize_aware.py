"""Roundings in training are those of the quantisers, and weights learn to bear them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError, TrainingError
from deepscan.formats import network_of
from deepscan.optimize.held_out import probabilities
from deepscan.optimize.qat import Lesson, Rounded, RoundedInput, RoundedWeight, following, teach
from deepscan.optimize.quantize import quantize_aware, quantize_static
from deepscan.optimize.quantize_onnx import rounded
from tests.optimize.trained import lights, trained_module, written
from tests.tiny_bundles import tiny_module

TRAIN, VAL = lights(96, 1), lights(120, 2)
LOUD = 60.0


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A detector that static int8 hurts: one feature is by far louder than the others and weighs less."""
    module = trained_module(TRAIN)
    norm, last = module.layers[1], module.layers[6]
    with torch.no_grad():
        for scaled in (norm.weight, norm.bias):
            scaled[0] *= LOUD
        last.weight[:, 0] /= LOUD
    return written(module, tmp_path_factory.mktemp("loud") / "bundle")


def test_weights_are_rounded_as_the_quantiser_of_graphs_rounds_them():
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    q, scale = rounded(weight.numpy(), axis=0)
    expected = q * scale[:, None, None, None]
    np.testing.assert_allclose(RoundedWeight()(weight).numpy(), expected, atol=1e-6)
    weight.requires_grad_(True)
    RoundedWeight()(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_what_a_layer_reads_is_rounded_to_256_steps_of_its_range():
    rounding = RoundedInput()
    rounding.watching = True
    x = torch.linspace(-1, 3, 1001)
    assert rounding(x) is x
    rounding.watching = False
    told = rounding(x)
    assert len(told.unique()) == 256
    assert (told - x).abs().max() <= 4 / 255 * 0.51
    assert rounding(torch.zeros(1)) == 0
    assert rounding(torch.full((1,), 9.0)).item() == pytest.approx(3, abs=4 / 255)


def test_one_odd_batch_does_not_widen_the_range_for_all():
    rounding = RoundedInput()
    rounding.watching = True
    for bounds in ([-1.0, 3.0], [-1.0, 3.0], [0.5, 30.0]):
        rounding(torch.tensor(bounds))
    assert rounding.low.item() == pytest.approx(-2 / 3)
    assert rounding.high.item() == pytest.approx(12)


def test_roundings_are_taken_out_without_a_trace():
    module = tiny_module().eval()
    before, x = copy.deepcopy(module.state_dict()), torch.from_numpy(VAL.inputs["pixels"][:4])
    told = module(pixels=x)["logit"]
    inside = Rounded(module)
    inside.watch(TRAIN)
    assert not torch.equal(inside(pixels=x)["logit"], told)
    inside.train()
    assert not any(part.training for part in inside.modules())
    after = inside.plain()
    assert after is module
    assert after.state_dict().keys() == before.keys()
    assert torch.equal(after(pixels=x)["logit"], told)


def test_ranges_are_measured_anew():
    inside = Rounded(tiny_module())
    inside.watch(TRAIN)
    wide = [float(each.high) for each in inside.inputs]
    inside.watch(TRAIN.take(1))
    assert float(inside.inputs[0].high) < wide[0]


def test_the_loss_is_least_where_the_model_says_what_was_said_before():
    class Says(nn.Module):
        def __init__(self, logit):
            super().__init__()
            self.logit = nn.Parameter(torch.tensor([logit]))

        def forward(self, x):
            return {"logit": self.logit + 0 * x}

    target = torch.sigmoid(torch.tensor([0.7]))
    losses = {}
    for logit in (0.0, 0.7, 1.4):
        model = Says(logit)
        losses[logit] = following(("x",))(model, {"x": torch.zeros(1), "target": target})["loss"]
        losses[logit].backward()
        assert (abs(float(model.logit.grad)) < 1e-6) == (logit == 0.7)
    assert losses[0.7] < min(losses[0.0], losses[1.4])


def test_a_detector_that_rounding_hurts_says_more_nearly_the_same_when_it_was_trained_for_it(first, tmp_path):
    lesson = Lesson(sample=TRAIN, epochs=8, batch_size=16, lr=0.01)
    static = quantize_static(first.path, VAL, tmp_path / "static", "onnx", TRAIN, max_auc_loss=1.0)
    aware = quantize_aware(first.path, VAL, tmp_path / "aware", "onnx", lesson, max_auc_loss=1.0)
    assert aware.agreement.mean_gap < 0.6 * static.agreement.mean_gap
    assert aware.agreement.largest_gap < static.agreement.largest_gap
    assert aware.agreement.auc_loss < 0.01
    card = aware.bundle.card
    assert card.teachers == (first.card.id,)
    assert card.change["method"] == "aware"
    assert card.change["best_epoch"] > 0
    assert card.precision == "int8"


def test_the_same_lesson_comes_to_the_same_weights_and_leaves_the_detector_alone(first):
    detector = Detector.load(first.path, "cpu")
    network = network_of(detector.runner)
    before = copy.deepcopy(network.state_dict())
    lesson = Lesson(sample=TRAIN.take(32), epochs=2, lr=0.01)
    state = torch.get_rng_state()
    one, two = (teach(detector, network, lesson, VAL) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(one.figures) == 3
    assert one.figures == two.figures
    for name, value in one.module.state_dict().items():
        assert torch.equal(value, two.module.state_dict()[name])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_start_is_kept_where_no_epoch_is_better(first):
    detector = Detector.load(first.path, "cpu")
    network = network_of(detector.runner)
    ruinous = Lesson(sample=TRAIN, epochs=1, lr=30.0)
    taught = teach(detector, network, ruinous, VAL)
    assert taught.best_epoch == 0
    assert taught.figures[1]["gap"] > taught.figures[0]["gap"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, taught.module.state_dict()[name])


def test_fewer_examples_than_a_batch_are_enough(first):
    detector = Detector.load(first.path, "cpu")
    few = Lesson(sample=TRAIN.take(3), epochs=1)
    assert len(teach(detector, network_of(detector.runner), few, VAL).figures) == 2


def test_mistakes_are_told(first, tmp_path):
    with pytest.raises(ConfigError, match="at least 1 epoch"):
        Lesson(sample=TRAIN, epochs=0)
    with pytest.raises(FormatError, match="no layer that is trained rounded"):
        Rounded(nn.Sequential(nn.ReLU()))
    with pytest.raises(ConfigError, match="not as 'eager'"):
        quantize_aware(first.path, VAL, tmp_path / "out", "eager", Lesson(sample=TRAIN))
    real = VAL.label == 0
    one_class = type(VAL)(
        inputs={"pixels": VAL.inputs["pixels"][real]}, label=VAL.label[real], file=VAL.file[real]
    )
    with pytest.raises(TrainingError, match="AUC needs both"):
        quantize_aware(first.path, one_class, tmp_path / "out", "onnx", Lesson(sample=TRAIN, epochs=1))
    assert list(tmp_path.iterdir()) == []


def test_p_fake_of_the_trained_detector_moves(first):
    """The subject of these tests is no constant."""
    told = probabilities(Detector.load(first.path, "cpu"), VAL)
    assert told.max() - told.min() > 0.3
