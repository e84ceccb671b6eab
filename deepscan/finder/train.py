"""Training the face finder: one process, the loop that all training goes through, YuNet as the teacher."""

import dataclasses
import datetime
import hashlib
import json
import logging
import pathlib
import time
from typing import Any

import torch

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.finder import export
from deepscan.finder.gather import Gathered, gather
from deepscan.finder.network import FaceNetwork
from deepscan.finder.scoring import Figures, measure, shifts
from deepscan.finder.stream import Composer, blanks, collate, endless, held_back
from deepscan.finder.targets import finder_loss
from deepscan.media.shipped_faces import FILE
from deepscan.recipe import Optimizer, Recipe, Schedule
from deepscan.training import state
from deepscan.training.loop import Report, Task, Trainer
from deepscan.training.state import Progress

CARD = "face_finder.json"
MIN_SCORE = 0.6
"""What ``find_faces`` asks for by default: scores are shifted so that few false faces reach it."""

_BLANKS = 200
"""Pictures of text, noise and drawings that scores are shifted on, beside scenes."""

_SETTLING = 5
"""Times the validation scenes are the scenes that scores are shifted on: few hold a false face."""

_GUESSED_STEP_S = 0.4
"""How long a step takes, until the first epoch has told."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How the face finder is trained.

    Attributes:
        minutes: How long; after every epoch the number of epochs is set to what the time is enough for.
        seed: Seed of the division of sources, the pictures and the weights.
        batch_size: Pictures a step.
        steps: Steps an epoch; a run goes on from the last finished epoch.
        validation: Batches that each epoch is validated with.
        threads: Threads that compose pictures beside the one that trains.
        lr: Peak learning rate of AdamW.
        weight_decay: Its decay.
        ema_decay: Decay of the moving average of the weights, which is what is written.
        shares: How often pictures, frames of clips and drawn faces are composed from.
        most: Largest number of pictures read for a split; None = all.
    """

    minutes: float = 30.0
    seed: int = 0
    batch_size: int = 12
    steps: int = 100
    validation: int = 16
    threads: int = 1
    lr: float = 3e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.995
    shares: tuple[float, float, float] = (0.7, 0.22, 0.08)
    most: int | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A number is out of range.
        """
        least = min(self.batch_size, self.steps, self.validation, self.threads)
        if not (self.minutes > 0 and self.seed >= 0 and least >= 1):
            msg = (
                "Training the face finder needs minutes above 0, a seed of at least 0, and batch_size, "
                f"steps, validation and threads of at least 1, not {self}."
            )
            raise ConfigError(msg)


def train(media: pathlib.Path, out: pathlib.Path, settings: Settings) -> dict[str, Any]:
    """Train the face finder; write its ONNX file and its card. A run that was interrupted goes on.

    Args:
        media: What it learns from, as ``layout.scan`` reads it.
        out: Folder of the results; ``trainer.pt`` in it is what an interrupted run goes on from.
        settings: How.

    Returns:
        The card: file, digests, settings, time and figures on validation scenes.

    Raises:
        DataError: The media hold no faces.
        AssetError: The teacher's weights are absent.
        FormatError: The packages that write the file are absent.
        BundleError: ``trainer.pt`` cannot be read.
        ConfigError: ``out`` has a run of another seed.
    """
    out.mkdir(parents=True, exist_ok=True)
    held = gather(media, "val", settings.seed, settings.most)
    run = _Run(out, settings, _composer(held, settings))
    if not run.is_over:
        run.go_on(_composer(gather(media, "train", settings.seed, settings.most), settings))
    return run.write(held.digest)


class _Run:
    """A run in its folder, from the first epoch or from where it stopped."""

    def __init__(self, out: pathlib.Path, settings: Settings, held: Composer) -> None:
        self.out, self.settings, self.held = out, settings, held
        self.progress = Progress()
        self.states: dict[str, Any] | None = None
        self.elapsed_s, self._since_s = 0.0, 0.0
        if (out / state.TRAINER).is_file():
            self._resume()
        torch.manual_seed(settings.seed)
        self.module = FaceNetwork()
        self.scenes = held_back(held, settings.validation)
        self._validation = [collate(each, 1000 * number) for number, each in enumerate(self.scenes)]

    def _resume(self) -> None:
        self.progress, kept = state.load(self.out)
        if kept["seed"] != self.settings.seed:
            msg = f"{self.out} holds a run of seed {kept['seed']}; give that seed or another folder."
            raise ConfigError(msg)
        self.elapsed_s, self.states = float(kept["elapsed_s"]), kept["states"]
        _log.info("Going on after epoch %d of %d.", self.progress.epoch, self.epochs)

    @property
    def epochs(self) -> int:
        """The number of epochs that the time is enough for, the finished ones included."""
        done, left_s = self.progress.epoch, 60 * self.settings.minutes - self.elapsed_s
        epoch_s = self.elapsed_s / done if done else _GUESSED_STEP_S * self.settings.steps
        return max(1, done + max(0, round(left_s / epoch_s)))

    @property
    def is_over(self) -> bool:
        """Whether there is no time for another epoch."""
        return self.progress.epoch >= self.epochs

    def go_on(self, composer: Composer) -> None:
        """Train to the end."""
        first = self.progress.epoch * self.settings.steps
        batches = endless(composer, first, self.settings.threads)
        trainer = Trainer(self._task(self.epochs), self.states, self.progress)
        self._since_s = time.monotonic()
        trainer.run(batches, lambda: iter(self._validation), self._note)

    def _task(self, epochs: int) -> Task:
        settings = self.settings
        recipe = Recipe(
            seed=settings.seed,
            epochs=epochs,
            batch_size=settings.batch_size,
            clip_norm=5.0,
            amp="off",
            ema_decay=settings.ema_decay,
            speed="set",
            optimizer=Optimizer(lr=settings.lr, weight_decay=settings.weight_decay),
            schedule=Schedule(name="cosine", warmup=0.03),
        )
        return Task(
            module=self.module,
            trunk=None,
            objective=finder_loss,
            inputs=("pixels",),
            aggregate=lambda logits: float(logits[0]),
            recipe=recipe,
            steps_per_epoch=settings.steps,
            device=torch.device("cpu"),
        )

    def _note(self, trainer: Trainer, report: Report) -> None:
        """Write down where the run is, so that it can go on from here."""
        now_s = time.monotonic()
        self.elapsed_s, self._since_s = self.elapsed_s + now_s - self._since_s, now_s
        # How fast a machine is changes with what else it does: the schedule goes by the time that is left.
        recipe = dataclasses.replace(trainer.task.recipe, epochs=self.epochs)
        trainer.task = dataclasses.replace(trainer.task, recipe=recipe)
        self.states = trainer.state_dict()
        draft = self.out / "draft"
        draft.mkdir(exist_ok=True)
        state.save(
            draft, trainer.progress, states=self.states, seed=self.settings.seed, elapsed_s=self.elapsed_s
        )
        (draft / state.TRAINER).replace(self.out / state.TRAINER)
        draft.rmdir()
        told = {name: float(f"{value:.4g}") for name, value in report.metrics.items()}
        _log.info("Epoch %d of %d: %s", trainer.progress.epoch, self.epochs, told)

    def write(self, digest: str) -> dict[str, Any]:
        """Write the averaged weights as the file that ships, and the card beside it."""
        assert self.states is not None
        self.module.load_state_dict(self.states["kept"])
        settling = held_back(self.held, _SETTLING * self.settings.validation)
        blank = blanks(self.settings.seed, _BLANKS)
        shifted = shifts(self.module, [*settling, blank], MIN_SCORE)
        self.module.shift_scores(shifted)
        path = self.out / FILE
        export.write(self.module, path)
        data = path.read_bytes()
        figures = measure(self.module, self.scenes, MIN_SCORE)
        card = self._card(digest, data, figures) | {"shifts": [round(each, 3) for each in shifted]}
        (self.out / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return card

    def _card(self, digest: str, data: bytes, figures: Figures) -> dict[str, Any]:
        return {
            "file": FILE,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "parameters": sum(each.numel() for each in self.module.parameters()),
            "teacher": "yunet",
            "data_digest": digest,
            "settings": config.to_dict(self.settings),
            "epochs": self.progress.epoch,
            "steps": self.progress.step,
            "minutes": round(self.elapsed_s / 60, 1),
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "validation": {"best_auc": round(self.progress.best_auc, 5), **figures.rounded()},
        }


def _composer(found: Gathered, settings: Settings) -> Composer:
    return Composer(
        groups=(found.stills, found.frames, found.drawn),
        shares=settings.shares,
        size=settings.batch_size,
        seed=settings.seed,
    )
