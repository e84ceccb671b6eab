"""The way in which training steps are computed is found by timing them."""

import dataclasses
import itertools
import logging

import numpy as np
import pytest
import torch
from torch import nn

from deepscan.nn.normalize import Normalize
from deepscan.objectives import classification
from deepscan.recipe import Optimizer, Recipe
from deepscan.training import loop, ways
from deepscan.training.ways import Way, chosen, usual

CPU = torch.device("cpu")
SIZE, STEPS = 16, 4


def clock(seconds, compiling_s=60.0):
    """Give the seconds of a way by its properties; what was asked is kept."""
    asked = []

    def read(way):
        asked.append(way)
        return (compiling_s if way.compiled else 0.0), seconds(way)

    return read, asked


def test_the_precision_that_is_faster_here_is_taken():
    read, _ = clock(lambda way: 1.0 if way.precision == "float32" else 1.25)
    assert chosen(read, Way("bfloat16"), ["bfloat16", "float32"], 1000) == Way("float32")
    read, _ = clock(lambda way: 1.0 if way.precision == "float32" else 0.5)
    assert chosen(read, Way("bfloat16"), ["bfloat16", "float32"], 1000) == Way("bfloat16")


def test_a_difference_that_may_be_chance_changes_nothing():
    read, asked = clock(lambda way: 1.0 if way == Way("bfloat16") else 0.95)
    assert chosen(read, Way("bfloat16"), ["bfloat16", "float32"], 1000) == Way("bfloat16")
    assert len(asked) == 3, "both precisions and the other layout"


def test_the_layout_is_chosen_in_the_precision_that_was():
    read, _ = clock(
        lambda way: (1.0 if way.precision == "float32" else 2.0) * (1.0 if way.channels_last else 0.7)
    )
    assert chosen(read, Way("bfloat16"), ["bfloat16", "float32"], 1000) == Way("float32", channels_last=False)


@pytest.mark.parametrize(("steps", "is_compiled"), [(1000, False), (2000, False), (4000, True)])
def test_compilation_has_to_be_earned_back(steps, is_compiled):
    """1000 steps are below half an hour, 2000 save 400 s of the 500 that compiling takes, 4000 save 800."""
    read, asked = clock(lambda way: 0.8 if way.compiled else 1.0, compiling_s=200 if is_compiled else 500)
    assert chosen(read, Way(), ["float32"], steps) == Way(compiled=is_compiled)
    assert any(way.compiled for way in asked) == (steps > 1000)


def test_what_the_recipe_says_is_kept_to():
    assert usual(Recipe(amp="bf16", compile=True), CPU) == Way("bfloat16", compiled=True)
    assert usual(Recipe(amp="off"), CPU) == Way()
    assert ways._precisions(Recipe(amp="bf16"), CPU) == ["bfloat16"]
    assert "float32" in ways._precisions(Recipe(), CPU)
    read, asked = clock(lambda way: 1.0)
    chosen(read, Way(compiled=True), ["float32"], 10**6)
    assert all(way.compiled for way in asked), "nobody who asks for compilation is measured without"


def test_layout_is_that_of_the_weights_and_of_what_they_see():
    seen = []
    pixels = torch.randint(0, 255, (2, 8, 8, 3), dtype=torch.uint8)
    for way in (Way(channels_last=False), Way()):
        net = Pictures()
        net.conv.register_forward_hook(lambda part, inputs, output: seen.append(inputs[0]))
        ways.lay_out(net, way)
        net(pixels)
        last = torch.channels_last
        assert net.conv.weight.is_contiguous(memory_format=last) == way.channels_last
        assert seen[-1].is_contiguous(memory_format=last) == way.channels_last
        assert seen[-1].is_contiguous() != way.channels_last


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.normalize = Normalize()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)  # a bias before a norm has chance for a gradient
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, pixels):
        features = self.norm(self.conv(self.normalize(pixels))).relu().mean((2, 3))
        return {"logit": self.head(features).flatten()}


