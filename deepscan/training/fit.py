"""The training loop on Ray Train: workers, shards, checkpoints, recovery.

A checkpoint is a bundle with ``trainer.pt`` beside the weights. A run lives in one folder:
``ray/`` (Ray's own state and the latest checkpoints), ``bundle/`` (the best epoch so far),
``history.jsonl`` and ``tensorboard/``. On a cluster the folder has to be shared storage.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import ray
import ray.data
import ray.exceptions
import ray.train
import ray.train.torch
import torch
import torch.utils.tensorboard
from torch import nn

from deepscan import bundle, storage
from deepscan.bundle import Bundle, Card
from deepscan.cluster import Resources, wait_for_places, what_waits
from deepscan.datasets import stream
from deepscan.datasets.plan import Chunk, Cut
from deepscan.datasets.reader import Reader
from deepscan.errors import ConfigError, DeepscanError, TrainingError
from deepscan.interrupt import ended_when_stalled, interruptible
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.recipe import Recipe
from deepscan.training import loop, state
from deepscan.training.start import initial_module
from deepscan.training.teach import Teacher, distillation

logger = logging.getLogger(__name__)
RAY_RUN = "ray"
BEST = "bundle"
HISTORY = "history.jsonl"
VALIDATION_BATCH = 32
ANSWER_S = 10
OnEpoch = Callable[[dict[str, float]], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Everything that a worker is told.

    Attributes:
        out: Folder of the run.
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

    out: pathlib.Path
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
        resume: Go on with the run in ``job.out``; without it the folder must hold no run.
        on_epoch: Called in this process with the metrics of every epoch.

    Raises:
        ConfigError: There is a run in the folder and ``resume`` is not set, or the reverse.
        StalledError: Nothing moved for too long; ``resume`` goes on.
        TrainingError: The run diverged, or its workers failed more often than is tolerated.
    """
    check_folder(job.out, resume)
    job.out.mkdir(parents=True, exist_ok=True)
    wait_for_places(job.resources, job.patience_s)
    supply = stream.Supply(
        cpus=job.resources.task_cpus, tasks=max(1, int(job.resources.data_cpus / job.resources.task_cpus))
    )
    pace = stream.start_pace(job.cut, supply)
    patient = ended_when_stalled(
        functools.partial(_position, job.out, pace),
        functools.partial(what_waits, job.resources.task_cpus),
        job.patience_s,
    )
    with patient, _watched(job.out / HISTORY, on_epoch), interruptible():
        try:
            result = _trainer(job, streams, supply, pace).fit()
        except ray.train.TrainingFailedError as error:
            msg = f"Training failed; --resume goes on from the last finished epoch. Cause: {error}"
            raise TrainingError(msg) from error
    outcome: DeepscanError | None = result.return_value
    if outcome is not None:
        raise outcome
    return Bundle.read(job.out / BEST)


def begun(out: pathlib.Path) -> bool:
    """Tell whether a folder holds a training run, ended or not."""
    return (out / RAY_RUN).is_dir()


def check_folder(out: pathlib.Path, resume: bool) -> None:
    """Refuse to mix two runs in one folder, and to resume what is not there.

    Raises:
        ConfigError: See above.
    """
    if begun(out) and not resume:
        msg = f"{out} holds a training run already. Add --resume to go on with it, or choose another --out."
        raise ConfigError(msg)
    if resume and not begun(out):
        msg = f"{out} holds no training run to resume. Leave --resume out to begin one."
        raise ConfigError(msg)


def epochs_done(out: pathlib.Path) -> int:
    """Return how many epochs the latest checkpoint of a run has behind it."""
    try:
        checkpoint = ray.train.Result.from_path(str(out.resolve() / RAY_RUN)).checkpoint
    except RuntimeError:
        return 0
    return int(pathlib.Path(checkpoint.path).name.partition("-")[2]) if checkpoint else 0


def _position(out: pathlib.Path, pace: Any) -> object:
    """Return how far a run is: epochs, units of the stream, batches of validation."""
    try:
        moved = ray.get(pace.position.remote(), timeout=ANSWER_S)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
        moved = None
    return len(read_history(out / HISTORY)), moved


