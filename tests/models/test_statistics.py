import numpy as np
import pytest
import torch

from deepscan.errors import ConfigError
from deepscan.models import statistics
from deepscan.models.statistics import GROUPS, Statistics, StatisticsConfig


def pictures(count=2, side=64, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def test_the_groups_have_the_lengths_that_are_declared():
    measured = Statistics()(pictures())
    assert [group.shape for group in measured] == [(2, length) for length, _ in GROUPS]
    assert all(group.dtype == torch.float32 and group.isfinite().all() for group in measured)


def test_co_occurrences_and_tones_do_not_change_when_a_picture_is_mirrored():
    pixels = pictures()
    plain, mirrored = Statistics()(pixels), Statistics()(pixels.flip(2))
    for group in (0, 4, 5):
        torch.testing.assert_close(plain[group], mirrored[group], atol=2e-2, rtol=0)
    assert (plain[6] - mirrored[6]).abs().max() > 0.1, "maps know left from right"


def test_tones_are_histograms():
    pixels = pictures()
    coarse = Statistics()(pixels)[5].view(2, 3, 64)
    expected = np.histogram(pixels[1, :, :, 2].numpy(), bins=64, range=(0, 256))[0] / 64**2
    np.testing.assert_allclose(coarse[1, 2].square().numpy(), expected, atol=1e-6)


def test_maps_are_means_and_deviations_of_cells():
    pixels = pictures()
    mean = Statistics()(pixels)[6].view(2, 3, 16, 16)
    cell = pixels[0, 4:8, 8:12, 1].float()
    assert mean[0, 1, 1, 2] * 64 == pytest.approx(cell.mean().item(), rel=1e-5)
    spread = Statistics()(pixels)[7].view(2, 3, 16, 16)
    assert spread[0, 1, 1, 2].exp() - 0.5 == pytest.approx(cell.std(correction=0).item(), rel=1e-4)


def test_the_logit_is_the_mean_of_the_members():
    torch.manual_seed(0)
    module = statistics.StatisticsNet(StatisticsConfig(members=3, hidden=4)).eval()
    output = module(pictures())
    assert output["member_logits"].shape == (2, 3)
    torch.testing.assert_close(output["logit"], output["member_logits"].mean(1))


def test_pictures_too_small_for_their_statistics_are_refused_by_the_setting():
    assert all(group.isfinite().all() for group in Statistics()(pictures(side=32)))
    with pytest.raises(ConfigError, match=r"prep\.size_px=64"):
        Statistics()(pictures(side=31))


@pytest.mark.parametrize("wrong", [{"members": 0}, {"hidden": 0}, {"dropout": 1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        StatisticsConfig(**wrong)
