import itertools

import numpy as np
import pytest
import torch

from deepscan.errors import ConfigError
from deepscan.nn import runs


def test_co_occurrences_count_what_a_loop_counts():
    levels = np.random.default_rng(1).integers(0, 5, (1, 6, 7))
    counts = np.zeros((5, 5, 5, 5))
    for plane in (levels[0], levels[0].T):
        for row, start in itertools.product(range(plane.shape[0]), range(plane.shape[1] - 3)):
            counts[tuple(plane[row, start : start + 4])] += 1
    share = counts / counts.sum()
    share = share + share[::-1, ::-1, ::-1, ::-1]
    share = share + share.transpose(3, 2, 1, 0)
    found = runs.count_runs(torch.from_numpy(levels)[None].to(torch.int16))
    np.testing.assert_allclose(found[0, 0].numpy(), share.ravel(), rtol=1e-5)


def test_differences_are_rounded_to_steps_that_grow_with_the_scale_and_are_smaller_for_chroma():
    ramp = torch.arange(16.0).expand(1, 3, 16, 16)
    fine, coarse = runs.differences(ramp, 2)
    assert [levels.shape for levels in (fine, coarse)] == [(1, 3, 16, 15), (1, 3, 8, 7)]
    assert (fine[0, 0] == 2).all(), "1 grey level is half a step of luma, and half rounds to even"
    assert (fine[0, 1] == 3).all(), "and a whole step of chroma"
    assert (coarse[0, 0] == 3).all(), "2 grey levels of a step of 3"


def test_grey_has_no_chroma():
    grey = torch.full((1, 3, 2, 2), 100.0)
    ycc = runs.to_ycc(grey)
    torch.testing.assert_close(ycc[:, 0], grey[:, 0])
    torch.testing.assert_close(ycc[:, 1:], torch.zeros(1, 2, 2, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [scale for scale, _ in runs.SCALES])
def test_means_of_luma_and_chroma_are_exact(scale):
    """Half a step is common, and what is not exact one runtime rounds up and another down."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32))
    pixels[..., :16] |= 0xF8  # sums of many large values need most digits
    exact = np.einsum("ij,bjhw->bihw", np.array(runs.YCC), pixels)
    exact = exact.reshape(1, 3, 32 // scale, scale, 32 // scale, scale).sum((3, 5)) / (1024 * scale**2)
    found = runs.reduced(runs.to_ycc(torch.from_numpy(pixels).float()), scale).numpy()
    np.testing.assert_array_equal(found, exact.astype(np.float32))
    np.testing.assert_array_equal(exact.astype(np.float32), exact)


def test_the_weights_are_those_of_bt_601():
    bt_601 = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    np.testing.assert_allclose(np.array(runs.YCC) / 1024, bt_601, atol=0.5 / 1024)
    assert np.sum(runs.YCC, 1).tolist() == [1024, 0, 0]


@pytest.mark.parametrize(("height", "width"), [(4, 3), (1, 4), (5, 2)])
def test_runs_are_counted_along_the_side_that_holds_any(height, width):
    levels = torch.randint(0, 5, (2, 3, height, width), generator=torch.Generator().manual_seed(0))
    assert runs.count_runs(levels.to(torch.int16)).sum(2).numpy() == pytest.approx(4)


def test_planes_that_hold_no_run_are_refused_with_the_setting_that_helps():
    with pytest.raises(ConfigError, match=r"3 x 3 differences.*runs of 4.*prep\.size_px=64"):
        runs.count_runs(torch.zeros(2, 3, 3, 3, dtype=torch.int16))
