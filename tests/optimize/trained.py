"""A small detector that was trained, and what it is quantised and compared on."""

import numpy as np
import torch

from deepscan import bundle, config
from deepscan.bundle import Card
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.objectives import classification
from deepscan.optimize.held_out import Sample
from deepscan.recipe import Optimizer, Recipe
from deepscan.training.loop import Task, Trainer
from tests.tiny_bundles import PLUGIN, WHOLE, tiny_module

WIDTH = 8


def lights(count, seed):
    """Pictures of noise around some brightness, which is higher for most fakes; every one is a file."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    light = rng.normal(100, 25, count) + 35 * label
    noise = rng.normal(0, 20, (count, 32, 32, 3))
    pixels = (light[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
    return Sample(inputs={"pixels": pixels}, label=label.astype(np.float32), file=np.arange(count))


def as_stream(sample, size=16):
    while True:
        for start in range(0, len(sample), size):
            pixels, label = sample.inputs["pixels"][start : start + size], sample.label[start : start + size]
            yield {"pixels": torch.from_numpy(pixels), "label": torch.from_numpy(label)}


def trained_module(sample, epochs=12):
    module = tiny_module()
    recipe = Recipe(epochs=epochs, batch_size=16, amp="off", optimizer=Optimizer(lr=0.02))
    task = Task(
        module=module,
        trunk=None,
        objective=classification(("pixels",), recipe.loss, (1, 1)),
        inputs=("pixels",),
        aggregate=load_modalities().get("image").aggregate,
        recipe=recipe,
        steps_per_epoch=len(sample) // 16,
        device=torch.device("cpu"),
    )
    held_out = lights(64, 9)
    file = {"file": torch.from_numpy(held_out.file)}
    validation = next(as_stream(held_out, 64)) | file
    Trainer(task).run(as_stream(sample), lambda: [validation], lambda *_: None)
    return module.eval()


def written(module, folder):
    """Write the plug-in model with these weights as a bundle."""
    card = Card(
        name="tiny",
        model="tiny",
        model_config=config.to_dict(config.from_dict(_config(), {})),
        modality="image",
        prep=config.to_dict(WHOLE),
        prep_digest=WHOLE.digest,
        files={},
        metrics={"test": {"auc": 0.9}},
        plugin=PLUGIN.name,
    )
    return bundle.write(folder, card, module)


def _config():
    from deepscan.models import MODELS

    return MODELS.get("tiny").config
