"""Formats for small devices and for NVIDIA GPUs, which have packages of their own."""

import contextlib
import ctypes
import importlib.util
import shutil
import sys
import threading
import types

import numpy as np
import pytest
import torch

from deepscan.detector import Detector
from deepscan.errors import BundleError, FormatError
from deepscan.formats import executorch, litert, load_builtin, network_of, onnx, tensorrt
from deepscan.formats.graphs import SIGNATURE, Signature
from deepscan.formats.tracing import example_of
from deepscan.optimize.export import export, largest_gap
from tests.heatmaps.subjects import small_detector
from tests.tiny_bundles import tiny_bundle

PACKAGES = {"litert": "litert_torch", "executorch": "executorch"}
EDGE = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
        ),
    )
    for name, package in PACKAGES.items()
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.mark.parametrize("name", EDGE)
def test_a_bundle_for_small_devices_says_the_same_whatever_the_batch(name, tiny, tmp_path):
    made = export(tiny.path, name, tmp_path / "out")
    assert made.gap <= 1e-4
    first, second = (Detector.load(path, "cpu") for path in (tiny.path, tmp_path / "out"))
    inputs = {key: each.numpy() for key, each in example_of(first.prep.inputs, 19).items()}
    said, wanted = second.runner(inputs), first.runner(inputs)
    assert said.keys() == wanted.keys()
    np.testing.assert_allclose(said["logit"], wanted["logit"], atol=1e-4)
    graph = next(name for name in made.bundle.card.files if name != SIGNATURE)
    for broken, error in ((SIGNATURE, "names no inputs"), (graph, "cannot be run here")):
        folder = shutil.copytree(tmp_path / "out", tmp_path / error)
        (folder / broken).write_bytes(b"broken")
        with pytest.raises(BundleError, match=error):
            load_builtin().get(name).load(lambda: None, folder, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("model", ["autoencoder", "cnn", "forensic-mlp"])
def test_models_say_the_same_on_small_devices(name, model, tmp_path):
    from deepscan.models.catalog import load_builtin as load_models

    detector = small_detector(tmp_path / "eager", load_models().get(model))
    form = load_builtin().get(name)
    form.write(network_of(detector.runner), tmp_path, detector.prep.inputs, "float32")
    assert largest_gap(detector, form.load(lambda: None, tmp_path, "cpu", "float32")) <= 1e-4


@pytest.mark.parametrize(
    ("form", "package", "extra"),
    [
        (litert, "litert_torch", "mobile"),
        (litert, "ai_edge_litert", "mobile"),
        (executorch, "executorch", "executorch"),
        (tensorrt, "tensorrt", "tensorrt"),
    ],
)
def test_a_package_that_is_not_installed_is_named(form, package, extra, tiny, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"pip install 'deepscan\[{extra}\]'"
    if package != "ai_edge_litert":
        with pytest.raises(FormatError, match=wanted):
            form.write(tiny.module(), tmp_path, tiny.prep().inputs)
    if package != "litert_torch":
        with pytest.raises(FormatError, match=wanted):
            form.load(lambda: None, tmp_path, "cuda" if form is tensorrt else "cpu")


@pytest.mark.parametrize("error", [Exception("a pass failed"), RuntimeError("a pass failed")])
def test_what_a_pass_of_executorch_raises_is_a_refusal(error):
    with (
        pytest.raises(FormatError, match="Net cannot be written for ExecuTorch: a pass failed"),
        executorch._refused("Net"),
    ):
        raise error


def test_an_error_of_ours_is_no_refusal():
    with pytest.raises(KeyError), executorch._refused("Net"):
        raise KeyError("frames")


@pytest.mark.parametrize("form", [litert, executorch, tensorrt])
def test_they_are_written_in_float32(form, tiny, tmp_path):
    with pytest.raises(FormatError, match="is written in float32"):
        form.write(tiny.module(), tmp_path, tiny.prep().inputs, "int8")


@pytest.mark.parametrize("text", ["", "[1]", '{"inputs": ["pixels"]}'])
def test_a_signature_that_is_broken_is_a_broken_bundle(text, tmp_path):
    Signature(("pixels",), ("logit",)).write(tmp_path)
    assert Signature.read(tmp_path) == Signature(("pixels",), ("logit",))
    (tmp_path / SIGNATURE).write_text(text)
    with pytest.raises(BundleError, match="export the bundle again"):
        Signature.read(tmp_path)


class StandIn(types.ModuleType):
    """TensorRT's module as far as the format calls it, with a diary of the calls."""

    def __init__(self, parses=True, builds=True, opens=True):
        super().__init__("tensorrt")
        self.calls, self.parses, self.builds, self.opens = [], parses, builds, opens
        self.BuilderFlag = types.SimpleNamespace(TF32="TF32")
        self.TensorIOMode = types.SimpleNamespace(INPUT=0, OUTPUT=1)

    class Logger:
        ERROR = 1

        def __init__(self, level):
            pass

    def nptype(self, dtype):
        return dtype

    def __getattr__(self, name):
        """Any other name is a call that is noted and gives the module itself back."""
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args):
            self.calls.append((name, args))
            return {
                "parse": self.parses,
                "get_error": "no such node",
                "build_serialized_network": b"engine" if self.builds else None,
                "deserialize_cuda_engine": self if self.opens else None,
                "get_tensor_name": ("pixels", "logit")[args[0]] if name == "get_tensor_name" else None,
                "get_tensor_mode": int(args == ("logit",)),
                "get_tensor_dtype": np.float32,
            }.get(name, self)

        return call

    num_errors = 1
    num_io_tensors = 2

    def names(self):
        return [name for name, _ in self.calls]


@pytest.fixture
def gpu(monkeypatch):
    """Lets the format believe in a GPU; returns what puts a stand-in into its place."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)

    def write(module, directory, inputs):
        (directory / onnx.GRAPH).write_bytes(b"graph")

    monkeypatch.setattr(onnx, "write", write)

    def put(**how):
        module = StandIn(**how)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return put


def test_an_engine_is_built_of_the_graph_for_batches_of_1_to_32(gpu, tiny, tmp_path):
    trt, inputs = gpu(), tiny.prep().inputs
    assert tensorrt.write(tiny.module(), tmp_path, inputs) == (tensorrt.ENGINE,)
    assert (tmp_path / tensorrt.ENGINE).read_bytes() == b"engine"
    order = ("Builder", "create_network", "OnnxParser", "parse", "set_shape", "clear_flag")
    order += ("add_optimization_profile", "build_serialized_network")
    assert [name for name in trt.names() if name in order] == list(order)
    said = dict(trt.calls)
    shape = inputs["pixels"].shape
    assert said["parse"] == (b"graph",)
    assert said["set_shape"] == ("pixels", (1, *shape), (8, *shape), (32, *shape))
    assert said["clear_flag"] == ("TF32",)


def test_what_tensorrt_refuses_is_said(gpu, tiny, tmp_path):
    gpu(parses=False)
    with pytest.raises(FormatError, match=r"cannot read Tiny.*: no such node"):
        tensorrt.write(tiny.module(), tmp_path, tiny.prep().inputs)
    gpu(builds=False)
    with pytest.raises(FormatError, match="built no engine"):
        tensorrt.write(tiny.module(), tmp_path, tiny.prep().inputs)
    gpu(opens=False)
    (tmp_path / tensorrt.ENGINE).write_bytes(b"engine")
    with pytest.raises(BundleError, match="another GPU or another version"):
        tensorrt.load(lambda: None, tmp_path, "cuda")
    with pytest.raises(FormatError, match="use --device cuda"):
        tensorrt.load(lambda: None, tmp_path, "cpu")


def test_without_a_gpu_tensorrt_says_so(gpu, tiny, tmp_path, monkeypatch):
    gpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FormatError, match="needs an NVIDIA GPU"):
        export(tiny.path, "tensorrt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_engine_is_opened_with_the_types_of_its_outputs(gpu, tmp_path):
    trt = gpu()
    (tmp_path / tensorrt.ENGINE).write_bytes(b"engine")
    runner = tensorrt.load(lambda: None, tmp_path, "cuda:0")
    assert runner.outputs == {"logit": torch.float32}
    assert runner.device == torch.device("cuda:0")
    assert trt.names().index("deserialize_cuda_engine") < trt.names().index("create_execution_context")


class Context:
    """An execution context whose engine sums each row: reads and writes where it is told to."""

    def __init__(self, works=True):
        self.works, self.shape, self.address, self.counts = works, None, {}, []

    def set_input_shape(self, name, shape):
        self.shape = shape
        self.counts.append(shape[0])

    def get_tensor_shape(self, name):
        return (self.shape[0],)

    def set_tensor_address(self, name, address):
        self.address[name] = address

    def execute_async_v3(self, stream):
        rows, columns = self.shape
        read = (ctypes.c_float * (rows * columns)).from_address(self.address["features"])
        sums = np.frombuffer(read, np.float32).reshape(self.shape).sum(1)
        ctypes.memmove(self.address["logit"], sums.ctypes.data, sums.nbytes)
        return self.works


def test_large_batches_run_in_pieces_and_a_failure_is_an_error(gpu, monkeypatch):
    stream = types.SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)

    def runner(context):
        outputs = {"logit": torch.float32}
        return tensorrt.TensorRtRunner(None, context, torch.device("cpu"), outputs, threading.Lock())

    features = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    context = Context()
    np.testing.assert_allclose(runner(context)({"features": features})["logit"], features.sum(1), rtol=1e-5)
    assert context.counts == [32, 32, 6]
    with pytest.raises(FormatError, match="failed to run its engine"):
        runner(Context(works=False))({"features": features})
