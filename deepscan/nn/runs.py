"""Co-occurrences: how often each run of small differences occurs among neighbouring pixels.

A camera's noise and a decoder's interpolation leave different runs, whatever a picture shows.
"""

import torch
from torch import Tensor
from torch.nn import functional

from deepscan.errors import ConfigError

LEVELS = 5
RUN = 4
RUNS = LEVELS**RUN
SCALES = ((1, 1.0), (2, 1.5), (4, 2.0), (8, 2.0))
"""By how much a picture is reduced, and the grey levels that a step of its differences spans."""

YCC = ((306, 601, 117), (-173, -339, 512), (512, -429, -83))
"""Weights of red, green and blue, multiples of 1/1024: sums of 64 pixels stay exact in float32. Differences
that lie half way between two levels are common, and only exact ones are rounded alike by every runtime."""


def to_ycc(rgb_BCHW: Tensor) -> Tensor:
    """Return Y, Cb and Cr (ITU-R BT.601, full range, without offsets) of RGB, float32 [B, 3, H, W].

    For whole numbers in [0, 255] the results are exact multiples of 1/1024.
    """
    weights = torch.tensor(YCC, device=rgb_BCHW.device) / 1024
    return torch.einsum("ij,bjhw->bihw", weights, rgb_BCHW)


def differences(ycc_BCHW: Tensor, scales: int = len(SCALES)) -> list[Tensor]:
    """Return the differences of neighbours along rows at every scale, int16 [B, 3, H, W - 1] in [0, 4].

    Chroma differs less than luma, so its steps are halved.
    """
    step_C11 = torch.tensor([2.0, 1.0, 1.0], device=ycc_BCHW.device).view(3, 1, 1)
    levels = []
    for scale, step in SCALES[:scales]:
        small = reduced(ycc_BCHW, scale)
        difference = (small[..., 1:] - small[..., :-1]) / (step_C11 * step)
        levels.append((difference.round_().clamp_(-2, 2) + 2).to(torch.int16))
    return levels


def count_runs(levels_BCHW: Tensor) -> Tensor:
    """Return four times the share of every run of four levels in each plane, float [B, C, 625].

    Runs along rows and columns count alike, and so do a run, its mirror image and its negative: the
    measure does not change when a picture is flipped.

    Raises:
        ConfigError: The planes are too small to hold a run.
    """
    height, width = levels_BCHW.shape[-2:]
    if max(height, width) < RUN:
        msg = (
            f"Of a picture {height} x {width} differences are left to count runs of {RUN} in, which is none. "
            "Set prep.size_px=64 or more, or a larger recipe.augment.crop."
        )
        raise ConfigError(msg)
    levels_NHW = levels_BCHW.flatten(0, 1)
    total = _runs_of_rows(levels_NHW) + _runs_of_rows(levels_NHW.transpose(1, 2).contiguous())
    cube = (total / total.sum(1, keepdim=True)).view(-1, *[LEVELS] * RUN)
    cube = cube + cube.flip(1, 2, 3, 4)
    cube = cube + cube.permute(0, 4, 3, 2, 1)
    return cube.view(*levels_BCHW.shape[:2], RUNS)


def _runs_of_rows(levels_NHW: Tensor) -> Tensor:
    """Return how often every run occurs along the rows of each plane, float [N, 625]."""
    width = levels_NHW.shape[2] - RUN + 1
    code = levels_NHW[:, :, :width]
    for shift in range(1, RUN):
        code = code * LEVELS + levels_NHW[:, :, shift : shift + width]
    return histogram(code.flatten(1), RUNS)


def reduced(x_BCHW: Tensor, scale: int) -> Tensor:
    """Return the means of squares of ``scale`` by ``scale`` pixels."""
    return x_BCHW if scale == 1 else functional.avg_pool2d(x_BCHW, scale)


def histogram(values_NK: Tensor, bins: int) -> Tensor:
    """Return how often each value in [0, bins) occurs in each row, float [N, bins]; exact up to 2^24."""
    ones_NK = torch.ones((), device=values_NK.device).expand(values_NK.shape)
    # `len` would be a number of its own to a graph, which could then take no other.
    counts = torch.zeros(values_NK.shape[0], bins, device=values_NK.device)
    return counts.scatter_add(1, values_NK.long(), ones_NK)
