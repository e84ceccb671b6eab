"""Clips as sequences of frames: a trunk sees each frame, recurrent cells read them in order.

Trunk, cell and sizes are settings of one network; the names registered here are points in that space
that the field knows well. What each moment says by itself is kept apart, so that the seconds that look
fake can be told.
"""

import dataclasses
from typing import Any, Literal

from torch import Tensor, nn

from deepscan.errors import AssetError
from deepscan.media.source import Sampling
from deepscan.modalities.video import VideoPrep
from deepscan.models import ModelSpec, register
from deepscan.models.efficientnet import B0
from deepscan.models.mobilenet import V2
from deepscan.models.resnet import R50
from deepscan.nn.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from deepscan.nn.recurrent import Cell, repeat_real
from deepscan.nn.residuals import MeanAndDeviation, Residuals, full_resolution
from deepscan.nn.sequence import Sequence, SequenceConfig
from deepscan.nn.trunks import PublicTrunk, trunk_of
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, SearchSpace

Trunk = Literal["efficientnet-b0", "mobilenet-v2", "resnet-50", "residual"]

PUBLIC: dict[Trunk, PublicTrunk] = {"efficientnet-b0": B0, "mobilenet-v2": V2, "resnet-50": R50}
RESIDUAL_CHANNELS = (12, 24, 48, 64)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RecurrentConfig(SequenceConfig):
    """Settings of the network.

    Attributes:
        trunk: What sees a frame: a public network, or ``residual``, a small one of our own that reads
            high-pass residuals at full resolution.
    """

    trunk: Trunk = "efficientnet-b0"


class RecurrentNet(nn.Module):
    """Every frame through front, trunk and pooling, then all of them in order.

    Attributes:
        public: The trunk as the public knows it; None = it is ours, and there are no weights for it.
        front: uint8 [N, H, W, 3] -> float [N, C, H, W].
        trunk: float [N, C, H, W] -> float [N, C', H', W'].
        pool: float [N, C', H', W'] -> float [N, F].
        sequence: float [B, T, F] and the mask -> what the network returns.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.public = PUBLIC.get(config.trunk)
        self.front, self.trunk, self.pool, features = _parts(self.public)
        self.sequence = Sequence(features, config)

    def forward(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``moment_logit`` and ``attention`` [B, T], all float32.

        Args:
            frames: Uint8 [B, T, H, W, 3].
            mask: Uint8 [B, T], 1 for the first frames of each clip, which are real, 0 for its padding.
        """
        mask_BT = mask.bool()
        x_NCHW = self.trunk(self.front(repeat_real(frames, mask_BT).flatten(0, 1)))
        x_BTF = self.pool(x_NCHW).unflatten(0, frames.shape[:2])
        scored: dict[str, Tensor] = self.sequence(x_BTF, mask_BT)
        return scored


def fill_trunk(model: Any) -> None:
    """Load ImageNet weights into the trunk that a model of this file, or alike, was built with.

    Raises:
        AssetError: There are none for it, or they cannot be fetched.
    """
    if model.public is None:
        msg = f"The trunk 'residual' has no public weights; set model.trunk to one of {', '.join(PUBLIC)}."
        raise AssetError(msg)
    model.public.fill(model)


def _parts(public: PublicTrunk | None) -> tuple[nn.Module, nn.Module, nn.Module, int]:
    """Return front, trunk and pooling of a frame, and how many features come out."""
    if public is None:
        layers = full_resolution(Residuals.channels, RESIDUAL_CHANNELS)
        return Residuals(), layers, MeanAndDeviation(), 2 * RESIDUAL_CHANNELS[-1]
    mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Normalize(IMAGENET_MEAN, IMAGENET_STD), public.build(), mean, public.channels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EfficientNetBiGru(RecurrentConfig):
    """EfficientNet-B0 read by GRU cells in both directions."""

    cell: Cell = "gru"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MobileNetLstm(RecurrentConfig):
    """MobileNetV2 read by fewer LSTM cells, from the first frame to the last."""

    trunk: Trunk = "mobilenet-v2"
    units: tuple[int, ...] = (128,)
    bidirectional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MobileNetGru(MobileNetLstm):
    """MobileNetV2 read by GRU cells."""

    cell: Cell = "gru"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResNetBiLstm(RecurrentConfig):
    """ResNet-50 read by LSTM cells in both directions."""

    trunk: Trunk = "resnet-50"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResNetBiGru(ResNetBiLstm):
    """ResNet-50 read by GRU cells in both directions."""

    cell: Cell = "gru"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaperedConfig(RecurrentConfig):
    """Three layers of fewer and fewer cells, after attention between the frames."""

    units: tuple[int, ...] = (256, 128, 64)
    bidirectional: bool = False
    heads: int = 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResidualGru(RecurrentConfig):
    """The trunk of our own, small enough to be trained from scratch on a CPU."""

    trunk: Trunk = "residual"
    cell: Cell = "gru"
    units: tuple[int, ...] = (64,)
    bidirectional: bool = False
    dropout: float = 0.3


PREP = VideoPrep(sampling=Sampling(count=16), size_px=224)
"""One for all that have a public trunk, so that several detectors of a clip prepare it once."""

RECIPE = Recipe(epochs=15, batch_size=8, accumulate=2, optimizer=Optimizer(lr=3e-4))

SEARCH: SearchSpace = {
    "recipe.optimizer.lr": Range(low=3e-5, high=2e-3, log=True),
    "recipe.optimizer.trunk_lr_scale": Choice(values=(0.1, 0.3, 1.0)),
    "model.cell": Choice(values=("lstm", "gru")),
    "model.bidirectional": Choice(values=(False, True)),
    "model.dropout": Range(low=0.0, high=0.5),
}


def _spec(name: str, summary: str, config: type[RecurrentConfig]) -> ModelSpec:
    return ModelSpec(
        name=name,
        modality="video",
        summary=summary,
        config=config,
        build=RecurrentNet,
        prep=PREP,
        recipe=RECIPE,
        search=SEARCH,
        trunk=trunk_of,
        imagenet=fill_trunk,
    )


register(_spec("efficientnet-b0-bilstm", "EfficientNet-B0, then LSTM both ways", RecurrentConfig))
register(_spec("efficientnet-b0-bigru", "EfficientNet-B0, then GRU both ways", EfficientNetBiGru))
register(_spec("mobilenet-v2-lstm", "MobileNetV2, then a small LSTM: for CPUs", MobileNetLstm))
register(_spec("mobilenet-v2-gru", "MobileNetV2, then a small GRU: for CPUs", MobileNetGru))
register(_spec("resnet-50-bilstm", "ResNet-50, then LSTM both ways: for a GPU", ResNetBiLstm))
register(_spec("resnet-50-bigru", "ResNet-50, then GRU both ways: for a GPU", ResNetBiGru))
register(
    _spec(
        "recurrent-256-128-64",
        "EfficientNet-B0, attention between frames, then LSTM layers of 256, 128 and 64",
        TaperedConfig,
    )
)
register(
    dataclasses.replace(
        _spec("residual-gru", "High-pass residuals at full resolution, then GRU, from scratch", ResidualGru),
        prep=VideoPrep(sampling=Sampling(count=8), size_px=112),
        recipe=Recipe(
            epochs=30,
            batch_size=8,
            optimizer=Optimizer(lr=2e-3, weight_decay=0.05),
            ema_decay=0.99,
            augment=Augment(level="flip"),
        ),
        search={
            "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
            "model.cell": Choice(values=("lstm", "gru")),
            "model.dropout": Range(low=0.0, high=0.5),
        },
        trunk=None,
        imagenet=None,
    )
)
