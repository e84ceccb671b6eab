"""The model as an ONNX graph, run by ONNX Runtime.

The graph takes what the module takes, uint8 pictures included, and any number of Examples; what it gives has
the names that the module gives it.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32, FORMATS, INT8, Format, Runner, best_device, computing_threads
from deepscan.formats.graphs import first_line, quietly, require_float32
from deepscan.modalities import Column, Outputs

if TYPE_CHECKING:
    from torch import nn

GRAPH = "model.onnx"
GPU_PROVIDER = "CUDAExecutionProvider"


@dataclasses.dataclass(frozen=True, slots=True)
class OnnxRunner:
    """Runs a graph on the CPU, or on a GPU where ONNX Runtime was built for it."""

    session: Any

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the graph says of each Example."""
        names = [each.name for each in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


def write(
    module: "nn.Module", directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module and write the graph in float32.

    Raises:
        FormatError: The precision is another one, for which a graph has to be quantised; the package that
            writes graphs is not installed; or the module cannot be traced.
    """
    import torch

    from deepscan.formats.tracing import any_number, in_order, to_trace

    require_float32("onnx", precision)
    named, signature = to_trace(module, inputs)
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch needs it to write graphs)

        with quietly():
            torch.onnx.export(
                named,
                in_order(inputs),
                str(directory / GRAPH),
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                dynamic_shapes=any_number(inputs),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ImportError as error:
        msg = f"Writing ONNX needs more packages ({error.name}); pip install 'deepscan[export]'."
        raise FormatError(msg) from error
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        msg = f"{type(module).__name__} cannot be written as ONNX: {first_line(error)}"
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
    build: Callable[[], "nn.Module"], directory: pathlib.Path, device: str, precision: str = FLOAT32
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
    provider = "CPUExecutionProvider" if device == "cpu" else GPU_PROVIDER
    if provider not in onnxruntime.get_available_providers():
        msg = f"This ONNX Runtime does not run on {device!r}; use --device cpu, or install onnxruntime-gpu."
        raise FormatError(msg)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = computing_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(directory / GRAPH), options, providers=[provider])
    except (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented) as error:
        msg = f"The graph in {directory} cannot be run here: {error}"
        raise BundleError(msg) from error
    return OnnxRunner(session)


def auto() -> str:
    """Return the GPU where ONNX Runtime was built for it and there is one, else the CPU."""
    try:
        import onnxruntime
    except ImportError:
        return "cpu"
    return best_device() if GPU_PROVIDER in onnxruntime.get_available_providers() else "cpu"


FORMATS.register(
    "onnx",
    Format(
        name="onnx",
        summary="ONNX graph, run by ONNX Runtime",
        write=write,
        load=load,
        tolerances={FLOAT32: 1e-4, INT8: 0.2},
        auto=auto,
    ),
)
