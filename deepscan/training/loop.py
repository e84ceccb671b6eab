"""The one training loop: plain torch, no Ray.

It takes iterables of batches and a ``report`` callback, and has two seams: ``objective(model,
batch) -> losses`` and a module that the caller may have transformed. ``training/fit.py`` gives it
to Ray Train; tests and notebooks call it directly.
"""

import contextlib
import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from deepscan.errors import TrainingError
from deepscan.metrics import auc
from deepscan.models import Begin, BeginMeasure
from deepscan.objectives import Objective
from deepscan.recipe import Recipe
from deepscan.training.clock import DeviceClock
from deepscan.training.memory import recompute
from deepscan.training.state import (
    MovingAverage,
    Progress,
    ascended,
    build_optimizer,
    kept_buffers,
    parameter_groups,
    rate_factor,
)
from deepscan.training.ways import Step, Way, earns, fastest, lay_out, usual

logger = logging.getLogger(__name__)
T = TypeVar("T")
Batch = dict[str, Tensor]
Validation = Callable[[], Iterable[Batch]]
"""Makes an iterable of this rank's validation batches: inputs, ``label`` and ``file``."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is trained, on what, and how.

    Attributes:
        module: The model, on ``device``.
        trunk: Its pretrained part; None = none, all of it is trained alike.
        objective: ``(model, batch) -> losses`` with a scalar ``loss`` and ``logit`` [B].
        inputs: Columns that the model reads.
        aggregate: Logits of a file's parts -> the file's logit.
        recipe: Training settings.
        steps_per_epoch: Batches an epoch and worker.
        device: Where the batches and the model are.
        rank: Number of this worker.
        world: Number of workers.
        begin: What the model takes from the data before its first step; see ``ModelSpec.begin``.
        begin_measure: What of a batch it is shown for that; see ``ModelSpec.begin_measure``.
        begin_examples: How many Examples it is shown; see ``ModelSpec.begin_examples``.
    """

    module: nn.Module
    trunk: nn.Module | None
    objective: Objective
    inputs: tuple[str, ...]
    aggregate: Callable[[np.ndarray[Any, np.dtype[np.float32]]], float]
    recipe: Recipe
    steps_per_epoch: int
    device: torch.device
    rank: int = 0
    world: int = 1
    begin: Begin | None = None
    begin_measure: BeginMeasure | None = None
    begin_examples: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What an epoch came to; the figures are the same on every rank.

    Attributes:
        metrics: ``epoch``, ``train_loss``, ``val_loss``, ``val_auc``, ``lr``, ``examples_per_s`` and
            of the time ``waiting_share`` (this process waited for data) and ``device_share`` (the device
            worked on steps). A GPU may be busy while its process waits.
        is_best: Whether the epoch is the best so far by its validation AUC, then by its validation loss; with
            ``recipe.keep=last`` each is.
    """

    metrics: dict[str, float]
    is_best: bool


class Trainer:
    """The state of a run on one rank, and the loop over its epochs."""

    def __init__(
        self, task: Task, states: Mapping[str, Any] | None = None, progress: Progress | None = None
    ) -> None:
        """Begin a run, or go on with one from the states of ``state_dict``."""
        self.task, self.progress = task, progress or Progress()
        settings = task.recipe.optimizer
        self.optimizer = build_optimizer(parameter_groups(task.module, task.trunk, settings), settings)
        self._take(Way(**states["way"]) if states else usual(task.recipe, task.device))
        self.average = MovingAverage(task.module, task.recipe.ema_decay) if task.recipe.ema_decay else None
        if states:
            self._load(states)
            # The schedule goes by epochs, whose steps are more where workers are fewer than before.
            self.progress.step = self.progress.epoch * self._updates
        # Only now: the average is a copy of the plain module, and stays one.
        if task.recipe.recompute:
            recompute(task.module)

    def _take(self, way: Way) -> None:
        """Compute steps in some way from now on."""
        self.way, self.amp_dtype = way, way.amp_dtype
        self.scaler = torch.amp.GradScaler(self.task.device.type, enabled=self.amp_dtype == torch.float16)

    @property
    def kept(self) -> nn.Module:
        """The module that is validated and kept: the trained one, or its moving average."""
        return self.average.module if self.average else self.task.module

    @property
    def _updates(self) -> int:
        """Steps of the optimiser in an epoch."""
        return -(-self.task.steps_per_epoch // self.task.recipe.accumulate)

    @property
    def _steps(self) -> int:
        """Steps of the whole run."""
        return self.task.steps_per_epoch * self.task.recipe.epochs

    def state_dict(self) -> dict[str, Any]:
        """Return everything besides ``progress`` that resuming needs."""
        return {
            "module": self.task.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "kept": self.kept.state_dict(),
            "way": dataclasses.asdict(self.way),
        }

    def _load(self, states: Mapping[str, Any]) -> None:
        self.task.module.load_state_dict(states["module"])
        self.optimizer.load_state_dict(states["optimizer"])
        self.scaler.load_state_dict(states["scaler"])
        self.kept.load_state_dict(states["kept"])

    def run(
        self,
        batches: Iterator[Batch],
        validation: Validation,
        report: Callable[["Trainer", Report], None],
    ) -> None:
        """Train until the recipe says stop.

        Args:
            batches: One endless stream: the batches of all epochs to come, one after the other.
            validation: Makes an iterable of this rank's share of the validation Examples; batches
                have ``label`` and ``file`` besides the inputs.
            report: Called on every rank after every epoch.

        Raises:
            TrainingError: The loss is not finite, the stream ended early, or validation has one class.
        """
        if self.task.begin and self.progress.epoch == 0:
            batches = self._begin(self.task.begin, batches)
        if self.progress.epoch == 0 and earns(self.task.recipe, self._steps):
            batches = self._measure(batches)
        lay_out(self.task.module, self.way)
        if self.way.compiled:
            self.task.module.compile()
        while not self.progress.finished(self.task.recipe):
            report(self, self._epoch(batches, validation))

    def _begin(self, begin: Begin, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Show the model what ALL ranks begin with; return the stream as if nothing had been taken."""
        task, steps = self.task, self.task.steps_per_epoch
        if task.begin_examples is not None:
            wanted = math.ceil(task.begin_examples / (task.recipe.batch_size * task.world))
            steps = min(max(wanted, 1), self._steps)
        taken, mine = [], []
        for number in range(steps):
            taken.append(_next(batches, number, steps))
            mine.append(self._shown(taken[-1]))
        shown = _gathered(mine)
        joined = {name: np.concatenate([batch[name] for batch in shown]) for name in shown[0]}
        begin(task.module, joined, task.recipe.seed)
        if self.average:
            self.average = MovingAverage(task.module, task.recipe.ema_decay)
        return itertools.chain(taken, batches)

    @torch.no_grad()
    def _shown(self, batch: Batch) -> dict[str, np.ndarray[Any, Any]]:
        task = self.task
        inputs = {name: batch[name] for name in task.inputs}
        columns = task.begin_measure(task.module, inputs) if task.begin_measure else inputs
        return {name: column.cpu().numpy() for name, column in {**columns, "label": batch["label"]}.items()}

    def _measure(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Take the way that is fastest on rank 0; return the stream as if nothing had been taken."""
        task = self.task
        batch = _next(batches, 0, task.steps_per_epoch)
        mine = []
        if task.rank == 0:
            step = Step(module=task.module, objective=task.objective, batch=batch, device=task.device)
            mine = [fastest(step, task.recipe, self._steps)]
        self._take(_gathered(mine)[0])
        return itertools.chain([batch], batches)

    def _epoch(self, batches: Iterator[Batch], validation: Validation) -> Report:
        task, progress = self.task, self.progress
        torch.manual_seed(
            np.random.SeedSequence([task.recipe.seed, progress.epoch, task.rank]).generate_state(1)[0]
        )
        frozen = task.trunk if progress.epoch < task.recipe.freeze_epochs else None
        model = self._wrapped(frozen)
        clock, losses = DeviceClock(task.device), torch.zeros((), device=task.device)
        start_s, waited_s = time.perf_counter(), 0.0
        for number in range(task.steps_per_epoch):
            asked_s = time.perf_counter()
            batch = _next(batches, number, task.steps_per_epoch)
            waited_s += time.perf_counter() - asked_s
            with clock.running():
                losses += self._step(model, batch, number)
        loss = float(losses) / task.steps_per_epoch  # a GPU has done all of its work only now
        elapsed_s = time.perf_counter() - start_s
        progress.epoch += 1
        examples = task.steps_per_epoch * task.recipe.batch_size * task.world
        speed = {
            "examples_per_s": examples / elapsed_s,
            "waiting_share": waited_s / elapsed_s,
            "device_share": clock.seconds() / elapsed_s,
        }
        return self._report(loss, speed, validation)

    def _report(self, loss: float, speed: dict[str, float], validation: Validation) -> Report:
        task = self.task
        loss = float(np.mean(_gathered([loss])))
        if not math.isfinite(loss):
            msg = (
                f"The training loss became {loss} in epoch {self.progress.epoch}. Lower recipe.optimizer.lr."
            )
            raise TrainingError(msg)
        _share_buffers(self.kept)
        figures = validate(self.kept, task, validation())
        is_best = self.progress.note(figures["val_auc"], figures["val_loss"], task.recipe)
        is_best = is_best or task.recipe.keep == "last"
        metrics = {
            "epoch": float(self.progress.epoch),
            "train_loss": loss,
            **figures,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            **speed,
        }
        return Report(metrics=metrics, is_best=is_best)

    def _wrapped(self, frozen: nn.Module | None) -> nn.Module:
        """Set training mode, freeze the trunk if asked, and wrap for gradient averaging."""
        task = self.task
        task.module.train()
        if task.trunk is not None:
            task.trunk.requires_grad_(frozen is None)
            task.trunk.train(frozen is None)
        if task.world == 1:
            return task.module
        return DistributedDataParallel(
            task.module, device_ids=[task.device] if task.device.type == "cuda" else None
        )

    def _step(self, model: nn.Module, batch: Batch, number: int) -> Tensor:
        """Take one batch; step the optimiser at the end of each accumulation. Return the detached loss."""
        task, recipe = self.task, self.task.recipe
        is_last = (number + 1) % recipe.accumulate == 0 or number + 1 == task.steps_per_epoch
        waits = not is_last and isinstance(model, DistributedDataParallel)
        with contextlib.ExitStack() as around:
            told = self._climb(batch, around) if recipe.optimizer.sam_rho else None
            if waits:
                around.enter_context(model.no_sync())  # type: ignore[operator]
            loss = self._loss(model, batch)
            self.scaler.scale(loss / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        if is_last:
            self._update()
        return (loss if told is None else told).detach()

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        task = self.task
        with torch.autocast(task.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
            return task.objective(model, batch)["loss"]

    def _climb(self, batch: Batch, around: contextlib.ExitStack) -> Tensor:
        """Move the weights up the slope of a batch's loss until ``around`` is left; return that loss.

        Every worker, and every batch of an accumulation, climbs its own slope (m-sharpness; Foret et al.,
        section 4.1): no gradient is kept or exchanged, so the module is asked and not its wrapper.
        """
        task = self.task
        parameters = [p for p in task.module.parameters() if p.requires_grad]
        loss = self._loss(task.module, batch)
        slopes = torch.autograd.grad(self.scaler.scale(loss), parameters, allow_unused=True)
        around.enter_context(kept_buffers(task.module))
        around.enter_context(ascended(parameters, slopes, task.recipe.optimizer.sam_rho))
        return loss

    def _update(self) -> None:
        task, recipe = self.task, self.task.recipe
        factor = rate_factor(recipe.schedule, self.progress, self._updates, recipe.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * factor * group["scale"]
        if recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(task.module.parameters(), recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        if self.average:
            self.average.update(task.module)


def validate(module: nn.Module, task: Task, batches: Iterable[Batch]) -> dict[str, float]:
    """Return ``val_loss`` and ``val_auc`` over the files of ALL ranks' batches.

    Raises:
        TrainingError: The validation split does not hold both classes.
    """
    module.eval()
    mine: list[tuple[int, float, float]] = []
    with torch.no_grad():
        for batch in batches:
            logit_B = module(**{name: batch[name] for name in task.inputs})["logit"]
            mine += zip(batch["file"].tolist(), batch["label"].tolist(), logit_B.tolist(), strict=True)
    return _figures(sorted(_gathered(mine)), task.aggregate)


def _figures(rows: list[tuple[int, float, float]], aggregate: Callable[..., float]) -> dict[str, float]:
    parts: dict[int, list[float]] = {}
    labels = {file: label for file, label, _ in rows}
    for file, _, value in rows:
        parts.setdefault(file, []).append(value)
    label = np.asarray([labels[file] for file in parts])
    logit = np.asarray([aggregate(np.asarray(values, np.float32)) for values in parts.values()])
    area = auc(label.astype(np.int64), logit)
    if area is None:
        msg = (
            f"Validation holds {len(label)} files of one class or none; AUC needs both. Give the split more "
            "sources, or other split fractions."
        )
        raise TrainingError(msg)
    loss = np.logaddexp(0, logit) - label * logit
    return {"val_loss": float(loss.mean()), "val_auc": area}


def _next(batches: Iterator[Batch], number: int, steps: int) -> Batch:
    batch = next(batches, None)
    if batch is None:
        msg = f"The stream of training batches ended at step {number} of {steps} of an epoch."
        raise TrainingError(msg)
    return batch


def _gathered(mine: list[T]) -> list[T]:
    """Return the items of all ranks, in the order of ranks."""
    if not dist.is_initialized():
        return mine
    everyone: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    return [item for share in everyone for item in share]


def _share_buffers(module: nn.Module) -> None:
    """Give every rank the buffers (running statistics) of rank 0, so that all validate one model."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)
