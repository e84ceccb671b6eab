"""The first layer of every picture model: raw pixels in, normalised floats out."""

import torch
from torch import Tensor, nn

Rgb = tuple[float, float, float]

IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Turns uint8 [B, H, W, 3] into float [B, 3, H, W], ``(pixel / 255 - mean) / std`` per channel.

    The result lies in channels-last memory: the axes are renamed, no pixel moves. Its dtype is that
    of the buffers, so ``module.half()`` gives half precision. Mean and deviation are part of the
    state, hence of every bundle and exported model.

    Attributes:
        mean: Mean of the channels in pixel values, float [3, 1, 1].
        std: Deviation of the channels in pixel values, float [3, 1, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Rgb = (0.5, 0.5, 0.5), std: Rgb = (0.5, 0.5, 0.5)) -> None:
        """Take mean and deviation of the channels as shares of 255; the default gives [-1, 1]."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).mul(255).view(3, 1, 1))

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """Return the normalised picture, float [B, 3, H, W], channels last in memory.

        Args:
            pixels_BHWC: uint8; or float in [0, 255] that asks for a gradient.
        """
        # Floats that ask for a gradient are pixels of a heat map, on the same scale.
        raw = pixels_BHWC.dtype == torch.uint8 or pixels_BHWC.requires_grad
        assert raw, "already normalised pixels would be normalised again"
        x_BCHW = pixels_BHWC.permute(0, 3, 1, 2).to(self.mean.dtype)
        return (x_BCHW - self.mean) / self.std
