"""int8 bundles judge as the bundle that they are made of, are smaller, and are kept only then."""

import dataclasses
import logging
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.formats import FORMATS, Format
from deepscan.formats import onnx as graphs
from deepscan.modalities import Column
from deepscan.modalities.image import ImagePrep
from deepscan.models.catalog import load_builtin as load_models
from deepscan.models.catalog import load_plugin
from deepscan.optimize import quantize_onnx, quantize_openvino
from deepscan.optimize.export import export
from deepscan.optimize.held_out import Sample, compare
from deepscan.optimize.quantize import quantize_dynamic, quantize_static
from tests.heatmaps.subjects import example_of, small_detector
from tests.optimize.trained import lights, trained_module, written
from tests.test_cli import run
from tests.tiny_bundles import PLUGIN, fresh_bundle

TRAIN, VAL = lights(96, 1), lights(120, 2)
FORMAT_NAMES = ("onnx", "openvino")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return written(trained_module(TRAIN), tmp_path_factory.mktemp("trained") / "bundle")


@pytest.fixture(scope="module", params=FORMAT_NAMES)
def made(request, first, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "out"
    return quantize_static(first.path, VAL, out, request.param, TRAIN)


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_static_int8_judges_as_the_bundle_that_it_is_made_of(first, made):
    card = made.bundle.card
    assert (card.precision, card.parent) == ("int8", first.card.id)
    assert card.change == {
        "step": "quantize",
        "method": "static",
        "format": card.weights_format,
        "examples": len(TRAIN),
    }
    assert 0.7 < made.agreement.auc_before < 1
    assert abs(made.agreement.auc_loss) <= 0.02
    assert 0 < made.agreement.mean_gap <= made.agreement.largest_gap < 0.2
    told = compare(Detector.load(first.path, "cpu"), Detector.load(made.bundle.path, "cpu"), VAL)
    assert told.mean_gap == pytest.approx(made.agreement.mean_gap, abs=1e-6)
    assert Bundle.read(made.bundle.path).card == card
    assert card.metrics["test"] == {"auc": 0.9}
    assert card.metrics["optimized"] == dataclasses.asdict(made.agreement)


def test_a_graph_of_onnx_reads_uint8_and_computes_in_int8(first, tmp_path):
    made = quantize_static(first.path, VAL, tmp_path / "out", "onnx", TRAIN)
    model = onnx.load(made.bundle.path / "model.onnx")
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    names = [node.op_type for node in model.graph.node]
    # The normalisation comes before the first rounding.
    assert names.index("Sub") < names.index("QuantizeLinear")
    kinds = {each.name: each.data_type for each in model.graph.initializer}
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert sum(kinds.get(node.input[0]) == onnx.TensorProto.INT8 for node in weights) >= 2
    scales = {each.name: each.dims for each in model.graph.initializer}
    assert any(list(scales.get(node.input[1], [])) == [8] for node in weights), "no scale for each channel"


def test_one_odd_example_does_not_widen_the_range_for_all(first, tmp_path):
    """Of six batches one holds a white picture, which is worth a sixth of what it is by itself."""
    grey = {"pixels": np.full_like(TRAIN.inputs["pixels"], 100)}
    odd = {"pixels": grey["pixels"].copy()}
    odd["pixels"][0] = 255
    steps, float32 = [], export(first.path, "onnx", tmp_path / "float32").bundle.path / graphs.GRAPH
    for name, inputs in (("grey", grey), ("odd", odd)):
        (tmp_path / name).mkdir()
        quantize_onnx.static(float32, tmp_path / name, dataclasses.replace(TRAIN, inputs=inputs))
        graph = onnx.load(tmp_path / name / graphs.GRAPH).graph
        scales = {node.input[1] for node in graph.node if node.op_type == "QuantizeLinear"}
        values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        steps.append({scale: values[scale].item() for scale in scales})
    widened = {name: steps[1][name] / step for name, step in steps[0].items()}
    assert 1.2 < max(widened.values()) < 4, widened


def test_a_graph_of_openvino_reads_uint8_and_computes_in_int8(first, tmp_path):
    import openvino

    made = quantize_static(first.path, VAL, tmp_path / "out", "openvino", TRAIN)
    model = openvino.Core().read_model(made.bundle.path / "model.xml")
    assert model.inputs[0].get_element_type() == openvino.Type.u8
    kept = {op.get_element_type() for op in model.get_ops() if op.get_type_name() == "Constant"}
    assert openvino.Type.i8 in kept
    assert any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())


