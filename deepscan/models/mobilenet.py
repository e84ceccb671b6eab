"""MobileNetV2 (Sandler et al., CVPR 2018), the fast one for CPUs and phones."""

from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import HeadConfig
from deepscan.nn.trunks import PublicTrunk, trunk_of
from deepscan.recipe import Choice, Optimizer, Range, Recipe

V2 = PublicTrunk(network="mobilenet_v2", weights="MobileNet_V2_Weights.IMAGENET1K_V2", channels=1280)

register(
    ModelSpec(
        name="mobilenet-v2",
        modality="image",
        summary="MobileNetV2: the fastest here, for CPUs and phones",
        config=HeadConfig,
        build=V2.classifier,
        prep=ImagePrep(size_px=224),
        recipe=Recipe(batch_size=32, optimizer=Optimizer(lr=5e-4)),
        search={
            "recipe.optimizer.lr": Range(low=3e-5, high=3e-3, log=True),
            "recipe.optimizer.trunk_lr_scale": Choice(values=(0.1, 0.3, 1.0)),
            "recipe.batch_size": Choice(values=(32, 64)),
            "model.dropout": Range(low=0.0, high=0.4),
        },
        trunk=trunk_of,
        imagenet=V2.fill,
    )
)
