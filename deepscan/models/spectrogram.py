"""A picture network on the log spectrogram, where vocoders leave stripes, gaps and smooth patches."""

import dataclasses
from itertools import pairwise

import torch
from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.media.spectra import FrontEnd
from deepscan.modalities.audio import AudioPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import HeadConfig
from deepscan.nn.initialize import he_normal
from deepscan.nn.moments import Moments
from deepscan.nn.specaugment import MaskConfig, SpecAugment
from deepscan.nn.timeline import Slices, require_halvings
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpectrogramConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        masks: What SpecAugment hides in training.
        channels: Channels at half, quarter, eighth and so on of the resolution.
        moments: Slices of a window that are judged by themselves.
    """

    dropout: float = 0.4
    masks: MaskConfig = MaskConfig()
    channels: tuple[int, ...] = (16, 32, 64, 96)
    moments: int = 8

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        HeadConfig.__post_init__(self)
        if not self.channels or min(self.channels) < 1 or self.moments < 1:
            msg = (
                "Settings 'moments' and each of 'channels' are at least 1, they cannot be"
                f" {self.moments} and {self.channels}."
            )
            raise ConfigError(msg)


class SpectrogramNet(nn.Module):
    """Convolutions over a spectrogram with any number of rows, slices of time, their logits and weights.

    Means and maxima over all rows at the end would not tell a hiss from a hum; so every place knows its
    height from the first layer on (CoordConv: Liu et al., NeurIPS 2018).
    """

    def __init__(self, config: SpectrogramConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.mask = SpecAugment(config.masks)
        first = _convolution(2, config.channels[0], kernel_size=5, stride=2)
        self.layers = nn.Sequential(first, *(_block(*pair) for pair in pairwise(config.channels)))
        he_normal(self.layers)
        self.slices = Slices(config.moments)
        self.moments = Moments(4 * config.channels[-1], config.widths, config.dropout)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return logit, moment_logit and attention for float [B, rows, T].

        Raises:
            ConfigError: There are too few rows or frames.
        """
        require_halvings(features, len(self.layers))
        x_BRT = self.mask(features)
        height_R1 = torch.linspace(-1, 1, x_BRT.shape[1], dtype=x_BRT.dtype, device=x_BRT.device)[:, None]
        # Channels last in memory, which doubles the speed of these convolutions on CPUs.
        x_BRTC = torch.stack([x_BRT, height_R1.expand_as(x_BRT)], dim=-1)
        x_BCRT = self.layers(x_BRTC.permute(0, 3, 1, 2))
        pooled_BFT = torch.cat([x_BCRT.mean(2), x_BCRT.amax(2)], 1)
        output: dict[str, Tensor] = self.moments(self.slices(pooled_BFT))
        return output


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(_convolution(before, after, kernel_size=3, stride=1), nn.MaxPool2d(2))


def _convolution(before: int, after: int, kernel_size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


register(
    ModelSpec(
        name="spectrogram-cnn",
        modality="audio",
        summary="Log spectrogram and a CNN that knows the frequency of what it sees",
        config=SpectrogramConfig,
        build=SpectrogramNet,
        prep=AudioPrep(front_end=FrontEnd(kind="spectrogram", deltas=False)),
        recipe=Recipe(
            epochs=30,
            batch_size=16,
            optimizer=Optimizer(lr=1e-3, weight_decay=0.05),
            ema_decay=0.99,
            augment=Augment(level="advanced"),
        ),
        search={
            "recipe.optimizer.lr": Range(low=2e-4, high=4e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
            "recipe.augment.level": Choice(values=("basic", "advanced")),
            "model.dropout": Range(low=0.1, high=0.7),
            "model.masks.rows": Range(low=0.0, high=0.3),
        },
    )
)