def test_without_other_examples_the_ranges_are_those_of_the_judged_ones(first, tmp_path):
    made = quantize_static(first.path, VAL, tmp_path / "out")
    assert made.bundle.card.change["examples"] == len(VAL)


def test_dynamic_int8_judges_the_same_by_ranges_found_while_running(first, tmp_path):
    made = quantize_dynamic(first.path, VAL, tmp_path / "out")
    assert "MatMulInteger" in operators(made.bundle.path / "model.onnx")
    assert made.bundle.card.change == {"step": "quantize", "method": "dynamic", "format": "onnx"}
    assert made.bundle.card.precision == "int8"
    assert made.agreement.largest_gap < 0.05
    with pytest.raises(ConfigError, match="written as 'onnx'"):
        quantize_dynamic(first.path, VAL, tmp_path / "no", "openvino")


def test_a_bundle_that_judges_worse_is_refused_and_leaves_nothing(first, tmp_path):
    black = dataclasses.replace(TRAIN, inputs={"pixels": np.zeros_like(TRAIN.inputs["pixels"])})
    with pytest.raises(FormatError, match="AUC fell from"):
        quantize_static(first.path, VAL, tmp_path / "out", "onnx", black)
    assert list(tmp_path.iterdir()) == []
    made = quantize_static(first.path, VAL, tmp_path / "out", "onnx", black, max_auc_loss=1.0)
    assert made.agreement.auc_loss > 0.02


def test_a_bundle_whose_probabilities_moved_is_refused(first, tmp_path, monkeypatch):
    monkeypatch.setattr(Format, "tolerance", lambda *_: 1e-6)
    with pytest.raises(FormatError, match="on average"):
        quantize_static(first.path, VAL, tmp_path / "out", "onnx", TRAIN)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told_before_any_work(first, made, tmp_path):
    with pytest.raises(ConfigError, match="not as 'eager'"):
        quantize_static(first.path, VAL, tmp_path / "out", "eager")
    with pytest.raises(ConfigError, match="holds something"):
        quantize_static(first.path, VAL, made.bundle.path)
    with pytest.raises(FormatError, match="made from"):
        quantize_static(made.bundle.path, VAL, tmp_path / "out")


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime.quantization"), ("openvino", "nncf")])
def test_a_quantiser_that_is_not_installed_is_named(name, package, first, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FormatError, match=r"deepscan\[export\]"):
        quantize_static(first.path, VAL, tmp_path / "out", name)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_quantisers_keep_their_steps_to_themselves(name, first, tmp_path, capfd, caplog):
    with caplog.at_level(logging.INFO):
        quantize_static(first.path, VAL, tmp_path / "out", name, TRAIN.take(8))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_nncf_reports_its_use_to_nobody(monkeypatch):
    """Under pytest it never does; what it would ask is whether there is consent."""
    import openvino_telemetry

    quantize_openvino._nncf()
    monkeypatch.setattr(openvino_telemetry.Telemetry(), "consent", True)
    quantize_openvino._nncf()
    assert openvino_telemetry.Telemetry().consent is False


class Sequence(nn.Module):
    """Reads a series with a cell of the kind asked for; nothing else in it is worth int8."""

    def __init__(self, kind):
        super().__init__()
        self.cell = kind(24, 32, batch_first=True)

    def forward(self, x):
        return {"logit": self.cell(x)[0][:, -1].sum(1)}


@pytest.mark.parametrize(("kind", "sign"), [(nn.LSTM, "DynamicQuantizeLSTM"), (nn.GRU, "GRU")])
def test_weights_of_recurrent_layers_are_int8(kind, sign, tmp_path):
    torch.manual_seed(0)
    module = Sequence(kind).eval()
    graphs.write(module, tmp_path, {"x": Column(shape=(6, 24), dtype="float32")})
    wide = (tmp_path / "model.onnx").stat().st_size
    x = np.random.default_rng(0).normal(size=(5, 6, 24)).astype(np.float32)
    before = FORMATS.get("onnx").load(lambda: None, tmp_path, "cpu", "float32")({"x": x})["logit"]
    (tmp_path / "int8").mkdir()
    quantize_onnx.dynamic(tmp_path / "model.onnx", tmp_path / "int8")
    assert sign in operators(tmp_path / "int8" / "model.onnx")
    assert (tmp_path / "int8" / "model.onnx").stat().st_size < 0.4 * wide
    after = FORMATS.get("onnx").load(lambda: None, tmp_path / "int8", "cpu", "int8")({"x": x})["logit"]
    assert 0 < np.abs(after - before).max() < 0.1 * before.std() + 0.05


