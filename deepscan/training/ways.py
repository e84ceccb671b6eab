"""How a training step is computed: as the recipe says, or in the way that is fastest here, found by timing.

What is fastest is not to be guessed: on a CPU that computes with bfloat16, mixed precision halves the step of
one network and lengthens that of another by a quarter.
"""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from deepscan.nn.normalize import Normalize
from deepscan.objectives import Objective
from deepscan.recipe import Recipe

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "float16"]
_DTYPES: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_NAMED: dict[str, Precision] = {"off": "float32", "bf16": "bfloat16", "fp16": "float16"}

LEAST_STEPS = 500
"""Steps from which on measuring pays: it takes about a dozen."""

CPU_EXAMPLES = 8
"""Examples of a measured step on a CPU, whose time grows evenly with them."""

TIMED = 2
WORTH = 0.9
"""A way is left for another one that takes at most this share of its time, so that chance decides little."""

COMPILING_S = 1800.0
"""Seconds that a run has to take without compilation before one is tried, which takes minutes by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """A way to compute a training step.

    Attributes:
        precision: What most of the forward pass is computed in; other than ``float32`` it is mixed precision.
        channels_last: Whether the channels of a pixel lie side by side in memory.
        compiled: Whether ``torch.compile`` makes the forward and the backward pass.
    """

    precision: Precision = "float32"
    channels_last: bool = True
    compiled: bool = False

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """The dtype of mixed precision; None = full precision."""
        return _DTYPES.get(self.precision)

    def __str__(self) -> str:
        """Tell it in words."""
        layout = "channels last" if self.channels_last else "channels first"
        return ", ".join([self.precision, layout, *(["compiled"] if self.compiled else [])])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A training step to be timed: a copy of the module is trained, nothing of it is kept.

    Attributes:
        module: The model, on ``device``.
        objective: ``(model, batch) -> losses`` with a scalar ``loss``.
        batch: A batch, on ``device``.
        device: Where both are.
    """

    module: nn.Module
    objective: Objective
    batch: Mapping[str, Tensor]
    device: torch.device

    def seconds(self, way: Way) -> tuple[float, float]:
        """Return the seconds of the first step computed in some way and of a later one."""
        module = copy.deepcopy(self.module).train()
        lay_out(module, way)
        if way.compiled:
            module.compile()
        first, *later = (self._timed(module, way) for _ in range(1 + TIMED))
        return first, min(later)

    def _timed(self, module: nn.Module, way: Way) -> float:
        begin_s = time.perf_counter()
        with torch.autocast(self.device.type, way.amp_dtype, enabled=way.amp_dtype is not None):
            loss = self.objective(module, dict(self.batch))["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        module.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begin_s


Clock = Callable[[Way], tuple[float, float]]


def usual(recipe: Recipe, device: torch.device) -> Way:
    """Return the way that a recipe names, where ``auto`` goes by what the device can do."""
    dtype = amp_dtype(recipe.amp, device)
    named: Precision = next((name for name, each in _DTYPES.items() if each == dtype), "float32")
    return Way(named, compiled=recipe.compile)


def amp_dtype(setting: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of mixed precision, None for full precision.

    ``auto`` takes bf16 where the device computes with it, else fp16 on a GPU, else full precision.
    """
    if setting in _NAMED:
        return _DTYPES.get(_NAMED[setting])
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else None


def fastest(step: Step, recipe: Recipe, steps: int) -> Way:
    """Time training steps; return the way in which so many of them take the least time.

    Args:
        step: What to time; of a batch on a CPU a few Examples are.
        recipe: Its ``amp``, unless ``auto``, and its ``compile``, if set, are kept to.
        steps: Steps of the run to come.
    """
    share = 1.0
    if step.device.type == "cpu":
        size = len(step.batch["label"])
        share = max(1.0, size / CPU_EXAMPLES)
        few = {name: column[:CPU_EXAMPLES] for name, column in step.batch.items()}
        step = dataclasses.replace(step, batch=few)

    def clock(way: Way) -> tuple[float, float]:
        try:
            first_s, later_s = step.seconds(way)
        except RuntimeError as error:  # no memory for it, or no compiler on this machine
            logger.warning("Training steps in %s are not possible here: %s", way, error)
            return math.inf, math.inf
        logger.info("A training step in %s takes %.3g s.", way, share * later_s)
        return first_s, share * later_s

    way = chosen(clock, usual(recipe, step.device), _precisions(recipe, step.device), steps)
    logger.info("Training goes on in %s.", way)
    return way


def chosen(clock: Clock, begin: Way, precisions: list[Precision], steps: int) -> Way:
    """Return the fastest way for so many steps, looked for in one property after the other.

    Args:
        clock: Gives the seconds of a first and of a later step.
        begin: Where to begin; it stays where nothing is clearly faster.
        precisions: Those that may be taken.
        steps: Steps of the run; compiling has to be earned back by them.
    """
    best, best_s = begin, clock(begin)[1]

    def compare(way: Way) -> None:
        nonlocal best, best_s
        taken_s = clock(way)[1]
        if taken_s < WORTH * best_s:
            best, best_s = way, taken_s

    for precision in precisions:
        if precision != begin.precision:
            compare(dataclasses.replace(begin, precision=precision))
    compare(dataclasses.replace(best, channels_last=False))
    if begin.compiled or steps * best_s < COMPILING_S:
        return best
    compiled = dataclasses.replace(best, compiled=True)
    first_s, later_s = clock(compiled)
    return compiled if first_s + steps * later_s < WORTH * steps * best_s else best


def lay_out(module: nn.Module, way: Way) -> None:
    """Lay the weights of a module out in memory, in place, and what it computes with them."""
    if way.channels_last:
        module.to(memory_format=torch.channels_last)
        return
    module.to(memory_format=torch.contiguous_format)
    # Pixels come with their channels last, and what is computed of them keeps that.
    for part in module.modules():
        if isinstance(part, Normalize):
            part.register_forward_hook(_contiguous)


def _contiguous(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output.contiguous()


def _precisions(recipe: Recipe, device: torch.device) -> list[Precision]:
    if recipe.amp != "auto":
        return [_NAMED[recipe.amp]]
    automatic = usual(dataclasses.replace(recipe, amp="auto"), device).precision
    return ["float32"] if automatic == "float32" else [automatic, "float32"]


def earns(recipe: Recipe, steps: int) -> bool:
    """Tell whether the ways are to be measured before a run of so many steps."""
    return recipe.speed == "measured" and steps >= LEAST_STEPS
