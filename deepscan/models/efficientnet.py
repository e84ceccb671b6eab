"""EfficientNet (Tan and Le, ICML 2019): its smallest size, and the one customary for this task."""

import dataclasses

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import HeadConfig
from deepscan.nn.trunks import PublicTrunk, trunk_of
from deepscan.recipe import Choice, Optimizer, Range, Recipe, SearchSpace

B0 = PublicTrunk(network="efficientnet_b0", weights="EfficientNet_B0_Weights.IMAGENET1K_V1", channels=1280)
B4 = PublicTrunk(network="efficientnet_b4", weights="EfficientNet_B4_Weights.IMAGENET1K_V1", channels=1792)

SEARCH: SearchSpace = {
    "recipe.optimizer.lr": Range(low=3e-5, high=2e-3, log=True),
    "recipe.optimizer.trunk_lr_scale": Choice(values=(0.1, 0.3, 1.0)),
    "recipe.loss.label_smoothing": Range(low=0.0, high=0.1),
    "model.dropout": Range(low=0.1, high=0.5),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class B4Config(HeadConfig):
    """Settings of EfficientNet-B4: those of any head, with two dense layers by default."""

    widths: tuple[int, ...] = (512, 128)
    dropout: float = 0.4


register(
    ModelSpec(
        name="efficientnet-b0",
        modality="image",
        summary="EfficientNet-B0: small and accurate, a good first choice",
        config=HeadConfig,
        build=B0.classifier,
        prep=ImagePrep(size_px=224),
        recipe=Recipe(batch_size=32, optimizer=Optimizer(lr=5e-4)),
        search=SEARCH,
        trunk=trunk_of,
        imagenet=B0.fill,
    )
)
register(
    ModelSpec(
        name="efficientnet-b4",
        modality="image",
        summary="EfficientNet-B4 with two dense layers: large pictures, for a GPU",
        config=B4Config,
        build=B4.classifier,
        prep=ImagePrep(size_px=380),
        recipe=Recipe(batch_size=16, optimizer=Optimizer(lr=2e-4)),
        search=SEARCH,
        trunk=trunk_of,
        imagenet=B4.fill,
    )
)
