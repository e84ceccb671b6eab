"""ONNX graphs in int8, for ONNX Runtime.

Weights are rounded for each channel of what a layer gives, symmetric around 0. Convolutions and matrix
products become int8; what lies between them, normalisation of the input among it, stays in float32. The
last product with one unit is written elementwise (``nn.heads.Logit``) and stays so too: its rounding would
be that of the score.
"""

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import FormatError
from deepscan.formats.graphs import quietly
from deepscan.formats.onnx import GRAPH
from deepscan.modalities import Example
from deepscan.optimize.held_out import Sample

DENSE = ["Conv", "Gemm", "MatMul"]
"""Operators that are computed in int8 by static ranges."""

LOOSE = ["Gemm", "LSTM", "MatMul"]
"""Operators that ONNX Runtime computes in int8 by ranges found while it runs."""

RECURRENT = {"GRU", "LSTM"}
STEPS = 127
"""Steps of int8 on either side of 0."""

MISSING = "Quantising ONNX graphs needs more packages ({}); pip install 'deepscan[export]'."


class _Reader:
    """Shows a sample to ONNX Runtime, batch after batch."""

    def __init__(self, sample: Sample) -> None:
        self.batches: Iterator[Example] = sample.batches()

    def get_next(self) -> Example | None:
        return next(self.batches, None)


def static(graph: pathlib.Path, folder: pathlib.Path, sample: Sample) -> tuple[str, ...]:
    """Write a graph in int8, with the ranges of a sample; return the names of the files.

    The ranges reach from the least to the greatest value of each tensor, in the mean over batches: those of
    all Examples at once widen with every odd one, and leave the usual ones fewer steps (format QDQ).

    Raises:
        FormatError: A package is not installed, or the graph cannot be quantised.
    """
    with quietly():
        quantization = _quantization()

        class Reader(_Reader, quantization.CalibrationDataReader):  # type: ignore[name-defined,misc]
            """Is known to ONNX Runtime."""

        with tempfile.TemporaryDirectory() as temporary:
            ready = _prepared(quantization, graph, pathlib.Path(temporary))
            try:
                quantization.quantize_static(
                    ready,
                    folder / GRAPH,
                    Reader(sample),
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=DENSE,
                    per_channel=True,
                    activation_type=quantization.QuantType.QInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                    extra_options={"CalibMovingAverage": True},
                )
            except (RuntimeError, ValueError) as error:
                raise _refused(error) from error
    _finish(folder / GRAPH, {"QuantizeLinear"})
    return (GRAPH,)


def dynamic(graph: pathlib.Path, folder: pathlib.Path) -> tuple[str, ...]:
    """Write a graph whose linear and recurrent layers have int8 weights; return the names of the files.

    Linear layers and LSTMs compute in int8. ONNX Runtime has no integer GRU: its weights are kept in int8
    and widened when it runs.

    Raises:
        FormatError: A package is not installed, the graph cannot be quantised, or has no such layer.
    """
    with quietly(), tempfile.TemporaryDirectory() as temporary:
        quantization = _quantization()
        ready = _prepared(quantization, graph, pathlib.Path(temporary))
        try:
            quantization.quantize_dynamic(
                ready,
                folder / GRAPH,
                op_types_to_quantize=LOOSE,
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )
        except (RuntimeError, ValueError) as error:
            raise _refused(error) from error
    _finish(folder / GRAPH, {"MatMulInteger", "DynamicQuantizeLSTM"})
    return (GRAPH,)


def _quantization() -> Any:
    try:
        import onnxruntime.quantization
        import onnxruntime.quantization.preprocess
        import onnxruntime.quantization.shape_inference
    except ImportError as error:
        raise FormatError(MISSING.format(error.name)) from error
    return onnxruntime.quantization


