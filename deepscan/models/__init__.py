"""The registry of models. A model is one file here (or a plug-in) that registers a ModelSpec."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.calibration import Kind
from deepscan.objectives import Objective, classification
from deepscan.recipe import Loss, Recipe, SearchSpace
from deepscan.registry import Registry

Build = Callable[[Any], nn.Module]

Begin = Callable[[Any, Mapping[str, NDArray[Any]], int], None]
"""``(module, columns, seed)``: takes from the training data what the module needs before its first step."""

BeginMeasure = Callable[[Any, Mapping[str, Tensor]], Mapping[str, Tensor]]
"""``(module, inputs of a batch)``: returns what of a batch ``Begin`` needs, Examples along the first axis."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Everything deepscan needs to know of a model.

    The module takes the Prep's inputs as keyword arguments, with a batch axis first (``pixels`` uint8
    [B, H, W, 3] for a picture), normalises them itself and returns a dict with at least ``"logit"``,
    float32 [B], > 0 for fake. Heat maps ask for gradients of its inputs: pixels then come as floats in
    [0, 255], and the logit of a network that counts or rounds has none. In evaluation it may add

    - ``"moment_logit"`` and ``"attention"``, float32 [B, T], for the T moments that it tells apart:
      the logit of each alone, and the shares they have in ``logit``, which is their weighted sum; shares
      of moments that are padding are 0, the others add up to 1;
    - ``"mask_logit"``, float32 [B, h, w], of a picture: > 0 where it was blended, for the cells of an even
      grid over the Example, row by row;
    - ``"measured_NAME"``, float32 [B]: a figure for the Score, e.g. ``measured_offset_frames``.

    In training it may also return whatever tensors its objective uses.

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
        objective: What a training step minimises: ``(inputs, loss, counts) -> Objective``.
        begin: Takes from training data, the model's inputs and ``label``, each with all Examples along the
            first axis, what gradients do not teach, such as the scale of measurements; draws only from a
            generator of the seed given. A run that starts from weights of the same model leaves it out, since
            these have it. None = nothing.
        begin_measure: ``(module, inputs of a batch) -> columns``, which ``begin`` is given in place of the
            inputs; what takes long belongs here, since it is done while further batches are made.
        begin_examples: How many Examples ``begin`` is shown: those that the first epochs will train on,
            augmented anew in each, as far as the run has epochs; None = all of one epoch.
        calibration: How its logits become probabilities unless the user says otherwise.
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
    objective: Callable[[tuple[str, ...], Loss, tuple[int, int]], Objective] = classification
    begin: Begin | None = None
    begin_measure: BeginMeasure | None = None
    begin_examples: int | None = None
    calibration: Kind = "temperature"


MODELS: Registry[ModelSpec] = Registry("model")


def register(spec: ModelSpec) -> ModelSpec:
    """Add a model to the registry and return its spec.

    Raises:
        ConfigError: The name is taken.
    """
    return MODELS.register(spec.name, spec)
