"""What a picture's coefficients tell of a compression before the last one.

A coefficient that was rounded to multiples of one step and then to multiples of another leaves levels that
are fuller or emptier than a smooth distribution would have them (Lukas & Fridrich, DFRWS 2003; Popescu &
Farid, IH 2004). The smooth one is taken from the picture itself, cut off its grid by half a block, where the
rounding is smeared away. Every pair of steps then predicts the levels' shares, and the likelihoods tell.
"""

import dataclasses
import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoPictureError
from deepscan.media import jpeg
from deepscan.media.jpeg import LOWEST_AC, Floats, Ints

Doubles = NDArray[np.float64]

LEAST_BLOCKS = 64
"""Fewer say nothing of a distribution: 64 by 64 pixels."""

FIRST_QUALITIES = np.arange(40, 99)
"""Of libjpeg, among which the first one is sought; at 99 and 100 the lowest steps are all 1."""

_REACH = 400
"""Largest coefficient that counts; few of the lowest ones are beyond, and they tell little."""

_GRAIN = 0.25
_NOISE = 0.4
"""Standard deviation that rounding to whole levels between two compressions leaves on a coefficient: 0.29,
the root of a twelfth, from luma alone, 0.45 where all of RGB is rounded on the way."""

_OUTLIERS = 0.03
"""Share of coefficients that keep to no model, such as those of blocks that were cut at black or white."""

_WORST = -0.3
"""Nats that one block can say against a first quality, lest outliers hide what their neighbours tell."""

_TINY = 1e-9
_BINS, _SMOOTH_BINS = 160, 2.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Levels:
    """Whole multiples of the table's steps in a picture, and what they would be without rounding.

    Attributes:
        levels_CN: The lowest AC frequencies, int64 [9, blocks].
        smooth_CN: Coefficients off the grid by half a block, float32 [9, blocks].
        steps_C: Steps of the table, int64 [9].
        at_HW: Which blocks were counted, bool [rows, columns].
        misfit: Mean distance of the coefficients from whole multiples, in steps; 0.25 = no multiples at all.
    """

    levels_CN: Ints
    smooth_CN: Floats
    steps_C: Ints
    at_HW: NDArray[np.bool_]
    misfit: float


def levels(luma_HW: NDArray[np.uint8], table_64: Ints) -> Levels:
    """Read the lowest AC coefficients back from decoded luma; blocks cut at black or white are left out.

    Args:
        luma_HW: uint8 [H, W], as stored.
        table_64: Its quantisation.

    Raises:
        NoPictureError: There are fewer than ``LEAST_BLOCKS``.
    """
    blocks_HW64 = jpeg.blocks(luma_HW)
    at_HW = (blocks_HW64.min(-1) > -128) & (blocks_HW64.max(-1) < 127)
    if at_HW.sum() < LEAST_BLOCKS:
        msg = f"Fewer than {LEAST_BLOCKS} blocks of the picture are neither cut off nor black or white."
        raise NoPictureError(msg)
    steps_C = table_64[list(LOWEST_AC)]
    levels_NC = jpeg.transform(blocks_HW64[at_HW], LOWEST_AC) / steps_C
    whole_NC = np.rint(levels_NC)
    half = jpeg.SIDE // 2
    smooth_NC = jpeg.transform(jpeg.blocks(luma_HW, (half, half)), LOWEST_AC).reshape(-1, len(LOWEST_AC))
    return Levels(
        levels_CN=whole_NC.astype(np.int64).T,
        smooth_CN=smooth_NC.T,
        steps_C=steps_C,
        at_HW=at_HW,
        misfit=float(np.abs(levels_NC - whole_NC).mean()),
    )


def explain(read: Levels) -> tuple[Doubles, ...]:
    """Return how much likelier two compressions make each level of a frequency than one, for all nine.

    Each float64 [first qualities, levels], in nats; the level 0 tells nothing, because smooth parts hold
    little else and would pass for compressed ones.
    """
    return tuple(_explain(read, number) for number in range(len(LOWEST_AC)))


def gains(read: Levels, ratios: tuple[Doubles, ...]) -> Doubles:
    """Return how much better two compressions explain the levels than one, float64 [9, first qualities].

    In nats per coefficient, for every first quality of libjpeg; near 0 = no better, negative = worse.

    Args:
        read: What was read.
        ratios: What ``explain`` says of it.
    """
    found = []
    for levels_N, ratios_QK in zip(read.levels_CN, ratios, strict=True):
        counts_K = np.bincount(_magnitudes(levels_N, ratios_QK), minlength=ratios_QK.shape[1])
        found.append(ratios_QK @ counts_K / len(levels_N))
    return np.stack(found)


