"""The model as a LiteRT graph (TensorFlow Lite), for phones; here it runs on the CPU.

The graph takes one Example, which is what a phone has at a time; batches run Example by Example.
"""

import dataclasses
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32, FORMATS, Format, Runner
from deepscan.formats.tracing import (
    Signature,
    first_line,
    in_order,
    quietly,
    require_cpu,
    require_float32,
    to_trace,
)
from deepscan.modalities import Column, Outputs

GRAPH = "model.tflite"
MISSING = "LiteRT is not installed ({}); in an environment of its own, pip install 'deepscan[mobile]'."


@dataclasses.dataclass(frozen=True, slots=True)
class LiteRtRunner:
    """Runs a graph, one Example at a time: its tensors are laid out once."""

    graph: Any
    signature: Signature
    lock: threading.Lock

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the graph says of each Example."""
        columns = [inputs[name] for name in self.signature.inputs]
        rows: list[list[NDArray[Any]]] = []
        with self.lock:
            for number in range(len(columns[0])):
                given = {f"args_{place}": each[number : number + 1] for place, each in enumerate(columns)}
                said = self.graph(**given)
                rows.append([said[f"output_{place}"].copy() for place in range(len(said))])
        joined = map(np.concatenate, zip(*rows, strict=True))
        return dict(zip(self.signature.outputs, joined, strict=True))


def write(
    module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module with one Example and write the graph in float32.

    Raises:
        FormatError: The precision is another one, the package that writes graphs is not installed, or the
            module cannot be written so.
    """
    require_float32("litert", precision)
    named, signature = to_trace(module, inputs)
    with quietly():
        try:
            import litert_torch
        except ImportError as error:
            raise FormatError(MISSING.format(error.name)) from error
        try:
            graph = litert_torch.convert(named, in_order(inputs, 1))
            graph.export(str(directory / GRAPH))
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            msg = f"{type(module).__name__} cannot be written for LiteRT: {first_line(error)}"
            raise FormatError(msg) from error
    return GRAPH, signature.write(directory)


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Return the runner of the graph in ``directory``; the module is not built.

    Raises:
        BundleError: The graph is broken.
        FormatError: LiteRT is not installed, or the device is no CPU.
    """
    require_cpu("LiteRT", device)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise FormatError(MISSING.format(error.name)) from error
    try:
        graph = Interpreter(str(directory / GRAPH), num_threads=torch.get_num_threads())
        graph.allocate_tensors()
        runner = graph.get_signature_runner()
    except (RuntimeError, ValueError) as error:
        msg = f"The graph in {directory} cannot be run here: {first_line(error)}"
        raise BundleError(msg) from error
    return LiteRtRunner(runner, Signature.read(directory), threading.Lock())


FORMATS.register(
    "litert",
    Format(name="litert", summary="LiteRT (TFLite) graph, for phones", write=write, load=load),
)
