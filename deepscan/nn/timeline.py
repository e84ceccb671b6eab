"""Between features of many frames and the few moments of which a Score speaks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.errors import ConfigError


class Rows(nn.BatchNorm1d):
    """First layer of a network that tells rows apart: brings each row of float [B, R, T] to one scale."""

    def forward(self, x_BRT: Tensor) -> Tensor:
        """Return the scaled features.

        Raises:
            ConfigError: The features have another number of rows than the network was built for.
        """
        rows = x_BRT.shape[1]
        if rows != self.num_features:
            msg = (
                f"The front end gives {rows} rows, and the model was built for {self.num_features}."
                f" Set model.rows={rows}, or change prep.front_end back."
            )
            raise ConfigError(msg)
        return super().forward(x_BRT)


class Stack(nn.Module):
    """Lays ``count`` frames on each other: float [B, R, T] -> [B, T // count, R count]."""

    def __init__(self, count: int) -> None:
        """Take the frames a step; a recurrent network then makes as many times fewer steps."""
        super().__init__()
        self.count = count

    def forward(self, x_BRT: Tensor) -> Tensor:
        """Return the steps; up to ``count - 1`` frames at the end are left out."""
        steps = x_BRT.shape[2] // self.count
        x_BRT = x_BRT[:, :, : steps * self.count]
        return x_BRT.reshape(x_BRT.shape[0], -1, steps, self.count).transpose(1, 2).flatten(2)


def require_halvings(x_BRT: Tensor, times: int) -> None:
    """Check that features [B, R, T] are large enough for layers that halve rows and frames so often.

    Raises:
        ConfigError: Nothing would be left.
    """
    rows, frames = x_BRT.shape[1:]
    if min(rows, frames) < 2**times:
        msg = (
            f"A window gives {rows} rows of {frames} frames, and the network halves both {times} times."
            " Set a longer prep.window_s, a prep.front_end of more rows, or fewer model.channels."
        )
        raise ConfigError(msg)


class Slices(nn.Module):
    """Pools time into equal slices: float [B, F, T] -> their means and deviations, float32 [B, M, 2 F].

    Slices are windows of one width at one distance, all within the time; neighbours overlap by less than
    M frames, where T is no multiple of M. Deviations tell textures apart that have the same mean
    (statistics pooling: Snyder et al., ICASSP 2018).
    """

    def __init__(self, count: int) -> None:
        """Take the number M of slices."""
        super().__init__()
        self.count = count

    def forward(self, x_BFT: Tensor) -> Tensor:
        """Return the pooled features.

        Raises:
            ConfigError: There are fewer frames than slices.
        """
        frames = x_BFT.shape[2]
        if frames < self.count:
            msg = (
                f"A window gives {frames} frames at the end of the network, which cannot be"
                f" {self.count} moments. Set model.moments={frames} or lower, or a longer prep.window_s."
            )
            raise ConfigError(msg)
        step = frames // self.count
        width = frames - (self.count - 1) * step
        x_BFT = x_BFT.float()
        mean_BFM = functional.avg_pool1d(x_BFT, width, step)
        square_BFM = functional.avg_pool1d(x_BFT.square(), width, step)
        deviation_BFM = ((square_BFM - mean_BFM.square()).clamp(min=0) + 1e-5).sqrt()
        return torch.cat([mean_BFM, deviation_BFM], 1).transpose(1, 2)
