"""A network that looks for the edge where one face was blended over another.

It keeps full resolution in its first layers, since the edge is faint and narrow, and reads the picture and
its high-pass residuals. Pseudo-fakes tell it where the edge is, which labels alone do not. What it sees is
part of what it says: the map's mean and maximum are among the features of which the logit is made.
"""

import dataclasses

import torch
from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.normalize import Normalize
from deepscan.nn.residuals import Residuals, full_resolution
from deepscan.recipe import Augment, Choice, Optimizer, Pseudo, Range, Recipe, Schedule


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BoundaryConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        channels: Channels at full, half, quarter and so on of the resolution; the last is the map's.
        clip: Residuals are cut off at so many grey levels.
    """

    dropout: float = 0.3
    channels: tuple[int, ...] = (12, 24, 40, 64)
    clip: float = 6.0


class BoundaryNet(nn.Module):
    """Picture and residuals, two convolutions a resolution, a map of the edge, one logit."""

    def __init__(self, config: BoundaryConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.normalize = Normalize()
        self.residuals = Residuals(config.clip)
        self.layers = full_resolution(3 + Residuals.channels, config.channels)
        self.map = nn.Conv2d(config.channels[-1], 1, kernel_size=1)
        self.head = Head(2 * (config.channels[-1] + 1), config.widths, config.dropout)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` and ``mask_logit`` for uint8 [B, H, W, 3] of any size from 16 px on."""
        x_BCHW = torch.cat([self.normalize(pixels), self.residuals(pixels)], 1)
        features_BChw = self.layers(x_BCHW)
        mask_logit_B1hw = self.map(features_BChw)
        seen_BChw = torch.cat([features_BChw, mask_logit_B1hw], 1).float()
        pooled_BF = torch.cat([seen_BChw.mean((2, 3)), seen_BChw.amax((2, 3))], 1)
        return {"logit": self.head(pooled_BF), "mask_logit": mask_logit_B1hw[:, 0].float()}


register(
    ModelSpec(
        name="boundary",
        modality="image",
        summary="Where one face was blended over another, learnt from real faces alone, from scratch",
        config=BoundaryConfig,
        build=BoundaryNet,
        prep=ImagePrep(size_px=144, margin=0.2),
        recipe=Recipe(
            epochs=30,
            batch_size=32,
            optimizer=Optimizer(lr=2e-3, weight_decay=0.05),
            schedule=Schedule(warmup=0.05),
            augment=Augment(level="advanced"),
            pseudo=Pseudo(kind="self-blended"),
        ),
        search={
            "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
            "recipe.optimizer.sam_rho": Choice(values=(0.0, 0.02, 0.05)),
            "recipe.loss.mask_weight": Range(low=0.1, high=10.0, log=True),
            "model.clip": Range(low=1.5, high=12.0),
            "model.dropout": Range(low=0.0, high=0.5),
        },
    )
)
