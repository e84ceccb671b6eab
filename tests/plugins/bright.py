"""A detector whose answers can be computed by hand: the brighter a picture, the more it looks fake."""

import dataclasses

import torch
from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BrightConfig:
    """Nothing can be set."""


class Bright(nn.Module):
    """logit = level / 10 - 10 for a grey picture of that level, so that level 100 is in the middle."""

    def __init__(self, config: BrightConfig) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"logit": self.slope * (pixels.to(torch.float32).mean((1, 2, 3)) - 100)}


register(
    ModelSpec(
        name="bright",
        modality="image",
        summary="For tests.",
        config=BrightConfig,
        build=Bright,
        prep=ImagePrep(region="whole", size_px=32),
    )
)
