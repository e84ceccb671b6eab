"""Changes to the structure of a network that was built: other numbers of channels, norms that were folded.

A change is a dict of plain values with its ``step``; replayed on a freshly built network, the changes lead to
the structure that its weights were written in.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from deepscan.errors import ConfigError
from deepscan.nn.heads import Logit

CHANNELS, FOLD = "channels", "fold"
Step = Mapping[str, Any]
Layer = nn.Conv1d | nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, Logit, nn.BatchNorm1d, nn.BatchNorm2d)
"""What can have another number of channels; other classes derived from these may count on theirs."""


def size_of(layer: Layer) -> list[int]:
    """Return outputs, inputs and groups of a convolution; outputs and inputs, or features, of the others."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return [layer.out_channels, layer.in_channels, layer.groups]
    if isinstance(layer, nn.Linear):
        return [layer.out_features, layer.in_features]
    return [layer.num_features]


def sizes_of(module: nn.Module) -> dict[str, list[int]]:
    """Return the sizes of all layers that could have others, by name; see ``size_of``."""
    return {name: size_of(layer) for name, layer in module.named_modules() if type(layer) in LAYERS}


def restructure(module: nn.Module, steps: Iterable[Step]) -> nn.Module:
    """Replay changes on a network, in place; what has another shape then holds no sound values.

    Args:
        module: As its settings build it.
        steps: ``{"step": "channels", "sizes": {layer: size}}`` with the sizes of ``size_of``, or
            ``{"step": "fold", "norms": {norm: layer}}``, whose norms give way to a bias of the layer.

    Raises:
        ConfigError: A change is unknown, or names a layer that is not there.
    """
    for step in steps:
        if step.get("step") == CHANNELS:
            for name, size in step["sizes"].items():
                resize(_layer(module, name, len(size)), size)
        elif step.get("step") == FOLD:
            for norm, name in step["norms"].items():
                _layer(module, norm, 1)
                module.set_submodule(norm, nn.Identity())
                _add_bias(_layer(module, name, 0))
        else:
            msg = f"The structure was changed by {step.get('step')!r}, which this version cannot replay."
            raise ConfigError(msg)
    return module


def resize(layer: Layer, size: Sequence[int]) -> None:
    """Give a layer another size, as ``size_of`` tells it; its new tensors hold no sound values."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        layer.out_channels, layer.in_channels, layer.groups = size
        shape = (size[0], size[1] // size[2], *layer.kernel_size)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = size
        shape = tuple(size)
    else:
        layer.num_features = size[0]
        shape = (size[0],)
        _replace(layer, ("running_mean", "running_var"), (size[0],))
    _replace(layer, ("weight",), shape)
    _replace(layer, ("bias",), (size[0],))


def _replace(layer: nn.Module, names: Sequence[str], shape: Sequence[int]) -> None:
    for name in names:
        old = getattr(layer, name)
        if old is not None and tuple(old.shape) != tuple(shape):
            new = torch.zeros(tuple(shape), dtype=old.dtype, device=old.device)
            learnt = isinstance(old, nn.Parameter)
            setattr(layer, name, nn.Parameter(new, old.requires_grad) if learnt else new)


def _add_bias(layer: Layer) -> None:
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))


def _layer(module: nn.Module, name: str, numbers: int) -> Any:
    """Return a layer by name whose size is so many numbers; 0 = any.

    Raises:
        ConfigError: There is none.
    """
    try:
        layer: Any = module.get_submodule(name)
    except AttributeError:
        layer = None
    if type(layer) not in LAYERS or numbers not in {0, len(size_of(layer))}:
        msg = f"The structure was changed at {name!r}, where the model has no such layer."
        raise ConfigError(msg)
    return layer
