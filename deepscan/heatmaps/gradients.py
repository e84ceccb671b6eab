"""Integrated gradients (Sundararajan, Taly and Yan, ICML 2017): what every input adds to the logit.

Gradients are averaged on the straight way from an input without detail to the real one; times the distance
they add up to the difference of the two logits.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.detector import Detector
from deepscan.errors import NoMapError
from deepscan.heatmaps import METHODS, Method
from deepscan.heatmaps.placing import MEASURES, Drawing, Maps, draw
from deepscan.heatmaps.subject import (
    Subject,
    blank,
    canvas_of,
    copied,
    empty_inputs,
    tensors_of,
)  # fmt: skip

STEPS = 32
"""Points on the way. They lie closer at its begin, where residuals leave the range that is cut off."""

CELLS = 32
"""Longest side of a map; single pixels are too noisy to be looked at."""

CHANGE, GAP = "change_logits", "completeness_gap_logits"
"""Measurements of the most suspicious part: how much higher its logit is than without any detail, and by how
much the map, which should add up to that, misses it."""

LIMITS = (
    "The map shares the logit among places by how it changes as detail fades in from a plain colour or from "
    "silence. Where a network takes smoothness for a trace, the beginning looks forged and the map misleads."
)


def attributions(
    network: nn.Module, inputs: dict[str, Tensor], column: str, begin: Tensor, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """Return what each value adds to the logit, and the difference of the logits that it adds up to.

    Args:
        network: Gives ``logit`` and lets gradients of its inputs through.
        inputs: What it reads, B Examples.
        column: Which of the inputs is faded in.
        begin: Where it begins, in a shape that broadcasts to the input's.
        steps: Points on the way, each in the middle of its stretch.

    Returns:
        float32 in the shape of the input, and float32 [B].

    Raises:
        NoMapError: The logit has no gradient with respect to the input.
    """
    distance = inputs[column].float() - begin

    def logit_at(share: float) -> tuple[Tensor, Tensor]:
        point = (begin + share * distance).requires_grad_()
        logit_B = network(**{**inputs, column: point})["logit"]
        if not logit_B.requires_grad:
            msg = (
                "The network counts or rounds what it reads, so its logit has no gradient; ask for occlusion."
            )
            raise NoMapError(msg)
        return point, logit_B

    total = torch.zeros_like(distance)
    for number in range(steps):
        # Equal stretches of u in [0, 1], the share being its square.
        u = (number + 0.5) / steps
        point, logit_B = logit_at(u * u)
        total += torch.autograd.grad(logit_B.sum(), point)[0] * (2 * u / steps)
    return distance * total, (logit_at(1.0)[1] - logit_at(0.0)[1]).detach()


def gradient_maps(subject: Subject) -> tuple[Maps, NDArray[np.float32]]:
    """Return the maps of all Examples, in logits a cell, and what each should add up to, float32 [B].

    Raises:
        NoMapError: There is no gradient.
    """
    canvas = canvas_of(subject.detector)
    inputs = subject.inputs
    begins = blank(inputs[canvas.column], canvas)
    maps, changes = [], []
    with copied(subject.detector) as network:
        # One Example after the other: each of a clip takes the memory of a training step.
        for number in range(len(subject.examples)):
            one = slice(number, number + 1)
            tensors = tensors_of(network, {name: array[one] for name, array in inputs.items()})
            begin = tensors_of(network, {"": begins[one]})[""]
            parts, change_B = attributions(network, tensors, canvas.column, begin)
            changes.append(change_B.cpu().numpy())
            planes = (parts.sum(-1) if canvas.frames else parts).reshape(-1, *canvas.size)
            maps.append(cells(planes.cpu().numpy()))
    return np.stack(maps), np.concatenate(changes)


def cells(planes_THW: NDArray[np.float32], most: int = CELLS) -> NDArray[np.float32]:
    """Add values up over cells whose sides differ by a pixel at most, [T, H, W] -> [T, h, w]."""
    for axis in (1, 2):
        extent = planes_THW.shape[axis]
        begins = np.arange(min(extent, most)) * extent // min(extent, most)
        planes_THW = np.add.reduceat(planes_THW, begins, axis=axis)
    return planes_THW


def _check(detector: Detector) -> None:
    canvas, inputs = canvas_of(detector), empty_inputs(detector)
    with copied(detector) as network:
        begin = tensors_of(network, {"": blank(inputs[canvas.column], canvas)})[""]
        attributions(network, tensors_of(network, inputs), canvas.column, begin, steps=1)


def _draw(subject: Subject) -> Drawing:
    maps_BThw, change_B = gradient_maps(subject)
    drawing = draw(subject, maps_BThw, "Integrated gradients")
    drawing.measurements[CHANGE] = float(change_B[0])
    drawing.measurements[GAP] = abs(float(maps_BThw[0].sum() - change_B[0]))
    return drawing


METHODS.register(
    "integrated-gradients",
    Method(
        name="integrated-gradients",
        summary="What each place adds to the logit as its detail fades in",
        limits=LIMITS,
        measures=(*MEASURES, CHANGE, GAP),
        check=_check,
        draw=_draw,
    ),
)
