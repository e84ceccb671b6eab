"""One trial: trains with the settings that the search chose, and reports every epoch to Ray Tune.

A trial of one process makes its batches itself, from the store that all trials share, so the process of the
trial before can go on with it at once. A trial of several processes is a training run as any other.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray import tune

from deepscan.cluster import Resources, configure_data
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Reader
from deepscan.datasets.stream import TrainingStream
from deepscan.errors import TrainingError
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.recipe import Recipe
from deepscan.training import fit, loop, state
from deepscan.training.fit import VALIDATION_BATCH, Job, Streams
from deepscan.training.record import HISTORY, read_history
from deepscan.training.run import Order, assemble
from deepscan.training.settings import as_overrides, settle
from deepscan.tuning.plan import TrialPlan
from deepscan.tuning.space import Chosen

TRIALS = "trials"
FAILED = "failed"
NO_AUC = -1.0
"""What Ray Tune is told in place of an AUC by a trial that diverged, so that it looks elsewhere."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What all trials of a campaign have in common.

    Attributes:
        order: What is trained; ``out`` is the folder of the campaign.
        data: The prepared data.
        plan: What a trial takes of the cluster.
    """

    order: Order
    data: DataSet
    plan: TrialPlan


def run_trial(chosen: dict[str, Any], work: Work) -> None:
    """Train with the chosen settings, in a process that Ray Tune started.

    A run that diverges is reported as such and ends; its process can go on with the next trial.

    Raises:
        ConfigError: The settings contradict each other.
    """
    if work.order.plugin:
        load_plugin(work.order.plugin)
    job, streams = _assembled(chosen, work)
    if work.plan.resources:
        _train_on_workers(job, streams, chosen)
    else:
        _train_here(job, streams, chosen, work.plan)


def _assembled(chosen: Chosen, work: Work) -> tuple[Job, Streams]:
    order = dataclasses.replace(
        work.order.below(TRIALS).below(str(tune.get_context().get_trial_id())),
        overrides=(*work.order.overrides, *as_overrides(chosen)),
    )
    settings = settle(load_builtin().get(order.model), order.overrides)
    settings = dataclasses.replace(settings, prep=work.data.reader.prep)
    plan = work.plan
    alone = Resources(workers=1, worker_cpus=plan.cpus, worker_gpus=0, threads=plan.threads, data_cpus=0.0)
    return assemble(order, settings, work.data, plan.resources or alone)


def _train_here(job: Job, streams: Streams, chosen: Chosen, plan: TrialPlan) -> None:
    torch.set_num_threads(plan.threads)
    device = torch.device("cuda" if plan.gpus else "cpu")
    progress, states = _states()
    task = fit.task_of(job, job.cut, device, rank=0)
    trainer = loop.Trainer(task, states, progress)
    _renew(trainer)

    def report(trainer: loop.Trainer, epoch: loop.Report) -> None:
        with tempfile.TemporaryDirectory() as folder:
            state.save(pathlib.Path(folder), trainer.progress, **trainer.state_dict())
            figures = _figures(trainer.progress, job.recipe, epoch.metrics, chosen)
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))

    try:
        trainer.run(
            batches(streams.training, range(trainer.progress.epoch, job.recipe.epochs), device),
            lambda: held_out(streams.validation, streams.reader, device),
            report,
        )
    except TrainingError as error:
        tune.report(_failure(trainer.progress.epoch, error))


def _train_on_workers(job: Job, streams: Streams, chosen: Chosen) -> None:
    configure_data()

    def report(metrics: dict[str, float]) -> None:
        progress = _replayed(job)
        tune.report(_figures(progress, job.recipe, metrics, chosen))

    try:
        fit.fit(job, streams, job.place.begun, report)
    except TrainingError as error:
        tune.report(_failure(_replayed(job).epoch + 1, error))


def batches(stream: TrainingStream, epochs: range, device: torch.device) -> Iterator[loop.Batch]:
    """Yield the batches of some epochs of a run of one process, made as they are asked for."""
    plan, size = stream.plan, stream.plan.shape.batch_size
    for number in range(epochs.start * plan.cut.units, epochs.stop * plan.cut.units):
        unit = stream.unit(number)
        for start in range(0, len(unit["label"]), size):
            yield {name: _moved(values[start : start + size], device) for name, values in unit.items()}


def held_out(chunks: list[Chunk], reader: Reader, device: torch.device) -> Iterator[loop.Batch]:
    """Yield the validation Examples: input columns, ``label`` and ``file`` (row of the manifest)."""
    for group in _grouped(chunks):
        yield {name: _moved(values, device) for name, values in reader.labelled(group).items()}


def _grouped(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    """Yield chunks in groups of about a batch."""
    group: list[Chunk] = []
    for chunk in chunks:
        group.append(chunk)
        if sum(len(each.rows) for each in group) >= VALIDATION_BATCH:
            yield group
            group = []
    if group:
        yield group


def _moved(values: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(values).to(device)


def _states() -> tuple[state.Progress | None, dict[str, Any] | None]:
    """Return what the trial, or the one that it takes over from, had come to; None at its begin."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None, None
    with checkpoint.as_directory() as folder:
        return state.load(pathlib.Path(folder))


def _renew(trainer: loop.Trainer) -> None:
    """Give the optimiser the settings of this trial where its state is another trial's."""
    task, settings = trainer.task, trainer.task.recipe.optimizer
    fresh = state.build_optimizer(state.parameter_groups(task.module, task.trunk, settings), settings)
    for group, new in zip(trainer.optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({name: value for name, value in new.items() if name != "params"})


def _replayed(job: Job) -> state.Progress:
    """Return how far a run of several processes is, from its history."""
    progress = state.Progress()
    for metrics in read_history(job.place.out / HISTORY):
        progress.epoch = int(metrics["epoch"])
        progress.note(metrics["val_auc"], metrics["val_loss"], job.recipe)
    return progress


def _failure(epoch: int, error: TrainingError) -> dict[str, Any]:
    """Return what Ray Tune is told of a run that diverged in an epoch."""
    return {"epoch": float(epoch), "best_auc": NO_AUC, "val_auc": NO_AUC, FAILED: str(error)}


def _figures(
    progress: state.Progress, recipe: Recipe, metrics: dict[str, float], chosen: Chosen
) -> dict[str, Any]:
    """Return what Ray Tune is told of an epoch."""
    return {
        "epoch": metrics["epoch"],
        "best_auc": progress.best_auc,
        "val_auc": metrics["val_auc"],
        "metrics": metrics,
        "settings": dict(chosen),
        "finished": progress.finished(recipe),
    }
