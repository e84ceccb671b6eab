"""What a method is given: a detector, the most suspicious of its Examples, and what it said of them."""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.detector import Detector
from deepscan.errors import NoMapError
from deepscan.formats import network_of
from deepscan.modalities import Example, Outputs, batch
from deepscan.verdict import Label, MediaFacts

MOST_PARTS = 4
"""So many parts of a file are shown, the most suspicious ones."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """The input of a model that a map can be laid over.

    Attributes:
        column: Its name.
        frames: How many pictures an Example holds; 0 = it is no picture but sound.
        size: Rows and columns of a picture or spectrum; of a wave, 1 and its samples.
    """

    column: str
    frames: int
    size: tuple[int, int]

    @property
    def places(self) -> tuple[int, ...]:
        """The axes of a batch on which rows and columns lie; of a wave, its samples."""
        if self.frames:
            return (1, 2) if self.frames == 1 else (2, 3)
        return (1,) if self.size[0] == 1 else (1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is to be shown.

    Attributes:
        detector: Who judged.
        facts: What the file is.
        examples: The most suspicious of its Examples, at most ``MOST_PARTS``.
        outputs: What the model says of these.
        label: What the detector says of the file.
    """

    detector: Detector
    facts: MediaFacts
    examples: list[Example]
    outputs: Outputs
    label: Label

    @classmethod
    def of(cls, detector: Detector, facts: MediaFacts, examples: list[Example]) -> Self:
        """Judge a file and keep its most suspicious Examples."""
        outputs = detector.run(examples)
        label = detector.judge(examples, outputs).score.label
        order = np.argsort(-outputs["logit"], kind="stable")[:MOST_PARTS]
        return cls(
            detector=detector,
            facts=facts,
            examples=[examples[number] for number in order],
            outputs={name: values[order] for name, values in outputs.items()},
            label=label,
        )

    @property
    def inputs(self) -> Example:
        """What the model reads, the Examples along the first axis."""
        return batch(self.examples, self.detector.prep)


def canvas_of(detector: Detector) -> Canvas:
    """Return the input that maps of a detector lie over.

    Raises:
        NoMapError: It reads several things at once, or none with places.
    """
    inputs = {name: column for name, column in detector.prep.inputs.items() if name != "mask"}
    (name, column), *others = inputs.items()
    shape = column.shape
    if not others and detector.modality.shown and column.dtype == "uint8" and shape[-1:] == (3,):
        frames = shape[0] if len(shape) == 4 else 1
        return Canvas(column=name, frames=frames, size=(shape[-3], shape[-2]))
    if not others and column.dtype == "float32" and len(shape) in (1, 2) and shape[-1] > 1:
        return Canvas(column=name, frames=0, size=(shape[0] if len(shape) == 2 else 1, shape[-1]))
    msg = (
        f"What {detector.bundle.card.name!r} reads is neither one picture, one clip nor one stretch of sound."
    )
    raise NoMapError(msg)


@contextlib.contextmanager
def copied(detector: Detector) -> Iterator[nn.Module]:
    """Lend a copy of a detector's network, in which gradients of inputs and features can be taken.

    The network itself, which may be judging for others meanwhile, is not touched: no hook, no gradient.
    Within, gradients are taken even where the caller is in inference mode.

    Raises:
        NoMapError: The format of its weights runs no PyTorch module.
    """
    original = network_of(detector.runner)
    if original is None:
        card = detector.bundle.card
        msg = (
            f"{card.name!r} was exported to {card.weights_format!r}, where no gradients can be taken; ask "
            "for occlusion, or give the bundle that it was exported from."
        )
        raise NoMapError(msg)
    with torch.inference_mode(False), torch.enable_grad():
        network = copy.deepcopy(original).eval().requires_grad_(False)
        for part in network.modules():
            if isinstance(part, nn.RNNBase):
                # On a GPU these give gradients in training mode only, where all that differs is dropout.
                part.dropout = 0.0
                part.train()
        yield network


def tensors_of(network: nn.Module, inputs: Example) -> dict[str, Tensor]:
    """Return inputs as tensors beside a network."""
    device = next((each.device for each in network.parameters()), torch.device("cpu"))
    return {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}


def empty_inputs(detector: Detector) -> Example:
    """Return the inputs of one Example in which nothing is to be seen or heard, all of it real."""
    columns = detector.prep.inputs
    return {
        name: np.full((1, *column.shape), int(name == "mask"), column.dtype)
        for name, column in columns.items()
    }


def blank(x: NDArray[Any], canvas: Canvas) -> NDArray[np.float32]:
    """Return what is left of inputs without any detail, in a shape that broadcasts to theirs.

    Of a picture that is its mean colour, of a spectrum the mean of each row over time, of a wave silence.
    """
    values = x.astype(np.float32)
    if canvas.frames:
        color: NDArray[np.float32] = values.mean(canvas.places, keepdims=True)
        return color
    level: NDArray[np.float32] = values.mean(-1, keepdims=True)
    return level if canvas.size[0] > 1 else np.zeros_like(level)
