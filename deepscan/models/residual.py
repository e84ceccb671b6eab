"""A network for the faint traces of generators and blending: high-pass residuals at full resolution.

Networks that shrink the picture in their first layer average such traces away. This one filters the
content out, looks at single pixels for two layers, and pools means and deviations, which tell textures
apart that have the same mean. Train it on random crops: traces are everywhere, and crops never resample.
"""

import dataclasses

import torch
from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.initialize import he_normal
from deepscan.nn.residuals import Residuals
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, Schedule


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResidualConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        channels: Channels at full, half, quarter and so on of the resolution.
        clip: Residuals are cut off at so many grey levels.
    """

    dropout: float = 0.3
    channels: tuple[int, ...] = (16, 32, 64, 96)
    clip: float = 3.0


class MeanAndDeviation(nn.Module):
    """Pools float [B, C, H, W] into the mean and standard deviation of each channel, float [B, 2 C]."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the pooled features."""
        x_BCN = x_BCHW.float().flatten(2)
        deviation_BC = (x_BCN.var(2, correction=0) + 1e-5).sqrt()
        return torch.cat([x_BCN.mean(2), deviation_BC], 1)


class ResidualNet(nn.Module):
    """Residuals, two convolutions a resolution, pooled means and deviations, one logit."""

    def __init__(self, config: ResidualConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.residuals = Residuals(config.clip)
        layers: list[nn.Module] = []
        before = Residuals.channels
        for channels in config.channels:
            layers += [nn.AvgPool2d(2)] if layers else []
            layers += [_convolution(before, channels), _convolution(channels, channels)]
            before = channels
        self.layers = nn.Sequential(*layers)
        he_normal(self.layers)
        self.pool = MeanAndDeviation()
        self.head = Head(2 * before, config.widths, config.dropout)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the logit for uint8 [B, H, W, 3] of any size from 16 px on."""
        return {"logit": self.head(self.pool(self.layers(self.residuals(pixels))))}


def _convolution(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


register(
    ModelSpec(
        name="residual",
        modality="image",
        summary="High-pass residuals at full resolution: for generated pictures, from scratch",
        config=ResidualConfig,
        build=ResidualNet,
        prep=ImagePrep(size_px=256, region="whole"),
        recipe=Recipe(
            epochs=30,
            batch_size=16,
            optimizer=Optimizer(lr=2e-3, weight_decay=0.05),
            schedule=Schedule(warmup=0.05),
            ema_decay=0.99,
            augment=Augment(level="flip", crop=0.5),
        ),
        search={
            "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
            "recipe.augment.crop": Choice(values=(0.35, 0.5, 0.75)),
            "model.clip": Range(low=1.5, high=8.0),
            "model.dropout": Range(low=0.0, high=0.5),
        },
    )
)
