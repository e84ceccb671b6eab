"""ResNet-50 (He, Zhang, Ren and Sun, CVPR 2016), the reference that others are compared with."""

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import HeadConfig
from deepscan.nn.trunks import PublicTrunk, trunk_of
from deepscan.recipe import Choice, Optimizer, Range, Recipe

R50 = PublicTrunk(network="resnet50", weights="ResNet50_Weights.IMAGENET1K_V2", channels=2048)

register(
    ModelSpec(
        name="resnet-50",
        modality="image",
        summary="ResNet-50: the reference that others are compared with",
        config=HeadConfig,
        build=R50.classifier,
        prep=ImagePrep(size_px=224),
        recipe=Recipe(batch_size=32, optimizer=Optimizer(lr=3e-4)),
        search={
            "recipe.optimizer.name": Choice(values=("adamw", "sgd")),
            "recipe.optimizer.lr": Range(low=3e-5, high=1e-2, log=True),
            "recipe.optimizer.trunk_lr_scale": Choice(values=(0.1, 0.3, 1.0)),
            "model.dropout": Range(low=0.0, high=0.5),
        },
        trunk=trunk_of,
        imagenet=R50.fill,
    )
)
