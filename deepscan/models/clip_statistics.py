"""A detector of clips that compares how a face was recorded with how its surroundings were.

Whatever camera and codec do to a frame they do to all of it; a face that was put in later went another
way. So residual statistics are counted inside the face and beside it, and small networks weigh the
former and the difference of both. The front has nothing to train: some tens of clips are enough to start.
"""

import torch
from torch import Tensor, nn

from deepscan.media.source import Sampling
from deepscan.modalities.video import VideoPrep
from deepscan.models import ModelSpec, register
from deepscan.models.statistics import GAIN, LARGEST, Members, StatisticsConfig
from deepscan.nn.recurrent import repeat_real
from deepscan.nn.runs import RUN, RUNS, count_runs, differences, to_ycc
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, Schedule

INNER = (0.33, 0.67)
"""From where to where a crop shows the middle of the face, as a share of its side."""

BESIDE = 0.18
"""How much of a crop's side, left and right, shows what is beside the face."""

SCALES = 3
FEATURES = 2 * SCALES * 3 * RUNS


class Contrast(nn.Module):
    """The fixed front: uint8 [N, S, S, 3] to co-occurrences, float [N, 11250].

    The first half is that of the face, the second by how much it differs from that of its sides.
    """

    @torch.no_grad()
    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """Return the measurements.

        Raises:
            ConfigError: The pictures are too small; from 64 px on they are not.
        """
        with torch.autocast(pixels_NHWC.device.type, enabled=False):
            ycc_NCHW = to_ycc(pixels_NHWC.permute(0, 3, 1, 2).float())
            inside, contrast = [], []
            for levels_NCHW in differences(ycc_NCHW, SCALES):
                side = levels_NCHW.shape[-1]
                begin, end, strip = (
                    round(INNER[0] * side),
                    round(INNER[1] * side),
                    max(RUN, round(BESIDE * side)),
                )
                face = count_runs(levels_NCHW[..., begin:end, begin:end])
                beside = (count_runs(levels_NCHW[..., :strip]) + count_runs(levels_NCHW[..., -strip:])) / 2
                inside.append(face.sqrt().flatten(1))
                contrast.append((face.sqrt() - beside.sqrt()).flatten(1))
            return torch.cat([*inside, *contrast], 1)


class ClipStatisticsNet(nn.Module):
    """Measurements of every frame, weighed by small networks; a clip's logit is the mean of its frames'."""

    def __init__(self, config: StatisticsConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.front = Contrast()
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
        summary="Residual statistics of the face against its surroundings: learns from few clips, on a CPU",
        config=StatisticsConfig,
        build=ClipStatisticsNet,
        prep=VideoPrep(sampling=Sampling(count=8), segments=4, size_px=448, margin=0.7),
        recipe=Recipe(
            epochs=15,
            batch_size=8,
            clip_norm=0.0,
            amp="off",
            optimizer=Optimizer(lr=1e-2, weight_decay=1e-2),
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
