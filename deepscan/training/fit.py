"""The training loop on Ray Train: workers, shards, checkpoints, recovery.

A checkpoint is a bundle with ``trainer.pt`` and ``epochs.json`` beside the weights. Ray Train keeps the
latest and the best one; see ``training/record.py`` for where, and for what else a run leaves behind.
"""

import dataclasses
import functools
import json
import logging
import pathlib
import tempfile
from collections.abc import Iterable
from typing import Any

import ray
import ray.data
import ray.exceptions
import ray.train
import ray.train.torch
import torch
from torch import nn

from deepscan import bundle, storage
from deepscan.allocator import keep_memory
from deepscan.bundle import Bundle, Card
from deepscan.cluster import Resources, wait_for_places, what_waits
from deepscan.datasets import stream
from deepscan.datasets.plan import Chunk, Cut
from deepscan.datasets.reader import Reader
from deepscan.errors import DeepscanError, TrainingError
from deepscan.interrupt import beside, ended_when_stalled, interruptible
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.recipe import Recipe
from deepscan.training import loop, state
from deepscan.training.record import (
    ANSWER_S,
    EPOCHS,
    RAY_RUN,
    Epoch,
    OnEpoch,
    Place,
    Record,
    checkpoint_name,
)
from deepscan.training.start import initial_module, was_begun
from deepscan.training.teach import Teacher, distillation

logger = logging.getLogger(__name__)
VALIDATION_BATCH = 32
SCORE = "best_epoch"
"""Metric for Ray alone: the number of an epoch that is the best so far; of others 0."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Everything that a worker is told.

    Attributes:
        place: Where the run is kept.
        card: Card of the bundle to be; names the model, the Prep and the data.
        recipe: Training settings.
        counts: Number of real and of fake training files.
        inputs: Columns that the model reads.
        cut: Batches and units of an epoch, shared by all workers that are wanted.
        resources: What the run takes of the cluster.
        init: ``""`` from scratch, ``"imagenet"``, or the path of a bundle to start from.
        teachers: Bundles that the model learns to follow.
        plugin: File that registers the model; None = built in.
        patience_s: Seconds without any progress after which the run ends with an error.
    """

    place: Place
    card: Card
    recipe: Recipe
    counts: tuple[int, int]
    inputs: tuple[str, ...]
    cut: Cut
    resources: Resources
    init: str = ""
    teachers: tuple[pathlib.Path, ...] = ()
    plugin: pathlib.Path | None = None
    patience_s: float = 300.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Streams:
    """What a run reads: the training stream, and the validation chunks with their reader."""

    training: stream.TrainingStream
    validation: list[Chunk]
    reader: Reader


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """The validation Examples; every rank streams its own part, and only while it validates.

    A split of one stream would be simpler, but Ray Data goes on looking after it ten times a second
    while the run trains, which costs a share of a core.
    """

    chunks: list[Chunk]
    reader: Reader
    cpus: float

    def batches(self, task: loop.Task) -> Iterable[dict[str, torch.Tensor]]:
        """Return the batches of a rank; a rank may have none."""
        mine = self.chunks[task.rank :: task.world]
        if not mine:
            return ()
        examples = stream.evaluation(mine, self.reader, self.cpus)
        return examples.iter_torch_batches(
            batch_size=VALIDATION_BATCH, device=task.device, pin_memory=task.device.type == "cuda"
        )


def fit(job: Job, streams: Streams, resume: bool, on_epoch: OnEpoch) -> Bundle:
    """Train until the recipe says stop; return the bundle of the best epoch.

    Args:
        job: What to train.
        streams: What to train on.
        resume: Go on with the run in ``job.place``; without it there must be none.
        on_epoch: Called in this process with the metrics of every epoch.

    Raises:
        ConfigError: There is a run and ``resume`` is not set, or the reverse.
        StalledError: Nothing moved for too long; ``resume`` goes on.
        TrainingError: The run diverged, or its workers failed more often than is tolerated.
    """
    job.place.check(resume)
    job.place.out.mkdir(parents=True, exist_ok=True)
    wait_for_places(job.resources, job.patience_s)
    supply = stream.Supply(
        cpus=job.resources.task_cpus, tasks=max(1, int(job.resources.data_cpus / job.resources.task_cpus))
    )
    pace = stream.start_pace(job.cut, supply)
    patient = ended_when_stalled(
        functools.partial(_position, pace),
        functools.partial(what_waits, job.resources.task_cpus),
        job.patience_s,
    )
    record = Record(job.place, pace, on_epoch)
    with patient, beside(record.follow), interruptible():
        try:
            result = _trainer(job, streams, supply, pace).fit()
        except ray.train.TrainingFailedError as error:
            msg = f"Training failed; --resume goes on from the last finished epoch. Cause: {error}"
            raise TrainingError(msg) from error
    outcome: DeepscanError | None = result.return_value
    if outcome is not None:
        raise outcome
    return record.settle()


def _position(pace: Any) -> object:
    """Return how far a run is: epochs, units of the stream, batches of validation."""
    try:
        return ray.get(pace.position.remote(), timeout=ANSWER_S)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
        return None


