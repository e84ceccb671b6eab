"""OpenVINO graphs in int8, by NNCF."""

import logging
import pathlib
import tempfile
from typing import Any

from deepscan.errors import FormatError
from deepscan.formats import openvino as form
from deepscan.formats.graphs import quietly
from deepscan.optimize.held_out import Sample


def static(graph: pathlib.Path, folder: pathlib.Path, sample: Sample) -> tuple[str, ...]:
    """Write an ONNX graph as one of OpenVINO in int8, with the ranges of a sample; return its files' names.

    Weights are symmetric around 0, activations have an offset (preset "mixed"), which suits what SiLU and
    its kin give. Each layer's bias takes up what rounding moves the layer's mean by (fast bias correction).

    Raises:
        FormatError: A package is not installed, or the graph cannot be quantised.
    """
    nncf, openvino = _nncf(), form.runtime()
    shown = nncf.Dataset(list(sample.batches(1)))
    with quietly(), tempfile.TemporaryDirectory() as temporary:
        form.convert(graph, pathlib.Path(temporary))
        model = openvino.Core().read_model(pathlib.Path(temporary) / form.GRAPH)
        try:
            made = nncf.quantize(
                model,
                shown,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(sample),
                fast_bias_correction=True,
            )
        except (nncf.InternalError, nncf.UnsupportedModelError, nncf.ValidationError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            msg = f"NNCF cannot quantise this model: {lines[0]}. Use --format onnx, or keep it in float32."
            raise FormatError(msg) from error
        if not any(op.get_type_name() == "FakeQuantize" for op in made.get_ops()):
            msg = "This model has no layer that NNCF makes int8; keep it in float32."
            raise FormatError(msg)
        openvino.save_model(made, folder / form.GRAPH, compress_to_fp16=False)
    return form.GRAPH, form.WEIGHTS


def _nncf() -> Any:
    # It reports by what OpenVINO reports by.
    form.runtime()
    try:
        with quietly():
            import nncf
    except ImportError as error:
        msg = f"Quantising OpenVINO graphs needs NNCF ({error.name}); pip install 'deepscan[export]'."
        raise FormatError(msg) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
