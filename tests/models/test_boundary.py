import numpy as np
import pytest
import torch

from deepscan.config import override
from deepscan.modalities import ALPHA
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.modalities.image import ImagePrep
from deepscan.models.catalog import load_builtin
from deepscan.objectives import boundary_loss
from deepscan.training.start import taken_over
from tests.tiny_bundles import fresh_bundle

SPEC = load_builtin().get("boundary")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return SPEC.build(SPEC.config()).eval()


def noise(count, side):
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=rng)


@pytest.mark.parametrize(("side", "cells"), [(144, 18), (64, 8), (50, 6), (16, 2)])
def test_the_map_has_a_cell_for_every_8_px(module, side, cells):
    output = module(pixels=noise(2, side))
    assert output["logit"].shape == (2,)
    assert output["mask_logit"].shape == (2, cells, cells)
    assert output["mask_logit"].dtype == torch.float32


def test_the_map_is_float32_under_autocast(module):
    with torch.autocast("cpu", torch.bfloat16):
        assert module(pixels=noise(1, 32))["mask_logit"].dtype == torch.float32


def test_the_logit_is_made_of_the_map(module):
    """A heat map that the verdict does not depend on would explain nothing."""
    with torch.no_grad():
        module.head[-1].weight.fill_(0.1)
        before = module(pixels=noise(1, 32))["logit"]
        module.map.bias += 1
        after = module(pixels=noise(1, 32))["logit"]
    assert (after - before).item() == pytest.approx(0.2, rel=1e-4), "its mean and its maximum, 0.1 each"


def test_it_learns_from_pseudo_fakes_by_default():
    modality = load_modalities().get(SPEC.modality)
    forgery = modality.forgery(SPEC.recipe.pseudo.kind)
    assert forgery.untouched is not None, "its fakes tell where they were altered"
    assert SPEC.recipe.batch_size % 2 == 0
    assert override(SPEC.recipe, ["pseudo.kind=none"]).pseudo.is_on is False


def test_taught_where_pairs_were_blended_it_shows_it(module):
    """Four pairs learnt by heart: the map is higher at the edge than beside it."""
    prep, rng = ImagePrep(size_px=64, region="whole"), np.random.default_rng(0)
    forgery = load_modalities().get("image").forgery("self-blended")
    rows = [row for picture in noise(4, 64) for row in forgery.make({"pixels": picture.numpy()}, prep, rng)]
    pixels, alpha = (torch.from_numpy(np.stack([row[name] for row in rows])) for name in ("pixels", ALPHA))
    optimizer = torch.optim.AdamW(module.train().parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        boundary_loss(module(pixels=pixels)["mask_logit"], alpha, torch.ones(8)).backward()
        optimizer.step()
    with torch.no_grad():
        shown = module(pixels=pixels)["mask_logit"]
    share = torch.nn.functional.adaptive_avg_pool2d(alpha.float() / 255, shown.shape[1:])
    edge = 4 * share * (1 - share)
    assert shown[edge > 0.5].mean() > shown[edge < 0.05].mean() + 3


CLIPS = load_builtin().get("boundary-clip")


def test_a_clip_is_what_its_frames_are_on_average(module):
    """The weights of the detector of pictures fit, and padding says nothing."""
    clips = CLIPS.build(CLIPS.config()).eval()
    clips.load_state_dict(module.state_dict())
    frames, mask = (
        noise(6, 32).reshape(2, 3, 32, 32, 3),
        torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.uint8),
    )
    frames[1, 2] = 0
    with torch.no_grad():
        told = clips(frames=frames, mask=mask)
        alone = module(pixels=frames.flatten(0, 1))["logit"].reshape(2, 3)
    assert torch.allclose(told["logit"], torch.stack([alone[0].mean(), alone[1, :2].mean()]), atol=1e-6)
    assert torch.allclose(told["moment_logit"][mask.bool()], alone[mask.bool()], atol=1e-6)
    assert torch.allclose(told["attention"], torch.tensor([[1 / 3] * 3, [1 / 2, 1 / 2, 0]]))


def test_it_takes_over_all_weights_of_a_detector_of_pictures(tmp_path):
    pictures = fresh_bundle(tmp_path / "boundary", "boundary", ImagePrep(size_px=144, finder="haar"))
    taken = taken_over(CLIPS, CLIPS.build(CLIPS.config()), pictures)
    assert len(taken.tensors) == taken.of
