"""The registry of models. A model is one file here (or a plug-in) that registers a ModelSpec."""

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import nn

from deepscan.recipe import Recipe, SearchSpace
from deepscan.registry import Registry

Build = Callable[[Any], nn.Module]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Everything deepscan needs to know of a model.

    The module takes the Prep's input columns as keyword arguments, with a batch axis first
    (``pixels`` uint8 [B, H, W, 3] for a picture), normalises them itself and returns a dict with at
    least ``"logit"``, float32 [B], > 0 for fake. Other entries are named tensors that an objective
    may use.

    Attributes:
        name: Name in the registry.
        modality: Name of the modality whose Prep feeds it.
        summary: One line for tables.
        config: Frozen dataclass of the architecture's settings; its defaults build the model.
        build: ``config -> module`` with fresh random weights (from torch's global generator).
        prep: Default Prep, an instance of the modality's class.
        recipe: Default training settings.
        search: Ranges in which to search settings.
        trunk: Returns the part that a pretrained network fills, for freezing and its own rate;
            None = no part of the model can be pretrained.
        imagenet: Fills the trunk with public ImageNet weights; None = there are none. Raises
            AssetError when they cannot be fetched.
    """

    name: str
    modality: str
    summary: str
    config: type[Any]
    build: Build
    prep: Any
    recipe: Recipe = Recipe()
    search: SearchSpace = dataclasses.field(default_factory=dict)
    trunk: Callable[[Any], nn.Module] | None = None
    imagenet: Callable[[Any], None] | None = None


MODELS: Registry[ModelSpec] = Registry("model")


def register(spec: ModelSpec) -> ModelSpec:
    """Add a model to the registry and return its spec.

    Raises:
        ConfigError: The name is taken.
    """
    return MODELS.register(spec.name, spec)
