"""A small network over the measures of a voice: evidence that was trained to vote."""

import dataclasses

import torch
from torch import Tensor, nn

from deepscan.media.spectra import FrontEnd
from deepscan.media.voice import NAMES
from deepscan.modalities.audio import AudioPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.recipe import Augment, Optimizer, Range, Recipe

RARE = 3.0
"""Measures so many deviations from their mean are about as telling as those further off."""

GAIN = 8.0
"""Few measures, small steps: larger numbers let the first layer learn as fast as the last."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VoiceConfig(HeadConfig):
    """Settings of the network: those of any head; no dense layers make a logistic regression."""

    widths: tuple[int, ...] = (64,)


class VoiceModel(nn.Module):
    """Brings every measure to mean 0 and deviation 1, and scores them."""

    def __init__(self, config: VoiceConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.standardize = nn.BatchNorm1d(len(NAMES), affine=False)
        self.head = Head(len(NAMES), config.widths, config.dropout)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the logit for the measures of a window, float32 [B, measures, 1]."""
        x_BF = self.standardize(features[..., 0])
        return {"logit": self.head(torch.tanh(x_BF / RARE) * RARE * GAIN)}


register(
    ModelSpec(
        name="voice",
        modality="audio",
        summary="Pitch, jitter, shimmer, tilt, breaths and pauses, in a small network",
        config=VoiceConfig,
        build=VoiceModel,
        prep=AudioPrep(front_end=FrontEnd(kind="voice")),
        recipe=Recipe(epochs=30, batch_size=32, optimizer=Optimizer(lr=5e-3), augment=Augment(level="none")),
        search={
            "recipe.optimizer.lr": Range(low=5e-4, high=2e-2, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-4, high=1e-1, log=True),
            "model.dropout": Range(low=0.0, high=0.5),
        },
    )
)
