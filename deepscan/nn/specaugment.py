"""Hides stretches of time and of frequency in training, so that no single one decides."""

import dataclasses

import torch
from torch import Tensor, nn

from deepscan.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MaskConfig:
    """How much of the features a training step hides.

    Attributes:
        count: Masks over rows, and as many over frames; 0 hides nothing.
        rows: Largest share of the rows that one mask hides, in [0, 1].
        frames: Largest share of the frames that one mask hides, in [0, 1].
    """

    count: int = 2
    rows: float = 0.15
    frames: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        if self.count < 0 or not 0 <= self.rows <= 1 or not 0 <= self.frames <= 1:
            msg = f"Setting 'count' of masks is at least 0, 'rows' and 'frames' are in [0, 1], not {self}."
            raise ConfigError(msg)


class SpecAugment(nn.Module):
    """Hides rows and frames of float [B, R, T] in training; does nothing in evaluation.

    Widths and places are drawn for every example from torch's global generator, as those of dropout are
    (Park et al., Interspeech 2019). What is hidden becomes the example's mean, so nothing but the
    absence can be learnt from it.
    """

    def __init__(self, config: MaskConfig) -> None:
        """Take the number and the largest sizes of masks."""
        super().__init__()
        self.config = config

    def forward(self, x_BRT: Tensor) -> Tensor:
        """Return the features, in training with some of them hidden."""
        if not self.training or self.config.count == 0:
            return x_BRT
        batch, rows, frames = x_BRT.shape
        rows_BR = self._hidden(batch, rows, self.config.rows, x_BRT.device)
        frames_BT = self._hidden(batch, frames, self.config.frames, x_BRT.device)
        mean_B11 = x_BRT.mean((1, 2), keepdim=True)
        return torch.where(rows_BR[:, :, None] | frames_BT[:, None, :], mean_B11, x_BRT)

    def _hidden(self, batch: int, length: int, share: float, device: torch.device) -> Tensor:
        """Return which of ``length`` places the masks of each example cover, bool [B, length]."""
        draw_BK1 = torch.rand(2, batch, self.config.count, 1, device=device)
        width_BK1 = (draw_BK1[0] * (int(share * length) + 1)).floor()
        start_BK1 = (draw_BK1[1] * (length - width_BK1 + 1)).floor()
        place_L = torch.arange(length, device=device)
        return ((place_L >= start_BK1) & (place_L < start_BK1 + width_BK1)).any(1)
