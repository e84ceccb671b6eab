"""A small convolutional network with attention, meant to be trained from scratch."""

import dataclasses
from itertools import pairwise

from torch import nn

from deepscan.errors import ConfigError
from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.attention import Attention
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.initialize import he_normal
from deepscan.nn.normalize import Normalize
from deepscan.nn.trunks import PictureModel
from deepscan.recipe import Choice, Optimizer, Range, Recipe

CHANNELS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CnnConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        depth: Convolutions in each of the four blocks.
        attention_ratio: Reduction of the channel attention; larger is smaller and coarser.
    """

    widths: tuple[int, ...] = (512, 256)
    dropout: float = 0.4
    depth: int = 1
    attention_ratio: int = 16

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        HeadConfig.__post_init__(self)
        for name in ("depth", "attention_ratio"):
            if getattr(self, name) < 1:
                msg = f"Setting {name!r} must be at least 1, it cannot be {getattr(self, name)}."
                raise ConfigError(msg)


def build(config: CnnConfig) -> nn.Module:
    """Return the network: four blocks that each halve the sides, attention from the second on."""
    layers: list[nn.Module] = [_block(3, CHANNELS[0], config.depth)]
    for before, channels in pairwise(CHANNELS):
        layers += [_block(before, channels, config.depth), Attention(channels, config.attention_ratio)]
    trunk = nn.Sequential(*layers)
    he_normal(trunk)
    return PictureModel(Normalize(), trunk, Head(CHANNELS[-1], config.widths, config.dropout))


def _block(before: int, channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (before, *[channels] * (depth - 1)):
        conv = nn.Conv2d(inputs, channels, kernel_size=3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


register(
    ModelSpec(
        name="cnn",
        modality="image",
        summary="Four convolution blocks with channel and spatial attention, from scratch",
        config=CnnConfig,
        build=build,
        prep=ImagePrep(size_px=256),
        recipe=Recipe(epochs=30, batch_size=32, optimizer=Optimizer(lr=1e-3)),
        search={
            "recipe.optimizer.lr": Range(low=1e-4, high=3e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-4, high=1e-1, log=True),
            "recipe.batch_size": Choice(values=(16, 32, 64)),
            "model.dropout": Range(low=0.1, high=0.6),
            "model.depth": Choice(values=(1, 2)),
        },
    )
)
