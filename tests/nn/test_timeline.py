import numpy as np
import pytest
import torch

from deepscan.errors import ConfigError
from deepscan.nn.timeline import Rows, Slices, Stack, require_halvings


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_rows_are_brought_to_one_scale():
    x_BRT = noise(4, 3, 50) * torch.tensor([1.0, 10.0, 100.0])[:, None] + 7
    scaled_BRT = Rows(3).train()(x_BRT)
    torch.testing.assert_close(scaled_BRT.mean((0, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled_BRT.std((0, 2), correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_another_number_of_rows_is_refused_with_the_setting_that_helps():
    with pytest.raises(ConfigError, match=r"gives 90 rows.* built for 60.*model\.rows=90"):
        Rows(60)(noise(2, 90, 50))


def test_a_step_holds_neighbouring_frames_of_every_row():
    x_BRT = noise(2, 3, 11)
    steps_BTF = Stack(4)(x_BRT)
    assert steps_BTF.shape == (2, 2, 12)
    for step in range(2):
        expected = x_BRT[1, :, 4 * step : 4 * step + 4].flatten()
        assert torch.equal(steps_BTF[1, step], expected)


@pytest.mark.parametrize(("frames", "count"), [(16, 8), (17, 8), (23, 8), (8, 8), (401, 3), (5, 1)])
def test_slices_cover_time_from_the_first_to_the_last_frame(frames, count):
    """A frame is covered where changing it changes a slice."""
    x_BFT = torch.eye(frames)[:, None] * 100
    plain_MF = Slices(count)(torch.zeros(1, 1, frames))[0]
    covers_TM = (Slices(count)(x_BFT) - plain_MF).abs().amax(2) > 1e-3
    assert covers_TM.any(1).all()
    first_M = covers_TM.int().argmax(0)
    assert torch.equal(first_M.diff(), torch.full((count - 1,), frames // count))
    widths_M = covers_TM.sum(0)
    assert torch.equal(widths_M, widths_M[:1].expand(count))
    assert 0 <= widths_M[0] - frames // count < count


def test_slices_hold_means_and_deviations():
    x_BFT = noise(2, 3, 20) * 3 + 1
    pooled_BMF = Slices(4)(x_BFT)
    assert pooled_BMF.shape == (2, 4, 6)
    part = x_BFT[1, :, 10:15].numpy()
    np.testing.assert_allclose(pooled_BMF[1, 2, :3], part.mean(1), rtol=1e-4)
    np.testing.assert_allclose(pooled_BMF[1, 2, 3:], part.std(1), rtol=1e-4)


def test_slices_are_float32_and_their_gradient_is_finite_where_nothing_moves():
    x_BFT = torch.ones(1, 2, 8, dtype=torch.bfloat16, requires_grad=True)
    pooled_BMF = Slices(2)(x_BFT)
    assert pooled_BMF.dtype == torch.float32
    pooled_BMF.sum().backward()
    assert x_BFT.grad.isfinite().all()


def test_fewer_frames_than_slices_are_refused_with_the_setting_that_helps():
    with pytest.raises(ConfigError, match=r"gives 5 frames.*8 moments.*model\.moments=5"):
        Slices(8)(noise(1, 2, 5))


def test_features_that_cannot_be_halved_so_often_are_refused_with_the_settings_that_help():
    require_halvings(noise(1, 8, 9), 3)
    for rows, frames in ((7, 9), (9, 7)):
        with pytest.raises(ConfigError, match=rf"{rows} rows of {frames} frames.*3 times.*prep\.window_s"):
            require_halvings(noise(1, rows, frames), 3)
