"""The model as an ONNX graph, run by ONNX Runtime.

The graph takes what the module takes, uint8 pictures included, and any number of Examples; what it gives has
the names that the module gives it.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32, FORMATS, INT8, Format, Runner
from deepscan.modalities import Column, Outputs

GRAPH = "model.onnx"
EXAMPLES = 2
"""Examples that the model is shown while it is traced; 1 would be taken for a size that never changes."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class OnnxRunner:
    """Runs a graph on the CPU, or on a GPU where ONNX Runtime was built for it."""

    session: Any

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the graph says of each Example."""
        names = [each.name for each in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


def require_float32(format_name: str, precision: str) -> None:
    """Refuse to write a precision that takes data besides the weights.

    Raises:
        FormatError: It is not float32.
    """
    if precision != FLOAT32:
        msg = f"{format_name!r} is written in {FLOAT32}; `deepscan quantize` makes {precision} of it."
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


def write(
    module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module and write the graph in float32.

    Raises:
        FormatError: The precision is another one, for which a graph has to be quantised; the package that
            writes graphs is not installed; or the module cannot be traced.
    """
    require_float32("onnx", precision)
    network = module.eval().cpu()
    example = example_of(inputs)
    with torch.no_grad():
        outputs = tuple(network(**example))
    named = Named(network, tuple(example), outputs)
    sizes = (tuple({0: torch.export.Dim("examples", min=1, max=MOST_EXAMPLES)} for _ in example),)
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch needs it to write graphs)

        with quietly():
            torch.onnx.export(
                named,
                tuple(example.values()),
                str(directory / GRAPH),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes=sizes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ImportError as error:
        msg = f"Writing ONNX needs more packages ({error.name}); pip install 'deepscan[export]'."
        raise FormatError(msg) from error
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        msg = f"{type(module).__name__} cannot be written as ONNX: {str(error).strip().splitlines()[0]}"
        raise FormatError(msg) from error
    graph = onnx.load(directory / GRAPH)
    if fixed := [each.name for each in graph.graph.input if not _first_size(each).dim_param]:
        (directory / GRAPH).unlink()
        msg = (
            f"{type(module).__name__} counts its Examples in a way that graphs cannot follow: {fixed} would "
            "always hold the same number of them. It runs as 'eager' only."
        )
        raise FormatError(msg)
    return (GRAPH,)


def _first_size(value: Any) -> Any:
    return value.type.tensor_type.shape.dim[0]


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Return the runner of the graph in ``directory``; the module is not built.

    Raises:
        BundleError: The graph is broken.
        FormatError: ONNX Runtime is not installed, or has no support of the device.
    """
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        msg = "Running ONNX needs ONNX Runtime; pip install 'deepscan[export]'."
        raise FormatError(msg) from error
    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        msg = f"This ONNX Runtime does not run on {device!r}; use --device cpu, or install onnxruntime-gpu."
        raise FormatError(msg)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(directory / GRAPH), options, providers=[provider])
    except (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented) as error:
        msg = f"The graph in {directory} cannot be run here: {error}"
        raise BundleError(msg) from error
    return OnnxRunner(session)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what tracers and quantisers print of their own steps out of the log and of standard output."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


FORMATS.register(
    "onnx",
    Format(
        name="onnx",
        summary="ONNX graph, run by ONNX Runtime",
        write=write,
        load=load,
        tolerances={FLOAT32: 1e-4, INT8: 0.2},
    ),
)
