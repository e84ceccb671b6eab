"""What a run leaves behind, and where: checkpoints, the best bundle, history, TensorBoard.

Workers write checkpoints, through Ray Train, and nothing else. All other files are written by the process
that started the run, into the run's folder, from what the workers tell. So that folder need not be shared;
where the checkpoints go has to be: a folder that all machines see, or a URI.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import ray
import ray.exceptions
import ray.train
import torch.utils.tensorboard

from deepscan import storage
from deepscan.bundle import Bundle
from deepscan.errors import BundleError, ConfigError, StorageError
from deepscan.training import state

RAY_RUN = "ray"
BEST = "bundle"
HISTORY = "history.jsonl"
EPOCHS = "epochs.json"
"""File of a checkpoint: the epochs up to it."""

ANSWER_S = 10
LOOK_S = 0.3
OnEpoch = Callable[[dict[str, float]], None]


class Epoch(NamedTuple):
    """What a worker tells of an epoch."""

    metrics: dict[str, float]
    is_best: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a run is kept.

    Attributes:
        out: Folder of the run, in reach of the process that started it.
        storage: Location of the checkpoints, in reach of all machines, and of a copy of the results;
            "" = ``out``, which then has to be.
    """

    out: pathlib.Path
    storage: str = ""

    @property
    def shared(self) -> str:
        """The location that all machines reach."""
        return self.storage or str(self.out.resolve())

    @property
    def begun(self) -> bool:
        """Whether there is a run, ended or not."""
        return storage.is_folder(storage.join(self.shared, RAY_RUN))

    def check(self, resume: bool) -> None:
        """Refuse to mix two runs in one place, and to resume what is not there.

        Raises:
            ConfigError: See above.
        """
        if self.begun and not resume:
            msg = f"{self.shared} holds a training run already. Add --resume, or choose another place."
            raise ConfigError(msg)
        if resume and not self.begun:
            msg = f"{self.shared} holds no training run to resume. Leave --resume out to begin one."
            raise ConfigError(msg)

    def checkpoint(self, epoch: int) -> str:
        """Return the location of the checkpoint after an epoch."""
        return storage.join(self.shared, RAY_RUN, checkpoint_name(epoch))

    def epochs_done(self) -> int:
        """Return how many epochs the latest checkpoint has behind it."""
        filesystem, path = storage.locate(storage.join(self.shared, RAY_RUN))
        try:
            latest = ray.train.Result.from_path(path, storage_filesystem=filesystem).checkpoint
        except RuntimeError:
            return 0
        return int(pathlib.PurePath(latest.path).name.partition("-")[2]) if latest else 0

    def fetch(self) -> None:
        """Bring back to ``out`` what was sent away, where the process that resumes runs on another machine.

        Raises:
            StorageError: The storage cannot be read.
        """
        if self.storage and self.begun and not self.out.exists():
            storage.copy_folder(self.storage, str(self.out.resolve()), leave_out={RAY_RUN})

    def send(self) -> None:
        """Copy what is in ``out`` to the storage.

        Raises:
            StorageError: The storage cannot be written.
        """
        if self.storage not in {"", str(self.out.resolve())}:
            storage.copy_folder(str(self.out.resolve()), self.storage)


def checkpoint_name(epoch: int) -> str:
    """Return the name of the folder of a checkpoint."""
    return f"epoch-{epoch:05d}"


def read_history(path: pathlib.Path) -> list[dict[str, float]]:
    """Return the metrics of a run's epochs; a line that is being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Record:
    """Writes down what every epoch came to, as the workers tell it."""

    def __init__(self, place: Place, pace: Any, on_epoch: OnEpoch) -> None:
        """Go on after the last epoch that has a checkpoint; what was written of later ones is dropped."""
        self.place, self.pace, self._on_epoch = place, pace, on_epoch
        self._path = place.out / HISTORY
        done = place.epochs_done()
        kept = [metrics for metrics in read_history(self._path) if metrics["epoch"] <= done]
        self._path.write_text("".join(json.dumps(metrics) + "\n" for metrics in kept), encoding="utf-8")
        self.epochs = len(kept)
        self._board = torch.utils.tensorboard.SummaryWriter(
            place.out / "tensorboard", purge_step=self.epochs + 1
        )

    def follow(self, ended: threading.Event) -> None:
        """Write down each epoch as it comes, until all has ended.

        Raises:
            OSError: The run's folder cannot be written.
            StorageError: The same, or the bundle of the best epoch cannot be fetched.
        """
        with self._board:
            while not ended.wait(LOOK_S):
                self._look()
            self._look()

    def settle(self) -> Bundle:
        """Return the bundle of the best epoch, when all epochs have ended.

        Raises:
            StorageError: It cannot be fetched, or is not there any more.
        """
        best = [int(epoch.metrics["epoch"]) for epoch in self._told(after=0) if epoch.is_best]
        if best and _epoch_of(self.place.out / BEST) != best[-1] and not self._keep_best(best[-1]):
            msg = f"{self.place.checkpoint(best[-1])}, the best epoch's, is gone or not whole."
            raise StorageError(msg)
        return Bundle.read(self.place.out / BEST)

    def _told(self, after: int) -> list[Epoch]:
        told: list[Epoch] = ray.get(self.pace.epochs_after.remote(after), timeout=ANSWER_S)
        return told

    def _look(self) -> None:
        """Write down the epochs that have come to an end since the last look."""
        try:
            told = self._told(after=self.epochs)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
            return
        for epoch in told:
            self._write(epoch.metrics)
        if best := [int(epoch.metrics["epoch"]) for epoch in told if epoch.is_best]:
            self._keep_best(best[-1])

    def _write(self, metrics: dict[str, float]) -> None:
        number = int(metrics["epoch"])
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        for name, value in metrics.items():
            self._board.add_scalar(name, value, number)
        self._board.flush()
        self.epochs = number
        self._on_epoch(metrics)

    def _keep_best(self, epoch: int) -> bool:
        """Make the bundle of an epoch the run's; a reader finds the old, the new or, briefly, none.

        Returns:
            Whether it was still there, and whole.
        """
        source, target = self.place.checkpoint(epoch), self.place.out / BEST
        draft = target.with_name(f"{BEST}.new")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            storage.copy_folder(source, str(draft.resolve()), leave_out={state.TRAINER, EPOCHS})
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        # Ray removes a checkpoint, file by file, when a better one takes its place; this may be half of it.
        if whole := _epoch_of(draft) == epoch:
            replace(draft, target)
        return whole


def replace(draft: pathlib.Path, target: pathlib.Path) -> None:
    """Put a folder in the place of another."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(draft, target)
    shutil.rmtree(old, ignore_errors=True)


def _epoch_of(path: pathlib.Path) -> int | None:
    """Return the epoch whose bundle it is; None where there is no sound one."""
    try:
        return int(Bundle.read(path).card.metrics["validation"]["epoch"])
    except (BundleError, KeyError):
        return None
