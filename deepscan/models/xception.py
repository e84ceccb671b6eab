"""Xception (Chollet, CVPR 2017), figure 5 of the paper without its classifier.

Depthwise separable convolutions with a shortcut around every two or three of them; the customary
baseline of face forensics since Rössler et al. (ICCV 2019), from whom the learning rate is taken.
"""

import dataclasses

from torch import Tensor, nn

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.nn.initialize import he_normal
from deepscan.nn.normalize import Normalize
from deepscan.nn.trunks import PictureModel
from deepscan.recipe import Choice, Optimizer, Range, Recipe

FEATURES = 2048


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class XceptionConfig(HeadConfig):
    """Settings of Xception: those of any head, with the paper's dropout by default."""

    dropout: float = 0.5


class Residual(nn.Module):
    """Adds a body to a shortcut of the same output shape."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        """Take both branches."""
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum of both branches."""
        total: Tensor = self.body(x_BCHW) + self.shortcut(x_BCHW)
        return total


def trunk() -> nn.Sequential:
    """Return entry, middle and exit flow, float [B, 3, 299, 299] -> [B, 2048, 10, 10]."""
    stem = [*_conv(3, 32, stride=2), *_conv(32, 64)]
    entry = [_halve(64, 128, 128), _halve(128, 256, 256), _halve(256, 728, 728)]
    middle = [_keep(728) for _ in range(8)]
    leave = [*_separable(1024, 1536), nn.ReLU(), *_separable(1536, FEATURES), nn.ReLU()]
    return nn.Sequential(*stem, *entry, *middle, _halve(728, 728, 1024), *leave)


def build(config: XceptionConfig) -> nn.Module:
    """Return Xception with one logit."""
    layers = trunk()
    he_normal(layers)
    return PictureModel(Normalize(), layers, Head(FEATURES, config.widths, config.dropout))


def _conv(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, kernel_size=3, stride=stride, bias=False)
    return [conv, nn.BatchNorm2d(after), nn.ReLU()]


def _separable(before: int, after: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(before, before, kernel_size=3, padding=1, groups=before, bias=False)
    pointwise = nn.Conv2d(before, after, kernel_size=1, bias=False)
    return [depthwise, pointwise, nn.BatchNorm2d(after)]


def _halve(before: int, between: int, after: int) -> Residual:
    # The first ReLU is absent from the figure's first block, whose input has passed one already:
    # a second changes nothing.
    body = [nn.ReLU(), *_separable(before, between), nn.ReLU(), *_separable(between, after)]
    shortcut = nn.Conv2d(before, after, kernel_size=1, stride=2, bias=False)
    return Residual(
        nn.Sequential(*body, nn.MaxPool2d(3, stride=2, padding=1)),
        nn.Sequential(shortcut, nn.BatchNorm2d(after)),
    )


def _keep(channels: int) -> Residual:
    body = [layer for _ in range(3) for layer in (nn.ReLU(), *_separable(channels, channels))]
    return Residual(nn.Sequential(*body), nn.Identity())


register(
    ModelSpec(
        name="xception",
        modality="image",
        summary="Xception: the customary baseline of face forensics, from scratch",
        config=XceptionConfig,
        build=build,
        prep=ImagePrep(size_px=299),
        recipe=Recipe(epochs=20, batch_size=16, optimizer=Optimizer(lr=2e-4)),
        search={
            "recipe.optimizer.lr": Range(low=5e-5, high=2e-3, log=True),
            "recipe.batch_size": Choice(values=(16, 32)),
            "recipe.loss.label_smoothing": Range(low=0.0, high=0.1),
            "model.dropout": Range(low=0.1, high=0.6),
        },
    )
)
