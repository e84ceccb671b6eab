"""Whether the bands are those of the cosine transform, and their statistics those of known laws."""

import cv2
import numpy as np
import pytest

from deepscan.errors import NoPictureError
from deepscan.evidence import dct_bands
from tests.scenery import picture, scenery

RNG = np.random.default_rng(0)


def test_coefficients_are_those_of_another_implementation():
    luma = RNG.uniform(0, 255, (40, 51)).astype(np.float32)
    found = dct_bands.coefficients(luma)
    assert found.shape == (30, 8, 8)
    np.testing.assert_allclose(found[0], cv2.dct(luma[:8, :8]), atol=1e-3)
    np.testing.assert_allclose(found[-1], cv2.dct(luma[32:40, 40:48]), atol=1e-3)


def test_blocks_of_large_pictures_are_drawn_evenly():
    luma = np.zeros((1200, 2000), np.float32)
    luma[:600] = 8
    found = dct_bands.coefficients(luma)
    assert len(found) == dct_bands.MOST_BLOCKS
    assert (found[:, 0, 0] > 1).mean() == pytest.approx(0.5, abs=0.01)


def test_white_noise_has_as_much_in_every_band_and_no_peaks():
    noise = 128 + np.repeat(RNG.normal(0, 10, (256, 256, 1)), 3, axis=2)
    measured = dct_bands.testify(picture(noise)).measurements
    energy = [measured[f"energy_{d:02d}_db"] for d in dct_bands.DIAGONALS]
    assert energy == pytest.approx([20] * 14, abs=0.5)
    assert [measured[f"peakedness_{d:02d}"] for d in dct_bands.DIAGONALS] == pytest.approx([0] * 14, abs=0.15)


def test_coefficients_of_a_laplace_law_are_peaked():
    blocks = RNG.laplace(0, 6, (32, 32, 8, 8)).astype(np.float32)
    blocks[..., 0, 0] = 8 * 128
    luma = np.block([[cv2.idct(block) for block in row] for row in blocks])
    measured = dct_bands.testify(picture(np.repeat(luma[..., None], 3, 2))).measurements
    assert measured["peakedness_07"] == pytest.approx(np.log(2), abs=0.15)


def test_blur_takes_energy_from_fine_bands_and_jpeg_empties_them():
    values = scenery(0, grain=2.0)
    plain = dct_bands.testify(picture(values)).measurements
    soft = dct_bands.testify(picture(cv2.GaussianBlur(values, (0, 0), 1.0))).measurements
    packed = dct_bands.testify(picture(values, "JPEG", quality=50)).measurements
    assert soft["energy_13_db"] < plain["energy_13_db"] - 10
    assert soft["slope_db"] < plain["slope_db"] - 3
    assert packed["zero_share"] > 0.8 > 0.5 > plain["zero_share"]


def test_direction_is_told():
    stripes = 128 + 40 * np.cos(2 * np.pi * 0.2 * np.arange(128))
    across = np.tile(stripes[None, :, None], (128, 1, 3))
    assert dct_bands.testify(picture(across)).measurements["upright_db"] > 20
    assert dct_bands.testify(picture(across.transpose(1, 0, 2))).measurements["upright_db"] < -20


def test_small_pictures_cannot_be_measured():
    with pytest.raises(NoPictureError):
        dct_bands.testify(picture(scenery(0, 31, 80)))
