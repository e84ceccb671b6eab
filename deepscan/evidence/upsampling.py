"""Traces of up-sampling in the spectrum: energy by frequency, and detail that the spectrum holds twice.

Whatever doubles a picture's size puts a copy of its spectrum half a sampling rate away, and filters it more
or less well: nearest neighbours, bilinear maps and the transposed convolutions of generators alike (Odena,
Dumoulin and Olah, Distill 2016; Durall, Keuper and Keuper, CVPR 2020). Two figures tell of it: the spectrum
of what a high-pass leaves, averaged over directions, and the echo, the coherence of the spectrum with itself
half a sampling rate away, which is near 0 where nothing was doubled.
"""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.stills import is_still, still_of
from deepscan.media.residuals import Plane, high_pass, luma, magnitude
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

BANDS = 24
AXES = ("rows", "columns", "both")
MEASURES = (
    *(f"band_{b:02d}_db" for b in range(BANDS)),
    *(f"echo_{axis}" for axis in AXES),
    *(f"period2_{axis}_db" for axis in AXES),
)
LEAST_PX = 64
MOST_PX = 256
"""Side of the windows whose spectra are averaged, where the picture is large enough."""

MOST_WINDOWS = 12
REACH = 0.5 * 2**0.5
"""Highest frequency, in cycles per pixel: that of the diagonal."""

ECHO = 0.27
"""Echo, in the weaker of the two directions, from which on a picture seems doubled.

Of 1300 genuine pictures of FFHQ and CelebA (JPEG 75) the highest has 0.22, at JPEG 40 0.23, at JPEG 20 0.29;
pictures that were doubled have 0.28 to 0.96, and after JPEG 75 half of them still more than genuine ones.
"""

LIMITS = (
    "Genuine pictures that were enlarged, by a zoom without optics or by a messenger, have these traces too, "
    "and generators that avoid them exist. Shrinking a picture or strong compression removes them."
)

_NEIGHBOURS = 7
_FLOOR = 1e-6
_CEILING = 8.0


