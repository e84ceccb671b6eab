"""What the formats that trace a model share: inputs to trace with, and names that graphs do not keep."""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32
from deepscan.modalities import Column

EXAMPLES = 2
"""Examples that a model is shown while it is traced; 1 would be taken for a size that never changes."""

MOST_EXAMPLES = 1 << 16
SIGNATURE = "signature.json"


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


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """Names of a model's inputs and outputs, in the order in which a graph without names has them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def write(self, directory: pathlib.Path) -> str:
        """Write the names beside a graph and return the name of the file."""
        text = json.dumps({"inputs": self.inputs, "outputs": self.outputs}, indent=1)
        (directory / SIGNATURE).write_text(text + "\n", encoding="utf-8")
        return SIGNATURE

    @classmethod
    def read(cls, directory: pathlib.Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            BundleError: The file is absent or broken.
        """
        try:
            said = json.loads((directory / SIGNATURE).read_text(encoding="utf-8"))
            return cls(tuple(map(str, said["inputs"])), tuple(map(str, said["outputs"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{directory / SIGNATURE} names no inputs and outputs ({error}); export the bundle again."
            raise BundleError(msg) from error


def require_float32(format_name: str, precision: str) -> None:
    """Refuse to write a precision that takes data besides the weights.

    Raises:
        FormatError: It is not float32.
    """
    if precision != FLOAT32:
        msg = f"{format_name!r} is written in {FLOAT32}; `deepscan quantize` makes {precision} of it."
        raise FormatError(msg)


def require_cpu(runtime: str, device: str) -> None:
    """Refuse a device on which a runtime does not run.

    Raises:
        FormatError: It is not the CPU.
    """
    if device != "cpu":
        msg = f"{runtime} bundles run on the CPU, not on {device!r}; use --device cpu."
        raise FormatError(msg)


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


def first_line(error: BaseException) -> str:
    """Return what an error says, without the report of many lines that tracers add to it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what a tracer prints of its own steps out of the log."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
