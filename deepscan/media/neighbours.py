"""What stands out in a series: each value beside those around it. NaN is a gap and nobody's neighbour."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def median_nearby(values_N: Floats, reach: int, least: int = 1) -> Floats:
    """Return the (lower) median of the up to ``2 * reach`` values around each, itself left out.

    Args:
        values_N: float64 [N].
        reach: How many before and behind.
        least: Where fewer than so many neighbours are known, the median is NaN.
    """
    sorted_NR = np.sort(_around(values_N, reach), axis=1)
    known_N = np.isfinite(sorted_NR).sum(axis=1)
    medians_N = np.take_along_axis(sorted_NR, np.maximum(known_N - 1, 0)[:, None] // 2, axis=1)[:, 0]
    return np.where(known_N >= least, medians_N, np.nan)


def largest_nearby(values_N: Floats, reach: int) -> Floats:
    """Return the largest of the up to ``2 * reach`` values around each; NaN where none is known."""
    return np.asarray(np.fmax.reduce(_around(values_N, reach), axis=1))


def _around(values_N: Floats, reach: int) -> Floats:
    padded = np.pad(np.asarray(values_N, np.float64), reach, constant_values=np.nan)
    windows_NR = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.delete(windows_NR, reach, axis=1)
