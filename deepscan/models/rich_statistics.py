"""A detector of generated pictures that learns from some thousand of them, on a CPU: ridge regression.

It measures what hunters of hidden messages call a rich model: histograms of DCT coefficients at every place
of the grid of JPEG (``nn.phases``), and the co-occurrences, tones and maps of ``models.statistics``. They are
far more numbers than there are pictures to learn from, and what tells generators lies along directions in
which all pictures differ little. Steps along a gradient hardly get there, so the weights are solved for, by
ridge regression in its dual form, before the first step; the steps adjust them by little.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.models.statistics import GROUPS, LARGEST, Statistics
from deepscan.nn import phases
from deepscan.nn.heads import Logit
from deepscan.nn.phases import PhaseHistograms
from deepscan.recipe import Augment, Optimizer, Range, Recipe, Schedule, Stop

PHASES_SHARE = 0.85
"""What the histograms of DCT coefficients weigh; the groups of ``models.statistics`` share the rest."""

STEADY = 1e-5
"""Measurements whose deviation is smaller are left out: nearly all pictures have them alike."""

LENGTH = 64.0
"""Length of the vector of all standardised measurements of a picture, about."""

CERTAIN = 4.0
"""The logit of a fake that lies where the regression wants fakes to lie."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RichStatisticsConfig:
    """Settings of the trained part.

    Attributes:
        ridge: What is added to the diagonal of the kernel, as a share of what stands there, above 0. The
            larger, the smoother the solution, and the less it knows of each picture.
    """

    ridge: float = 0.05

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ConfigError: The ridge is not above 0.
        """
        if not self.ridge > 0:
            msg = f"Setting 'ridge' is above 0, it cannot be {self.ridge}."
            raise ConfigError(msg)


class RichStatistics(nn.Module):
    """Measurements, a scale for each of them, and one linear unit.

    Attributes:
        mean: float32 [F], of each measurement over the training data.
        scale: float32 [F], which brings a measurement to its share of what all of them have to say.
        limit: float32 [F], where it is cut after that: LARGEST deviations from the mean.
    """

    mean: Tensor
    scale: Tensor
    limit: Tensor

    def __init__(self, config: RichStatisticsConfig) -> None:
        """Create the module with fresh weights."""
        super().__init__()
        self.ridge = config.ridge
        self.phases, self.statistics = PhaseHistograms(), Statistics()
        deviation_F = _deviations()
        self.register_buffer("mean", torch.zeros(len(deviation_F)))
        self.register_buffer("scale", deviation_F.clone())
        self.register_buffer("limit", LARGEST * deviation_F)
        self.logit = Logit(len(deviation_F))

    def measure(self, pixels: Tensor) -> Tensor:
        """Return the measurements of uint8 [B, H, W, 3], sides of 32 px or more, float32 [B, F].

        Raises:
            ConfigError: The pictures are smaller.
        """
        return torch.cat([self.phases(pixels), *self.statistics(pixels)], 1)

    def standardise(self, measured_BF: Tensor) -> Tensor:
        """Return the measurements about 0, each with its share of the whole, float32 [B, F]."""
        x_BF = (measured_BF - self.mean) * self.scale
        return torch.minimum(torch.maximum(x_BF, -self.limit), self.limit)

    @torch.no_grad()
    def learn(self, batch: Mapping[str, NDArray[np.generic]], seed: int) -> None:
        """Solve for the weights; pictures of one class leave them as they are. See ``ModelSpec.begin``.

        Args:
            batch: ``measured`` float32 [N, F], what ``measure`` returned, and ``label`` [N], 1 for fakes.
            seed: Nothing is drawn.
        """
        measured_NF = torch.from_numpy(batch["measured"]).to(self.mean.device)
        wanted_N = torch.from_numpy(batch["label"].astype(np.float32)) * 2 - 1
        spread_F, mean_F = torch.std_mean(measured_NF, 0, correction=0)
        self.mean.copy_(mean_F)
        self.scale.copy_(_deviations() / spread_F.clamp(min=STEADY) * (spread_F > STEADY))
        if (wanted_N > 0).all() or (wanted_N < 0).all():
            return
        x_NF = self.standardise(measured_NF)
        weight_F, bias = ridge_regression(x_NF, wanted_N.to(x_NF.device), self.ridge * LENGTH**2)
        self.logit.weight.copy_(CERTAIN * weight_F[None])
        self.logit.bias.fill_(CERTAIN * bias)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B] for uint8 [B, H, W, 3]."""
        return {"logit": self.logit(self.standardise(self.measure(pixels)))}


def ridge_regression(x_NF: Tensor, wanted_N: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Return the weights, float32 [F], and the bias that tell -1 from +1, both of which weigh alike.

    It minimises the squared error, in which an example counts 1 on average, plus ``ridge`` times the sum of
    the squared weights; in the dual form, which has as many unknowns as there are examples.

    Args:
        x_NF: float32 [N, F], far fewer examples than measurements.
        wanted_N: float32 [N], -1 or +1, both at least once.
        ridge: Above 0.
    """
    fakes = wanted_N > 0
    weigh_N = torch.where(fakes, 0.5 / fakes.float().mean(), 0.5 / (~fakes).float().mean())
    share_N = weigh_N / weigh_N.sum()
    middle_F = share_N @ x_NF
    root_N = weigh_N.sqrt()
    z_NF = (x_NF - middle_F) * root_N[:, None]
    # Classes that weigh alike have the mean 0.
    kernel_NN = (z_NF @ z_NF.T).double() + ridge * torch.eye(
        len(z_NF), dtype=torch.float64, device=z_NF.device
    )
    dual_N = torch.linalg.solve(kernel_NN, (wanted_N * root_N).double()).float()
    weight_F = dual_N @ z_NF
    return weight_F, -float(middle_F @ weight_F)


def _deviations() -> Tensor:
    """Return the deviation that each measurement is brought to, float32 [F]; squared they sum to LENGTH^2."""
    lengths = [length for length, _ in GROUPS]
    rest = (1 - PHASES_SHARE) / len(lengths)
    shares = [(phases.LENGTH, PHASES_SHARE), *((length, rest) for length in lengths)]
    return LENGTH * torch.cat([torch.full((length,), share / length) for length, share in shares]).sqrt()


register(
    ModelSpec(
        name="rich-statistics",
        modality="image",
        summary="Histograms of DCT coefficients and residual statistics, solved for: for generated pictures",
        config=RichStatisticsConfig,
        build=RichStatistics,
        prep=ImagePrep(size_px=256, region="whole"),
        recipe=Recipe(
            epochs=5,
            stop=Stop(patience=1),
            batch_size=32,
            clip_norm=0.0,
            amp="off",
            optimizer=Optimizer(lr=1e-6, weight_decay=0.0),
            schedule=Schedule(warmup=0.0, final=0.0),
            augment=Augment(level="delivery"),
        ),
        begin=RichStatistics.learn,
        begin_measure=lambda module, inputs: {"measured": module.measure(**inputs)},
        begin_examples=6000,
        search={
            "model.ridge": Range(low=5e-3, high=0.5, log=True),
            "recipe.optimizer.lr": Range(low=1e-7, high=1e-5, log=True),
        },
    )
)
