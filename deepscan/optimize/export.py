"""A bundle in another weights format, written only if it says what the first one says."""

import dataclasses
import importlib.metadata
import pathlib
import shutil

import numpy as np

from deepscan import bundle as bundles
from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.formats import Runner, network_of
from deepscan.formats import load_builtin as load_formats
from deepscan.formats.onnx import example_of

COUNTS = (1, 3, 8)
"""Numbers of Examples in the batches on which both are compared."""

PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export came to.

    Attributes:
        bundle: The new bundle.
        bytes: Size of its files and of those of the first one.
        gap: Largest difference of P(fake) between the two, on Examples of noise.
    """

    bundle: Bundle
    bytes: tuple[int, int]
    gap: float


def export(path: pathlib.Path, format_name: str, out: pathlib.Path) -> Exported:
    """Write a bundle in another format and compare what the two say.

    Args:
        path: Bundle whose weights are those of PyTorch.
        format_name: Name in ``formats.FORMATS``.
        out: Folder of the new bundle; it must not be there, or be empty.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``out`` holds something.
        FormatError: The model cannot be written so, or says something else then; nothing is left in ``out``.
        UnknownNameError: There is no such format.
    """
    form = load_formats().get(format_name)
    first = Detector.load(path, "cpu")
    card = first.bundle.card
    network = network_of(first.runner)
    if network is None:
        msg = f"{path} holds {card.weights_format!r} weights; give the bundle that it was made from."
        raise FormatError(msg)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} holds something already; name a new folder with --out."
        raise ConfigError(msg)
    new = dataclasses.replace(card, weights_format=form.name, parent=card.id, software=software())
    try:
        made = bundles.write(out, new, network)
        gap = largest_gap(first, form.load(made.module, out, "cpu"))
        if gap > form.tolerance:
            msg = (
                f"As {form.name!r}, {card.name!r} says something else: P(fake) differs by up to {gap:.2g}, "
                f"and {form.tolerance:g} is allowed. Keep it as {card.weights_format!r}."
            )
            raise FormatError(msg)
    except FormatError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Exported(bundle=made, bytes=(size_bytes(made), size_bytes(first.bundle)), gap=gap)


def largest_gap(first: Detector, runner: Runner) -> float:
    """Return by how much P(fake) differs at most between a detector and another runner of its model."""
    calibration, gaps = first.bundle.card.calibration, []
    for count in COUNTS:
        inputs = {name: tensor.numpy() for name, tensor in example_of(first.prep.inputs, count).items()}
        told = [calibration.apply(run(inputs)["logit"]) for run in (first.runner, runner)]
        gaps.append(float(np.abs(told[0] - told[1]).max()))
    return max(gaps)


def size_bytes(bundle: Bundle) -> int:
    """Return the size of a bundle's weights and graphs."""
    return sum((bundle.path / name).stat().st_size for name in bundle.card.files)


def software() -> dict[str, str]:
    """Return the versions of the packages that had a part in it."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
