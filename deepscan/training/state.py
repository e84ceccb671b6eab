"""What a training run has to remember in order to go on exactly where it stopped.

Random numbers need no place here: every epoch seeds its own from (seed, epoch, rank).
"""

import contextlib
import copy
import dataclasses
import math
import pathlib
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepscan.errors import BundleError
from deepscan.recipe import Optimizer, Recipe, Schedule

TRAINER = "trainer.pt"
RUNNING = ("running_mean", "running_var")
"""Buffers of normalisations, which change from step to step as weights do."""


@dataclasses.dataclass(kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: Epochs finished.
        step: Optimiser steps taken.
        best_auc: Best validation AUC so far; below 0 = none yet.
        best_loss: Validation loss of the best epoch.
        best_epoch: The best epoch, counted from 1.
        waited: Epochs since the AUC last rose.
        drops: How often the ``plateau`` schedule has lowered the rate.
        plateau_waited: Epochs since the last better AUC or drop.
    """

    epoch: int = 0
    step: int = 0
    best_auc: float = -1.0
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    drops: int = 0
    plateau_waited: int = 0

    def note(self, auc: float, loss: float, recipe: Recipe) -> bool:
        """Take in an epoch's validation AUC and loss; tell whether the epoch is the best so far.

        The AUC decides; among epochs of one AUC, which a small validation split gives many of, the loss does.
        """
        better = auc > self.best_auc + recipe.stop.min_delta or self.best_epoch == 0
        self.waited = 0 if better else self.waited + 1
        self.plateau_waited = 0 if better else self.plateau_waited + 1
        best = better or (auc == self.best_auc and loss < self.best_loss)
        if best:
            self.best_auc, self.best_loss, self.best_epoch = auc, loss, self.epoch
        if self.plateau_waited > recipe.schedule.patience:
            self.drops, self.plateau_waited = self.drops + 1, 0
        return best

    def finished(self, recipe: Recipe) -> bool:
        """Tell whether the run is over: all epochs done, patience used up, or the target reached."""
        stop = recipe.stop
        reached = stop.target_auc is not None and self.best_auc >= stop.target_auc
        return self.epoch >= recipe.epochs or reached or 0 < stop.patience <= self.waited


def rate_factor(schedule: Schedule, progress: Progress, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor on the peak learning rate for the next optimiser step, in [0, 1]."""
    total = steps_per_epoch * epochs
    warmup = round(schedule.warmup * total)
    if progress.step < warmup:
        return (progress.step + 1) / (warmup + 1)
    if schedule.name == "cosine":
        share = (progress.step - warmup) / max(1, total - warmup)
        return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * min(1.0, share))) / 2
    if schedule.name == "step":
        return schedule.gamma ** (progress.step // steps_per_epoch // schedule.every_epochs)
    return schedule.gamma**progress.drops if schedule.name == "plateau" else 1.0


def parameter_groups(module: nn.Module, trunk: nn.Module | None, settings: Optimizer) -> list[dict[str, Any]]:
    """Return parameter groups: trunk and rest, each with and without weight decay.

    Each group's ``scale`` is its factor on the learning rate. Vectors and scalars (biases, norms)
    are not decayed.
    """
    in_trunk = {id(p) for p in trunk.parameters()} if trunk is not None else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        groups.setdefault((id(parameter) in in_trunk, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": members,
            "scale": settings.trunk_lr_scale if is_trunk else 1.0,
            "weight_decay": settings.weight_decay if is_decayed else 0.0,
        }
        for (is_trunk, is_decayed), members in groups.items()
    ]


def build_optimizer(groups: Iterable[dict[str, Any]], settings: Optimizer) -> torch.optim.Optimizer:
    """Build the optimiser that the settings name."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups, settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0
        )
    return torch.optim.AdamW(groups, settings.lr, betas=(settings.momentum, 0.999))


@contextlib.contextmanager
def ascended(
    parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], rho: float
) -> Iterator[None]:
    """Move weights by ``rho`` up the gradient, ``w + rho g / |g|``, and bring them back after the block.

    The first half of sharpness-aware minimisation (Foret et al., ICLR 2021, equation 2). They come back
    bit by bit. A gradient that is zero, infinite or no number moves nothing.
    """
    slopes = {p: g for p, g in zip(parameters, gradients, strict=True) if g is not None}
    norm = torch.stack([g.float().norm() for g in slopes.values()]).norm()
    factor = torch.where(norm.isfinite() & (norm > 0), rho / norm, 0.0)
    before = {p: p.detach().clone() for p in slopes}
    with torch.no_grad():
        for parameter, gradient in slopes.items():
            parameter.add_(torch.where(factor > 0, factor * gradient, 0.0))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in before.items():
                parameter.copy_(value)


@contextlib.contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Undo what the block does to a module's buffers: running statistics count a batch once."""
    before = [buffer.clone() for buffer in module.buffers()]
    yield
    for buffer, value in zip(module.buffers(), before, strict=True):
        buffer.copy_(value)


class MovingAverage:
    """A copy of a module whose weights and running statistics are exponential moving averages.

    Statistics of the latest weights alone are not those of averaged ones: validation would jump from epoch to
    epoch. Other buffers follow as they are.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start at the module's present weights."""
        self.decay = decay
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's weights by ``1 - decay``."""
        for kept, value in zip(self.module.parameters(), module.parameters(), strict=True):
            kept.lerp_(value, 1 - self.decay)
        for (name, held), buffer in zip(self.module.named_buffers(), module.buffers(), strict=True):
            if name.rpartition(".")[2] in RUNNING:
                held.lerp_(buffer, 1 - self.decay)
            else:
                held.copy_(buffer)


def save(directory: pathlib.Path, progress: Progress, **states: Any) -> None:
    """Write ``trainer.pt``: progress and named state dicts, tensors and plain values only."""
    torch.save({"progress": dataclasses.asdict(progress), **states}, directory / TRAINER)


def load(directory: pathlib.Path) -> tuple[Progress, dict[str, Any]]:
    """Read ``trainer.pt`` without unpickling code.

    Raises:
        BundleError: The file is absent or broken.
    """
    try:
        states = torch.load(directory / TRAINER, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        msg = f"{directory} cannot be resumed from: {TRAINER} cannot be read ({error})."
        raise BundleError(msg) from error
    return Progress(**states.pop("progress")), states
