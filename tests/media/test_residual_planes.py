"""What remains of a picture when its content is predicted away."""

import numpy as np
import pytest

from deepscan.media import residuals
from tests.scenery import pixels, scenery

RNG = np.random.default_rng(0)


def white(deviation, height=128, width=160):
    return RNG.normal(0, deviation, (height, width)).astype(np.float32)


def test_luma_weighs_colours_as_bt_601_does():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(residuals.luma(colours)[0], [76.2, 149.7, 29.1], atol=0.6)
    y, red, blue = residuals.colour_planes(colours)
    np.testing.assert_allclose(y, residuals.luma(colours), atol=0.6)
    assert red[0].argmax() == 0
    assert blue[0].argmax() == 2


def test_ramps_and_straight_edges_leave_no_second_difference():
    y, x = np.mgrid[:40, :50].astype(np.float32)
    assert np.abs(residuals.second_difference(3 * x + 2 * y)[2:-2, 2:-2]).max() < 1e-4
    assert np.abs(residuals.second_difference(100 * (x > 20).astype(np.float32))[2:-2, 2:-2]).max() < 1e-4


def test_second_differences_keep_the_deviation_of_white_noise():
    assert residuals.second_difference(white(5)).std() == pytest.approx(5, rel=0.05)


def test_a_high_pass_leaves_nothing_of_ramps_and_little_of_scenery():
    x = np.tile(np.arange(30, dtype=np.float32), (20, 1))
    assert np.abs(residuals.high_pass(x)[1:-1, 1:-1]).max() == 0
    luma = residuals.luma(pixels(scenery(0)))
    assert residuals.high_pass(luma).std() < 0.2 * luma.std()


def test_magnitudes_are_cut():
    values = np.array([[-9, -1, 0, 2, 30]], np.float32)
    np.testing.assert_array_equal(residuals.magnitude(values, 8), [[8, 1, 0, 2, 8]])


@pytest.mark.parametrize("shape", [(32, 32), (67, 101), (128, 160)])
def test_wavelet_bands_hold_the_whole_plane(shape):
    height, width = (side + side % 2 for side in shape)
    plane = white(10, height, width)
    bands = residuals._split(plane)
    np.testing.assert_allclose(residuals._joined(*bands), plane, atol=1e-4)
    assert sum((band**2).sum() for band in bands) == pytest.approx((plane**2).sum(), rel=1e-4)


def test_sensor_noise_holds_most_of_the_noise_and_little_of_the_content():
    noise = white(2, 256, 256)
    content = scenery(1)[..., 1].astype(np.float32)
    found = residuals.sensor_noise(content + noise)
    assert np.corrcoef(found.ravel(), noise.ravel())[0, 1] > 0.7
    assert abs(np.corrcoef(found.ravel(), content.ravel())[0, 1]) < 0.15


def test_sensor_noise_has_the_size_of_its_plane_and_refuses_small_ones():
    assert residuals.sensor_noise(white(2, 67, 101)).shape == (67, 101)
    assert np.abs(residuals.sensor_noise(np.full((48, 48), 90, np.float32))).max() < 1e-3
    with pytest.raises(ValueError, match="at least 32 px"):
        residuals.sensor_noise(white(2, 31, 64))