def batch_of(number):
    rng = np.random.default_rng(number)
    label = np.arange(SIZE) % 2
    pixels = rng.integers(0, 100, (SIZE, 8, 8, 3)) + 100 * label[:, None, None, None]
    return {
        "pixels": torch.from_numpy(pixels.astype(np.uint8)),
        "label": torch.from_numpy(label.astype(np.float32)),
        "file": torch.arange(SIZE),
    }


def trainer_of(recipe, states=None, progress=None):
    torch.manual_seed(0)
    task = loop.Task(
        module=Pictures(),
        trunk=None,
        objective=classification(("pixels",), recipe.loss, (1, 1)),
        inputs=("pixels",),
        aggregate=lambda logits: float(logits.max()),
        recipe=recipe,
        steps_per_epoch=STEPS,
        device=CPU,
    )
    return loop.Trainer(task, states, progress)


def recipe_of(**changes):
    return Recipe(epochs=2, batch_size=SIZE, optimizer=Optimizer(lr=0.01), **changes)


def weights_after(trainer, begin=0):
    stream = (batch_of(number) for number in itertools.count(begin))
    trainer.run(stream, lambda: [batch_of(10**6)], lambda *_: None)
    return torch.cat([weights.detach().reshape(-1) for weights in trainer.task.module.parameters()])


@pytest.fixture
def measured(monkeypatch):
    """Short runs are measured, too, and float32 with the channels first is the fastest way."""
    timed = []

    def seconds(step, way):
        timed.append((way, len(step.batch["label"])))
        return 0.0, (1.0 if way.precision == "float32" else 2.0) * (1.5 if way.channels_last else 1.0)

    monkeypatch.setattr(ways, "LEAST_STEPS", 2 * STEPS)
    monkeypatch.setattr(ways.Step, "seconds", seconds)
    return timed


def test_a_run_is_measured_once_with_a_few_examples_and_loses_no_batch(measured, caplog):
    with caplog.at_level(logging.INFO):
        found = trainer_of(recipe_of())
        weights = weights_after(found)
    assert found.way == Way("float32", channels_last=False)
    assert {size for _, size in measured} == {ways.CPU_EXAMPLES}
    assert "Training goes on in float32, channels first." in caplog.text
    told = recipe_of(amp="off", speed="set")
    same, without_first = (weights_after(trainer_of(told), begin) for begin in (0, 1))
    assert (weights - same).norm() < 0.01 * (weights - without_first).norm(), "the same batches were seen"


def test_a_way_that_is_not_possible_here_is_not_taken_and_ends_no_run(monkeypatch, caplog):
    def seconds(step, way):
        if way.compiled or way.precision == "float32":
            raise RuntimeError("no compiler")
        return 0.0, 10.0

    monkeypatch.setattr(ways.Step, "seconds", seconds)
    trainer = trainer_of(recipe_of())
    step = ways.Step(
        module=trainer.task.module, objective=trainer.task.objective, batch=batch_of(0), device=CPU
    )
    monkeypatch.setattr(ways, "amp_dtype", lambda setting, device: torch.bfloat16)
    assert ways.fastest(step, recipe_of(), 10**6) == Way("bfloat16")
    assert "compiled are not possible here: no compiler" in caplog.text


def test_a_resumed_run_goes_on_in_the_way_that_was_taken(measured):
    first = trainer_of(recipe_of())
    weights_after(first)
    count = len(measured)
    again = trainer_of(recipe_of(), first.state_dict(), first.progress)
    assert again.way == first.way == Way("float32", channels_last=False)
    weights_after(again)
    assert len(measured) == count


@pytest.mark.parametrize("changes", [{"speed": "set"}, {"epochs": 1}])
def test_a_short_run_or_one_that_is_set_is_not_measured(measured, changes):
    recipe = dataclasses.replace(recipe_of(), **changes)
    trainer = trainer_of(recipe)
    weights_after(trainer)
    assert measured == []
    assert trainer.way == usual(recipe, CPU)


def test_timing_a_step_leaves_the_model_as_it_is():
    trainer = trainer_of(recipe_of())
    module = trainer.task.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    step = ways.Step(module=module, objective=trainer.task.objective, batch=batch_of(0), device=CPU)
    first_s, later_s = step.seconds(Way("bfloat16", channels_last=False))
    assert first_s > 0 < later_s
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not module.normalize._forward_hooks
