"""A residual network on the waveform itself, for traces that spectra of fixed frames average away."""

import dataclasses
from itertools import pairwise

import torch
from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.media.sound import SOUND_RATE_HZ
from deepscan.media.spectra import FrontEnd
from deepscan.modalities.audio import AudioPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import HeadConfig
from deepscan.nn.moments import Moments
from deepscan.nn.sinc import SincFilters
from deepscan.nn.specaugment import MaskConfig, SpecAugment
from deepscan.nn.timeline import Slices
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe

STRIDE = 4
"""Samples between two values of a band: bands fold below 2 kHz, their magnitudes stay what they are."""

POOL = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SincConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        bands: Band-pass filters.
        taps: Length of a filter in samples at 16 kHz, odd.
        masks: What SpecAugment hides of the bands in training.
        channels: Channels of the residual blocks, each of which keeps every third frame.
        moments: Slices of a window that are judged by themselves.
    """

    dropout: float = 0.3
    bands: int = 48
    taps: int = 129
    masks: MaskConfig = MaskConfig()
    channels: tuple[int, ...] = (48, 64, 96, 128)
    moments: int = 8

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        HeadConfig.__post_init__(self)
        if min(self.bands, self.moments, *self.channels) < 1 or self.taps < 3 or self.taps % 2 == 0:
            msg = (
                "Settings 'bands', 'moments' and each of 'channels' are at least 1 and 'taps' is odd and"
                f" at least 3, not {self.bands}, {self.moments}, {self.channels} and {self.taps}."
            )
            raise ConfigError(msg)


class Block(nn.Module):
    """Two convolutions around which the input passes, fewer frames, and a scale for every channel.

    float [B, C, T] -> float [B, C', T // 3]. Channels are weighed by what they hold over the whole
    window (feature map scaling: Jung et al., Interspeech 2020).
    """

    def __init__(self, before: int, after: int) -> None:
        """Create the block from ``before`` to ``after`` channels."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(before),
            nn.LeakyReLU(0.3),
            nn.Conv1d(before, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm1d(after),
            nn.LeakyReLU(0.3),
            nn.Conv1d(after, after, kernel_size=3, padding=1),
        )
        self.past = nn.Identity() if before == after else nn.Conv1d(before, after, kernel_size=1)
        self.pool = nn.MaxPool1d(POOL)
        self.scale = nn.Linear(after, after)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return the features of a third of the frames."""
        x_BCT = self.pool(self.layers(x_BCT) + self.past(x_BCT))
        scale_BC1 = torch.sigmoid(self.scale(x_BCT.mean(2)))[:, :, None]
        return x_BCT * (1 + scale_BC1)


class SincNet(nn.Module):
    """Learnt band passes, their magnitudes, residual blocks over time, slices, their logits and weights.

    In the family of RawNet2 (Tak et al., ICASSP 2021), with bands sampled at a quarter of the rate and
    statistics of slices in the place of its recurrent layer.
    """

    def __init__(self, config: SincConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.bands = SincFilters(config.bands, config.taps, STRIDE, SOUND_RATE_HZ)
        self.norm = nn.BatchNorm1d(config.bands)
        self.pool = nn.MaxPool1d(POOL)
        self.mask = SpecAugment(config.masks)
        channels = (config.bands, *config.channels)
        self.blocks = nn.Sequential(*(Block(before, after) for before, after in pairwise(channels)))
        self.slices = Slices(config.moments)
        self.moments = Moments(2 * channels[-1], config.widths, config.dropout)

    def forward(self, wave: Tensor) -> dict[str, Tensor]:
        """Return logit, moment_logit and attention for sound float [B, N] in [-1, 1]."""
        magnitude_BFT = self.pool(self.bands(wave).abs())
        x_BCT = self.blocks(self.mask(self.norm(magnitude_BFT)))
        output: dict[str, Tensor] = self.moments(self.slices(x_BCT))
        return output


register(
    ModelSpec(
        name="sinc-resnet",
        modality="audio",
        summary="Waveform, learnt band-pass filters and residual blocks",
        config=SincConfig,
        build=SincNet,
        prep=AudioPrep(front_end=FrontEnd(kind="wave")),
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
            "model.dropout": Range(low=0.1, high=0.6),
            "model.bands": Choice(values=(32, 48, 64)),
        },
    )
)