def test_a_model_without_linear_and_recurrent_layers_is_refused_by_dynamic(tmp_path):
    class Convolves(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return {"logit": self.conv(x).mean((1, 2, 3))}

    graphs.write(Convolves(), tmp_path, {"x": Column(shape=(3, 8, 8), dtype="float32")})
    (tmp_path / "int8").mkdir()
    with pytest.raises(FormatError, match="no layer that this method makes int8"):
        quantize_onnx.dynamic(tmp_path / "model.onnx", tmp_path / "int8")


def test_weights_are_rounded_to_half_a_step_of_each_channel():
    weights = np.random.default_rng(0).normal(size=(1, 6, 5)).astype(np.float32) * 10 ** np.arange(6)[:, None]
    weights[:, 2] = 0
    q, scale = quantize_onnx.rounded(weights, axis=1)
    assert q.dtype == np.int8
    assert np.abs(q).max((0, 2)).tolist() == [127, 127, 0, 127, 127, 127]
    assert (np.abs(q * scale[:, None] - weights) <= scale[:, None] * 0.501).all()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_command_quantises_and_predict_reads_it(first, tmp_path):
    from tests.material import encoded

    for number, picture in enumerate(lights(48, 5).inputs["pixels"]):
        folder = tmp_path / "data" / ("fake" if number % 2 else "real")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.png").write_bytes(encoded(picture))
    words = (
        "quantize",
        first.path,
        "--data",
        tmp_path / "data",
        "--store",
        tmp_path / "store",
        "--plugin",
        PLUGIN,
    )
    done = run(*words, "--out", tmp_path / "out", "--examples", 20, "--max-auc-loss", 0.3)
    assert done.exit_code == 0, done.stderr
    for word in ("AUC", "largest difference of P(fake)", "same label", "int8"):
        assert word in done.stdout
    card = Bundle.read(tmp_path / "out").card
    assert card.change["examples"] == 20
    assert card.metrics["optimized"]["files"] > 0
    picture = tmp_path / "data" / "real" / "000.png"
    told = run("predict", picture, "--bundle", tmp_path / "out", "--plugin", PLUGIN, "--device", "cpu")
    assert told.exit_code == 0, told.stderr
    aware = run(
        *words, "--out", tmp_path / "aware", "--method", "aware", "--epochs", 1, "--max-auc-loss", 0.3
    )
    assert aware.exit_code == 0, aware.stderr
    assert Bundle.read(tmp_path / "aware").card.change["method"] == "aware"
    assert run(*words, "--out", tmp_path / "aware").exit_code == 2
    assert run(*words, "--out", tmp_path / "no", "--method", "dynamic", "--format", "openvino").exit_code == 2


def pictures(prep, count):
    pixels = np.stack([example_of(prep, seed)["pixels"] for seed in range(100, 100 + count)])
    label = (np.arange(count) % 2).astype(np.float32)
    return Sample(inputs={"pixels": pixels}, label=label, file=np.arange(count))


@pytest.fixture(scope="module")
def b0(tmp_path_factory):
    """A large network with fresh weights, settled on enough of what it is asked later to be well-behaved."""
    prep = ImagePrep(region="whole", size_px=96)
    seen = [example_of(prep, seed) for seed in range(16)]
    made = fresh_bundle(tmp_path_factory.mktemp("b0") / "bundle", "efficientnet-b0", prep, 0, seen)
    return Detector.load(made.path, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weights"), [("onnx", "model.onnx"), ("openvino", "model.bin")])
def test_the_weights_of_a_large_network_take_three_tenths_of_the_room(name, weights, b0, tmp_path):
    sample = pictures(b0.prep, 12)
    made = quantize_static(b0.bundle.path, sample, tmp_path / "out", name, max_auc_loss=1.0)
    size = (made.bundle.path / weights).stat().st_size
    assert size <= 0.30 * made.bytes[1]
    assert made.bytes[0] <= 0.32 * made.bytes[1]  # the description of OpenVINO's graph is large beside it
    assert made.agreement.largest_gap < 0.2


def check_halves(bundle, form, precision, folder):
    made = export(bundle.path, "eager", folder / precision, precision)
    assert made.gap <= form.tolerance(precision)
    return made.bytes[0] / made.bytes[1]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_takes_half_the_room_and_says_nearly_the_same(precision, b0, tmp_path):
    form = FORMATS.get("eager")
    assert check_halves(b0.bundle, form, precision, tmp_path) < 0.52
    load_plugin(PLUGIN)
    settled = small_detector(tmp_path / "tiny", load_models().get("tiny"))
    assert check_halves(settled.bundle, form, precision, tmp_path / "small") < 1
