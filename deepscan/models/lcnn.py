"""A light network on linear-frequency cepstra, the small-model choice of the spoofing challenges."""

import dataclasses

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
from deepscan.nn.timeline import Rows, Slices, require_halvings
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LcnnConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        rows: Rows of the features; has to agree with ``prep.front_end``.
        masks: What SpecAugment hides in training.
        channels: Channels of the stages, each of which halves rows and frames.
        moments: Slices of a window that are judged by themselves.
    """

    dropout: float = 0.4
    rows: int = 60
    masks: MaskConfig = MaskConfig()
    channels: tuple[int, ...] = (16, 32, 48, 48)
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
        if self.rows < 2 ** len(self.channels):
            msg = f"Setting 'rows' is halved {len(self.channels)} times, it cannot be {self.rows}."
            raise ConfigError(msg)


class MaxFeatureMap(nn.Module):
    """Keeps the larger of two halves of the channels: float [B, 2 C, ...] -> float [B, C, ...].

    A competition between filters in the place of a threshold (Wu, He, Sun and Tan, TIFS 2018, eq. 2).
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the winners."""
        return torch.maximum(*x_BCHW.chunk(2, dim=1))


class LightCnn(nn.Module):
    """Stages of max-feature-map convolutions, slices of time, their logits and weights.

    The layout of the stages is that of Lavrentyeva et al. (Interspeech 2019), with fewer channels.
    """

    def __init__(self, config: LcnnConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.rows = Rows(config.rows)
        self.mask = SpecAugment(config.masks)
        before = config.channels[0]
        stages = [nn.Sequential(_max_out(1, before, 5), nn.MaxPool2d(2))]
        for after in config.channels[1:]:
            stages.append(_stage(before, after))
            before = after
        self.stages = nn.Sequential(*stages)
        he_normal(self.stages)
        self.slices = Slices(config.moments)
        rows_left = config.rows // 2 ** len(config.channels)
        self.moments = Moments(2 * before * rows_left, config.widths, config.dropout)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return logit, moment_logit and attention for float [B, rows, T].

        Raises:
            ConfigError: The features have other rows than the network was built for, or too few frames.
        """
        require_halvings(features, len(self.stages))
        x_BCRT = self.stages(self.mask(self.rows(features))[:, None])
        output: dict[str, Tensor] = self.moments(self.slices(x_BCRT.flatten(1, 2)))
        return output


def _stage(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        _max_out(before, before, 1),
        nn.BatchNorm2d(before),
        _max_out(before, after, 3),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(after),
    )


def _max_out(before: int, after: int, kernel_size: int) -> nn.Sequential:
    conv = nn.Conv2d(before, 2 * after, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(conv, MaxFeatureMap())


register(
    ModelSpec(
        name="lfcc-lcnn",
        modality="audio",
        summary="LFCC with deltas and a light CNN of max-feature-maps",
        config=LcnnConfig,
        build=LightCnn,
        prep=AudioPrep(front_end=FrontEnd(kind="lfcc")),
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
