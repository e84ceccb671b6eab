"""Detectors made by hand, and Examples for any Prep, to look at with heat maps."""

import dataclasses
import pathlib

import numpy as np
import torch
from torch import nn

from deepscan.detector import Detector
from deepscan.formats.eager import EagerRunner
from deepscan.nn.attention import SpatialAttention
from tests.contract.test_models import shrunk
from tests.tiny_bundles import fresh_bundle

BOX = (0.2, 0.1, 0.6, 0.7)


def facts_of(detector):
    """Facts of a file that the detector looks at."""
    return detector.modality.example


def small_detector(folder: pathlib.Path, spec, seed=0, **fields):
    """Return a detector of a registered model with a small Prep and fresh weights, settled on noise."""
    prep = shrunk(spec.prep).resolved()
    if hasattr(prep, "finder"):
        prep = dataclasses.replace(prep, finder="haar")
    seen = [example_of(prep, number) for number in range(4)]
    return Detector.load(fresh_bundle(folder, spec.name, prep, seed, seen, **fields).path, "cpu")


def example_of(prep, seed=0):
    """Return an Example of noise; the last frame of a clip is padding."""
    rng = np.random.default_rng(seed)
    example = {}
    for name, column in prep.columns.items():
        if column.dtype == "uint8":
            example[name] = rng.integers(0, 256, column.shape, dtype=np.uint8)
        elif column.dtype == "int16":
            example[name] = rng.integers(-9000, 9000, column.shape, dtype=np.int16)
        else:
            example[name] = np.zeros(column.shape, column.dtype)
    if "box" in example:
        example["box"][:] = BOX
    if "mask" in example:
        example["mask"][:] = 1
        example["mask"][-1] = 0
    if "time_s" in example:
        example["time_s"][:] = np.arange(len(example["time_s"])) * 0.5
    if "end_s" in example:
        example["start_s"][...] = 1.0
        example["end_s"][...] = 1.0 + prep.window_s
    return example


def with_network(detector, network):
    """Return the detector with another network in it."""
    return dataclasses.replace(detector, runner=EagerRunner(network.eval(), torch.device("cpu")))


class Corner(nn.Module):
    """Reads only the last quarter of rows and columns, a mean of what one convolution makes of them."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.attend = SpatialAttention()
        self.sign = sign
        with torch.no_grad():
            self.conv.weight.fill_(0.1)
            self.conv.bias.zero_()
            self.attend.conv.weight.zero_()
            self.attend.conv.weight[:, :, 3, 3] = 1.0

    def forward(self, **inputs):
        name = next(name for name in inputs if name != "mask")
        x = inputs[name].float()
        grey = (x.mean(-1) / 64 if name in ("pixels", "frames") else x.abs()).flatten(0, -3)[:, None]
        gate = torch.zeros_like(grey[:1])
        gate[..., grey.shape[2] * 3 // 4 :, grey.shape[3] * 3 // 4 :] = 1
        features = self.pool(self.conv(grey * gate).relu())
        features = features * self.attend(features)
        logits = features.mean((1, 2, 3)).view(len(x), -1)
        return {
            "logit": self.sign * logits.mean(1),
            "mask_logit": (features.mean(1) * 2 - 4).view(len(x), -1, *features.shape[2:])[:, 0],
        }


def corner_example(prep, seed=0):
    """Return an Example whose last quarter of rows and columns is bright."""
    example = example_of(prep, seed)
    for name in {"pixels", "frames"} & set(example):
        side = example[name].shape[-2]
        example[name][..., side * 3 // 4 :, side * 3 // 4 :, :] = 255
    return example


def points_at_corner(values_hw):
    """Tell whether a map is strongest in its last quarter of rows and columns, and weak elsewhere."""
    values_hw = values_hw - values_hw.min()
    rows, columns = values_hw.shape
    row, column = np.unravel_index(values_hw.argmax(), values_hw.shape)
    near = values_hw[rows * 2 // 5 :, columns * 2 // 5 :].sum() / values_hw.sum()
    return bool(row >= rows * 3 // 4 and column >= columns * 3 // 4 and near > 0.9)
