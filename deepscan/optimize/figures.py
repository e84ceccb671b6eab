"""How large a network is, and how much it computes."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import nn

from deepscan.modalities import Column
from deepscan.optimize.measure import flops, noise_of, parameters

WEIGHED = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What a network takes.

    Attributes:
        parameters: Number of its parameters.
        flops: Floating-point operations for one Example, a multiplication and an addition being two; of
            convolutions and matrix products, as ``torch.utils.flop_counter`` counts them.
        bytes: Size of its files.
        nonzero: Share of the weights of its convolutions and linear layers that are not zero, in [0, 1].
    """

    parameters: int
    flops: int
    bytes: int
    nonzero: float


def figures_of(module: nn.Module, inputs: Mapping[str, Column], size: int) -> Figures:
    """Count what a network that reads some columns takes; ``size`` is that of its files in bytes."""
    weights = [layer.weight for layer in module.modules() if isinstance(layer, WEIGHED)]
    there = sum(int(torch.count_nonzero(weight)) for weight in weights)
    return Figures(
        parameters=parameters(module),
        flops=flops(module, noise_of(inputs, 1)),
        bytes=size,
        nonzero=there / max(1, sum(weight.numel() for weight in weights)),
    )
