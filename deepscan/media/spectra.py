"""What a network reads of sound: spectra and cepstra."""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FrontEnd:
    """How a window of sound becomes what a network reads.

    Attributes:
        kind: ``wave`` (none at all), ``mfcc``, ``lfcc``, ``logmel``, ``spectrogram`` or ``cqt``.
        filters: Filters of the filter bank.
        coefficients: Cepstral coefficients.
        deltas: Add first and second derivatives over time as further rows.
        length_ms: Length of an analysis frame.
        hop_ms: Time between frames.
        normalize: Bring every row to mean 0 and deviation 1 over the window.
    """

    kind: Literal["wave", "mfcc", "lfcc", "logmel", "spectrogram", "cqt", "voice"] = "lfcc"
    filters: int = 40
    coefficients: int = 20
    deltas: bool = True
    length_ms: float = 20.0
    hop_ms: float = 10.0
    normalize: bool = True


def shape(front_end: FrontEnd, samples: int) -> tuple[int, int]:
    """Return rows and frames of the features of so many samples."""
    raise NotImplementedError


def features(wave_N: NDArray[np.float32], front_end: FrontEnd) -> NDArray[np.float32]:
    """Return the features of a window, float32 [rows, frames].

    Args:
        wave_N: Sound in [-1, 1] at 16 kHz.
        front_end: How.
    """
    raise NotImplementedError
