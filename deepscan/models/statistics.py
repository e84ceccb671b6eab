"""A detector that weighs residual statistics of a picture; learns from little data in minutes, on a CPU.

A fixed front measures, and small networks side by side weigh the measurements:

- *co-occurrences*: differences of neighbouring pixels in Y, Cb and Cr, rounded to five levels and counted
  four in a row, at the picture's size and at halves, quarters and eighths of it;
- *tones*: the histogram of each colour, and how many pixels lie at the ends of the range;
- *maps*: where the mean colour, its spread and the high-pass energy lie.

The maps know how faces are placed in a data set; on pictures that are framed otherwise they say less.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.errors import ConfigError
from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.runs import RUNS, SCALES, count_runs, differences, histogram, reduced, to_ycc
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, Schedule

ENDS = (0, 1, 2, 253, 254, 255)
TONES = 64
COLOR_GRID = 16
ENERGY_GRID = 8
ENERGY_SCALES = (1, 2, 4)
GROUPS = (
    *((3 * RUNS, 1.0) for _ in SCALES),
    (3 * len(ENDS), 0.7),
    (3 * TONES, 0.7),
    *((3 * COLOR_GRID**2, 1.2) for _ in ("mean", "spread")),
    *((3 * ENERGY_GRID**2, 1.2) for _ in ENERGY_SCALES),
)
"""Length and weight of every group of measurements, in the order of ``Statistics``."""

GAIN = 4.0
LARGEST = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StatisticsConfig:
    """Settings of the trained part.

    Attributes:
        members: Networks side by side, each trained by its own loss; their logits are averaged.
        hidden: Neurons of each.
        dropout: Share of measurements, and of neurons, dropped in training, in [0, 1).
    """

    members: int = 4
    hidden: int = 64
    dropout: float = 0.3

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        if self.members < 1 or self.hidden < 1 or not 0 <= self.dropout < 1:
            msg = f"Settings 'members' and 'hidden' are at least 1, 'dropout' is in [0, 1), not {self}."
            raise ConfigError(msg)


class Statistics(nn.Module):
    """The fixed front: uint8 [B, H, W, 3] to groups of measurements, each float [B, n].

    It treats every picture alone and has nothing to train.

    Attributes:
        high_pass: float [1, 1, 3, 3].
    """

    high_pass: Tensor

    def __init__(self) -> None:
        """Create the filters."""
        super().__init__()
        square = ((-0.25, 0.5, -0.25), (0.5, -1.0, 0.5), (-0.25, 0.5, -0.25))
        self.register_buffer("high_pass", torch.tensor(square)[None, None])

    @torch.no_grad()
    def forward(self, pixels_BHWC: Tensor) -> list[Tensor]:
        """Return the groups, in the order of ``GROUPS``.

        Raises:
            ConfigError: The pictures are smaller than 32 px.
        """
        with torch.autocast(pixels_BHWC.device.type, enabled=False):
            rgb_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float().contiguous()
            ycc_BCHW = to_ycc(rgb_BCHW)
            runs = [count_runs(levels_BCHW).sqrt().flatten(1) for levels_BCHW in differences(ycc_BCHW)]
            return [*runs, *_tones(pixels_BHWC), *_colors(rgb_BCHW), *self._energies(ycc_BCHW)]

    def _energies(self, ycc_BCHW: Tensor) -> list[Tensor]:
        groups = []
        for scale in ENERGY_SCALES:
            planes = reduced(ycc_BCHW, scale).flatten(0, 1)[:, None]
            energy = functional.conv2d(planes, self.high_pass, padding=1).abs()
            mapped = functional.adaptive_avg_pool2d(energy, ENERGY_GRID)
            groups.append((mapped + 0.2).log().view(ycc_BCHW.shape[0], -1))
        return groups


def _tones(pixels_BHWC: Tensor) -> list[Tensor]:
    colors = pixels_BHWC.flatten(1, 2).transpose(1, 2).flatten(0, 1)
    share = (histogram(colors, 256) / colors.shape[1]).view(pixels_BHWC.shape[0], 3, 256)
    coarse = share.view(pixels_BHWC.shape[0], 3, TONES, -1).sum(3)
    return [(share[..., list(ENDS)] + 1e-5).log().flatten(1), coarse.sqrt().flatten(1)]


def _colors(rgb_BCHW: Tensor) -> list[Tensor]:
    mean = functional.adaptive_avg_pool2d(rgb_BCHW, COLOR_GRID)
    square = functional.adaptive_avg_pool2d(rgb_BCHW.square(), COLOR_GRID)
    spread = (square - mean.square()).clamp(min=0).sqrt()
    return [mean.flatten(1) / 64, (spread + 0.5).log().flatten(1)]


def steady_norm(features: int) -> nn.BatchNorm1d:
    """Return a normalisation to mean 0 and deviation 1 that remembers all batches alike.

    The measurements do not change as the training goes on, and their variances are so small that the usual
    moving average would show its own begin, 1, for a hundred batches and more.
    """
    return nn.BatchNorm1d(features, eps=1e-10, momentum=None, affine=False)


class Members(nn.Module):
    """Small networks side by side: float [B, F] to logits, float32 [B, members]."""

    def __init__(self, features: int, config: StatisticsConfig) -> None:
        """Create the networks with fresh weights."""
        super().__init__()
        self.hide = nn.Parameter(torch.randn(config.members, features, config.hidden))
        self.settle = nn.BatchNorm1d(config.members * config.hidden)
        self.decide = nn.Parameter(torch.randn(config.members, config.hidden) / config.hidden**0.5)
        self.bias = nn.Parameter(torch.zeros(config.members))
        self.dropout = config.dropout

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return each member's logit; every member drops measurements of its own choice."""
        x_MBF = x_BF.expand(len(self.hide), *x_BF.shape)
        x_MBF = functional.dropout(x_MBF, self.dropout, self.training)
        hidden = torch.bmm(x_MBF, self.hide).transpose(0, 1)
        hidden = self.settle(hidden.flatten(1)).relu().view_as(hidden)
        hidden = functional.dropout(hidden, self.dropout, self.training)
        return (hidden.float() * self.decide).sum(2) + self.bias


