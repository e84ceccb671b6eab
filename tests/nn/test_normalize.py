import numpy as np
import pytest
import torch
from torchvision.transforms.functional import normalize, to_tensor

from deepscan.nn.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8))


def test_agrees_with_torchvision(pixels):
    layer = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    expected = torch.stack([normalize(to_tensor(x.numpy()), IMAGENET_MEAN, IMAGENET_STD) for x in pixels])
    torch.testing.assert_close(layer(pixels), expected)


def test_default_maps_black_and_white_to_minus_and_plus_one():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 1, 3)
    assert Normalize()(pixels).flatten().tolist() == [-1.0] * 3 + [1.0] * 3


def test_result_is_channels_last_in_memory(pixels):
    x = Normalize()(pixels)
    assert x.shape == (2, 3, 5, 7)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_follows_the_dtype_of_the_module(pixels):
    assert Normalize().bfloat16()(pixels).dtype == torch.bfloat16


def test_mean_and_deviation_travel_with_the_weights():
    other = Normalize()
    other.load_state_dict(Normalize(IMAGENET_MEAN, IMAGENET_STD).state_dict())
    np.testing.assert_allclose(other.mean.flatten() / 255, IMAGENET_MEAN, rtol=1e-6)


def test_refuses_pixels_that_are_normalised_already(pixels):
    with pytest.raises(AssertionError, match="normalised again"):
        Normalize()(pixels / 255)
