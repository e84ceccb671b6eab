"""Fingerprints that survive another coding: files that look or sound alike differ in few bits.

Bits are compared by how many differ. Of two unrelated files about half do.
"""

from collections.abc import Iterable

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from deepscan.media.frames import Sampling
from deepscan.media.levels import active
from deepscan.media.pixels import Picture, resize
from deepscan.media.sound import SOUND_RATE_HZ
from deepscan.media.source import Media

Bits = NDArray[np.bool_]

FRAMES = 3
"""Of a clip, evenly over its time."""

_SIDE = 32
_KEPT = 16
_FLAT = 2.0
"""Standard deviation of grey levels below which a picture has nothing to compare, as a black frame."""

_BANDS, _TIMES = 17, 33
_WINDOW = 1024
_LOW_HZ, _HIGH_HZ = 150.0, 3500.0
_SHORT_S = 0.5

PICTURE_BITS = _KEPT * _KEPT - 1
SOUND_BITS = (_BANDS - 1) * (_TIMES - 1)


def fingerprint(media: Media) -> Bits | None:
    """Return the fingerprint of a file's pictures, or of its sound where it has none.

    A picture has 255 bits, a clip those of three frames, a sound 512: files of one kind are comparable.

    Returns:
        bool [B]; None where there is nothing to compare: a flat picture, a frame less, hardly any sound.

    Raises:
        MediaError: Nothing decodes.
    """
    if media.facts.width_px is None:
        return sound_bits(media.sound_N)
    if media.facts.duration_s is None:
        return picture_bits(media.picture_HWC)
    frames = media.frames(Sampling(count=FRAMES))
    return _joined([picture_bits(frame.picture_HWC) for frame in frames])


def picture_bits(picture_HWC: Picture) -> Bits | None:
    """Return which low frequencies of a picture are above their median, bool [255]; None for a flat one.

    The cosine transform of a small grey copy, without its mean (Zauner, 2010, "Implementation and
    benchmarking of perceptual image hash functions", section 3.2), with more frequencies than there.
    """
    small = resize(picture_HWC, _SIDE, _SIDE).astype(np.float64) @ (0.299, 0.587, 0.114)
    if small.std() < _FLAT:
        return None
    low = scipy.fft.dctn(small, norm="ortho")[:_KEPT, :_KEPT].ravel()[1:]
    bits: Bits = low > np.median(low)
    return bits


def sound_bits(wave_N: NDArray[np.float32]) -> Bits | None:
    """Return where the tilt of the spectrum rises, bool [512]; None where less than half a second is heard.

    Signs of differences of band energies along frequency and time (Haitsma and Kalker, ISMIR 2002), on 32
    stretches of the sound without the silence at its ends: gain, coding and added silence move few of them.

    Args:
        wave_N: float32 [N] in [-1, 1] at 16 kHz.
    """
    heard_N = wave_N[active(wave_N)]
    if len(heard_N) < _SHORT_S * SOUND_RATE_HZ:
        return None
    frequency_hz, _, power_FT = scipy.signal.spectrogram(
        heard_N, SOUND_RATE_HZ, nperseg=_WINDOW, noverlap=_WINDOW * 3 // 4
    )
    edges = np.searchsorted(frequency_hz, np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1))
    bands_BT = np.add.reduceat(power_FT[: edges[-1]], edges[:-1], axis=0)
    starts = np.linspace(0, bands_BT.shape[1], _TIMES, endpoint=False).astype(np.int64)
    energy_BT = np.log10(np.add.reduceat(bands_BT, starts, axis=1) + 1e-12)
    bits: Bits = (np.diff(np.diff(energy_BT, axis=0), axis=1) > 0).ravel()
    return bits


def alike(bits_NB: Bits, share: float, rows: int = 1024) -> Iterable[tuple[int, int]]:
    """Yield the pairs of rows, first < second, that differ in at most ``share`` of their bits.

    Args:
        bits_NB: One fingerprint a row, bool [N, B].
        share: In [0, 0.5).
        rows: How many fingerprints are compared with all at once.
    """
    signs_NB = np.where(bits_NB, 1, -1).astype(np.float32)
    least = bits_NB.shape[1] * (1 - 2 * share)
    for begin in range(0, len(signs_NB), rows):
        agreement = signs_NB[begin : begin + rows] @ signs_NB[begin:].T
        for first, second in np.argwhere(np.triu(agreement >= least, 1)).tolist():
            yield begin + first, begin + second


def _joined(parts: list[Bits | None]) -> Bits | None:
    whole = [part for part in parts if part is not None]
    return np.concatenate(whole) if len(whole) == FRAMES else None
