"""From features of each moment to a logit that heeds their order."""

import dataclasses

from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.nn.attention import MomentAttention
from deepscan.nn.heads import HeadConfig
from deepscan.nn.moments import Moments
from deepscan.nn.recurrent import Cell, Recurrent


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SequenceConfig(HeadConfig):
    """Settings of ``Sequence``; models inherit and add those of what comes before.

    Attributes:
        cell: Kind of the recurrent cells.
        units: Cells of each recurrent layer; moments are brought to as many features as the first has.
        bidirectional: Whether as many cells again read the moments from the last to the first.
        heads: Heads of the attention between moments before the recurrent layers; 0 = no such attention.
    """

    cell: Cell = "lstm"
    units: tuple[int, ...] = (256,)
    bidirectional: bool = True
    heads: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range, or ``heads`` does not divide the first of ``units``.
        """
        HeadConfig.__post_init__(self)
        if not self.units or min(self.units) < 1:
            msg = f"Setting 'units' is the cells of each layer, each at least 1, it cannot be {self.units}."
            raise ConfigError(msg)
        if self.heads < 0 or (self.heads and self.units[0] % self.heads):
            msg = f"Setting 'heads' is 0 or divides units[0] = {self.units[0]}, it cannot be {self.heads}."
            raise ConfigError(msg)


class Sequence(nn.Module):
    """Attention between moments, recurrent layers, and a logit a moment, averaged by what it weighs."""

    def __init__(self, features: int, config: SequenceConfig) -> None:
        """Create the layers over ``features`` features a moment."""
        super().__init__()
        self.embed = nn.Linear(features, config.units[0])
        self.attend = MomentAttention(config.units[0], config.heads) if config.heads else None
        self.recurrent = Recurrent(
            config.units[0], config.units, config.cell, config.bidirectional, config.dropout
        )
        self.head = Moments(self.recurrent.width, config.widths, config.dropout)

    def forward(self, x_BTF: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``moment_logit`` and ``attention`` [B, T], all float32.

        Args:
            x_BTF: Features of each moment.
            mask_BT: True for the first moments of each row, which are real, False for its padding.
        """
        x_BTF = self.embed(x_BTF)
        if self.attend is not None:
            x_BTF = self.attend(x_BTF, mask_BT)
        scored: dict[str, Tensor] = self.head(self.recurrent(x_BTF, mask_BT), mask_BT)
        return scored
