"""Bundles of the plug-in model and pictures for it, made in milliseconds."""

import pathlib

import numpy as np
import torch

from deepscan import bundle, config
from deepscan.bundle import Bundle, Card
from deepscan.media.source import Media
from deepscan.modalities.image import ImagePrep
from deepscan.models import MODELS
from deepscan.models.catalog import load_plugin
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


def tiny_bundle(folder: pathlib.Path, seed: int = 0, prep: ImagePrep = WHOLE, **fields: object) -> Bundle:
    """Write a bundle of the plug-in model; ``fields`` are those of its card."""
    module = tiny_module(seed)
    given = {
        "name": "tiny",
        "model": "tiny",
        "model_config": config.to_dict(MODELS.get("tiny").config()),
        "modality": "image",
        "prep": config.to_dict(prep),
        "prep_digest": prep.digest,
        "files": {},
        "plugin": PLUGIN.name,
    }
    return bundle.write(folder, Card(**(given | fields)), module)


def noise(seed: int = 0) -> bytes:
    """Return a PNG of noise, in which there is no face."""
    return encoded(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8))


def media(seed: int = 0) -> Media:
    return Media.from_bytes(noise(seed), f"noise-{seed}.png")
