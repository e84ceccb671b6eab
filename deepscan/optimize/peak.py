"""The process whose memory is measured: it loads a bundle, runs noise through it and writes bytes.

It is a process of its own since an allocator keeps what it once had: in one that has lived, nothing rises.
"""

import contextlib
import importlib
import json
import pathlib
import resource
import sys
from typing import Any

import torch

from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import DeepscanError
from deepscan.models.catalog import load_plugin
from deepscan.optimize.measure import noise_of

STATUS = pathlib.Path("/proc/self/status")
RESET = pathlib.Path("/proc/self/clear_refs")
RUNTIMES = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai_edge_litert.interpreter",
    "executorch": "executorch.runtime",
    "tensorrt": "tensorrt",
}
"""Packages that formats import when they load a model."""


def measured(order: dict[str, Any]) -> int:
    """Return the bytes that a bundle takes, as ``measure.peak_memory_bytes`` asks for them.

    Args:
        order: ``path``, ``batch_size``, ``device``, ``threads`` and ``plugin``.
    """
    torch.set_num_threads(order["threads"])
    if order["plugin"]:
        load_plugin(pathlib.Path(order["plugin"]))
    path, device = pathlib.Path(order["path"]), order["device"]
    inputs = _imported(path)
    before = resident_bytes()
    detector = Detector.load(path, device)
    detector.runner(noise_of(inputs, order["batch_size"]))
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated(device))
    return max(0, peak_bytes() - before)


def resident_bytes() -> int:
    """Return what this process holds now, and let its peak begin there, where Linux tells; else its peak."""
    with contextlib.suppress(OSError):
        RESET.write_text("5", encoding="ascii")
        return _status("VmRSS")
    return peak_bytes()


def peak_bytes() -> int:
    """Return the most that this process held since it began, or since ``resident_bytes``."""
    # The figure of getrusage would count what the parent held when it made this process.
    if STATUS.is_file():
        return _status("VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _imported(path: pathlib.Path) -> Any:
    """Import what running a bundle imports; return the columns that its model reads."""
    bundle = Bundle.read(path)
    bundle.weights_format()
    with contextlib.suppress(ImportError):
        importlib.import_module(RUNTIMES.get(bundle.card.weights_format, "torch"))
    return bundle.prep().resolved().inputs


def _status(name: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def main(order: str) -> None:
    """Measure what an order in JSON asks for; write ``bytes``, or ``error`` and ``message``, as JSON."""
    try:
        told: dict[str, Any] = {"bytes": measured(json.loads(order))}
    except DeepscanError as error:
        told = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
