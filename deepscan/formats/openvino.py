"""The model as an OpenVINO graph, for CPUs by Intel and others: the fastest of the formats there.

It is made of the ONNX graph. The runtime would choose bfloat16 by itself where the CPU has it; here the
precision is the one that the bundle names, so that what was measured of a model holds for it.
"""

import dataclasses
import pathlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from deepscan.errors import BundleError, FormatError
from deepscan.formats import BFLOAT16, FLOAT32, FORMATS, INT8, Format, Runner, computing_threads, on_cpu, onnx
from deepscan.formats.graphs import require_cpu, require_float32
from deepscan.modalities import Column, Outputs

if TYPE_CHECKING:
    from torch import nn

GRAPH, WEIGHTS = "model.xml", "model.bin"
MISSING = "OpenVINO is not installed; pip install 'deepscan[export]'."


@dataclasses.dataclass(frozen=True, slots=True)
class OpenVinoRunner:
    """Runs a compiled graph; each thread has a request of its own, since one holds one batch at a time."""

    compiled: Any
    requests: threading.local

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the graph says of each Example."""
        if not hasattr(self.requests, "own"):
            self.requests.own = self.compiled.create_infer_request()
        said = self.requests.own.infer(dict(inputs))
        return {port.get_any_name(): array.copy() for port, array in said.items()}


def runtime() -> Any:
    """Import OpenVINO so that it reports nothing: by itself it tells its makers of imports and conversions.

    Raises:
        FormatError: It is not installed.
    """
    try:
        from openvino_telemetry import main
        from openvino_telemetry.utils.opt_in_checker import ConsentCheckResult

        main.OptInChecker.check = lambda *_, **__: ConsentCheckResult.DECLINED
        import openvino

        # Somebody may have imported it before.
        main.Telemetry().consent = False
    except ImportError as error:
        raise FormatError(MISSING) from error
    return openvino


def write(
    module: "nn.Module", directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module and write the graph, whose weights are float32 in bfloat16 too.

    Raises:
        FormatError: A package is not installed, or the module cannot be traced.
    """
    require_float32("openvino", FLOAT32 if precision == BFLOAT16 else precision)
    with tempfile.TemporaryDirectory() as folder:
        onnx.write(module, pathlib.Path(folder), inputs)
        return convert(pathlib.Path(folder) / onnx.GRAPH, directory)


def convert(graph: pathlib.Path, directory: pathlib.Path) -> tuple[str, ...]:
    """Write an ONNX graph as one of OpenVINO.

    Raises:
        FormatError: OpenVINO is not installed.
    """
    openvino = runtime()
    openvino.save_model(openvino.convert_model(graph), directory / GRAPH, compress_to_fp16=False)
    return GRAPH, WEIGHTS


def load(
    build: Callable[[], "nn.Module"], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Compile the graph in ``directory``; the module is not built.

    Raises:
        BundleError: The graph is broken.
        FormatError: OpenVINO is not installed, or the device is no CPU.
    """
    openvino = runtime()
    require_cpu("OpenVINO", device)
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == BFLOAT16 else "f32",
        "INFERENCE_NUM_THREADS": computing_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        compiled = openvino.Core().compile_model(directory / GRAPH, "CPU", settings)
    except RuntimeError as error:
        msg = f"The graph in {directory} cannot be run here: {error}"
        raise BundleError(msg) from error
    return OpenVinoRunner(compiled, threading.local())


FORMATS.register(
    "openvino",
    Format(
        name="openvino",
        summary="OpenVINO graph, for CPUs",
        write=write,
        load=load,
        tolerances={FLOAT32: 1e-4, BFLOAT16: 0.05, INT8: 0.2},
        auto=on_cpu,
    ),
)
