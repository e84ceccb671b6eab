"""The network of the shipped face finder: separable convolutions, three resolutions, no anchors.

Every cell of a map says whether a face's centre lies near it, how far the sides of its box are and where its
five landmarks are. Cells, centres and distances are read as in FCOS (Tian et al., ICCV 2019); a block is a
depthwise and a pointwise convolution, as in MobileNet (Howard et al., 2017).
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepscan.media.shipped_faces import CHANNELS, STRIDES

_PRIOR = -4.6
"""Logit of a face in a cell before training: about one cell in a hundred holds one."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """Channels of the network.

    Attributes:
        stem: Of the first convolution, at a half of the resolution.
        quarter: At a quarter of the resolution.
        trunk: At strides 8, 16 and 32.
        neck: Of the maps that the heads read.
    """

    stem: int = 16
    quarter: int = 32
    trunk: tuple[int, int, int] = (64, 144, 160)
    neck: int = 64


class FaceNetwork(nn.Module):
    """Finds faces in pictures of any size that is a multiple of 32."""

    def __init__(self, widths: Widths | None = None) -> None:
        """Build it with random weights from torch's generator."""
        super().__init__()
        sizes = widths or Widths()
        first, second, third = sizes.trunk
        self.stem = nn.Sequential(
            _convolution(3, sizes.stem, 3, stride=2),
            _separable(sizes.stem, sizes.quarter, stride=2),
            _separable(sizes.quarter, sizes.quarter),
        )
        self.trunk = nn.ModuleList(
            [
                nn.Sequential(_separable(sizes.quarter, first, stride=2), *_plain(first, 2)),
                nn.Sequential(_separable(first, second, stride=2), *_plain(second, 2)),
                nn.Sequential(_separable(second, third, stride=2), *_plain(third, 2)),
            ]
        )
        self.lateral = nn.ModuleList([_convolution(size, sizes.neck, 1) for size in sizes.trunk])
        self.grow = nn.ModuleList([_doubling(sizes.neck) for _ in STRIDES[1:]])
        self.merge = nn.ModuleList([_separable(sizes.neck, sizes.neck) for _ in STRIDES])
        self.heads = nn.ModuleList([_head(sizes.neck) for _ in STRIDES])

    def forward(self, pixels: Tensor) -> dict[str, Any]:
        """Look at pictures.

        Args:
            pixels: RGB [B, 3, H, W] in [0, 255], of any dtype; H and W are multiples of 32.

        Returns:
            ``maps``, float32 [B, 15, H/s, W/s] for each stride s, see ``shipped_faces.decode``; and
            ``logit``, float32 [B], that of the surest cell.
        """
        maps = self.maps(pixels.to(torch.float32) / 255)
        surest = torch.stack([each[:, 0].amax(dim=(1, 2)) for each in maps])
        return {"maps": maps, "logit": surest.amax(dim=0)}

    def maps(self, x_B3HW: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of pictures in [0, 1], one for each stride."""
        x = self.stem(x_B3HW)
        levels = []
        for stage, lateral in zip(self.trunk, self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        merged = [levels[-1]]
        for level, grow in zip(reversed(levels[:-1]), self.grow, strict=True):
            merged.append(level + grow(merged[-1]))
        read = zip(reversed(merged), self.merge, self.heads, strict=True)
        return tuple(head(merge(level)) for level, merge, head in read)

    def shift_scores(self, logits: Sequence[float]) -> None:
        """Add a constant to the logits of each map."""
        for head, logit in zip(self.heads, logits, strict=True):
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            head.bias.data[0] += logit


class Deployed(nn.Module):
    """The same network for running only: normalisation folded into the convolutions, pictures in [0, 255].

    Its weights are those that half precision can tell, since the file has them so.
    """

    def __init__(self, network: FaceNetwork) -> None:
        """Copy a network's weights."""
        super().__init__()
        self.network = _folded(copy.deepcopy(network).eval().cpu())
        first = self.network.get_submodule("stem.0.0")
        assert isinstance(first, nn.Conv2d)
        first.weight.data /= 255
        for weight in self.parameters():
            weight.data = weight.data.half().float()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of float32 pictures [1, 3, H, W] in [0, 255]."""
        maps: tuple[Tensor, ...] = self.network.maps(pixels)
        return maps


def _folded(module: nn.Module) -> Any:
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) > 1 and isinstance(child[1], nn.BatchNorm2d):
            convolution = child[0]
            assert isinstance(convolution, nn.Conv2d)
            setattr(module, name, nn.Sequential(fuse_conv_bn_eval(convolution, child[1]), *child[2:]))
        else:
            _folded(child)
    return module


def _convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _convolution(inputs, inputs, 3, stride=stride, groups=inputs), _convolution(inputs, outputs, 1)
    )


def _head(size: int) -> nn.Conv2d:
    head = nn.Conv2d(size, CHANNELS, 1)
    nn.init.normal_(head.weight, std=0.01)
    bias = torch.zeros(CHANNELS)
    bias[0] = _PRIOR
    head.bias = nn.Parameter(bias)
    return head


def _doubling(size: int) -> nn.ConvTranspose2d:
    """Begins as repetition of every cell; unlike interpolation, it puts no size into a graph."""
    grow = nn.ConvTranspose2d(size, size, 2, 2, groups=size, bias=False)
    nn.init.ones_(grow.weight)
    return grow


def _plain(size: int, count: int) -> list[nn.Sequential]:
    return [_separable(size, size) for _ in range(count)]
