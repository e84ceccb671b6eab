"""A detector of clips that weighs residual statistics of the face, frame by frame.

The front counts how often each run of small differences occurs inside the face, and has nothing to train:
some tens of clips are enough to start. Comparing with what is beside the face was tried and left out: on
the real clips at hand it told less than the face by itself.
"""

import torch
from torch import Tensor, nn

from deepscan.media.source import Sampling
from deepscan.modalities.video import VideoPrep
from deepscan.models import ModelSpec, register
from deepscan.models.statistics import GAIN, LARGEST, Members, StatisticsConfig
from deepscan.nn.recurrent import repeat_real
from deepscan.nn.runs import RUNS, count_runs, differences, to_ycc
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, Schedule

SCALES = 2
FEATURES = SCALES * 3 * RUNS


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


class ClipStatisticsNet(nn.Module):
    """Measurements of every frame, weighed by small networks; a clip's logit is the mean of its frames'."""

    def __init__(self, config: StatisticsConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.front = FaceRuns()
        self.normalize = nn.BatchNorm1d(FEATURES, eps=1e-10, affine=False)
        self.members = Members(FEATURES, config)

    def forward(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``member_logits`` [B, members], ``moment_logit`` and ``attention`` [B, T].

        Args:
            frames: Uint8 [B, T, S, S, 3].
            mask: Uint8 [B, T], 1 for the first frames of each clip, which are real, 0 for its padding.
        """
        mask_BT = mask.bool()
        measured_NF = self.front(repeat_real(frames, mask_BT).flatten(0, 1))
        weighted_NF = self.normalize(measured_NF).clamp(-LARGEST, LARGEST) * (GAIN / FEATURES**0.5)
        logit_BTM = self.members(weighted_NF).unflatten(0, frames.shape[:2])
        share_BT = mask_BT / mask_BT.sum(1, keepdim=True)
        logit_BM = (logit_BTM * share_BT[..., None]).sum(1)
        moment_BT = logit_BTM.mean(2) * mask_BT
        return {
            "logit": logit_BM.mean(1),
            "member_logits": logit_BM,
            "moment_logit": moment_BT,
            "attention": share_BT,
        }


register(
    ModelSpec(
        name="clip-statistics",
        modality="video",
        summary="Residual statistics of the face, frame by frame: learns from few clips, on a CPU",
        config=StatisticsConfig,
        build=ClipStatisticsNet,
        prep=VideoPrep(sampling=Sampling(count=8), segments=4, size_px=192, margin=0.0),
        recipe=Recipe(
            epochs=20,
            batch_size=8,
            clip_norm=0.0,
            amp="off",
            optimizer=Optimizer(lr=2e-2, weight_decay=1e-2),
            schedule=Schedule(warmup=0.1, final=0.0),
            augment=Augment(level="flip"),
        ),
        search={
            "recipe.optimizer.lr": Range(low=1e-3, high=5e-2, log=True),
            "model.members": Choice(values=(1, 2, 4, 8)),
            "model.dropout": Range(low=0.1, high=0.6),
        },
    )
)
