"""Detectors of anomalies: networks that learn to reproduce real media, and fail on what is not.

Three kinds of one network, for pictures and for spectrograms: it reproduces its input through a
bottleneck; it removes noise (Vincent et al., ICML 2008); or the bottleneck is a distribution
(Kingma & Welling, ICLR 2014). The error of reproduction, compared with that on real training media,
is the logit. It knows nothing of fakes unless it is trained with both (``recipe.learns_from=both``).
"""

import dataclasses
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.media.spectra import FrontEnd
from deepscan.modalities.audio import AudioPrep
from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.initialize import he_normal
from deepscan.nn.normalize import Normalize
from deepscan.objectives import reconstruction
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, SearchSpace

Kind = Literal["plain", "denoising", "variational"]
MOMENTUM = 0.05
LEAST = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """Settings of an autoencoder.

    Attributes:
        kind: ``plain``, ``denoising`` or ``variational``.
        channels: Channels after each halving of the resolution.
        latent: Channels of the bottleneck.
        noise: Deviation of the noise to remove, in units of the normalised input; ``denoising`` only.
    """

    kind: Kind = "denoising"
    channels: tuple[int, ...] = (24, 48, 96)
    latent: int = 16
    noise: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        if not self.channels or min(*self.channels, self.latent) < 1:
            msg = f"Settings 'channels' and 'latent' must be at least 1, not {self.channels}, {self.latent}."
            raise ConfigError(msg)
        if self.noise < 0:
            msg = f"Setting 'noise' must be at least 0, not {self.noise}."
            raise ConfigError(msg)


class Autoencoder(nn.Module):
    """Reproduces float [B, C, H, W] and scores the error.

    Attributes:
        centre: Mean of the logarithm of the error on real training media.
        spread: Its deviation.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: AutoencoderConfig, planes: int) -> None:
        """Create the network for inputs of ``planes`` channels."""
        super().__init__()
        self.config = config
        sizes = (planes, *config.channels)
        bottleneck = config.latent * (2 if config.kind == "variational" else 1)
        self.encoder = nn.Sequential(
            *(_halved(before, after) for before, after in pairwise(sizes)),
            nn.Conv2d(sizes[-1], bottleneck, kernel_size=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent, sizes[-1], kernel_size=1),
            *(_doubled(before, after) for before, after in pairwise(sizes[:0:-1])),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(sizes[1], planes, kernel_size=3, padding=1),
        )
        he_normal(self)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B]; in training also ``error`` [B] and ``divergence`` [B].

        The logit is the logarithm of the mean squared error, in deviations above its mean on real media.
        ``divergence`` is that of the bottleneck from the unit normal distribution, in nats; 0 unless
        the network is variational.
        """
        step = 2 ** len(self.config.channels)
        height, width = (extent // step * step for extent in x_BCHW.shape[2:])
        x_BCHW = x_BCHW[..., :height, :width]
        code_BCHW, divergence_B = self._bottleneck(self.encoder(self._noisy(x_BCHW)))
        error_B = (self.decoder(code_BCHW) - x_BCHW).float().square().mean((1, 2, 3))
        # Cloned, because both change before the gradient is taken.
        logit_B = ((error_B + LEAST).log() - self.centre.clone()) / self.spread.clone()
        if not self.training:
            return {"logit": logit_B}
        return {"logit": logit_B, "error": error_B, "divergence": divergence_B}

    @torch.no_grad()
    def note(self, error_B: Tensor) -> None:
        """Let errors on real media count in ``centre`` and ``spread``, as running averages."""
        level_B = (error_B + LEAST).log()
        self.centre.lerp_(level_B.mean(), MOMENTUM)
        deviation = (level_B - self.centre).square().mean().sqrt()
        self.spread.lerp_(deviation.clamp_min(0.05), MOMENTUM)

    def _noisy(self, x_BCHW: Tensor) -> Tensor:
        if not self.training or self.config.kind != "denoising":
            return x_BCHW
        return x_BCHW + self.config.noise * torch.randn_like(x_BCHW)

    def _bottleneck(self, code_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.kind != "variational":
            return code_BCHW, code_BCHW.new_zeros(code_BCHW.shape[0])
        mean_BCHW, log_variance_BCHW = code_BCHW.chunk(2, 1)
        log_variance_BCHW = log_variance_BCHW.clamp(-10, 10)
        surplus_BCHW = mean_BCHW.square() + log_variance_BCHW.exp() - 1 - log_variance_BCHW
        divergence_B = 0.5 * surplus_BCHW.float().sum((1, 2, 3))
        if not self.training:
            return mean_BCHW, divergence_B
        sample_BCHW = mean_BCHW + torch.randn_like(mean_BCHW) * (0.5 * log_variance_BCHW).exp()
        return sample_BCHW, divergence_B


class PictureAutoencoder(Autoencoder):
    """An autoencoder of pictures."""

    def __init__(self, config: AutoencoderConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__(config, planes=3)
        self.normalize = Normalize()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Score uint8 [B, H, W, 3]; sides are cut to multiples of the network's."""
        return super().forward(self.normalize(pixels))


class SpectrumAutoencoder(Autoencoder):
    """An autoencoder of spectrograms."""

    def __init__(self, config: AutoencoderConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__(config, planes=1)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Score float32 [B, rows, frames]; both are cut to multiples of the network's."""
        return super().forward(features[:, None])


def _halved(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.LeakyReLU(0.1))


def _doubled(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(nn.Upsample(scale_factor=2), conv, nn.BatchNorm2d(after), nn.LeakyReLU(0.1))


SEARCH: SearchSpace = {
    "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
    "recipe.learns_from": Choice(values=("real", "both")),
    "model.kind": Choice(values=("plain", "denoising", "variational")),
    "model.latent": Choice(values=(4, 8, 16, 32)),
}
RECIPE = Recipe(
    epochs=20, batch_size=32, optimizer=Optimizer(lr=2e-3), augment=Augment(level="flip"), learns_from="real"
)

register(
    ModelSpec(
        name="autoencoder",
        modality="image",
        summary="Learns to reproduce real pictures; what it cannot is suspicious",
        config=AutoencoderConfig,
        build=PictureAutoencoder,
        prep=ImagePrep(size_px=128),
        recipe=RECIPE,
        search=SEARCH,
        objective=reconstruction,
        calibration="logistic",
    )
)
register(
    ModelSpec(
        name="sound-autoencoder",
        modality="audio",
        summary="Learns to reproduce spectrograms of real voices; what it cannot is suspicious",
        config=AutoencoderConfig,
        build=SpectrumAutoencoder,
        prep=AudioPrep(front_end=FrontEnd(kind="logmel", filters=64, deltas=False)),
        recipe=RECIPE,
        search=SEARCH,
        objective=reconstruction,
        calibration="logistic",
    )
)
