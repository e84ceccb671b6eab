"""Weights formats: each file here writes a model into a bundle and runs it from there.

A format registers itself when its file is imported; ``get`` imports the one that is asked for,
so that a runtime that is not installed costs nothing.
"""

import dataclasses
import importlib
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from deepscan.errors import FormatError
from deepscan.modalities import Column, Outputs
from deepscan.registry import Registry

if TYPE_CHECKING:
    # Who runs a graph need not wait for PyTorch.
    from torch import nn

FLOAT32, FLOAT16, BFLOAT16, INT8 = "float32", "float16", "bfloat16", "int8"
"""Precisions: the numbers in which most of a model is computed."""


class Runner(Protocol):
    """A loaded model."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what a model in evaluation mode says, for inputs with a batch axis first."""


def best_device() -> str:
    """Return ``cuda`` where PyTorch sees a GPU, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def on_cpu() -> str:
    """Return ``cpu``, for formats that run nowhere else."""
    return "cpu"


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
        auto: Returns the device that it takes where that is left to the machine.
        tolerances: The precisions in which it runs, and by how much P(fake) may differ in each from that of
            the eager model in float32.
        device: Device on which a new bundle is compared with the first one: the one that it needs.
    """

    name: str
    summary: str
    write: Callable[["nn.Module", pathlib.Path, Mapping[str, Column], str], tuple[str, ...]]
    load: Callable[[Callable[[], "nn.Module"], pathlib.Path, str, str], Runner]
    auto: Callable[[], str] = best_device
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


class Deferred:
    """A runner that loads its model when it is asked for the first time. Threads may share it."""

    def __init__(self, load: Callable[[], Runner]) -> None:
        """Keep what loads it."""
        self._load, self._lock = load, threading.Lock()
        self._runner: Runner | None = None

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the model says.

        Raises:
            BundleError: It cannot be loaded.
            FormatError: What runs it is not installed.
        """
        return self._loaded()(inputs)

    @property
    def module(self) -> "nn.Module | None":
        """The PyTorch module, where the model has one; see ``network_of``."""
        return network_of(self._loaded())

    def _loaded(self) -> Runner:
        with self._lock:
            if self._runner is None:
                self._runner = self._load()
            return self._runner


def network_of(runner: Runner) -> "nn.Module | None":
    """Return the PyTorch module that a runner runs; None = it has none, so that no gradient can be taken."""
    module: nn.Module | None = getattr(runner, "module", None)
    return module


def computing_threads() -> int:
    """Return how many threads a model may compute with: as many as PyTorch has where the process uses it."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else os.cpu_count() or 1


FORMATS: Registry[Format] = Registry("weights format")
BUILTIN = ("compiled", "eager", "executorch", "litert", "onnx", "openvino", "tensorrt", "torchscript")
"""Names of the formats of this package, which are those of their files."""


def get(name: str) -> Format:
    """Return a format; of this package's, only its file is imported, and what that needs.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name in BUILTIN:
        importlib.import_module(f"{__name__}.{name}")
        return FORMATS.get(name)
    return load_builtin().get(name)


def load_builtin() -> Registry[Format]:
    """Import the formats of this package and return the registry."""
    for name in BUILTIN:
        importlib.import_module(f"{__name__}.{name}")
    return FORMATS
