import pytest
import torch

from deepscan.config import override
from deepscan.errors import ConfigError
from deepscan.nn.specaugment import MaskConfig, SpecAugment


def features(batch=64, rows=40, frames=100):
    return torch.randn(batch, rows, frames, generator=torch.Generator().manual_seed(0))


def hidden(layer, x_BRT, seed=0):
    """Return what was changed, bool [B, R, T]."""
    torch.manual_seed(seed)
    return layer.train()(x_BRT) != x_BRT


def rows_and_frames(changed_BRT):
    """Return which rows and which frames are hidden altogether."""
    return changed_BRT.all(2), changed_BRT.all(1)


def test_evaluation_hides_nothing():
    x_BRT = features()
    assert SpecAugment(MaskConfig()).eval()(x_BRT) is x_BRT


@pytest.mark.parametrize("config", [{"count": 0}, {"rows": 0.0, "frames": 0.0}])
def test_masks_of_no_number_or_size_hide_nothing(config):
    assert not hidden(SpecAugment(MaskConfig(**config)), features()).any()


def test_what_is_hidden_is_whole_rows_and_whole_frames():
    changed_BRT = hidden(SpecAugment(MaskConfig()), features())
    rows_BR, frames_BT = rows_and_frames(changed_BRT)
    assert rows_BR.any()
    assert frames_BT.any()
    assert torch.equal(changed_BRT, rows_BR[:, :, None] | frames_BT[:, None, :])


def test_one_mask_is_one_stretch_no_wider_than_allowed():
    changed_BRT = hidden(SpecAugment(MaskConfig(count=1, rows=0.25, frames=0.1)), features(batch=400))
    for found, widest in zip(rows_and_frames(changed_BRT), (10, 10), strict=True):
        begins = (found.int().diff(dim=1, prepend=torch.zeros(len(found), 1, dtype=torch.int)) == 1).sum(1)
        assert begins.max() == 1
        widths = found.sum(1)
        assert set(widths.tolist()) == set(range(widest + 1)), "from none to the largest, each is drawn"


def test_masks_reach_the_first_and_the_last_place():
    rows_BR, frames_BT = rows_and_frames(hidden(SpecAugment(MaskConfig(count=1)), features(batch=600)))
    for found in (rows_BR, frames_BT):
        assert found[:, 0].any()
        assert found[:, -1].any()


def test_examples_get_masks_of_their_own():
    rows_BR, _ = rows_and_frames(hidden(SpecAugment(MaskConfig()), features(batch=20)))
    assert len({tuple(row.tolist()) for row in rows_BR}) > 10


def test_the_seed_of_torch_decides():
    layer, x_BRT = SpecAugment(MaskConfig()), features()
    assert torch.equal(hidden(layer, x_BRT, seed=3), hidden(layer, x_BRT, seed=3))
    assert not torch.equal(hidden(layer, x_BRT, seed=3), hidden(layer, x_BRT, seed=4))


def test_hidden_places_hold_the_mean_of_the_example():
    x_BRT = features(batch=8) + 5
    torch.manual_seed(0)
    masked_BRT = SpecAugment(MaskConfig()).train()(x_BRT)
    for before, after in zip(x_BRT, masked_BRT, strict=True):
        values = after[before != after]
        torch.testing.assert_close(values, before.mean().expand_as(values))


@pytest.mark.parametrize("assignment", ["count=-1", "rows=1.1", "frames=-0.1"])
def test_settings_out_of_range_are_refused_by_name(assignment):
    with pytest.raises(ConfigError, match=assignment.split("=")[0]):
        override(MaskConfig(), [assignment])
