"""Class activation maps: which places of the last feature map raise the logit.

Grad-CAM (Selvaraju et al., ICCV 2017) weighs every channel by its mean gradient, HiResCAM (Draelos and Carin,
2020) every place of every channel by its own. Where a network averages its last map they are the same; where
it takes maxima or reads places apart, the second one is what the logit is made of.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

from deepscan.detector import Detector
from deepscan.errors import NoMapError
from deepscan.heatmaps import METHODS, Method
from deepscan.heatmaps.placing import MEASURES, Drawing, Maps, draw
from deepscan.heatmaps.subject import Canvas, Subject, canvas_of, copied, empty_inputs, tensors_of

LIMITS = (
    "The map is as coarse as the last layer of the network. It shows where the network looked, not why, and "
    "not what is forged there: a network that was fooled has a map too. Faces are cut out with their eyes "
    "level; the map lies over them without that turn."
)


def last_map(network: nn.Module, inputs: dict[str, Tensor], canvas: Canvas, name: str) -> nn.Module:
    """Return the part of a network whose output is its last feature map that knows of places.

    For pictures and spectra that is any module that gives [N, C, h, w] with two or more channels, rows and
    columns, N being the Examples or all their pictures; for what convolutions over time read, a chain of
    layers that holds one and gives [N, C, T]. The last map is the last of those that are computed.

    Raises:
        NoMapError: There is none, or a larger one comes last: the network draws and does not only look.
    """
    found: list[tuple[nn.Module, int]] = []

    def note(part: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and _is_map(part, output, canvas):
            found.append((part, math.prod(output.shape[2:])))

    hooks = [part.register_forward_hook(note) for part in network.modules()]
    try:
        with torch.no_grad():
            network(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        msg = f"{name!r} has no convolutions that keep places, so there is no map of its features."
        raise NoMapError(msg)
    if found[-1][1] > min(places for _, places in found):
        msg = f"{name!r} draws a picture of its own; what it is made of is no map of suspicion."
        raise NoMapError(msg)
    return found[-1][0]


def _is_map(part: nn.Module, output: Tensor, canvas: Canvas) -> bool:
    if output.ndim == 4:
        return canvas.size[0] > 1 and min(output.shape[1:]) > 1
    over_time = isinstance(part, nn.Sequential) and any(isinstance(p, nn.Conv1d) for p in part.modules())
    return output.ndim == 3 and not canvas.frames and over_time and min(output.shape[1:]) > 1


def activation_maps(subject: Subject, *, pooled: bool) -> Maps:
    """Return the maps of all Examples; ``pooled`` is Grad-CAM, else it is HiResCAM.

    Maps of sound through convolutions over time have a single row.

    Raises:
        NoMapError: The network has no such map, or none that its logit depends on.
    """
    detector = subject.detector
    canvas, name = canvas_of(detector), detector.bundle.card.name
    with copied(detector) as network:
        inputs = tensors_of(network, subject.inputs)
        layer = last_map(network, inputs, canvas, name)
        features, slopes = _slopes(network, inputs, layer, name)
        if pooled:
            slopes = slopes.mean(tuple(range(2, slopes.ndim)), keepdim=True)
        maps = (slopes * features).sum(1).cpu().numpy()
    rows = maps.shape[1] if maps.ndim == 3 else 1
    return np.ascontiguousarray(maps.reshape(len(subject.examples), -1, rows, maps.shape[-1]), np.float32)


def _slopes(
    network: nn.Module, inputs: dict[str, Tensor], layer: nn.Module, name: str
) -> tuple[Tensor, Tensor]:
    """Return a layer's output and the gradient of the logits with respect to it."""
    caught: list[Tensor] = []

    def cut(_: object, __: object, output: Tensor) -> Tensor:
        caught.append(output.detach().requires_grad_())
        # Cloned, because what follows may change it in place.
        return caught[-1].clone()

    hook = layer.register_forward_hook(cut)
    try:
        logit_B = network(**inputs)["logit"]
    finally:
        hook.remove()
    slopes = (
        torch.autograd.grad(logit_B.sum(), caught[-1], allow_unused=True)[0]
        if logit_B.requires_grad
        else None
    )
    if slopes is None:
        msg = f"The logit of {name!r} does not depend on its last feature map, or gives no gradient."
        raise NoMapError(msg)
    return caught[-1].detach(), slopes


def _check(detector: Detector) -> None:
    canvas = canvas_of(detector)
    with copied(detector) as network:
        last_map(network, tensors_of(network, empty_inputs(detector)), canvas, detector.bundle.card.name)


def _draw(subject: Subject, pooled: bool, title: str) -> Drawing:
    return draw(subject, activation_maps(subject, pooled=pooled), title)


def _method(name: str, title: str, summary: str, pooled: bool) -> Method:
    return Method(
        name=name,
        summary=summary,
        limits=LIMITS,
        measures=MEASURES,
        check=_check,
        draw=functools.partial(_draw, pooled=pooled, title=title),
        quick=pooled,
    )


METHODS.register(
    "grad-cam",
    _method("grad-cam", "Grad-CAM", "Channels of the last feature map by their mean gradient", True),
)
METHODS.register(
    "hires-cam",
    _method("hires-cam", "HiResCAM", "The last feature map, each place by its own gradient", False),
)
