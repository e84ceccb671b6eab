"""The model as a TensorRT engine, built of its ONNX graph for the NVIDIA GPU on which it is exported.

An engine runs on GPUs of the kind that it was built on, under the version of TensorRT that built it. It
computes in float32 as written: TF32, which TensorRT would choose by itself, is off.
"""

import dataclasses
import pathlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32, FORMATS, Format, Runner, onnx
from deepscan.formats.graphs import require_float32
from deepscan.modalities import Column, Outputs

ENGINE = "model.engine"
USUAL_BATCH, LARGEST_BATCH = 8, 32
"""Examples for which an engine is tuned, and the most that it takes at once; larger batches run in pieces."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorRtRunner:
    """Runs an engine, one batch at a time: its context holds the addresses of one batch.

    Attributes:
        engine: The engine.
        context: Its execution context.
        device: GPU that both live on.
        outputs: PyTorch's type of each output, by name.
        lock: Held while the context is in use.
    """

    engine: Any
    context: Any
    device: torch.device
    outputs: Mapping[str, torch.dtype]
    lock: threading.Lock

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the engine says of each Example.

        Raises:
            FormatError: The engine failed, e.g. because the GPU has no memory left.
        """
        count = len(next(iter(inputs.values())))
        pieces = []
        with self.lock, torch.cuda.device(self.device):
            for start in range(0, count, LARGEST_BATCH):
                piece = {name: array[start : start + LARGEST_BATCH] for name, array in inputs.items()}
                pieces.append(self._run(piece))
        return {name: np.concatenate([each[name] for each in pieces]) for name in self.outputs}

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        stream = torch.cuda.current_stream(self.device)
        held = {name: torch.from_numpy(array).to(self.device).contiguous() for name, array in inputs.items()}
        for name, tensor in held.items():
            self.context.set_input_shape(name, tuple(tensor.shape))
        for name, dtype in self.outputs.items():
            shape = tuple(self.context.get_tensor_shape(name))
            held[name] = torch.empty(shape, dtype=dtype, device=self.device)
        for name, tensor in held.items():
            self.context.set_tensor_address(name, tensor.data_ptr())
        if not self.context.execute_async_v3(stream.cuda_stream):
            msg = "TensorRT failed to run its engine; its log says why. Free GPU memory or export again."
            raise FormatError(msg)
        stream.synchronize()
        return {name: held[name].cpu().numpy() for name in self.outputs}


def _tensorrt() -> Any:
    """Return the package.

    Raises:
        FormatError: It is not installed, or there is no GPU for it.
    """
    try:
        import tensorrt
    except ImportError as error:
        msg = "TensorRT is not installed; pip install 'deepscan[tensorrt]'."
        raise FormatError(msg) from error
    if not torch.cuda.is_available():
        msg = "TensorRT needs an NVIDIA GPU, and torch sees none here; export and run it where one is."
        raise FormatError(msg)
    return tensorrt


def write(
    module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Trace a module and build its engine, which takes minutes, on the current GPU.

    Raises:
        FormatError: The precision is not float32, TensorRT or a GPU is missing, or the module cannot be
            written so.
    """
    require_float32("tensorrt", precision)
    trt = _tensorrt()
    with tempfile.TemporaryDirectory() as folder:
        onnx.write(module, pathlib.Path(folder), inputs)
        graph = (pathlib.Path(folder) / onnx.GRAPH).read_bytes()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        said = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        msg = f"TensorRT cannot read {type(module).__name__}: {said}. Export it as 'onnx'."
        raise FormatError(msg)
    profile = builder.create_optimization_profile()
    for name, column in inputs.items():
        sizes = [(count, *column.shape) for count in (1, USUAL_BATCH, LARGEST_BATCH)]
        profile.set_shape(name, *sizes)
    settings = builder.create_builder_config()
    settings.clear_flag(trt.BuilderFlag.TF32)
    settings.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        msg = f"TensorRT built no engine of {type(module).__name__}; its log says why. Export it as 'onnx'."
        raise FormatError(msg)
    (directory / ENGINE).write_bytes(bytes(engine))
    return (ENGINE,)


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Return the runner of the engine in ``directory``; the module is not built.

    Raises:
        BundleError: The engine is broken, or was built for another GPU or version of TensorRT.
        FormatError: TensorRT or a GPU is missing, or the device is the CPU.
    """
    if device == "cpu":
        msg = "TensorRT bundles run on an NVIDIA GPU, not on 'cpu'; use --device cuda."
        raise FormatError(msg)
    trt = _tensorrt()
    target = torch.device(device)
    with torch.cuda.device(target):
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine((directory / ENGINE).read_bytes())
        if engine is None:
            msg = (
                f"The engine in {directory} cannot be run here: it is broken, or was built for another GPU "
                "or another version of TensorRT. Export it again, on this machine."
            )
            raise BundleError(msg)
        context = engine.create_execution_context()
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    outputs = {
        name: getattr(torch, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name)
        for name in names
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
    }
    return TensorRtRunner(engine, context, target, outputs, threading.Lock())


FORMATS.register(
    "tensorrt",
    Format(
        name="tensorrt",
        summary="TensorRT engine, for the NVIDIA GPU that it was built on",
        write=write,
        load=load,
        device="cuda",
    ),
)
