"""The model as a TorchScript graph, which runs without its Python code, in C++ too.

PyTorch calls TorchScript deprecated and keeps it; what it says of that stays out of the log. The graph holds
one path through the model, the one that a batch of two Examples takes, and the device on which it was traced.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32, FORMATS, Format, Runner, on_cpu
from deepscan.formats.graphs import Signature, first_line, quietly, require_cpu, require_float32
from deepscan.formats.tracing import Named, in_order, to_trace
from deepscan.modalities import Column, Outputs

GRAPH = "model.ts"
OTHER_COUNTS = (1, 3)
"""Numbers of Examples that a trace has not seen, and must follow."""

NEAR = 1e-3
"""Largest relative difference of outputs that rounding in another order explains."""


@dataclasses.dataclass(frozen=True, slots=True)
class TorchScriptRunner:
    """Runs a graph on the CPU; several threads may."""

    graph: torch.jit.ScriptModule
    signature: Signature

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the graph says of each Example."""
        columns = [torch.from_numpy(inputs[name]) for name in self.signature.inputs]
        with torch.inference_mode():
            said = self.graph(*columns)
        return {name: each.numpy() for name, each in zip(self.signature.outputs, said, strict=True)}


def write(
    module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module and write the graph in float32.

    Raises:
        FormatError: The precision is another one, the module cannot be traced, or its trace holds for one
            number of Examples only.
    """
    require_float32("torchscript", precision)
    named, signature = to_trace(module, inputs)
    try:
        with quietly(), torch.no_grad():
            graph = torch.jit.trace(named, in_order(inputs), check_trace=False)  # type: ignore[no-untyped-call]
    except (RuntimeError, TypeError, ValueError) as error:
        msg = f"{type(module).__name__} cannot be written as TorchScript: {first_line(error)}"
        raise FormatError(msg) from error
    for count in OTHER_COUNTS:
        if not _follows(graph, named, in_order(inputs, count)):
            msg = (
                f"{type(module).__name__} counts its Examples in a way that a trace cannot follow: it would "
                "hold for one number of them only. It runs as 'eager' only."
            )
            raise FormatError(msg)
    with quietly():
        torch.jit.save(graph, directory / GRAPH)
    return GRAPH, signature.write(directory)


def _follows(graph: Any, named: Named, columns: tuple[torch.Tensor, ...]) -> bool:
    with torch.no_grad():
        wanted = named(*columns)
        try:
            said = graph(*columns)
        except RuntimeError:
            return False
    pairs = zip(said, wanted, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, NEAR, NEAR) for a, b in pairs)


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Return the runner of the graph in ``directory``; the module is not built.

    TorchScript has a reader of its own, which makes tensors and plain values, no Python objects.

    Raises:
        BundleError: The graph is broken.
        FormatError: The device is no CPU: a trace holds the device on which it was made.
    """
    require_cpu("TorchScript", device)
    try:
        with quietly():
            graph = torch.jit.load(directory / GRAPH, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        msg = f"The graph in {directory} cannot be run here: {first_line(error)}"
        raise BundleError(msg) from error
    return TorchScriptRunner(graph.eval(), Signature.read(directory))


FORMATS.register(
    "torchscript",
    Format(
        name="torchscript",
        summary="TorchScript graph, which needs no Python code",
        write=write,
        load=load,
        auto=on_cpu,
    ),
)
