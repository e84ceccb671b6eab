"""Networks that look for the edge where one face was blended over another, in pictures and in clips.

It keeps full resolution in its first layers, since the edge is faint and narrow, and reads the picture and
its high-pass residuals. Pseudo-fakes tell it where the edge is, which labels alone do not. What it sees is
part of what it says: the map's mean and maximum are among the features of which the logit is made.

The network of clips looks at each frame as that of pictures does, and takes over its weights by name: there
are many more faces in pictures to learn from than people in clips.
"""

import dataclasses

import torch
from torch import Tensor, nn

from deepscan.media.source import Sampling
from deepscan.modalities.image import ImagePrep
from deepscan.modalities.video import VideoPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.normalize import Normalize
from deepscan.nn.recurrent import repeat_real
from deepscan.nn.residuals import Residuals, full_resolution
from deepscan.recipe import Augment, Choice, Optimizer, Pseudo, Range, Recipe, Schedule, SearchSpace


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BoundaryConfig(HeadConfig):
    """Settings of the network.

    Attributes:
        channels: Channels at full, half, quarter and so on of the resolution; the last is the map's.
        clip: Residuals are cut off at so many grey levels.
    """

    dropout: float = 0.3
    channels: tuple[int, ...] = (16, 32, 48, 64)
    clip: float = 6.0


class _Boundary(nn.Module):
    """Picture and residuals, two convolutions a resolution, a map of the edge, one logit."""

    def __init__(self, config: BoundaryConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.normalize = Normalize()
        self.residuals = Residuals(config.clip)
        self.layers = full_resolution(3 + Residuals.channels, config.channels)
        self.map = nn.Conv2d(config.channels[-1], 1, kernel_size=1)
        self.head = Head(2 * (config.channels[-1] + 1), config.widths, config.dropout)

    def look(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B] and ``mask_logit`` [B, h, w] for uint8 [B, H, W, 3] from 16 px on."""
        x_BCHW = torch.cat([self.normalize(pixels), self.residuals(pixels)], 1)
        features_BChw = self.layers(x_BCHW)
        mask_logit_B1hw = self.map(features_BChw)
        seen_BChw = torch.cat([features_BChw, mask_logit_B1hw], 1).float()
        pooled_BF = torch.cat([seen_BChw.mean((2, 3)), seen_BChw.amax((2, 3))], 1)
        return {"logit": self.head(pooled_BF), "mask_logit": mask_logit_B1hw[:, 0].float()}


class BoundaryNet(_Boundary):
    """The network of pictures."""

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` and ``mask_logit`` for uint8 [B, H, W, 3] of any size from 16 px on."""
        return self.look(pixels)


class BoundaryClipNet(_Boundary):
    """The network of clips: the mean of what it says of each frame."""

    def forward(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``moment_logit`` and ``attention`` [B, T], all float32.

        Args:
            frames: Uint8 [B, T, H, W, 3].
            mask: Uint8 [B, T], 1 for the first frames of each clip, which are real, 0 for its padding.
        """
        seen = self.look(repeat_real(frames, mask.bool()).flatten(0, 1))
        moment_logit_BT = seen["logit"].reshape(frames.shape[:2]) * mask
        share_BT = mask.float() / mask.float().sum(1, keepdim=True).clamp_min(1)
        logit_B = (share_BT * moment_logit_BT).sum(1)
        return {"logit": logit_B, "moment_logit": moment_logit_BT, "attention": share_BT}


_SEARCH: SearchSpace = {
    "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
    "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
    "recipe.optimizer.sam_rho": Choice(values=(0.0, 0.02, 0.05)),
    "model.clip": Range(low=1.5, high=12.0),
    "model.dropout": Range(low=0.0, high=0.5),
}

register(
    ModelSpec(
        name="boundary",
        modality="image",
        summary="Where one face was blended over another, learnt from real faces alone, from scratch",
        config=BoundaryConfig,
        build=BoundaryNet,
        prep=ImagePrep(size_px=144, margin=0.05),
        recipe=Recipe(
            epochs=120,
            batch_size=32,
            optimizer=Optimizer(lr=2e-3, weight_decay=0.05),
            schedule=Schedule(warmup=0.05),
            ema_decay=0.995,
            augment=Augment(level="delivery"),
            pseudo=Pseudo(kind="blended"),
        ),
        search=_SEARCH | {"recipe.loss.mask_weight": Range(low=0.1, high=10.0, log=True)},
    )
)

register(
    ModelSpec(
        name="boundary-clip",
        modality="video",
        summary="The same in every frame of a clip; starts best from a `boundary` of pictures",
        config=BoundaryConfig,
        build=BoundaryClipNet,
        prep=VideoPrep(sampling=Sampling(count=12), size_px=144, margin=0.05),
        recipe=Recipe(
            epochs=10,
            batch_size=8,
            optimizer=Optimizer(lr=2e-4, weight_decay=0.05),
            schedule=Schedule(warmup=0.05),
            augment=Augment(level="delivery"),
            pseudo=Pseudo(kind="self-blended"),
        ),
        search=_SEARCH,
    )
)
