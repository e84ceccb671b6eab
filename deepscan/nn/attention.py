"""Attention over channels and places (CBAM: Woo, Park, Lee and Kweon, ECCV 2018)."""

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Which channels matter: ``sigmoid(MLP(mean over places) + MLP(maximum over places))``, eq. 2."""

    def __init__(self, channels: int, ratio: int) -> None:
        """Create the shared MLP with ``channels / ratio`` hidden units, at least one."""
        super().__init__()
        hidden = max(channels // ratio, 1)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return factors in (0, 1), float [B, C, 1, 1]."""
        x_BC = self.mlp(x_BCHW.mean((2, 3))) + self.mlp(x_BCHW.amax((2, 3)))
        return torch.sigmoid(x_BC)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Which places matter: ``sigmoid(7x7 convolution of mean and maximum over channels)``, eq. 3."""

    def __init__(self) -> None:
        """Create the convolution."""
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return factors in (0, 1), float [B, 1, H, W]."""
        x_B2HW = torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(x_B2HW))


class Attention(nn.Module):
    """Scales channels, then places (eq. 1); the shape stays, float [B, C, H, W]."""

    def __init__(self, channels: int, ratio: int) -> None:
        """Create both parts for ``channels``; ``ratio`` is the reduction of the channel MLP."""
        super().__init__()
        self.channel = ChannelAttention(channels, ratio)
        self.spatial = SpatialAttention()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the weighted features, float [B, C, H, W]."""
        x_BCHW = x_BCHW * self.channel(x_BCHW)
        weighted_BCHW: Tensor = x_BCHW * self.spatial(x_BCHW)
        return weighted_BCHW
