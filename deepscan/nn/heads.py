"""From a feature vector to one logit."""

import dataclasses
from itertools import pairwise

from torch import Tensor, nn

from deepscan.errors import ConfigError

FIRST_LOGIT_STD = 0.01
"""Deviation of the fresh weights of the last layer: an untrained model says P(fake) near 0.5."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig:
    """Settings of a model whose only freedom is its head; others inherit and add their own.

    Attributes:
        widths: Neurons of the dense layers before the logit.
        dropout: Share of features dropped before each dense layer and the logit, in [0, 1).
    """

    widths: tuple[int, ...] = ()
    dropout: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A width is below 1 or the dropout is outside [0, 1).
        """
        if not 0 <= self.dropout < 1:
            msg = f"Setting 'dropout' is a share in [0, 1), it cannot be {self.dropout}."
            raise ConfigError(msg)
        if any(width < 1 for width in self.widths):
            msg = f"Setting 'widths' holds numbers of neurons, each at least 1, it cannot be {self.widths}."
            raise ConfigError(msg)


class Logit(nn.Linear):
    """One linear unit computed in float32 whatever the autocast, so that close scores stay apart.

    In bfloat16 all logits between 2 and 4 would fall on 128 values, and the ties blur ranks.
    """

    def __init__(self, features: int) -> None:
        """Create the unit over vectors of ``features`` elements."""
        super().__init__(features, 1)
        nn.init.normal_(self.weight, std=FIRST_LOGIT_STD)
        nn.init.zeros_(self.bias)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return the logit of each vector of float [B, F], float32 [B]."""
        # Autocast lowers matrix products, not elementwise ones; switching it off here instead would
        # leave a guard in exported graphs.
        return (x_BF.float() * self.weight[0]).sum(1) + self.bias


class Head(nn.Sequential):
    """Dense layers with ReLU, dropout before each of them and before the logit.

    Maps float [B, ``features``] to float32 [B].
    """

    def __init__(self, features: int, widths: tuple[int, ...], dropout: float) -> None:
        """Create dense layers of ``widths`` over ``features``."""
        layers: list[nn.Module] = []
        for before, after in pairwise((features, *widths)):
            layers += [nn.Dropout(dropout), nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Dropout(dropout), Logit((features, *widths)[-1]))
