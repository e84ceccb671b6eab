"""Weights formats: each file here writes a model into a bundle and runs it from there.

A format registers itself when its file is imported; ``get`` imports the one that is asked for,
so that a runtime that is not installed costs nothing.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import nn

from deepscan.errors import FormatError
from deepscan.modalities import Column, Outputs
from deepscan.registry import Registry

FLOAT32, FLOAT16, BFLOAT16, INT8 = "float32", "float16", "bfloat16", "int8"
"""Precisions: the numbers in which most of a model is computed."""


class Runner(Protocol):
    """A loaded model."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what a model in evaluation mode says, for inputs with a batch axis first."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How a model is kept in files and run from them.

    Attributes:
        name: Name in the registry and in ``bundle.json``.
        summary: One line for tables.
        write: Writes a module that reads some columns into a directory, to be run in a precision; returns
            the names of the files. Raises FormatError where the model cannot be written so.
        load: Loads a runner from what builds the module with fresh weights, which few formats need, the
            directory, a device name and the precision.
        tolerances: The precisions in which it runs, and by how much P(fake) may differ in each from that of
            the eager model in float32.
        device: Device on which a new bundle is compared with the first one: the one that it needs.
    """

    name: str
    summary: str
    write: Callable[[nn.Module, pathlib.Path, Mapping[str, Column], str], tuple[str, ...]]
    load: Callable[[Callable[[], nn.Module], pathlib.Path, str, str], Runner]
    tolerances: Mapping[str, float] = dataclasses.field(default_factory=lambda: {FLOAT32: 1e-4})
    device: str = "cpu"

    def tolerance(self, precision: str) -> float:
        """Return by how much P(fake) may differ in a precision.

        Raises:
            FormatError: It does not run in that precision.
        """
        if precision not in self.tolerances:
            msg = f"{self.name!r} does not run in {precision!r}; it has {', '.join(self.tolerances)}."
            raise FormatError(msg)
        return self.tolerances[precision]


def network_of(runner: Runner) -> nn.Module | None:
    """Return the PyTorch module that a runner runs; None = it has none, so that no gradient can be taken."""
    module = getattr(runner, "module", None)
    return module if isinstance(module, nn.Module) else None


FORMATS: Registry[Format] = Registry("weights format")


def load_builtin() -> Registry[Format]:
    """Import the formats of this package and return the registry."""
    from deepscan.formats import (  # noqa: F401  (imported for their registration)
        compiled,
        eager,
        executorch,
        litert,
        onnx,
        openvino,
        tensorrt,
        torchscript,
    )

    return FORMATS
