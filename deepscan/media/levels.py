"""How loud sound is, and where it begins and ends. Sound is float32 [N] in [-1, 1] at 16 kHz, mono.

Every threshold is relative to the sound itself, so that a gain moves nothing, and silence that is added at
an end is outside of what is looked at: silence and loudness tell data sets apart that differ in nothing else.
"""

import math

import numpy as np
from numpy.typing import NDArray

from deepscan.media.sound import SOUND_RATE_HZ, Sound

BLOCK = SOUND_RATE_HZ // 100
"""Samples of a block of 10 ms, the unit in which loudness is measured and silence is cut off."""

OUTER_DB = -40.0
"""Blocks are laid between the first and the last sample that are louder than this, relative to the peak."""

GATE_DB = -10.0
"""Blocks quieter than this, relative to the mean of all, are pauses (the gate of ITU-R BS.1770)."""

EDGE_DB = -35.0
"""Blocks at either end that are quieter than this, relative to the loud ones, are silence."""


def active(wave_N: Sound) -> slice:
    """Return where the sound is without the silence at both ends; empty where there is nothing at all."""
    outer = _outer(wave_N)
    power_B = _block_power(wave_N[outer])
    if power_B.size == 0:
        return outer
    heard = np.flatnonzero(power_B >= _loud_power(power_B) * _ratio(EDGE_DB))
    begin, end = outer.start + BLOCK * int(heard[0]), outer.start + BLOCK * int(heard[-1] + 1)
    return slice(begin, min(outer.stop, end))


def loudness_db(wave_N: Sound) -> float:
    """Return the level of the sound without its pauses, root mean square in dB of full scale.

    Blocks count that are at most 10 dB quieter than the mean, as in ITU-R BS.1770, without its filter:
    for mono speech the two differ by a constant. A full-scale sine has -3 dB, nothing has minus infinity.
    """
    power_B = _block_power(wave_N[_outer(wave_N)])
    return 10 * math.log10(_loud_power(power_B)) if power_B.size else -math.inf


def amplify(wave_N: Sound, gain_db: float) -> Sound:
    """Return the sound louder by ``gain_db``, cut off at full scale."""
    louder_N: Sound = np.clip(wave_N * np.float32(10 ** (gain_db / 20)), -1, 1)
    return louder_N


def _outer(wave_N: Sound) -> slice:
    size_N = np.abs(wave_N)
    peak = size_N.max(initial=0)
    if peak == 0:
        return slice(0, 0)
    loud_N = size_N >= peak * np.float32(10 ** (OUTER_DB / 20))
    return slice(int(loud_N.argmax()), len(loud_N) - int(loud_N[::-1].argmax()))


def _block_power(wave_N: Sound) -> NDArray[np.float64]:
    """Return the mean square of every block, the last of which may be shorter."""
    starts = np.arange(0, len(wave_N), BLOCK)
    sums_B = np.add.reduceat(np.square(wave_N, dtype=np.float64), starts) if starts.size else np.zeros(0)
    return sums_B / np.diff(starts, append=len(wave_N))


def _loud_power(power_B: NDArray[np.float64]) -> float:
    return float(power_B[power_B >= power_B.mean() * _ratio(GATE_DB)].mean())


def _ratio(db: float) -> float:
    return 10 ** (db / 10)
