"""How the energy of a picture is spread over the bands of the 8x8 cosine transform, and how peaked each is.

Natural pictures lose energy evenly towards high bands, and their coefficients follow a Laplace law;
up-sampling, smoothing and generators bend both (Giudice, Guarnera and Battiato, Journal of Imaging 2021).
"""

import functools

import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.stills import is_still, still_of
from deepscan.media.residuals import Plane, luma
from deepscan.media.source import Media
from deepscan.verdict import Evidence

SIDE = 8
DIAGONALS = tuple(range(1, 2 * SIDE - 1))
"""Bands of equal u + v, from the coarsest to the finest; those of one diagonal are told together."""

MEASURES = (
    *(f"energy_{d:02d}_db" for d in DIAGONALS),
    *(f"peakedness_{d:02d}" for d in DIAGONALS),
    "slope_db",
    "roughness_db",
    "upright_db",
    "zero_share",
)
LEAST_PX = 32
MOST_BLOCKS = 16_384
"""Blocks that are measured, evenly spread: a million pixels say as much of bands as all of them."""

FLOOR = 1e-2
"""Energy that is told where a band has none, in squared grey levels."""

LIMITS = (
    "What is shown, focus, resizing and above all the quality of a JPEG shape these figures more than "
    "forgery does; alone they tell nothing. They are meant for comparison with files of the same origin, and "
    "as columns of a model."
)


def coefficients(luma_HW: Plane) -> Plane:
    """Return orthonormal 8x8 cosine transforms, float32 [N, 8, 8], of blocks on the grid of a JPEG.

    At most ``MOST_BLOCKS`` blocks, evenly spread.
    """
    rows, columns = (side // SIDE for side in luma_HW.shape)
    blocks_RCIJ = luma_HW[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
    at_N = np.unique(np.linspace(0, rows * columns - 1, min(rows * columns, MOST_BLOCKS)).astype(np.int64))
    blocks_NIJ = blocks_RCIJ.transpose(0, 2, 1, 3)[at_N // columns, at_N % columns]
    basis_UI = _basis()
    coefficients_NUV: Plane = basis_UI @ blocks_NIJ @ basis_UI.T
    return coefficients_NUV


@functools.cache
def _basis() -> Plane:
    at_I, frequency_U = np.arange(SIDE), np.arange(SIDE)[:, None]
    basis_UI = np.sqrt(2 / SIDE) * np.cos(np.pi * frequency_U * (2 * at_I + 1) / (2 * SIDE))
    basis_UI[0] /= np.sqrt(2)
    return np.asarray(basis_UI, np.float32)


def testify(media: Media) -> Evidence:
    """Measure energy and kurtosis of the bands.

    ``energy_NN_db`` is the mean energy of the bands whose u + v is NN, ``peakedness_NN`` the logarithm of
    their kurtosis over that of a Gauss law; 0.69 is a Laplace law, and 0 also where a band is empty.

    Raises:
        NoPictureError: There is no still picture, or it is smaller than ``LEAST_PX``.
        MediaError: It does not decode.
    """
    bands_NUV = coefficients(luma(still_of(media, LEAST_PX)))
    square_NUV = bands_NUV**2
    energy_UV, fourth_UV = square_NUV.mean(0), (square_NUV**2).mean(0)
    peaked_UV = np.where(
        energy_UV > FLOOR, np.log(fourth_UV / np.maximum(3 * energy_UV**2, 1e-12) + 1e-12), 0
    )
    energy_db_D = 10 * np.log10(_by_diagonal(energy_UV) + FLOOR)
    measured = _measured(energy_db_D, _by_diagonal(peaked_UV), energy_UV, bands_NUV)
    shown = curve(
        "energy",
        "Mean energy of the bands of the 8x8 cosine transform, from coarse to fine.",
        np.array(DIAGONALS, np.float64),
        energy_db_D,
        ("u+v", "db"),
    )
    return Evidence(
        analyzer="dct_bands",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        curves=(shown,),
    )


def _by_diagonal(values_UV: NDArray[np.floating]) -> NDArray[np.float64]:
    diagonal_UV = np.add.outer(np.arange(SIDE), np.arange(SIDE))
    return np.array([values_UV[diagonal_UV == d].mean(dtype=np.float64) for d in DIAGONALS])


def _measured(
    energy_db_D: NDArray[np.float64], peaked_D: NDArray[np.float64], energy_UV: Plane, bands_NUV: Plane
) -> dict[str, float]:
    octave_D = np.log2(np.array(DIAGONALS))
    slope_db, _ = np.polyfit(octave_D, energy_db_D, 1)
    rough_db = float(np.abs(np.diff(energy_db_D, 2)).mean())
    across, down = energy_UV[0, 1:].sum(), energy_UV[1:, 0].sum()
    zero_share = float((np.abs(bands_NUV[:, 4:, 4:]) < 0.5).mean())
    tail = (float(slope_db), rough_db, float(10 * np.log10((across + FLOOR) / (down + FLOOR))), zero_share)
    return dict(zip(MEASURES, (*map(float, energy_db_D), *map(float, peaked_D), *tail), strict=True))


def _in_words(measured: dict[str, float]) -> str:
    return (
        f"The energy of fine detail falls by {-measured['slope_db']:.1f} dB per octave; "
        f"{measured['zero_share']:.0%} of the finest coefficients are empty."
    )


ANALYZERS.register(
    "dct_bands",
    Analyzer(
        name="dct_bands",
        group="spectrum",
        summary="Energy and peakedness of the bands of the 8x8 cosine transform",
        measures=MEASURES,
        accepts=is_still,
        testify=testify,
    ),
)
