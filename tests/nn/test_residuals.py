import numpy as np
import pytest
import torch
from scipy import ndimage

from deepscan.nn.residuals import MeanAndDeviation, Residuals, full_resolution

KERNELS = {
    "square3": np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4,
    "square5": np.array(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    )
    / 12,
}


def pixels(low=100, high=110, shape=(1, 20, 24, 3)):
    return np.random.default_rng(0).integers(low, high, shape, dtype=np.uint8)


@pytest.mark.parametrize("color", [0, 1, 2])
def test_every_colour_is_filtered_by_every_kernel_as_scipy_does(color):
    picture = pixels()
    found = Residuals(clip=100.0)(torch.from_numpy(picture))[0].numpy() * 100
    plane = picture[0, :, :, color].astype(np.float64)
    flat = ndimage.correlate(plane, np.array([[0, -1, 1]]), mode="mirror")
    upright = ndimage.correlate(plane, np.array([[0], [-1], [1]]), mode="mirror")
    squares = [ndimage.correlate(plane, KERNELS[n], mode="mirror") for n in ("square3", "square5")]
    for channel, expected in enumerate([flat, upright, *squares]):
        np.testing.assert_allclose(found[4 * color + channel], expected, atol=1e-3)


def test_flat_pictures_leave_nothing_and_edges_are_cut_off():
    flat = torch.full((1, 16, 16, 3), 77, dtype=torch.uint8)
    assert Residuals()(flat).abs().max() < 1e-5
    step = flat.clone()
    step[:, :, 8:] = 200
    residual = Residuals(clip=3.0)(step)
    assert residual.abs().max() == 1


def test_the_result_lies_channels_last_and_keeps_the_size():
    residual = Residuals()(torch.from_numpy(pixels()))
    assert residual.shape == (1, Residuals.channels, 20, 24)
    assert residual.is_contiguous(memory_format=torch.channels_last)


def test_pooling_gives_mean_and_deviation_of_each_channel():
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    values = x.numpy().reshape(2, 3, -1)
    expected = np.concatenate([values.mean(2), values.std(2)], 1)
    np.testing.assert_allclose(MeanAndDeviation()(x), expected, rtol=1e-4, atol=1e-5)


def test_layers_look_at_single_pixels_before_they_halve():
    stack = full_resolution(12, (4, 6, 8))
    assert stack(torch.randn(2, 12, 16, 20)).shape == (2, 8, 4, 5)
    assert stack[:2](torch.randn(2, 12, 16, 20)).shape == (2, 4, 16, 20)
