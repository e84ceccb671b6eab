"""Picture models as normalisation, trunk, global average pooling and head; public trunks by name."""

import contextlib
import dataclasses
import http.client
import pickle
import sys
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from deepscan.errors import AssetError
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize


class PictureModel(nn.Module):
    """Normalises, extracts features, averages them over the picture and scores the average.

    Attributes:
        normalize: uint8 [B, H, W, 3] -> float [B, 3, H, W].
        trunk: float [B, 3, H, W] -> float [B, C, H', W'].
        head: float [B, C] -> float32 [B].
    """

    def __init__(self, normalize: Normalize, trunk: nn.Module, head: Head) -> None:
        """Put the three parts together."""
        super().__init__()
        self.normalize = normalize
        self.trunk = trunk
        self.head = head

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit``, float32 [B], of the pictures uint8 [B, H, W, 3]; > 0 means fake."""
        features_BCHW = self.trunk(self.normalize(pixels))
        return {"logit": self.head(features_BCHW.mean((2, 3)))}


def trunk_of(model: nn.Module) -> nn.Module:
    """Return the part of a model that pretrained weights fill, its submodule ``trunk``."""
    return model.get_submodule("trunk")


def feature_maps(trunk: nn.Module, x_BCHW: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return what the layers of a trunk with these names make of a picture, by name.

    Args:
        trunk: A chain of named layers, as ``PublicTrunk.build`` returns it.
        x_BCHW: What the first of them reads.
        names: Layers to look at; those after the last of them are not run.
    """
    maps: dict[str, Tensor] = {}
    for name, layer in trunk.named_children():
        x_BCHW = layer(x_BCHW)
        if name in names:
            maps[name] = x_BCHW
        if len(maps) == len(names):
            break
    return maps


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublicTrunk:
    """A torchvision network without its classifier.

    Attributes:
        network: Its name in torchvision.
        weights: Name of its ImageNet weights; pinned, because a default may change.
        channels: Channels of its last feature map.
    """

    network: str
    weights: str
    channels: int

    def build(self) -> nn.Module:
        """Return the trunk with torchvision's own random initialisation."""
        network = _public().get_model(self.network, weights=None)
        if hasattr(network, "features"):
            features: nn.Module = network.features
            return features
        *layers, _pool, _classifier = network.named_children()
        return nn.Sequential(OrderedDict(layers))

    def classifier(self, config: HeadConfig) -> PictureModel:
        """Return a picture model of this trunk, normalised as its ImageNet weights expect."""
        head = Head(self.channels, config.widths, config.dropout)
        return PictureModel(Normalize(IMAGENET_MEAN, IMAGENET_STD), self.build(), head)

    def fill(self, model: nn.Module) -> None:
        """Load the ImageNet weights into the submodule ``trunk`` of a model, made by ``build``.

        The file comes from the cache of ``torch.hub`` or else from its public address, checked
        against the digest in its name; it is read as plain tensors, nothing in it is executed.

        Raises:
            AssetError: The weights are neither cached nor reachable, or the file is damaged.
        """
        state = _fetch(self.weights)
        trunk = trunk_of(model)
        wanted = trunk.state_dict()
        renamed = {name.removeprefix("features."): value for name, value in state.items()}
        try:
            trunk.load_state_dict({name: renamed[name] for name in wanted})
        except (KeyError, RuntimeError) as error:
            msg = f"{_cached_at(self.weights)} holds another network than {self.weights}: {error}. Delete it."
            raise AssetError(msg) from error


def _public() -> Any:
    """Return torchvision's networks, whose import is as long as all the rest: only those who use it wait."""
    from torchvision import models

    return models


def _fetch(name: str) -> dict[str, Tensor]:
    weights = _public().get_weight(name)
    try:
        # torch.hub announces a download on standard output, which belongs to the command's result.
        with contextlib.redirect_stdout(sys.stderr):
            state: dict[str, Tensor] = weights.get_state_dict(
                progress=False, check_hash=True, weights_only=True, map_location="cpu"
            )
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, pickle.UnpicklingError) as error:
        msg = (
            f"Cannot fetch the ImageNet weights {name} from {weights.url}: {error}. Where no network is,"
            f" put that file at {_cached_at(name)} in place of a damaged one, or start from a bundle."
        )
        raise AssetError(msg) from error
    return state


def _cached_at(name: str) -> Path:
    address = _public().get_weight(name).url
    return Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(address).name)
