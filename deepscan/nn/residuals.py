"""What is left of a picture when its content is predicted away, and layers that keep its resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.nn.initialize import he_normal

EDGE = ((0, 0, 0), (0, -1, 1), (0, 0, 0))
LAPLACE = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
SQUARE = (
    (-1, 2, -2, 2, -1),
    (2, -6, 8, -6, 2),
    (-2, 8, -12, 8, -2),
    (2, -6, 8, -6, 2),
    (-1, 2, -2, 2, -1),
)


class Residuals(nn.Module):
    """Turns uint8 [B, H, W, 3] into residuals, float [B, 12, H, W] in [-1, 1], channels last in memory.

    Each colour is filtered by four kernels of the spatial rich model (Fridrich and Kodovsky, IEEE TIFS
    2012): first differences along rows and columns, and the 3x3 and 5x5 squares, each divided by its
    largest weight. Values beyond ``clip`` grey levels are cut off, since traces of forgery are faint
    and edges of content are not.

    Attributes:
        kernels: float [12, 1, 5, 5].
    """

    channels = 12
    kernels: Tensor

    def __init__(self, clip: float = 3.0) -> None:
        """Cut residuals off at ``clip`` grey levels."""
        super().__init__()
        self.clip = clip
        edge = functional.pad(torch.tensor(EDGE), (1, 1, 1, 1))
        square = functional.pad(torch.tensor(LAPLACE), (1, 1, 1, 1))
        bank = torch.stack([edge, edge.T, square, torch.tensor(SQUARE)]).float()
        bank = bank / bank.abs().amax((1, 2), keepdim=True)
        self.register_buffer("kernels", bank.repeat(3, 1, 1)[:, None])

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """Return the residuals of raw pixels."""
        x_BCHW = pixels_BHWC.permute(0, 3, 1, 2).to(self.kernels.dtype)
        x_BCHW = functional.pad(x_BCHW, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(x_BCHW, self.kernels, groups=3).clamp(-self.clip, self.clip) / self.clip


class MeanAndDeviation(nn.Module):
    """Pools float [B, C, H, W] into the mean and standard deviation of each channel, float [B, 2 C]."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the pooled features."""
        x_BCN = x_BCHW.float().flatten(2)
        deviation_BC = (x_BCN.var(2, correction=0) + 1e-5).sqrt()
        return torch.cat([x_BCN.mean(2), deviation_BC], 1)


def full_resolution(before: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Return two 3x3 convolutions a resolution: the picture's own, half of it, a quarter and so on.

    Args:
        before: Channels that come in.
        widths: Channels at each resolution.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.AvgPool2d(2)] if layers else []
        layers += [_convolution(before, width), _convolution(width, width)]
        before = width
    stack = nn.Sequential(*layers)
    he_normal(stack)
    return stack


def _convolution(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
