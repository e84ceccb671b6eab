import numpy as np
import pytest
import torch
from scipy.fft import dctn

from deepscan.media import degrade
from deepscan.nn.phases import BLOCK, EDGES, LENGTH, PhaseHistograms

SIDE = 64


def pictures(count=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def measured(pixels):
    return PhaseHistograms()(torch.from_numpy(np.ascontiguousarray(pixels)))


def shares(pixels):
    """Histograms as they are, [64, 5, 5, 12]."""
    return measured(pixels)[0].square().view(64, 5, 5, len(EDGES) + 1).numpy()


def counted(picture):
    """The same by loops and by SciPy's transform."""
    weights = np.array([77, 150, 29])
    luma = (picture.astype(int) @ weights + 128) // 256 - 128
    histogram = np.zeros((64, 5, 5, len(EDGES) + 1))
    squares = (SIDE - BLOCK + 1) // BLOCK * BLOCK
    for top in range(squares):
        for left in range(squares):
            size = np.abs(dctn(luma[top : top + BLOCK, left : left + BLOCK], norm="ortho")).ravel().round(6)
            row, column = (min(place % BLOCK, -place % BLOCK) for place in (top, left))
            histogram[np.arange(64), row, column, np.searchsorted(EDGES, size, side="right")] += 1
    return histogram / histogram.sum(3, keepdims=True)


def test_histograms_are_those_of_loops_and_of_scipy():
    (picture,) = pictures()
    # Weights are rounded, so that a coefficient close to an edge may fall on its other side.
    np.testing.assert_allclose(shares(picture[None]), counted(picture), atol=0.03)
    assert np.abs(shares(picture[None]) - counted(picture)).mean() < 5e-4


def test_there_are_as_many_measurements_as_declared_and_every_histogram_is_whole():
    batch = measured(pictures(3))
    assert batch.shape == (3, LENGTH)
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch.square().view(-1, len(EDGES) + 1).sum(1), torch.ones(3 * 64 * 25))


def test_a_mirrored_picture_has_nearly_the_same_histograms_and_a_shifted_one_has_not():
    stored = degrade.jpeg(pictures()[0], 50)
    whole, mirrored, shifted = (measured(p[None]) for p in (stored, stored[:, ::-1], np.roll(stored, 3, 1)))
    assert (whole - mirrored).abs().mean() < 0.01
    assert (whole - shifted).abs().mean() > 2 * (whole - mirrored).abs().mean()


def test_what_jpeg_has_rounded_away_is_seen_on_its_grid_alone():
    faint = 100 + pictures()[0] // 8
    high = shares(degrade.jpeg(faint, 30)[None])[63, :, :, 0]
    assert high[0, 0] > 0.9, "the highest frequency is nought in nearly all squares of the grid"
    assert high[4, 4] < 0.6


def test_each_picture_is_measured_alone_and_sizes_need_not_be_multiples_of_eight():
    batch = pictures(2)
    torch.testing.assert_close(measured(batch)[1:], measured(batch[1:]), rtol=0, atol=0)
    assert measured(batch[:, :31, :45]).isfinite().all()


@pytest.mark.parametrize("threads", [1, 2])
def test_counts_do_not_depend_on_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = measured(pictures())
    torch.set_num_threads(before)
    assert torch.equal(found, measured(pictures()))
