"""A model that trains in a second, registered as a user would: by a file outside the package."""

import dataclasses
import os
import pathlib
import signal

import torch
from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.recipe import Augment, Optimizer, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TinyConfig:
    """``crash`` names a file: while it is there, the next training step removes it and kills the process."""

    width: int = 8
    dropout: float = 0.2
    crash: str = ""


class Tiny(nn.Module):
    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.crash = config.crash
        self.layers = nn.Sequential(
            nn.Conv2d(3, config.width, 3, stride=2),
            nn.BatchNorm2d(config.width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, 1),
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        if self.training and self.crash and pathlib.Path(self.crash).exists():
            pathlib.Path(self.crash).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        x_BCHW = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255 - 0.5
        return {"logit": self.layers(x_BCHW).flatten().float()}


register(
    ModelSpec(
        name="tiny",
        modality="image",
        summary="For tests.",
        config=TinyConfig,
        build=Tiny,
        prep=ImagePrep(region="whole", size_px=32),
        recipe=Recipe(epochs=3, batch_size=4, optimizer=Optimizer(lr=0.01), augment=Augment(level="basic")),
    )
)
