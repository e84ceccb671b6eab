"""A network for the faint traces of generators and blending: high-pass residuals at full resolution.

Networks that shrink the picture in their first layer average such traces away. This one filters the
content out, looks at single pixels for two layers, and pools means and deviations, which tell textures
apart that have the same mean. Train it on random crops: traces are everywhere, and crops never resample.
"""

import dataclasses

from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.residuals import MeanAndDeviation, Residuals, full_resolution
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


class ResidualNet(nn.Module):
    """Residuals, two convolutions a resolution, pooled means and deviations, one logit."""

    def __init__(self, config: ResidualConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.residuals = Residuals(config.clip)
        self.layers = full_resolution(Residuals.channels, config.channels)
        self.pool = MeanAndDeviation()
        self.head = Head(2 * config.channels[-1], config.widths, config.dropout)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the logit for uint8 [B, H, W, 3] of any size from 16 px on."""
        return {"logit": self.head(self.pool(self.layers(self.residuals(pixels))))}


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
