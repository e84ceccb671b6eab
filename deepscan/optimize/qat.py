"""Quantisation-aware training: weights learn to say the same once they and what they read are rounded.

Before every convolution and linear layer stand the roundings that a quantiser will put there (Jacob et al.,
CVPR 2018): weights symmetric for each output channel, activations by one range a layer. Gradients pass
through them as if they were not there, and are 0 beyond the range. Afterwards the roundings are taken out:
what is left is the plain model in float32, whose weights then bear being quantised, in any format.

The model learns from itself as it was, not from labels: the loss is the cross-entropy with P(fake) of the
unrounded model. So calibration and operating point of the bundle stay true. Dropout is off and norms keep
their statistics, as they will when the model is quantised.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.formats.eager import EagerRunner
from deepscan.objectives import Objective
from deepscan.optimize.held_out import Sample, probabilities
from deepscan.recipe import Optimizer, Recipe
from deepscan.training.loop import Batch, Report, Task, Trainer, validate

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers that are rounded; kinds derived from them may use their weights otherwise and are left alone."""

LOW, HIGH = -128, 127
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What is learnt from, and how long.

    Attributes:
        sample: Examples to learn from, best of the training split. Their labels do not matter.
        epochs: Passes over them.
        batch_size: Examples a step.
        lr: Peak learning rate of AdamW; it falls as a cosine.
        seed: Seed of the order.
    """

    sample: Sample
    epochs: int = 3
    batch_size: int = 16
    lr: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        if min(self.epochs, self.batch_size) < 1 or self.lr <= 0:
            msg = (
                "Training for int8 takes at least 1 epoch, batches of at least 1 and a rate above 0, "
                f"not {self.epochs}, {self.batch_size} and {self.lr:g}."
            )
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Taught:
    """What came of a lesson.

    Attributes:
        module: The model in float32 without roundings, with the weights of the best epoch.
        best_epoch: Its number from 1; 0 = no epoch was better than the start.
        figures: Of the rounded model, at the start and after each epoch: ``val_auc``, ``val_loss`` and
            ``gap``, its mean difference of P(fake) from the unrounded one.
    """

    module: nn.Module
    best_epoch: int
    figures: tuple[dict[str, float], ...]


class RoundedWeight(nn.Module):
    """Rounds a weight to 255 steps for each output channel (axis 0), symmetric around 0."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, float32, as int8 would have it."""
        most = weight.detach().flatten(1).abs().amax(1)
        scale = most.clamp_min(torch.finfo(torch.float32).tiny) / HIGH
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -HIGH, HIGH)


class RoundedInput(nn.Module):
    """Rounds what a layer reads to 256 steps between the least and the greatest value, means over batches.

    Attributes:
        low: Least value, at most 0, so that 0 is one of the steps.
        high: Greatest value, at least 0.
        shown: Batches of which they are the means.
        watching: Whether it measures the range instead of rounding.
    """

    low: Tensor
    high: Tensor
    shown: Tensor

    def __init__(self) -> None:
        """Start with an empty range."""
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("shown", torch.zeros(()))
        self.watching = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the same, float32, as int8 would have it."""
        if self.watching:
            self.shown += 1
            self.low += (x.detach().amin().clamp_max(0) - self.low) / self.shown
            self.high += (x.detach().amax().clamp_min(0) - self.high) / self.shown
            return x
        scale = ((self.high - self.low) / (HIGH - LOW)).clamp_min(torch.finfo(torch.float32).eps)
        zero = (LOW - self.low / scale).round().clamp(LOW, HIGH).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, LOW, HIGH)


class Rounded(nn.Module):
    """A model with a rounding before each of its convolutions and linear layers; it stays in evaluation mode.

    Attributes:
        module: The model itself, changed in place until ``plain`` is called.
        inputs: The roundings of what its layers read.
    """

    def __init__(self, module: nn.Module) -> None:
        """Put the roundings in.

        Raises:
            FormatError: The model has no such layer.
        """
        super().__init__()
        self.module = module
        self.layers = [each for each in module.modules() if type(each) in LAYERS]
        if not self.layers:
            msg = f"{type(module).__name__} has no layer that is trained rounded; use --method static."
            raise FormatError(msg)
        self.inputs = nn.ModuleList(RoundedInput() for _ in self.layers)
        self.hooks = []
        for layer, rounding in zip(self.layers, self.inputs, strict=True):
            parametrize.register_parametrization(layer, "weight", RoundedWeight())
            self.hooks.append(layer.register_forward_pre_hook(_before(rounding)))
        self.eval()

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return what the model says with all roundings."""
        said: dict[str, Tensor] = self.module(**inputs)
        return said

    def train(self, mode: bool = True) -> "Rounded":
        """Leave dropout off and norms as they are: gradients flow in evaluation mode too."""
        return super().train(False)

    def watch(self, sample: Sample) -> None:
        """Learn anew from a sample, unrounded, what ranges the layers read: as a quantiser will."""
        _set_watching(self.inputs, True)
        with torch.no_grad(), parametrize.cached():
            for batch in sample.batches():
                self.module(**_tensors(batch))
        _set_watching(self.inputs, False)

    def plain(self) -> nn.Module:
        """Take the roundings out and return the model, with the weights in float32 as they were learnt."""
        for layer, hook in zip(self.layers, self.hooks, strict=True):
            hook.remove()
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        return self.module


