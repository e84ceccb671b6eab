"""A detector of clips that weighs how residual statistics change from frame to frame.

The front counts how often each run of small differences occurs in the face; what is weighed is by how much
the counts change between sampled frames. A camera and a codec stay as they are through a clip, so the change
says little about them and more about a face that is made anew for every frame. The reading is linear, so some
tens of clips are enough to start, and a clip's logit is the mean of its moments'. On made clips the counts
themselves, and their difference from what is beside the face, told less; the real clips at hand are too few
to tell.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.errors import ConfigError
from deepscan.media.source import Sampling
from deepscan.modalities.video import VideoPrep
from deepscan.models import ModelSpec, register
from deepscan.models.statistics import GAIN, LARGEST, steady_norm
from deepscan.nn.recurrent import repeat_real
from deepscan.nn.runs import RUNS, count_runs, differences, to_ycc
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, Schedule

SCALES = 2
FEATURES = SCALES * 3 * RUNS


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipStatisticsConfig:
    """Settings of the trained part.

    Attributes:
        dropout: Share of the measurements that are dropped in training, in [0, 1).
    """

    dropout: float = 0.2

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ConfigError: It is out of range.
        """
        if not 0 <= self.dropout < 1:
            msg = f"Setting 'dropout' is in [0, 1), not {self.dropout}."
            raise ConfigError(msg)


class FaceRuns(nn.Module):
    """The fixed front: uint8 [N, S, S, 3] to the roots of co-occurrences, float [N, 3750]."""

    @torch.no_grad()
    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """Return the measurements.

        Raises:
            ConfigError: The pictures are too small to count in.
        """
        with torch.autocast(pixels_NHWC.device.type, enabled=False):
            ycc_NCHW = to_ycc(pixels_NHWC.permute(0, 3, 1, 2).float())
            groups = [count_runs(levels).sqrt().flatten(1) for levels in differences(ycc_NCHW, SCALES)]
            return torch.cat(groups, 1)


def changes(x_BTF: Tensor, mask_BT: Tensor) -> Tensor:
    """Return by how much each real moment differs from those beside it, in the mean, [B, T, F]; else 0.

    Args:
        x_BTF: Measurements.
        mask_BT: True for the first moments of each row, which are real.
    """
    step_BTF = (x_BTF[:, 1:] - x_BTF[:, :-1]).abs() * mask_BT[:, 1:, None]
    before_BTF, after_BTF = (functional.pad(step_BTF, (0, 0, *side)) for side in ((1, 0), (0, 1)))
    before_BT, after_BT = (functional.pad(mask_BT[:, 1:].float(), side) for side in ((1, 0), (0, 1)))
    return (before_BTF + after_BTF) / (before_BT + after_BT).clamp(min=1)[..., None]


class ClipStatisticsNet(nn.Module):
    """The changes beside every frame, normalised and weighed."""

    def __init__(self, config: ClipStatisticsConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.front = FaceRuns()
        self.normalize = steady_norm(FEATURES)
        self.dropout = nn.Dropout(config.dropout)
        self.weigh = nn.Linear(FEATURES, 1)

    def forward(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``moment_logit`` and ``attention`` [B, T].

        Args:
            frames: Uint8 [B, T, S, S, 3].
            mask: Uint8 [B, T], 1 for the first frames of each clip, which are real, 0 for its padding.
        """
        mask_BT = mask.bool()
        measured_BTF = self.front(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        changed_NF = repeat_real(changes(measured_BTF, mask_BT), mask_BT).flatten(0, 1)
        weighted_NF = self.normalize(changed_NF).clamp(-LARGEST, LARGEST) * (GAIN / FEATURES**0.5)
        logit_BT = self.weigh(self.dropout(weighted_NF)).float().view(mask_BT.shape)
        share_BT = mask_BT / mask_BT.sum(1, keepdim=True)
        return {
            "logit": (logit_BT * share_BT).sum(1),
            "moment_logit": logit_BT * mask_BT,
            "attention": share_BT,
        }


register(
    ModelSpec(
        name="clip-statistics",
        modality="video",
        summary="How residual statistics change from frame to frame: learns from few clips, on a CPU",
        config=ClipStatisticsConfig,
        build=ClipStatisticsNet,
        prep=VideoPrep(sampling=Sampling(count=8), segments=4, size_px=192, margin=0.0),
        recipe=Recipe(
            epochs=20,
            batch_size=8,
            clip_norm=0.0,
            amp="off",
            optimizer=Optimizer(lr=1e-2, weight_decay=1e-2),
            schedule=Schedule(warmup=0.1, final=0.0),
            augment=Augment(level="flip"),
        ),
        search={
            "recipe.optimizer.lr": Range(low=1e-3, high=5e-2, log=True),
            "recipe.epochs": Choice(values=(10, 20, 40)),
            "model.dropout": Range(low=0.0, high=0.5),
        },
    )
)
