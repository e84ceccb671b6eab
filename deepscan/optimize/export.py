"""A bundle in another weights format, written only if it says what the first one says."""

import dataclasses
import pathlib

import numpy as np

from deepscan import formats
from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import FormatError
from deepscan.formats import FLOAT32, Runner
from deepscan.formats.tracing import example_of
from deepscan.optimize.sibling import load_first, size_bytes, write_sibling

COUNTS = (1, 3, 8)
"""Numbers of Examples in the batches on which both are compared."""


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


def export(path: pathlib.Path, format_name: str, out: pathlib.Path, precision: str = FLOAT32) -> Exported:
    """Write a bundle in another format and compare what the two say.

    Args:
        path: Bundle whose weights are those of PyTorch.
        format_name: Name in ``formats.FORMATS``.
        out: Folder of the new bundle; it must not be there, or be empty.
        precision: One in which the format runs.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``out`` holds something.
        FormatError: The model cannot be written so, or says something else then; nothing is left in ``out``.
        UnknownNameError: There is no such format.
    """
    form = formats.get(format_name)
    allowed = form.tolerance(precision)
    first, network = load_first(path)
    card, gaps = first.bundle.card, []

    def check(made: Bundle) -> None:
        gaps.append(largest_gap(first, form.load(made.module, made.path, form.device, precision)))
        if gaps[0] > allowed:
            msg = (
                f"As {form.name!r} in {precision}, {card.name!r} says something else: P(fake) differs by "
                f"up to {gaps[0]:.2g}, and {allowed:g} is allowed. Keep it as {card.weights_format!r}."
            )
            raise FormatError(msg)

    made = write_sibling(
        first.bundle,
        out,
        lambda folder: form.write(network, folder, first.prep.inputs, precision),
        check,
        weights_format=form.name,
        precision=precision,
        change={"step": "export", "format": form.name, "precision": precision},
    )
    return Exported(bundle=made, bytes=(size_bytes(made), size_bytes(first.bundle)), gap=gaps[0])


def largest_gap(first: Detector, runner: Runner) -> float:
    """Return by how much P(fake) differs at most between a detector and another runner of its model."""
    calibration, gaps = first.bundle.card.calibration, []
    for count in COUNTS:
        inputs = {name: tensor.numpy() for name, tensor in example_of(first.prep.inputs, count).items()}
        told = [calibration.apply(run(inputs)["logit"]) for run in (first.runner, runner)]
        gaps.append(float(np.abs(told[0] - told[1]).max()))
    return max(gaps)