def spectra(residual_HW: Plane) -> NDArray[np.complex64]:
    """Return the spectra of at most ``MOST_WINDOWS`` windows, complex64 [N, S, S], zero frequency first.

    S is the largest power of two that fits, at most ``MOST_PX``. Each window is weighed by Hann's function
    and begins on the grid of a JPEG.
    """
    # Importing this takes as long as measuring many a picture.
    import scipy.fft

    side = min(MOST_PX, 1 << (min(residual_HW.shape).bit_length() - 1))
    tops, lefts = (_starts(length, side) for length in residual_HW.shape)
    corners = [(top, left) for top in tops for left in lefts]
    kept = corners[:: -(-len(corners) // MOST_WINDOWS)]
    window_SS = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    cut_NSS = np.stack([residual_HW[top : top + side, left : left + side] * window_SS for top, left in kept])
    return np.asarray(scipy.fft.fft2(cut_NSS), np.complex64)


def _starts(length: int, side: int) -> list[int]:
    count = max(1, length // side)
    return [round(start) // 8 * 8 for start in np.linspace(0, length - side, count)]


def azimuthal(power_SS: Plane) -> Plane:
    """Return the power of each of ``BANDS`` rings over that of all frequencies, in dB, float32 [BANDS]."""
    ring_SS = _rings(power_SS.shape[0])
    counts_B = np.bincount(ring_SS.ravel(), minlength=BANDS)
    power_B = np.bincount(ring_SS.ravel(), power_SS.ravel(), BANDS) / counts_B
    share_B = power_B / max(float(power_SS.mean()), _FLOOR)
    return (10 * np.log10(share_B + _FLOOR)).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _rings(side: int) -> NDArray[np.int64]:
    frequency_S = np.fft.fftfreq(side)
    radius_SS = np.hypot(frequency_S[:, None], frequency_S)
    return np.asarray(np.minimum(radius_SS / REACH * BANDS, BANDS - 1), np.int64)


def echoes(spectra_NSS: NDArray[np.complex64]) -> tuple[float, float, float]:
    """Return the mean coherence in [0, 1] of spectra with themselves half a sampling rate away.

    Along columns (from row to row), along rows and along both; each is averaged over neighbouring
    frequencies and windows before it is squared (spectral correlation: Gardner, IEEE SPM 1991).
    """
    half = spectra_NSS.shape[1] // 2
    power_SS = (spectra_NSS.real**2 + spectra_NSS.imag**2).mean(0)
    return (
        _echo(spectra_NSS, power_SS, (half, 0)),
        _echo(spectra_NSS, power_SS, (0, half)),
        _echo(spectra_NSS, power_SS, (half, half)),
    )


def _echo(spectra_NSS: NDArray[np.complex64], power_SS: Plane, shift: tuple[int, int]) -> float:
    cross_SS = (spectra_NSS * np.roll(spectra_NSS, shift, (1, 2)).conj()).mean(0)
    together_SS = _smooth(cross_SS.real) ** 2 + _smooth(cross_SS.imag) ** 2
    apart_SS = _smooth(power_SS) * _smooth(np.roll(power_SS, shift, (0, 1)))
    return float((together_SS / (apart_SS + _FLOOR)).mean())


def _smooth(values_SS: Plane) -> Plane:
    size = (_NEIGHBOURS, _NEIGHBOURS)
    return np.asarray(
        cv2.blur(np.ascontiguousarray(values_SS), size, borderType=cv2.BORDER_REFLECT), np.float32
    )


def periodicity(residual_HW: Plane) -> tuple[float, float, float]:
    """Return how far a residual's magnitude alternates from row to row, column to column and as a chessboard.

    In dB of its mean, at least -60: places are folded modulo 2, so that content evens out.
    """
    height, width = (side // 2 * 2 for side in residual_HW.shape)
    strength_HW = magnitude(residual_HW[:height, :width], _CEILING)
    a, b, c, d = (float(strength_HW[i::2, j::2].mean()) for i in (0, 1) for j in (0, 1))
    whole = a + b + c + d + _FLOOR
    shares = (a + b - c - d, a - b + c - d, a - b - c + d)
    rows, columns, both = (float(20 * np.log10(abs(share) / whole + 1e-3)) for share in shares)
    return rows, columns, both


def testify(media: Media) -> Evidence:
    """Measure the spectrum of a picture's fine detail.

    Raises:
        NoPictureError: There is no still picture, or it is smaller than ``LEAST_PX``.
        MediaError: It does not decode.
    """
    residual_HW = high_pass(luma(still_of(media, LEAST_PX)))
    spectra_NSS = spectra(residual_HW)
    power_SS = (spectra_NSS.real**2 + spectra_NSS.imag**2).mean(0)
    band_db_B, echo = azimuthal(power_SS), echoes(spectra_NSS)
    values = (*map(float, band_db_B), *echo, *periodicity(residual_HW))
    finding: Finding = "unusual" if min(echo[:2]) >= ECHO else "ordinary"
    shown = curve(
        "spectrum",
        "Energy of fine detail by frequency, averaged over directions; 0 dB is the mean of all frequencies.",
        (np.arange(BANDS) + 0.5) / BANDS * REACH,
        band_db_B,
        ("cycles/px", "db"),
    )
    return Evidence(
        analyzer="upsampling",
        summary=_in_words(echo, finding),
        measurements=dict(zip(MEASURES, values, strict=True)),
        limits=LIMITS,
        finding=finding,
        curves=(shown,),
    )


def _in_words(echo: tuple[float, float, float], finding: Finding) -> str:
    figures = f"{echo[0]:.2f} from row to row, {echo[1]:.2f} from column to column"
    if finding == "ordinary":
        return f"The spectrum does not hold its detail twice, as doubled sizes would (echo {figures})."
    return f"The spectrum holds its detail twice, as pictures do whose size was doubled (echo {figures})."


ANALYZERS.register(
    "upsampling",
    Analyzer(
        name="upsampling",
        group="spectrum",
        summary="Energy of fine detail by frequency, and traces of up-sampling",
        measures=MEASURES,
        accepts=is_still,
        testify=testify,
    ),
)
