"""A model that fails as nobody foresees: black pictures raise an error, white ones end the process."""

import dataclasses
import os

import torch
from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.recipe import Augment, Optimizer, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FragileConfig:
    """Nothing can be set."""


class Fragile(nn.Module):
    def __init__(self, config: FragileConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        mean_B = pixels.to(torch.float32).mean((1, 2, 3)) / 255
        if float(mean_B.min()) == 0:
            raise ZeroDivisionError
        if float(mean_B.max()) == 1:
            os._exit(1)
        return {"logit": self.weight * mean_B}


register(
    ModelSpec(
        name="fragile",
        modality="image",
        summary="For tests.",
        config=FragileConfig,
        build=Fragile,
        prep=ImagePrep(region="whole", size_px=32),
        recipe=Recipe(epochs=1, batch_size=4, optimizer=Optimizer(lr=0.01), augment=Augment(level="none")),
    )
)
