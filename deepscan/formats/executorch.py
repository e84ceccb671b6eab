"""The model as an ExecuTorch program, for phones and other small devices; here it runs on the CPU.

Matrices and convolutions go to XNNPACK, what that has not to ExecuTorch's own operators. Memory for a whole
batch is laid out when the program is written, so that batches have an upper size: larger ones run in pieces.
"""

import contextlib
import copy
import dataclasses
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32, FORMATS, Format, Runner, on_cpu
from deepscan.formats.graphs import Signature, first_line, quietly, require_cpu, require_float32
from deepscan.formats.tracing import any_number, in_order, to_trace
from deepscan.modalities import Column, Outputs

PROGRAM = "model.pte"
LARGEST_BATCH = 8
"""Examples for which a program lays out memory."""

MISSING = "ExecuTorch is not installed; pip install 'deepscan[executorch]'."


@dataclasses.dataclass(frozen=True, slots=True)
class ExecuTorchRunner:
    """Runs a program, one batch at a time: its memory is laid out once.

    The program is held, not its method: a method does not keep alive the bytes that it runs.
    """

    program: Any
    signature: Signature
    lock: threading.Lock

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the program says of each Example."""
        columns = [torch.from_numpy(inputs[name]) for name in self.signature.inputs]
        pieces = []
        with self.lock:
            method = self.program.load_method("forward")
            for start in range(0, len(columns[0]), LARGEST_BATCH):
                piece = [column[start : start + LARGEST_BATCH].contiguous() for column in columns]
                pieces.append([each.numpy().copy() for each in method.execute(piece)])
        joined = map(np.concatenate, zip(*pieces, strict=True))
        return dict(zip(self.signature.outputs, joined, strict=True))


def write(
    module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module and write its program in float32.

    Raises:
        FormatError: The precision is another one, ExecuTorch is not installed, or the module cannot be
            written so.
    """
    require_float32("executorch", precision)
    named, signature = to_trace(copy.deepcopy(module).to(memory_format=torch.contiguous_format), inputs)
    with quietly():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise FormatError(MISSING) from error
        with _refused(type(module).__name__), torch.no_grad():
            shapes = any_number(inputs, LARGEST_BATCH)
            traced = torch.export.export(named, in_order(inputs), dynamic_shapes=shapes)
            edge = to_edge_transform_and_lower(traced, partitioner=[XnnpackPartitioner()])
            program = edge.to_executorch()
    (directory / PROGRAM).write_bytes(program.buffer)
    return PROGRAM, signature.write(directory)


@contextlib.contextmanager
def _refused(name: str) -> Iterator[None]:
    """Make a FormatError of what ExecuTorch raises, a plain Exception where a pass fails."""
    try:
        yield
    except Exception as error:
        refusals = (RuntimeError, ValueError, TypeError, AssertionError)
        if type(error) is not Exception and not isinstance(error, refusals):
            raise
        msg = f"{name} cannot be written for ExecuTorch: {first_line(error)}"
        raise FormatError(msg) from error


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Return the runner of the program in ``directory``; the module is not built.

    Raises:
        BundleError: The program is broken, or takes operators that this ExecuTorch has not.
        FormatError: ExecuTorch is not installed, or the device is no CPU.
    """
    require_cpu("ExecuTorch", device)
    try:
        with quietly():
            from executorch.runtime import Runtime
    except ImportError as error:
        raise FormatError(MISSING) from error
    try:
        with quietly():
            program = Runtime.get().load_program((directory / PROGRAM).read_bytes())
            program.load_method("forward")
    except RuntimeError as error:
        msg = f"The program in {directory} cannot be run here: {first_line(error)}"
        raise BundleError(msg) from error
    return ExecuTorchRunner(program, Signature.read(directory), threading.Lock())


FORMATS.register(
    "executorch",
    Format(name="executorch", summary="ExecuTorch program, for phones", write=write, load=load, auto=on_cpu),
)
