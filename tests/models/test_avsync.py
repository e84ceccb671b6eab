"""Lips and voice: the towers find how far they are apart, and the logit says whether they belong together."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from deepscan.errors import ConfigError
from deepscan.models import avsync
from deepscan.models.avsync import AvSync, AvSyncConfig
from deepscan.objectives import synchrony
from deepscan.recipe import Loss

FRAMES, ROWS, SIDE = 60, 12, 20
INPUTS = ("mouth", "sound", "mask")
SMALL = AvSyncConfig(embedding=16, channels=(8, 12), hidden=32, dropout=0.0, shifts=8, tolerance=1)


def syllables(count, frames, rng):
    """How open a mouth is, in [0, 1]: smooth noise of a few openings a second, float32 [count, frames]."""
    coarse = rng.standard_normal((count, frames + 12))
    smooth = np.stack([np.convolve(row, np.hanning(7) / 3, "same") for row in coarse])
    return (1 / (1 + np.exp(-2.5 * smooth)))[:, 6 : frames + 6].astype(np.float32)


def speakers(count, seed, late=None):
    """Mouths that open with the loudness of their sound, which is late by so many frames."""
    rng = np.random.default_rng(seed)
    late = np.zeros(count, int) if late is None else late
    opening = syllables(count, FRAMES + 40, rng)
    seen = opening[:, 20 : 20 + FRAMES]
    heard = np.stack([row[20 - shift : 20 - shift + FRAMES] for row, shift in zip(opening, late, strict=True)])
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) - 0.5
    height = 0.05 + 0.35 * seen[..., None, None]
    skin = rng.uniform(120, 200, (count, 1, 1, 1))
    lips = (np.square(x / 0.35) + np.square(y / height)) < 1
    mouth = np.where(lips, 40, skin) + rng.normal(0, 6, (count, FRAMES, SIDE, SIDE))
    timbre = rng.uniform(0.5, 1.5, (count, ROWS, 1))
    sound = timbre * np.repeat(heard, 4, axis=1)[:, None] + rng.normal(0, 0.2, (count, ROWS, 4 * FRAMES))
    sound = (sound - sound.mean(2, keepdims=True)) / sound.std(2, keepdims=True)
    return {
        "mouth": torch.from_numpy(mouth.clip(0, 255).astype(np.uint8)),
        "sound": torch.from_numpy(sound.astype(np.float32)),
        "mask": torch.ones(count, FRAMES, dtype=torch.uint8),
    }


def train(steps, seed=0, batch=16, config=SMALL):
    torch.manual_seed(seed)
    model = AvSync(config, ROWS).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    objective = synchrony(INPUTS, Loss(), (batch, 0))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = objective(model, speakers(batch, 1000 + step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def judged(model, batch):
    with torch.no_grad():
        return model(**batch)