class StatisticsNet(nn.Module):
    """Measurements, a normalisation that gives every group its say, and the members.

    Attributes:
        weight: float [F], scale of every normalised measurement.
    """

    weight: Tensor

    def __init__(self, config: StatisticsConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.statistics = Statistics()
        weight = torch.cat([torch.full((n,), GAIN * weight / n**0.5) for n, weight in GROUPS])
        self.register_buffer("weight", weight)
        self.normalize = steady_norm(len(weight))
        self.members = Members(len(weight), config)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B] and ``member_logits`` [B, members] for uint8 [B, H, W, 3]."""
        measured_BF = torch.cat(self.statistics(pixels), 1)
        weighted_BF = self.normalize(measured_BF).clamp(-LARGEST, LARGEST) * self.weight
        logit_BM = self.members(weighted_BF)
        return {"logit": logit_BM.mean(1), "member_logits": logit_BM}


register(
    ModelSpec(
        name="statistics",
        modality="image",
        summary="Residual statistics weighed by small networks: learns from little data in minutes",
        config=StatisticsConfig,
        build=StatisticsNet,
        prep=ImagePrep(size_px=256, region="whole"),
        recipe=Recipe(
            epochs=15,
            batch_size=32,
            clip_norm=0.0,
            amp="off",
            optimizer=Optimizer(lr=2e-2, weight_decay=1e-2),
            schedule=Schedule(warmup=0.1, final=0.0),
            augment=Augment(level="flip"),
        ),
        search={
            "recipe.optimizer.lr": Range(low=3e-3, high=5e-2, log=True),
            "recipe.epochs": Choice(values=(10, 15, 25)),
            "model.members": Choice(values=(1, 2, 4, 8)),
            "model.dropout": Range(low=0.1, high=0.6),
        },
    )
)
