"""The network as the file that ships: an ONNX graph of convolutions, small, and of any picture size."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepscan.errors import FormatError
from deepscan.finder.network import Deployed, FaceNetwork
from deepscan.formats.graphs import quietly
from deepscan.media.shipped_faces import OUTPUTS

if TYPE_CHECKING:
    import onnx

INPUT = "pixels"
_TRACED_PX = 64


def write(network: FaceNetwork, path: pathlib.Path) -> None:
    """Write a network for ``shipped_faces.Network``, its weights in half precision.

    Its input is float32 [1, 3, H, W], RGB in [0, 255], its outputs are the maps. The size that it was traced
    with is in the file's description of the input; nothing in the graph depends on it.

    Raises:
        FormatError: The package that writes graphs is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch needs it to write graphs)
    except ImportError as error:
        msg = f"Writing the face finder needs more packages ({error.name}); pip install 'deepscan[export]'."
        raise FormatError(msg) from error
    deployed = Deployed(network).eval()
    draft = path.with_name(f"{path.name}.draft")
    with quietly():
        torch.onnx.export(
            deployed,
            (torch.zeros(1, 3, _TRACED_PX, _TRACED_PX),),
            str(draft),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    graph = onnx.load(draft)
    # A third of the file is told about where each node came from, on the machine that wrote it.
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.value_info[:], graph.graph.metadata_props[:], graph.metadata_props[:]
    _halve(graph)
    draft.write_bytes(graph.SerializeToString(deterministic=True))
    draft.replace(path)


def _halve(graph: "onnx.ModelProto") -> None:
    """Store weights as float16; the graph makes float32 of them, which is what it computes with."""
    from onnx import TensorProto, helper, numpy_helper

    kept, casts = [], []
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32:
            kept.append(weight)
            continue
        half = f"{weight.name}.half"
        kept.append(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.initializer[:], graph.graph.node[:]
    graph.graph.initializer.extend(kept)
    graph.graph.node.extend(nodes)
