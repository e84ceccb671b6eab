"""What a model starts from: fresh weights, public ones, or those of another bundle."""

import dataclasses
import pathlib
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.errors import BundleError, ConfigError
from deepscan.formats import eager
from deepscan.models import ModelSpec

IMAGENET = "imagenet"


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What a model takes over of a bundle's weights.

    Attributes:
        tensors: The tensors by name.
        of: How many tensors the model has.
        trunk: Whether the whole of its trunk is among them; None = it has none.
    """

    tensors: dict[str, Tensor]
    of: int
    trunk: bool | None

    def __str__(self) -> str:
        """Say it in words."""
        trunk = {None: "", True: ", the whole trunk among them", False: ", not the whole trunk"}[self.trunk]
        return f"{len(self.tensors)} of {self.of} tensors{trunk}"


def donor(init: str) -> Bundle | None:
    """Return the bundle whose weights are to be taken over; None where ``init`` names none.

    Raises:
        BundleError: It cannot be used.
    """
    return None if init in {"", IMAGENET} else Bundle.read(pathlib.Path(init))


def was_begun(model: str, init: str) -> bool:
    """Tell whether the weights to start from are those of this very model, which has what ``begin`` gives.

    Raises:
        BundleError: They cannot be used.
    """
    bundle = donor(init)
    return bundle is not None and bundle.card.model == model


def taken_over(spec: ModelSpec, module: Any, bundle: Bundle) -> Taken:
    """Return the tensors of a bundle that a model can take over: those of equal name and shape.

    Between bundles of one architecture these are all. Otherwise they are what the two have in common,
    such as the trunk of a detector of pictures for one of clips, or all of a detector that the model has
    as a part.

    Raises:
        BundleError: There are none, or the bundle's weights cannot be read.
    """
    try:
        given = safetensors.torch.load_file(bundle.path / eager.WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        msg = f"The weights of {bundle.path} cannot be read: {error}. Start from a bundle as training writes."
        raise BundleError(msg) from error
    own = module.state_dict()
    places = ("", *(f"{part}." for part, _ in module.named_children()))
    fitting = max((_fitting(given, own, place) for place in places), key=len)
    if not any(name in fitting for name, value in module.named_parameters() if value.ndim > 1):
        msg = (
            f"Model {spec.name!r} and the {bundle.card.model!r} in {bundle.path} have no weights in common; "
            "start from a bundle with the same trunk, or from scratch."
        )
        raise BundleError(msg)
    trunk = spec.trunk(module) if spec.trunk else None
    inside = {id(value) for value in trunk.state_dict(keep_vars=True).values()} if trunk else set()
    missing = [
        n for n, v in module.state_dict(keep_vars=True).items() if id(v) in inside and n not in fitting
    ]
    return Taken(fitting, len(own), None if trunk is None else not missing)


def _fitting(given: dict[str, Tensor], own: dict[str, Tensor], place: str) -> dict[str, Tensor]:
    """Return what of the tensors given has its like in a place of the model, by its name there."""
    moved = {place + name: value for name, value in given.items()}
    return {name: value for name, value in moved.items() if name in own and own[name].shape == value.shape}


def check_init(spec: ModelSpec, model_config: Any, init: str) -> str:
    """Check, before any work, that a model can start from what is asked for; say what it takes over.

    Raises:
        BundleError: The bundle to start from cannot be used, or has nothing in common with the model.
        ConfigError: The model has no ImageNet weights.
    """
    if init == IMAGENET and spec.imagenet is None:
        msg = f"Model {spec.name!r} has no ImageNet weights; leave --weights out, or give a bundle."
        raise ConfigError(msg)
    bundle = donor(init)
    if bundle is None:
        return ""
    return f"{taken_over(spec, spec.build(model_config), bundle)} from {bundle.card.id}"


def initial_module(spec: ModelSpec, model_config: dict[str, Any], init: str) -> nn.Module:
    """Build the model with the weights that training starts from.

    Raises:
        AssetError: ImageNet weights cannot be fetched.
        BundleError: The weights to start from are of another architecture.
    """
    module: nn.Module = spec.build(config.from_dict(spec.config, model_config))
    bundle = donor(init)
    if bundle is not None:
        module.load_state_dict(taken_over(spec, module, bundle).tensors, strict=False)
    elif init == IMAGENET and spec.imagenet is not None:
        spec.imagenet(module)
    return module