def local_gains(read: Levels, ratios: tuple[Doubles, ...], spacing: int, window: int) -> Doubles:
    """Return the same around every block, float64 [first qualities, rows, columns].

    Args:
        read: What was read.
        ratios: What ``explain`` says of it.
        spacing: Every how many of ``FIRST_QUALITIES`` to try.
        window: Side of the square whose blocks are averaged; 0 nats where fewer than a third of them count.
    """
    blocks_QN = np.zeros((len(FIRST_QUALITIES[::spacing]), read.levels_CN.shape[1]))
    for levels_N, ratios_QK in zip(read.levels_CN, ratios, strict=True):
        blocks_QN += ratios_QK[::spacing][:, _magnitudes(levels_N, ratios_QK)] / len(ratios)
    share_HW = cv2.blur(read.at_HW.astype(np.float64), (window, window))
    means = []
    for blocks_N in np.maximum(blocks_QN, _WORST):
        whole_HW = np.zeros(read.at_HW.shape)
        whole_HW[read.at_HW] = blocks_N
        means.append(cv2.blur(whole_HW, (window, window)) / np.maximum(share_HW, 1e-6))
    return np.where(share_HW > 1 / 3, np.stack(means), 0.0)


def _explain(read: Levels, number: int) -> Doubles:
    """Return the ratios of one frequency; many qualities share a step."""
    firsts, which_Q = np.unique(first_steps()[:, number], return_inverse=True)
    shares_X, step = density(read.smooth_CN[number]), int(read.steps_C[number])
    return log_ratios(shares_X, step, tuple(map(int, firsts)))[which_Q]


def _magnitudes(levels_N: Ints, ratios_QK: Doubles) -> Ints:
    magnitudes_N: Ints = np.minimum(np.abs(levels_N), ratios_QK.shape[1] - 1)
    return magnitudes_N


def first_steps() -> Ints:
    """Return the steps of the lowest AC frequencies at every first quality, int64 [qualities, 9]."""
    steps_QC: Ints = jpeg.scaled(jpeg.LUMA_64[list(LOWEST_AC)])[FIRST_QUALITIES - 1]
    return steps_QC


def density(values_N: Floats) -> Doubles:
    """Return how coefficients' magnitudes are distributed, float64 [grid], summing to 1.

    Counted and smoothed on a scale that is linear near 0 and logarithmic far out, where there are few.
    """
    scale = max(1.0, float(np.abs(values_N).mean()) / 2)
    top = np.arcsinh(_REACH / scale)
    counts_B, edges_B = np.histogram(np.arcsinh(np.abs(values_N) / scale), _BINS, (0, top))
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / _SMOOTH_BINS) ** 2)
    mirrored_B = np.concatenate([counts_B[8::-1][:8], counts_B, np.zeros(8)])
    smooth_B = np.convolve(mirrored_B, kernel / kernel.sum(), "valid") + 1e-3
    grid_X = _grid()
    at_X = np.arcsinh(grid_X / scale)
    shares_X = np.interp(at_X, (edges_B[1:] + edges_B[:-1]) / 2, smooth_B) / np.hypot(grid_X, scale)
    return np.asarray(shares_X / shares_X.sum())


def log_ratios(shares_X: Doubles, step: int, firsts: tuple[int, ...]) -> Doubles:
    """Return the log of how much likelier two compressions make each level but 0, float64 [firsts, levels].

    Args:
        shares_X: What ``density`` returns.
        step: Of the last compression.
        firsts: Steps of the first one.
    """
    once_X = np.rint(_grid() / step).astype(np.int64)
    count = int(once_X[-1]) + 1
    once_K = np.bincount(once_X, shares_X, count) + _TINY
    values_SV = np.stack([_rounded(shares_X, first) for first in firsts])
    twice_SK = values_SV @ _spread(step)[:, :count] + _TINY
    once_K, twice_SK = once_K / once_K[1:].sum(), twice_SK / twice_SK[:, 1:].sum(axis=1, keepdims=True)
    ratios_SK = np.log((1 - _OUTLIERS) * twice_SK / once_K + _OUTLIERS)
    ratios_SK[:, 0] = 0
    return np.asarray(ratios_SK)


def _grid() -> Doubles:
    return np.arange(_GRAIN / 2, _REACH, _GRAIN)


