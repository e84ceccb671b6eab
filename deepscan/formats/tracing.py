"""What the formats that trace a model share: inputs to trace with, and a model as graphs have it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepscan.formats.graphs import Signature
from deepscan.modalities import Column

EXAMPLES = 2
"""Examples that a model is shown while it is traced; 1 would be taken for a size that never changes."""

MOST_EXAMPLES = 1 << 16


class Named(nn.Module):
    """A model whose inputs and outputs are told by their places, as graphs have them."""

    def __init__(self, module: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        """Wrap a module."""
        super().__init__()
        self.module, self.inputs, self.outputs = module, inputs, outputs

    def forward(self, *columns: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in their order."""
        said = self.module(**dict(zip(self.inputs, columns, strict=True)))
        return tuple(said[name] for name in self.outputs)


def example_of(inputs: Mapping[str, Column], count: int = EXAMPLES) -> dict[str, Tensor]:
    """Return inputs of noise for so many Examples; a mask lets all of them through."""
    rng = np.random.default_rng(0)
    made = {}
    for name, column in inputs.items():
        shape = (count, *column.shape)
        if name == "mask":
            array = np.ones(shape, column.dtype)
        elif column.dtype == "uint8":
            array = rng.integers(0, 256, shape, np.uint8)
        else:
            array = rng.normal(0, 1, shape).astype(column.dtype)
        made[name] = torch.from_numpy(array)
    return made


def to_trace(module: nn.Module, inputs: Mapping[str, Column]) -> tuple[Named, Signature]:
    """Return a module in evaluation mode on the CPU as tracers want it, and what it reads and says."""
    network, example = module.eval().cpu(), example_of(inputs)
    with torch.no_grad():
        signature = Signature(tuple(example), tuple(network(**example)))
    return Named(network, signature.inputs, signature.outputs), signature


def in_order(inputs: Mapping[str, Column], count: int = EXAMPLES) -> tuple[Tensor, ...]:
    """Return inputs of noise in the order of their names, as graphs take them."""
    return tuple(example_of(inputs, count).values())


def any_number(inputs: Mapping[str, Column], most: int = MOST_EXAMPLES) -> tuple[Any, ...]:
    """Return the shapes that ``torch.export`` is told of the inputs: 1 up to so many Examples."""
    return (tuple({0: torch.export.Dim("examples", min=1, max=most)} for _ in inputs),)