def _prepared(quantization: Any, graph: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Return a graph with the shapes of all values, whose norms are part of the convolutions before them."""
    import onnx

    ready = folder / "ready.onnx"
    try:
        # Symbolic inference adds nothing: only the number of Examples is open.
        quantization.shape_inference.quant_pre_process(graph, ready, skip_symbolic_shape=True)
    except (RuntimeError, ValueError) as error:
        raise _refused(error) from error
    model = onnx.load(ready)
    # Weights are given new shapes where a Gemm becomes a MatMul; noted shapes would contradict them.
    constants = {each.name for each in model.graph.initializer}
    noted = [each for each in model.graph.value_info if each.name not in constants]
    del model.graph.value_info[:]
    model.graph.value_info.extend(noted)
    onnx.save(model, ready)
    return ready


def _refused(error: Exception) -> FormatError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return FormatError(f"ONNX Runtime cannot quantise this model: {lines[0]}. Keep it in float32.")


def _finish(path: pathlib.Path, signs: set[str]) -> None:
    """Narrow what ONNX Runtime left wide; refuse a graph in which nothing became int8.

    Raises:
        FormatError: Nothing did.
    """
    import onnx

    model = onnx.load(path)
    narrowed = narrow_recurrent(model)
    if not narrowed and not signs & {node.op_type for node in model.graph.node}:
        msg = (
            "This model has no layer that this method makes int8: dynamic is for linear and recurrent ones, "
            "static for convolutions too. Use --method static, or keep it in float32."
        )
        raise FormatError(msg)
    onnx.save(model, path)


def narrow_recurrent(model: Any) -> int:
    """Keep the weights of GRUs and LSTMs in int8, widened when they are used; return how many were narrowed.

    The operator computes in float32. A gate's unit (a row of ``W`` and ``R``, axis 1) has its own scale.

    Args:
        model: Graph of ONNX, changed in place.
    """
    kept = {each.name: each for each in model.graph.initializer}
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type in RECURRENT and node.domain == "":
            places = [place for place in (1, 2) if node.input[place] in kept]
            nodes += [_widening(model, kept, node, place) for place in places]
        nodes.append(node)
    count = len(nodes) - len(model.graph.node)
    if count:
        _replace_nodes(model, nodes)
    return count


def _widening(model: Any, kept: dict[str, Any], node: Any, place: int) -> Any:
    """Add int8 weights for an input of a node; return the node that widens them for it."""
    from onnx import helper, numpy_helper

    name, wide = node.input[place], f"{node.output[0] or node.name}_{place}_wide"
    q, scale = rounded(numpy_helper.to_array(kept[name]), axis=1)
    parts = (f"{wide}_int8", f"{wide}_scale")
    model.graph.initializer.extend(
        [numpy_helper.from_array(q, parts[0]), numpy_helper.from_array(scale, parts[1])]
    )
    node.input[place] = wide
    return helper.make_node("DequantizeLinear", parts, [wide], f"{wide}_node", axis=1)


def _replace_nodes(model: Any, nodes: list[Any]) -> None:
    """Set the nodes of a graph and drop the constants that none of them reads."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    read = {name for node in copies for name in node.input} | {each.name for each in model.graph.output}
    read |= _read_inside(copies)
    constants = [each for each in model.graph.initializer if each.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def _read_inside(nodes: list[Any]) -> set[str]:
    """Return what the bodies of branches and loops read."""
    bodies = [attribute.g for node in nodes for attribute in node.attribute if attribute.HasField("g")]
    read = {name for body in bodies for node in body.node for name in node.input}
    return read | {name for body in bodies for name in _read_inside(list(body.node))}


def rounded(weights: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights rounded to int8 in [-127, 127] and the scale of each place of an axis, float32.

    ``weights`` is nearly ``int8 * scale``, to half a scale.
    """
    others = tuple(each for each in range(weights.ndim) if each != axis)
    most = np.abs(weights).max(others, keepdims=True)
    scale = np.where(most > 0, most / STEPS, 1.0).astype(np.float32)
    q = np.rint(weights / scale).clip(-STEPS, STEPS).astype(np.int8)
    return q, scale.reshape(-1)