def _rounded(shares_X: Doubles, step: int) -> Doubles:
    """Return the shares of whole values after rounding to multiples of a step, float64 [2 x reach]."""
    whole_X = np.rint(_grid() / step).astype(np.int64) * step
    return np.asarray(np.bincount(whole_X, shares_X, 2 * _REACH), np.float64)


@functools.lru_cache(maxsize=64)
def _spread(step: int) -> Doubles:
    """Return how whole values fall to levels after the noise of pixels, float64 [values, levels]."""
    from scipy.special import ndtr

    values_V = np.arange(2 * _REACH)[:, None]
    edges_K = (np.arange(2 * _REACH // step + 3) - 0.5) * step
    below = ndtr((edges_K - values_V) / _NOISE) - ndtr((-edges_K - values_V) / _NOISE)
    below[:, 0] = 0
    return np.asarray(np.diff(below, axis=1))


def periodicity(levels_N: Ints) -> float:
    """Return how periodic a histogram of levels is, in [0, 1]; one compression leaves near 0.

    The height of the spectrum's highest peak above where it had fallen to before (Popescu & Farid, 2004).
    """
    reach = 128
    counts_K = np.bincount(np.clip(levels_N, -reach, reach) + reach, minlength=2 * reach + 1)
    spectrum_F = np.abs(np.fft.rfft(counts_K)) / counts_K.sum()
    return float(np.max(spectrum_F - np.minimum.accumulate(spectrum_F)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """Another grid of blocks than the file's own, the likeliest there is.

    Attributes:
        down_px: Where its blocks begin, 0 to 7.
        across_px: Where its blocks begin, 0 to 7; not both are 0.
        step: Of which its mean coefficients are multiples.
        score: How far it stands out among all 63, in standard deviations of the others.
        scores_HW: That of all of them at their best steps, float64 [8, 8]; the own grid has 0.
    """

    down_px: int
    across_px: int
    step: int
    score: float
    scores_HW: Doubles


STEPS = np.arange(2, 33)
"""Among which the step of another grid is sought; 1 is no rounding, more than 32 no usual quality."""


def other_grid(luma_HW: NDArray[np.uint8]) -> Grid:
    """Return the grid off the file's own whose mean coefficients are nearest to multiples of one step.

    Whole multiples of a step all have the phase 0 at its frequency (Bianchi & Piva, IEEE TIFS 7(2), 2012).
    What all grids have in common, as a histogram with few values has, is taken off.

    Raises:
        NoPictureError: There are fewer than ``LEAST_BLOCKS``.
    """
    if (luma_HW.shape[0] // jpeg.SIDE - 1) * (luma_HW.shape[1] // jpeg.SIDE - 1) < LEAST_BLOCKS:
        msg = f"The picture holds fewer than {LEAST_BLOCKS} blocks, too few to tell grids by."
        raise NoPictureError(msg)
    phases_GS = _phases(luma_HW)
    above_GS = phases_GS - np.median(phases_GS, axis=0)
    scores_GS = above_GS / np.maximum(1.0, 1.4826 * np.median(np.abs(above_GS), axis=0))
    scores_GS[0] = 0
    grid, best = np.unravel_index(scores_GS.argmax(), scores_GS.shape)
    return Grid(
        down_px=int(grid) // jpeg.SIDE,
        across_px=int(grid) % jpeg.SIDE,
        step=int(STEPS[best]),
        score=float(scores_GS[grid, best]),
        scores_HW=scores_GS.max(axis=1).reshape(jpeg.SIDE, jpeg.SIDE),
    )


def _phases(luma_HW: NDArray[np.uint8]) -> Doubles:
    """Return how well mean coefficients of every grid fit every step, float64 [64, steps], 1 = chance."""
    side = jpeg.SIDE
    sums_HW = cv2.boxFilter(luma_HW, cv2.CV_32S, (side, side), anchor=(0, 0), normalize=False)
    inside_HW = np.rint(sums_HW[: 1 - side, : 1 - side] / np.float32(side)).astype(np.int32)
    # The orthonormal mean is an eighth of the sum; 128 less, times 8, is 1024 and a multiple of no step.
    waves_SV = np.cos(2 * np.pi * (np.arange(256 * side) - 128 * side) / STEPS[:, None])
    counts_GV = np.stack(
        [
            np.bincount(inside_HW[down::side, across::side].ravel(), minlength=256 * side)
            for down in range(side)
            for across in range(side)
        ]
    )
    return np.asarray(counts_GV @ waves_SV.T * np.sqrt(2 / counts_GV.sum(axis=1, keepdims=True)))