def _trainer(job: Job, streams: Streams, supply: stream.Supply, pace: Any) -> Any:
    filesystem, path = storage.locate(job.place.shared)

    def training() -> ray.data.Dataset:
        epochs = range(job.place.epochs_done(), job.recipe.epochs)
        return stream.training(streams.training, epochs, supply, pace)

    held_out = HeldOut(streams.validation, streams.reader, supply.cpus)
    # Ray's annotations describe the interface before Train V2, hence Any.
    train_v2: Any = ray.train
    return train_v2.torch.TorchTrainer(
        _worker,
        train_loop_config={"job": job, "pace": pace, "held_out": ray.put(held_out)},
        # Ray calls this anew whenever workers start, so a restart streams from its epoch on.
        datasets={"train": training},
        # Units go to ranks in turn, wherever they lie: the same seed gives every rank the same Examples.
        dataset_config=train_v2.DataConfig(enable_shard_locality=False),
        scaling_config=train_v2.ScalingConfig(
            num_workers=job.resources.scale,
            use_gpu=job.resources.worker_gpus > 0,
            resources_per_worker=job.resources.per_worker,
        ),
        run_config=train_v2.RunConfig(
            name=RAY_RUN,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=train_v2.FailureConfig(max_failures=3, controller_failure_limit=3),
            checkpoint_config=train_v2.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=SCORE),
        ),
    )


def _worker(settings: dict[str, Any]) -> DeepscanError | None:
    """Train on one rank. An error that a retry cannot mend is returned, so that Ray does not retry it."""
    job = settings["job"]
    try:
        with storage.writing(job.place.shared):
            _train(job, settings["pace"], ray.get(settings["held_out"]))
    except DeepscanError as error:
        return error
    return None


def _train(job: Job, pace: Any, held_out: HeldOut) -> None:
    keep_memory()
    torch.set_num_threads(job.resources.threads)
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    progress, states, epochs = _restored(ray.train.get_checkpoint())
    cut = job.cut.shared_by(context.get_world_size())
    task = task_of(job, cut, device, context.get_world_rank())
    trainer = loop.Trainer(task, states, progress)
    batches = ray.train.get_dataset_shard("train").iter_torch_batches(
        batch_size=job.recipe.batch_size,
        prefetch_batches=stream.PREFETCHED,
        drop_last=True,
        device=device,
        pin_memory=device.type == "cuda",  # so that copies to the GPU do not wait
    )
    trainer.run(
        stream.paced(batches, cut, pace),
        lambda: stream.beating(held_out.batches(task), pace),
        Teller(job, pace, task.rank, epochs).report,
    )


def task_of(job: Job, cut: Cut, device: torch.device, rank: int) -> loop.Task:
    """Return what a rank trains: the model with the weights that it starts from, on its device.

    Raises:
        AssetError: ImageNet weights cannot be fetched.
        BundleError: A bundle to start or to learn from cannot be used.
    """
    if job.plugin:
        load_plugin(job.plugin)
    spec = load_builtin().get(job.card.model)
    torch.manual_seed(job.recipe.seed)
    module = initial_module(spec, job.card.model_config, job.init)
    if job.recipe.sync_norm:
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = spec.objective(job.inputs, job.recipe.loss, job.counts)
    if job.teachers:
        teachers = [Teacher.load(path, device) for path in job.teachers]
        objective = distillation(objective, job.inputs, teachers, job.recipe.distill)
    return loop.Task(
        module=module,
        trunk=spec.trunk(module) if spec.trunk and job.init else None,
        objective=objective,
        inputs=job.inputs,
        aggregate=load_modalities().get(spec.modality).aggregate,
        recipe=job.recipe,
        steps_per_epoch=cut.steps,
        device=device,
        rank=rank,
        world=cut.world,
        begin=None if was_begun(job.card.model, job.init) else spec.begin,
        begin_measure=spec.begin_measure,
        begin_examples=spec.begin_examples,
    )


class Teller:
    """Tells of every epoch, with a checkpoint from rank 0: a bundle, and what resuming needs beside it."""

    def __init__(self, job: Job, pace: Any, rank: int, earlier: list[Epoch]) -> None:
        """Go on after earlier epochs, of which the process that records them may not know all."""
        self.job, self.pace, self.rank, self.epochs = job, pace, rank, earlier
        if rank == 0:
            ray.get(pace.tell.remote(self.epochs))

    def report(self, trainer: loop.Trainer, report: loop.Report) -> None:
        """Report an epoch to Ray Train, and then, its checkpoint being safe, to whoever records it."""
        name = checkpoint_name(trainer.progress.epoch)
        # Of all checkpoints Ray keeps the latest, and the one with the highest score.
        told = report.metrics | {SCORE: report.metrics["epoch"] if report.is_best else 0.0}
        if self.rank != 0:
            ray.train.report(told, checkpoint_dir_name=name)
            return
        self.epochs.append(Epoch(report.metrics, report.is_best))
        with tempfile.TemporaryDirectory() as folder:
            directory = pathlib.Path(folder)
            figures = {"validation": report.metrics}
            training = {"way": str(trainer.way)}
            card = dataclasses.replace(self.job.card, metrics=figures, training=training)
            bundle.write(directory, card, trainer.kept)
            state.save(directory, trainer.progress, **trainer.state_dict())
            (directory / EPOCHS).write_text(json.dumps(self.epochs), encoding="utf-8")
            checkpoint = ray.train.Checkpoint.from_directory(directory)
            ray.train.report(told, checkpoint=checkpoint, checkpoint_dir_name=name)
        ray.get(self.pace.tell.remote(self.epochs))


def _restored(
    checkpoint: ray.train.Checkpoint | None,
) -> tuple[state.Progress | None, dict[str, Any] | None, list[Epoch]]:
    """Return what a checkpoint holds: progress, states of the trainer, and the epochs up to it."""
    if checkpoint is None:
        return None, None, []
    with checkpoint.as_directory() as folder:
        epochs = json.loads((pathlib.Path(folder) / EPOCHS).read_text(encoding="utf-8"))
        return *state.load(pathlib.Path(folder)), [Epoch(*each) for each in epochs]
