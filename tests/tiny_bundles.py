"""Bundles of small models with random weights, and pictures for them, made in milliseconds."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from deepscan import bundle, config
from deepscan.bundle import Bundle, Card
from deepscan.media.source import Media
from deepscan.modalities import Example, batch
from deepscan.modalities.image import ImagePrep
from deepscan.models import MODELS
from deepscan.models.catalog import load_builtin, load_plugin
from tests.material import encoded

PLUGIN = pathlib.Path(__file__).parent / "plugins" / "tiny.py"
WHOLE = ImagePrep(region="whole", size_px=32)
FACES = ImagePrep(region="face", finder="haar", size_px=32)


def tiny_module(seed: int = 0):
    """Return the plug-in model, registered, with the weights that a seed gives."""
    load_plugin(PLUGIN)
    spec = MODELS.get("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return spec.build(spec.config())


def settle(module: torch.nn.Module, examples: Sequence[Example], prep: Any) -> None:
    """Give batch norms the statistics of these Examples: fresh ones make all answers nearly the same."""
    for norm in (part for part in module.modules() if isinstance(part, _BatchNorm)):
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(**{name: torch.from_numpy(x) for name, x in batch(list(examples), prep).items()})
    module.eval()


def fresh_bundle(
    folder: pathlib.Path, model: str, prep: Any, seed: int = 0, seen: Sequence[Example] = (), **fields: object
) -> Bundle:
    """Write a bundle of a model with the weights that a seed gives.

    ``seen`` are Examples to settle it on, ``fields`` those of its card.
    """
    spec = load_builtin().get(model)
    settings = spec.config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = spec.build(settings)
        if seen:
            settle(module, seen, prep)
    given = {
        "name": model,
        "model": spec.name,
        "model_config": config.to_dict(settings),
        "modality": spec.modality,
        "prep": config.to_dict(prep),
        "prep_digest": prep.digest,
        "files": {},
    }
    return bundle.write(folder, Card(**(given | fields)), module)


def tiny_bundle(folder: pathlib.Path, seed: int = 0, prep: ImagePrep = WHOLE, **fields: object) -> Bundle:
    """Write a bundle of the plug-in model; ``fields`` are those of its card."""
    load_plugin(PLUGIN)
    return fresh_bundle(folder, "tiny", prep, seed, **{"plugin": PLUGIN.name, **fields})


def noise(seed: int = 0) -> bytes:
    """Return a PNG of noise, in which there is no face."""
    return encoded(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8))


def media(seed: int = 0) -> Media:
    return Media.from_bytes(noise(seed), f"noise-{seed}.png")
