"""The statistics of a prepared file, made of its arrays by their rank and type.

They look at what every model and every weights format is given, never at activations, so that a network,
its graph and its int8 sibling stand behind one and the same gate.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.domain import pictures, sounds

VERSION = 1
"""Goes up with any change that gives a statistic another value; a gate of another version is refused."""

MOST_PICTURES = 6
"""Evenly spaced ones of a run stand for more: statistics need not take longer than the model."""

LEAST_GRID = 256
COLOURS = (3, 4)

Array = NDArray[Any]
Traits = dict[str, float]
"""Statistics by name, ``COLUMN.STATISTIC``; NaN where an Example does not tell one."""


def of_example(example: Mapping[str, Array], names: Sequence[str]) -> Traits:
    """Return the statistics of one Example.

    - uint8 [H, W] and [H, W, 3 or 4] are pictures, [T, H, W] and [T, H, W, 3 or 4] runs of them, of which
      those without any content (the padding of short clips) are left out;
    - int16 [N] and long float [N] are sound;
    - float [rows, T] are features of sound, and other arrays of two axes or more alike;
    - short float [N] are measurements, each a statistic of its own; where a uint8 column of the same shape
      is there, those that it marks 0 are unknown.

    Arrays too small for any of these are left out.
    """
    found: Traits = {}
    for name in names:
        array = example[name]
        if array.dtype.kind == "f" and array.ndim == 1 and len(array) < sounds.SHORTEST:
            told = _measurements(array, _mask(example, names, array.shape))
        else:
            told = _of_array(array)
        found |= {f"{name}.{key}": value for key, value in told.items()}
    return found


def _spread(items: Sequence[Array], most: int) -> list[Array]:
    """Return at most so many items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[number] for number in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _of_array(array: Array) -> Traits:
    if array.dtype == np.uint8:
        shown = [pictures.describe(each) for each in _spread(list(_pictures(array)), MOST_PICTURES)]
        return {name: float(np.median([each[name] for each in shown])) for name in (shown or [{}])[0]}
    if array.ndim == 1 and len(array) >= sounds.SHORTEST:
        return sounds.describe(_wave(array))
    if array.ndim >= 2 and array.size >= LEAST_GRID:
        return _grid(array.reshape(array.shape[0], -1).astype(np.float64))
    return {}


def _pictures(array: Array) -> Iterator[Array]:
    """Yield the pictures of an array, without those that are padding unless all are."""
    rank = array.ndim - (array.shape[-1] in COLOURS and array.ndim > 2)
    if rank not in {2, 3} or min(array.shape[rank - 2 : rank]) < pictures.SMALLEST_PX:
        return
    run = list(array) if rank == 3 else [array]
    filled = [each for each in run if each.any()]
    yield from filled or run[:1]


def _wave(array: Array) -> NDArray[np.floating]:
    wave_N = array.astype(np.float32)
    return wave_N / np.iinfo(array.dtype).max if array.dtype.kind in "iu" else wave_N


def _mask(example: Mapping[str, Array], names: Sequence[str], shape: tuple[int, ...]) -> Array | None:
    flags = (example[name] for name in names if example[name].dtype == np.uint8)
    return next((flag for flag in flags if flag.shape == shape), None)


def _measurements(array: Array, known: Array | None) -> Traits:
    told = np.isfinite(array) if known is None else (known > 0) & np.isfinite(array)
    values = np.where(told, array, np.nan).tolist()
    return {str(number): value for number, value in enumerate(values)}


def _grid(grid_RT: NDArray[np.float64]) -> Traits:
    """Return moments of features over time and over coefficients."""
    mean, std = float(grid_RT.mean()), float(grid_RT.std())
    unit_RT = (grid_RT - mean) / (std + 1e-9)
    steps = {"time": np.diff(unit_RT, axis=1), "rows": np.diff(unit_RT, axis=0)}
    profile_R, level_T = unit_RT.mean(axis=1), unit_RT.mean(axis=0)
    quarters = [float(part.mean()) for part in np.array_split(profile_R, 4)] if len(profile_R) >= 4 else []
    return {
        "mean": mean,
        "deviation": float(np.log(std + 1e-6)),
        "skewness": float((unit_RT**3).mean()),
        "peakedness": float(np.log((unit_RT**4).mean() + 0.1)),
        "profile_spread": float(profile_R.std()),
        "level_spread": float(level_T.std()),
        "row_spread": float(grid_RT.std(axis=1).mean()),
        "row_spread_low": float(np.quantile(unit_RT.std(axis=1), 0.1)),
        **{f"steps_{axis}": float(np.sqrt((step**2).mean())) for axis, step in steps.items() if step.size},
        **{f"quarter_{number + 1}": value for number, value in enumerate(quarters)},
    }