def teach(first: Detector, network: nn.Module, lesson: Lesson, sample: Sample) -> Taught:
    """Train a copy of a detector's model, rounded; keep the epoch that judges a sample most nearly the same.

    Ranges follow the weights: they are measured anew after every epoch.

    Args:
        first: The detector; it says of every Example what is to be learnt.
        network: Its module, which is left as it is.
        lesson: What is learnt from, and how long.
        sample: Held-out Examples of both classes, by which the epoch is chosen: the one with the least mean
            difference of P(fake) from the detector's.

    Raises:
        FormatError: The model has no convolution and no linear layer.
        TrainingError: The training diverged, or the sample holds one class only.
    """
    rounded = Rounded(copy.deepcopy(network))
    task = _task(rounded, first, lesson)

    def held_out() -> Iterator[Batch]:
        rounded.watch(lesson.sample)
        return _held_out(sample)

    before_F = probabilities(first, sample)

    def gap() -> float:
        second = dataclasses.replace(first, runner=EagerRunner(rounded, CPU))
        return float(np.abs(probabilities(second, sample) - before_F).mean())

    figures = [validate(rounded, task, held_out()) | {"gap": gap()}]
    best = [(0, copy.deepcopy(rounded.state_dict()))]

    def report(trainer: Trainer, report: Report) -> None:
        told = {name: report.metrics[name] for name in ("val_auc", "val_loss")} | {"gap": gap()}
        if told["gap"] < min(each["gap"] for each in figures):
            best[0] = (trainer.progress.epoch, copy.deepcopy(rounded.state_dict()))
        figures.append(told)

    with torch.random.fork_rng(devices=[]):
        Trainer(task).run(_stream(first, lesson), held_out, report)
    best_epoch, weights = best[0]
    rounded.load_state_dict(weights)
    return Taught(rounded.plain(), best_epoch, tuple(figures))


def following(inputs: tuple[str, ...]) -> Objective:
    """Return the objective of saying what the unrounded model says, ``target`` [B] of the batch in [0, 1].

    Its results are ``loss``, the mean cross-entropy with the target, and ``logit`` [B], detached.
    """

    def objective(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logit_B = model(**{name: batch[name] for name in inputs})["logit"]
        loss = functional.binary_cross_entropy_with_logits(logit_B, batch["target"])
        return {"loss": loss, "logit": logit_B.detach()}

    return objective


def _task(rounded: Rounded, first: Detector, lesson: Lesson) -> Task:
    inputs = tuple(first.prep.inputs)
    recipe = Recipe(
        seed=lesson.seed,
        epochs=lesson.epochs,
        batch_size=min(lesson.batch_size, len(lesson.sample)),
        amp="off",
        optimizer=Optimizer(lr=lesson.lr, weight_decay=0.0),
    )
    return Task(
        module=rounded,
        trunk=None,
        objective=following(inputs),
        inputs=inputs,
        aggregate=first.modality.aggregate,
        recipe=recipe,
        steps_per_epoch=len(lesson.sample) // recipe.batch_size,
        device=CPU,
    )


def _stream(first: Detector, lesson: Lesson) -> Iterator[Batch]:
    """Yield batches of the lesson without end, each epoch in an order of its own."""
    sample, rng = lesson.sample, np.random.default_rng(lesson.seed)
    logit = np.concatenate([first.runner(each)["logit"] for each in sample.batches()])
    target = torch.from_numpy(1 / (1 + np.exp(-np.clip(logit, -60, 60)))).float()
    size = min(lesson.batch_size, len(sample))
    while True:
        order = rng.permutation(len(sample))
        for start in range(0, len(sample) - size + 1, size):
            chosen = order[start : start + size]
            batch = _tensors({name: column[chosen] for name, column in sample.inputs.items()})
            yield batch | {"target": target[chosen], "label": torch.from_numpy(sample.label[chosen])}


def _held_out(sample: Sample) -> Iterator[Batch]:
    """Yield the batches of a sample as the loop validates on them."""
    start = 0
    for batch in sample.batches():
        end = start + len(next(iter(batch.values())))
        facts = {"label": sample.label[start:end], "file": sample.file[start:end]}
        yield _tensors(batch) | _tensors(facts)
        start = end


def _tensors(arrays: Mapping[str, Any]) -> Batch:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _before(rounding: nn.Module) -> Any:
    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return rounding(given[0]), *given[1:]

    return hook


def _set_watching(roundings: nn.ModuleList, watching: bool) -> None:
    for rounding in roundings:
        rounding.watching = watching  # type: ignore[assignment]
        if watching:
            for bound in rounding.buffers():
                bound.zero_()
