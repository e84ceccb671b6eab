"""How a model is trained: every setting of a run, and the ranges in which they may be searched."""

import dataclasses
from typing import Literal

from deepscan.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """The optimiser.

    Attributes:
        name: ``adamw`` or ``sgd`` (Nesterov momentum).
        lr: Peak learning rate.
        weight_decay: Decoupled decay for AdamW, L2 for SGD; not applied to biases and norms.
        momentum: Momentum of SGD, first beta of AdamW.
        trunk_lr_scale: Factor on ``lr`` for the trunk of a model that starts from trained weights.
        sam_rho: How far up the slope of the loss sharpness-aware minimisation looks before each step, in
            the Euclidean norm of the weights, e.g. 0.05; 0 = off. A step takes twice as long.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    trunk_lr_scale: float = 0.1
    sam_rho: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate over a run, as a factor on the peak rate.

    Attributes:
        name: ``cosine`` falls to ``final`` at the last step; ``step`` multiplies by ``gamma`` every
            ``every_epochs``; ``plateau`` multiplies by ``gamma`` after ``patience`` epochs without a
            better validation AUC; ``constant`` stays.
        warmup: Share of all steps in which the rate rises linearly from zero.
        final: Last factor of ``cosine``.
        gamma: Factor of ``step`` and ``plateau``.
        every_epochs: Period of ``step``.
        patience: Epochs that ``plateau`` waits.
    """

    name: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup: float = 0.05
    final: float = 0.01
    gamma: float = 0.3
    every_epochs: int = 10
    patience: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """The classification loss on the fake-logit.

    Attributes:
        name: Binary cross-entropy, or focal loss (Lin et al., ICCV 2017).
        gamma: Focusing exponent of focal loss.
        label_smoothing: Targets become ``smoothing / 2`` and ``1 - smoothing / 2``.
        class_weights: ``balanced`` weighs both classes alike whatever their counts.
        mask_weight: Weight of the loss on where a fake was altered, for models that tell.
    """

    name: Literal["bce", "focal"] = "bce"
    gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    mask_weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """When to end before the last epoch.

    Attributes:
        patience: Epochs without a better validation AUC; 0 = never stop for this.
        min_delta: What counts as better.
        target_auc: Stop once validation AUC reaches this; None = never stop for this.
    """

    patience: int = 0
    min_delta: float = 0.0
    target_auc: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """Random changes to training examples, drawn anew every epoch, in the stream's workers.

    Attributes:
        level: ``flip`` (mirrors, resamples nothing), ``basic`` (also small rotation and colour),
            ``advanced`` (also JPEG, blur, noise, rescale, cut-out), or ``delivery``: ``flip``, and what
            happens to files on their way (colour, rescale, codecs) and nothing else, for models that look
            for traces too faint to be turned, blurred or covered. ``rough`` is ``delivery`` for poor files,
            blurred or noisy, so that their flaws do not pass for traces. Details are up to the modality.
        crop: Share of each side (or of the duration) that a random crop keeps, in (0, 1].
    """

    level: Literal["none", "flip", "basic", "advanced", "delivery", "rough"] = "basic"
    crop: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pseudo:
    """Pseudo-fakes: made of real training examples, anew every epoch, in the stream's workers.

    In every batch the real examples are taken two by two. With probability ``share`` the second one of
    such a pair gives way to a fake that is made of the first, so that batches keep their size and both
    classes show the same faces or voices; which example gives way is drawn anew every epoch.

    Attributes:
        kind: ``none``, or the name that the modality has for a way of making them.
        share: Probability in [0, 1] that two real examples of a batch become a real one and its fake.
    """

    kind: str = "none"
    share: float = 1.0

    @property
    def is_on(self) -> bool:
        """Whether any are made."""
        return self.kind != "none" and self.share > 0

    def counts(self, real: int, fake: int) -> tuple[int, int]:
        """Return how many of so many real and fake examples are real and fake once pseudo-fakes are made."""
        made = round(self.share * (real // 2)) if self.is_on else 0
        return real - made, fake + made


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How often a training file is seen in an epoch, whose length stays that of the training split.

    Attributes:
        classes: ``balanced`` shows as many real as fake Examples, ``as-is`` as many as there are.
        mix: Weights of some files beside 1 for the others, as conditions on columns of the manifest:
            ``generator=StyleGAN*:2``; those of several conditions multiply.
    """

    classes: Literal["as-is", "balanced"] = "as-is"
    mix: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Distill:
    """How a student follows its teachers, where it has any.

    Attributes:
        weight: Share of the teachers in the loss, in [0, 1]; the rest is the student's own loss.
        temperature: By which the log odds of both are divided before they are compared.
    """

    weight: float = 0.5
    temperature: float = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All settings of a training run.

    Attributes:
        seed: Seed of initialisation, order and augmentation.
        epochs: Passes over the training split.
        batch_size: Examples a step and worker.
        accumulate: Steps whose gradients are summed before the optimiser steps.
        clip_norm: Largest gradient norm; 0 = no clipping.
        amp: Mixed precision; ``auto`` = bf16 where the device is fast at it, else fp16 on GPU.
        learns_from: Which training files are seen; a detector of anomalies may see ``real`` ones only.
        freeze_epochs: First epochs in which the trunk of such a model stays fixed.
        ema_decay: Decay of the moving average of the weights that is validated and kept; 0 = off.
        compile: Compile the training step with ``torch.compile``; pays in long runs, mostly on a GPU.
        speed: ``measured`` = before a run of 500 steps or more, steps are timed in the ways that the device
            has (precision where ``amp`` is ``auto``, layout in memory, compilation in runs of half an hour)
            and the fastest is taken; ``set`` = as ``amp`` and ``compile`` say.
        recompute: Keep less for the backward pass and compute it again there (gradient checkpointing).
        sync_norm: Share the statistics of batch norms among workers, each of which has a GPU.
        keep: Which epoch's weights the bundle has: the ``best`` by validation AUC, or the ``last``, for
            training that meets what validation does not show, such as files made poor.
        gate: Share of files like those of validation that the bundle may refuse as out of domain, in [0, 1);
            0 = no gate, every file is judged.
        max_error_rate: Share of each class, in [0, 1), that the operating point may call wrong; the rest of
            what cannot be told apart is inconclusive.
        error_rate_by: Column of the manifest within each of whose values the rate is kept, too; values of too
            few validation files to show the rate count among all alone. Empty = among all files.
        error_rate_under: Deliveries, ``quick`` or ``all``, after each of which the rate is kept, too: the
            genuine files of validation, and its fakes that are files, are judged so once more.
        calls_real: Files may be called real. Without it they are fake or inconclusive: right for a model that
            was taught one kind of forgery, whose absence says nothing of the other kinds.
        optimizer: See Optimizer.
        schedule: See Schedule.
        loss: See Loss.
        stop: See Stop.
        augment: See Augment.
        sampling: See Sampling.
        distill: See Distill.
        pseudo: See Pseudo.
    """

    seed: int = 0
    epochs: int = 10
    batch_size: int = 32
    accumulate: int = 1
    clip_norm: float = 1.0
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    learns_from: Literal["both", "real"] = "both"
    freeze_epochs: int = 0
    ema_decay: float = 0.0
    compile: bool = False
    speed: Literal["measured", "set"] = "measured"
    recompute: bool = False
    sync_norm: bool = False
    keep: Literal["best", "last"] = "best"
    gate: float = 0.01
    max_error_rate: float = 0.05
    error_rate_by: str = ""
    error_rate_under: tuple[str, ...] = ()
    calls_real: bool = True
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    stop: Stop = Stop()
    augment: Augment = Augment()
    sampling: Sampling = Sampling()
    distill: Distill = Distill()
    pseudo: Pseudo = Pseudo()

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            ConfigError: A value is out of range.
        """
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _require(self.accumulate >= 1, "accumulate", self.accumulate, "at least 1")
        _require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1)")
        _require(self.optimizer.lr > 0, "optimizer.lr", self.optimizer.lr, "above 0")
        _require(0 <= self.schedule.warmup < 1, "schedule.warmup", self.schedule.warmup, "in [0, 1)")
        _require(
            0 <= self.loss.label_smoothing < 1, "loss.label_smoothing", self.loss.label_smoothing, "in [0, 1)"
        )
        _require(0 < self.augment.crop <= 1, "augment.crop", self.augment.crop, "in (0, 1]")
        _require(self.optimizer.sam_rho >= 0, "optimizer.sam_rho", self.optimizer.sam_rho, "at least 0")
        _require(self.loss.mask_weight >= 0, "loss.mask_weight", self.loss.mask_weight, "at least 0")
        _require(0 <= self.pseudo.share <= 1, "pseudo.share", self.pseudo.share, "in [0, 1]")
        _require(
            self.batch_size >= 2 or not self.pseudo.is_on,
            "batch_size",
            self.batch_size,
            "at least 2 with pseudo-fakes, which come in pairs",
        )
        _require(0 <= self.gate < 1, "gate", self.gate, "in [0, 1)")
        _require(0 <= self.max_error_rate < 1, "max_error_rate", self.max_error_rate, "in [0, 1)")
        _require(0 <= self.distill.weight <= 1, "distill.weight", self.distill.weight, "in [0, 1]")
        _require(self.distill.temperature > 0, "distill.temperature", self.distill.temperature, "above 0")
        _require(
            self.freeze_epochs < self.epochs,
            "freeze_epochs",
            self.freeze_epochs,
            f"below epochs ({self.epochs})",
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A range to search a setting in.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Draw the logarithm uniformly.
    """

    low: float
    high: float
    log: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A set of values to search a setting in."""

    values: tuple[str | float | int | bool, ...]


SearchSpace = dict[str, Range | Choice]
"""Dotted recipe or model settings (``recipe.optimizer.lr``) with the values to try."""


def _require(ok: bool, name: str, given: object, allowed: str) -> None:
    if not ok:
        msg = f"Setting {name!r} must be {allowed}, not {given}."
        raise ConfigError(msg)
