"""Two detectors of generated pictures in one: measurements that are solved for, a network that is trained.

``rich-statistics`` knows its pictures after one look and no better after many; ``residual`` needs an hour and
goes on improving. They err on different pictures, so the sum of their log odds tells more than either.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.models.residual import ResidualConfig, ResidualNet
from deepscan.models.rich_statistics import RichStatistics, RichStatisticsConfig
from deepscan.recipe import Augment, Optimizer, Range, Recipe, Schedule


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RichResidualConfig(ResidualConfig):
    """Settings of both.

    Attributes:
        ridge: That of ``RichStatisticsConfig``.
    """

    ridge: float = RichStatisticsConfig().ridge

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        ResidualConfig.__post_init__(self)
        _ = self.rich

    @property
    def rich(self) -> RichStatisticsConfig:
        """The settings of the measurements."""
        return RichStatisticsConfig(ridge=self.ridge)


class RichResidual(nn.Module):
    """Both, side by side.

    Attributes:
        rich: Measurements and their weights, which are buffers: they are solved for, and steps leave them.
            They are 0 until then.
        network: Has the names and shapes of a ``residual``, which it may be taken over from.
    """

    def __init__(self, config: RichResidualConfig) -> None:
        """Create both with fresh weights."""
        super().__init__()
        self.rich = RichStatistics(config.rich)
        for name, value in list(self.rich.logit.named_parameters()):
            delattr(self.rich.logit, name)
            self.rich.logit.register_buffer(name, torch.zeros_like(value))
        self.network = ResidualNet(config)

    def learn(self, batch: Mapping[str, NDArray[np.generic]], seed: int) -> None:
        """Solve for the weights of the measurements; see ``RichStatistics.learn``."""
        self.rich.learn(batch, seed)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B] for uint8 [B, H, W, 3]; in training that of the network alone.

        The measurements fit what they were solved for so well that it would learn nothing beside them.
        """
        logit_B = self.network(pixels)["logit"]
        return {"logit": logit_B if self.training else logit_B + self.rich(pixels)["logit"]}


register(
    ModelSpec(
        name="rich-residual",
        modality="image",
        summary="`rich-statistics` and `residual` together; starts best from a `residual` that was trained",
        config=RichResidualConfig,
        build=RichResidual,
        trunk=lambda module: module.network.layers,
        prep=ImagePrep(size_px=256, region="whole"),
        recipe=Recipe(
            epochs=40,
            batch_size=32,
            optimizer=Optimizer(lr=2e-3, weight_decay=0.05),
            schedule=Schedule(warmup=0.05),
            ema_decay=0.99,
            augment=Augment(level="delivery"),
        ),
        begin=RichResidual.learn,
        begin_measure=lambda module, inputs: {"measured": module.rich.measure(**inputs)},
        begin_examples=6000,
        search={
            "model.ridge": Range(low=5e-3, high=0.5, log=True),
            "model.dropout": Range(low=0.0, high=0.5),
            "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
        },
    )
)