def _trainer(job: Job, streams: Streams, supply: stream.Supply, pace: Any) -> Any:
    def training() -> ray.data.Dataset:
        epochs = range(epochs_done(job.out), job.recipe.epochs)
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
            storage_path=str(job.out.resolve()),
            failure_config=train_v2.FailureConfig(max_failures=3, controller_failure_limit=3),
            checkpoint_config=train_v2.CheckpointConfig(num_to_keep=2),
        ),
    )


def _worker(settings: dict[str, Any]) -> DeepscanError | None:
    """Train on one rank. An error that a retry cannot mend is returned, so that Ray does not retry it."""
    job = settings["job"]
    try:
        with storage.writing(job.out):
            _train(job, settings["pace"], ray.get(settings["held_out"]))
    except DeepscanError as error:
        return error
    return None


def _train(job: Job, pace: Any, held_out: HeldOut) -> None:
    torch.set_num_threads(job.resources.threads)
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    checkpoint = ray.train.get_checkpoint()
    progress, states = state.load(pathlib.Path(checkpoint.path)) if checkpoint else (None, None)
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
    with Journal.opened(job, trainer.progress.epoch, task.rank) as journal:
        trainer.run(
            stream.paced(batches, cut, pace),
            lambda: stream.beating(held_out.batches(task), pace),
            journal.report,
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
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Journal:
    """Writes down what every epoch came to: checkpoint, best bundle, history, TensorBoard."""

    job: Job
    rank: int
    board: torch.utils.tensorboard.SummaryWriter | None

    @classmethod
    @contextlib.contextmanager
    def opened(cls, job: Job, epochs: int, rank: int) -> Iterator[Self]:
        """Open the journal of a run that has ``epochs`` behind it; only rank 0 writes."""
        if rank != 0:
            yield cls(job, rank, None)
            return
        _forget_after(job.out / HISTORY, epochs)
        with torch.utils.tensorboard.SummaryWriter(job.out / "tensorboard", purge_step=epochs + 1) as board:
            yield cls(job, rank, board)

    def report(self, trainer: loop.Trainer, report: loop.Report) -> None:
        """Report an epoch to Ray Train, with a checkpoint from rank 0."""
        epoch = trainer.progress.epoch
        if self.board is None:
            ray.train.report(report.metrics, checkpoint_dir_name=_checkpoint_name(epoch))
            return
        with tempfile.TemporaryDirectory() as folder:
            directory = pathlib.Path(folder)
            card = dataclasses.replace(self.job.card, metrics={"validation": report.metrics})
            bundle.write(directory, card, trainer.kept)
            if report.is_best:
                _put(directory, self.job.out / BEST)
            state.save(directory, trainer.progress, **trainer.state_dict())
            self._log(report.metrics, self.board)
            ray.train.report(
                report.metrics,
                checkpoint=ray.train.Checkpoint.from_directory(directory),
                checkpoint_dir_name=_checkpoint_name(epoch),
            )

    def _log(self, metrics: dict[str, float], board: torch.utils.tensorboard.SummaryWriter) -> None:
        with (self.job.out / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        for name, value in metrics.items():
            board.add_scalar(name, value, int(metrics["epoch"]))
        board.flush()


def read_history(path: pathlib.Path) -> list[dict[str, float]]:
    """Return the metrics of a run's epochs; a line that is being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _forget_after(path: pathlib.Path, epochs: int) -> None:
    """Drop the epochs that will be run again."""
    kept = [metrics for metrics in read_history(path) if metrics["epoch"] <= epochs]
    path.write_text("".join(json.dumps(metrics) + "\n" for metrics in kept), encoding="utf-8")


def _checkpoint_name(epoch: int) -> str:
    return f"epoch-{epoch:05d}"


def _put(directory: pathlib.Path, target: pathlib.Path) -> None:
    """Replace the bundle at ``target``; a reader finds the old one, the new one or, briefly, none."""
    draft, old = (target.with_name(f"{target.name}.{suffix}") for suffix in ("new", "old"))
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(directory, draft)
    if target.exists():
        os.replace(target, old)
    os.replace(draft, target)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _watched(path: pathlib.Path, on_epoch: OnEpoch) -> Iterator[None]:
    """Call ``on_epoch`` for every new line of the history while the block runs, and once more after it."""
    done = threading.Event()
    told = float(epochs_done(path.parent))

    def watch() -> None:
        nonlocal told
        ended = False
        while not ended:
            ended = done.wait(0.3)
            for metrics in read_history(path):
                if metrics["epoch"] > told:
                    told = metrics["epoch"]
                    on_epoch(metrics)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
