"""Convolution, recurrence and attention together, over features of several scales.

The last layer of a trunk knows what is in a picture; seams and textures of a forgery are gone by then.
So maps of three depths are each weighed by channel and place, averaged, and fused to one vector a frame.
"""

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.models import ModelSpec, register
from deepscan.models.recurrent import PREP, PUBLIC, RECIPE, SEARCH, fill_trunk
from deepscan.nn.attention import Attention
from deepscan.nn.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from deepscan.nn.recurrent import Cell, repeat_real
from deepscan.nn.sequence import Sequence, SequenceConfig
from deepscan.nn.trunks import feature_maps, trunk_of

Trunk = Literal["efficientnet-b0", "mobilenet-v2", "resnet-50"]

SCALES: dict[Trunk, dict[str, int]] = {
    "efficientnet-b0": {"3": 40, "5": 112, "8": 1280},
    "mobilenet-v2": {"6": 32, "13": 96, "18": 1280},
    "resnet-50": {"layer2": 512, "layer3": 1024, "layer4": 2048},
}
"""Layers of the trunk whose maps are an 8th, a 16th and a 32nd of the picture, and their channels."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HybridConfig(SequenceConfig):
    """Settings of the network.

    Attributes:
        trunk: What sees a frame.
        width: Features that each scale contributes.
        attention_ratio: Reduction of the channel attention; larger is smaller and coarser.
    """

    cell: Cell = "gru"
    units: tuple[int, ...] = (128,)
    heads: int = 4
    trunk: Trunk = "efficientnet-b0"
    width: int = 128
    attention_ratio: int = 16

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        SequenceConfig.__post_init__(self)
        for name in ("width", "attention_ratio"):
            if getattr(self, name) < 1:
                msg = f"Setting {name!r} must be at least 1, it cannot be {getattr(self, name)}."
                raise ConfigError(msg)


class Scale(nn.Module):
    """One scale of a frame: float [N, C, H, W] -> float [N, ``width``], about as large as the others."""

    def __init__(self, channels: int, config: HybridConfig) -> None:
        """Create the attention and the projection of maps with so many channels."""
        super().__init__()
        self.attention = Attention(channels, config.attention_ratio)
        self.project = nn.Linear(channels, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the features of the scale."""
        x_NF: Tensor = self.norm(self.project(self.attention(x_NCHW).mean((2, 3))))
        return x_NF


class HybridNet(nn.Module):
    """Every frame through the trunk, its scales fused, then all frames in order.

    Attributes:
        public: The trunk as the public knows it.
        trunk: float [N, 3, H, W] -> float [N, C, H', W'].
        scales: What becomes of the map of each layer that is looked at, by its name.
        sequence: float [B, T, F] and the mask -> what the network returns.
    """

    def __init__(self, config: HybridConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.public = PUBLIC[config.trunk]
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.trunk = self.public.build()
        scales = SCALES[config.trunk]
        self.scales = nn.ModuleDict({name: Scale(channels, config) for name, channels in scales.items()})
        self.sequence = Sequence(len(scales) * config.width, config)

    def forward(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``moment_logit`` and ``attention`` [B, T], all float32.

        Args:
            frames: Uint8 [B, T, H, W, 3].
            mask: Uint8 [B, T], 1 for the first frames of each clip, which are real, 0 for its padding.
        """
        mask_BT = mask.bool()
        x_NCHW = self.normalize(repeat_real(frames, mask_BT).flatten(0, 1))
        maps = feature_maps(self.trunk, x_NCHW, tuple(self.scales))
        fused_NF = torch.cat([scale(maps[name]) for name, scale in self.scales.items()], 1)
        fused_BTF = fused_NF.view(*frames.shape[:2], -1)
        scored: dict[str, Tensor] = self.sequence(fused_BTF, mask_BT)
        return scored


register(
    ModelSpec(
        name="hybrid",
        modality="video",
        summary="EfficientNet-B0 at three scales, attention between frames, then GRU both ways",
        config=HybridConfig,
        build=HybridNet,
        prep=PREP,
        recipe=RECIPE,
        search=SEARCH,
        trunk=trunk_of,
        imagenet=fill_trunk,
    )
)
