"""Attention over channels and places of a picture, and between the moments of a clip."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelAttention(nn.Module):
    """Which channels matter: ``sigmoid(MLP(mean over places) + MLP(maximum over places))``.

    CBAM: Woo, Park, Lee and Kweon, ECCV 2018, eq. 2.
    """

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
    """Which places matter: ``sigmoid(7x7 convolution of mean and maximum over channels)``, CBAM's eq. 3."""

    def __init__(self) -> None:
        """Create the convolution."""
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return factors in (0, 1), float [B, 1, H, W]."""
        x_B2HW = torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(x_B2HW))


class Attention(nn.Module):
    """Scales channels, then places (CBAM's eq. 1); the shape stays, float [B, C, H, W]."""

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


class MomentAttention(nn.Module):
    """Lets every moment look at all others: multi-head self-attention (Vaswani et al., NeurIPS 2017).

    What a moment gathers is added to what it was. Moments have no places here: a recurrent layer that
    follows knows their order.
    """

    def __init__(self, features: int, heads: int) -> None:
        """Create the layer; ``heads`` divides ``features``."""
        super().__init__()
        assert features % heads == 0, "each head gets an equal share of the features"
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.ask = nn.Linear(features, 3 * features, bias=False)
        self.gather = nn.Linear(features, features, bias=False)

    def forward(self, x_BTF: Tensor, mask_BT: Tensor) -> Tensor:
        """Return float [B, T, F]; moments whose ``mask_BT`` is False are seen by none."""
        query_key_value = self.ask(self.norm(x_BTF)).unflatten(2, (3, self.heads, -1))
        query_BHTD, key_BHTD, value_BHTD = query_key_value.permute(2, 0, 3, 1, 4).unbind()
        seen_BHTD = functional.scaled_dot_product_attention(
            query_BHTD, key_BHTD, value_BHTD, attn_mask=mask_BT[:, None, None]
        )
        gathered_BTF: Tensor = x_BTF + self.gather(seen_BHTD.transpose(1, 2).flatten(2))
        return gathered_BTF
