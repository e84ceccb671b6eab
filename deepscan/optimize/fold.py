"""Folding batch norms into the convolutions and linear layers before them."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from deepscan.bundle import Bundle
from deepscan.errors import FormatError
from deepscan.formats import FLOAT32, eager
from deepscan.formats.tracing import example_of
from deepscan.nn.structure import FOLD
from deepscan.optimize.export import largest_gap
from deepscan.optimize.figures import Figures, figures_of
from deepscan.optimize.sibling import load_first, size_bytes, write_sibling

BEFORE = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """What folding came to.

    Attributes:
        bundle: The new bundle.
        before: Figures of the first one.
        after: Those of the new one.
        norms: Number of norms that were folded.
        gap: Largest difference of P(fake) between the two, on Examples of noise.
    """

    bundle: Bundle
    before: Figures
    after: Figures
    norms: int
    gap: float


def fold(path: pathlib.Path, out: pathlib.Path) -> Folded:
    """Write a bundle whose batch norms are part of the layers before them.

    Args:
        path: Bundle whose weights are those of PyTorch in float32.
        out: Folder of the new bundle; it must not be there, or be empty.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``out`` holds something.
        FormatError: It has no norm that can be folded, or says something else then; ``out`` is left alone.
    """
    first, network = load_first(path)
    card, inputs, gaps = first.bundle.card, first.prep.inputs, []
    before = figures_of(network, inputs, size_bytes(first.bundle))
    module = first.bundle.module().eval()
    eager.fill(module, path)
    norms = fold_norms(module, example_of(inputs))
    allowed = eager_tolerance(first.bundle)

    def check(made: Bundle) -> None:
        gaps.append(largest_gap(first, eager.load(made.module, made.path, "cpu")))
        if not gaps[0] <= allowed:
            msg = f"Folded, {card.name!r} says something else: P(fake) differs by up to {gaps[0]:.2g}."
            raise FormatError(msg)

    step = {"step": FOLD, "norms": norms}
    made = write_sibling(
        first.bundle,
        out,
        lambda folder: eager.write(module, folder, inputs),
        check,
        change={"step": FOLD},
        structure=(*card.structure, step),
    )
    after = figures_of(module, inputs, size_bytes(made))
    return Folded(bundle=made, before=before, after=after, norms=len(norms), gap=gaps[0])


def eager_tolerance(bundle: Bundle) -> float:
    """Return by how much P(fake) may differ in float32."""
    return bundle.weights_format().tolerance(FLOAT32)


def fold_norms(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, str]:
    """Fold every batch norm that reads nothing but what one layer gives, in place.

    In evaluation a batch norm is ``y = g (x - m) / sqrt(v + e) + b`` a channel, which scales the weights of
    the layer and shifts its bias (Jacob et al., CVPR 2018, section 3.2).

    Args:
        module: A network in evaluation mode.
        inputs: Examples, by which it is seen who reads what.

    Returns:
        The layer that each norm was folded into, both by name.

    Raises:
        FormatError: There is no such norm.
    """
    names, folded = {layer: name for name, layer in module.named_modules()}, {}
    for norm, layer in _pairs(module, inputs):
        fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        fused = fuse(layer, norm)
        layer.weight, layer.bias = fused.weight, fused.bias
        module.set_submodule(names[norm], nn.Identity())
        folded[names[norm]] = names[layer]
    if not folded:
        msg = f"{type(module).__name__} has no batch norm right after a convolution or a linear layer."
        raise FormatError(msg)
    return folded


def _pairs(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[tuple[Any, Any]]:
    """Return norms with the layers that they follow; each is called once, and one norm reads a layer."""
    given: dict[int, tuple[nn.Module, Tensor]] = {}
    followed: dict[nn.Module, nn.Module] = {}
    calls: dict[nn.Module, int] = {}

    def note_output(layer: nn.Module, _: Any, told: Tensor) -> None:
        given[id(told)] = layer, told  # the tensor is kept, so that no other one gets its number
        calls[layer] = calls.get(layer, 0) + 1

    def note_input(norm: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls[norm] = calls.get(norm, 0) + 1
        if id(arguments[0]) in given:
            followed[norm] = given[id(arguments[0])][0]

    hooks = [each.register_forward_hook(note_output) for each in module.modules() if type(each) in BEFORE]
    hooks += [each.register_forward_pre_hook(note_input) for each in module.modules() if type(each) in NORMS]
    try:
        with torch.no_grad():
            module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    readers = list(followed.values())
    return [
        (norm, layer)
        for norm, layer in followed.items()
        if calls[norm] == calls[layer] == 1 and readers.count(layer) == 1 and _has_statistics(norm)
    ]


def _has_statistics(norm: Any) -> bool:
    return norm.running_mean is not None
