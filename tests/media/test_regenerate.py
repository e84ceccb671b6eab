"""Detail made anew: as strong as before, ruled by coarse detail, and nothing else tells the pair apart."""

import numpy as np
import pytest

from deepscan.media import regenerate
from deepscan.media.regenerate import KERNELS, as_strong, doubled, kernel, regenerated


@pytest.fixture(scope="module")
def grain():
    """Independent noise around grey, which no rule of neighbours holds in."""
    return np.random.default_rng(1).normal(128, 24, (96, 80, 3)).clip(0, 255).astype(np.uint8)


def odd_from_even(picture):
    """How much of the odd columns' detail the even columns beside them tell, in [0, 1]."""
    plane = picture[..., 0].astype(float) - picture[..., 0].mean()
    before, between, after = plane[:, 0:-2:2], plane[:, 1:-1:2], plane[:, 2::2]
    sides = np.stack([before.ravel(), after.ravel()], 1)
    fitted = sides @ np.linalg.lstsq(sides, between.ravel(), rcond=None)[0]
    return 1 - np.var(between.ravel() - fitted) / np.var(between)


def test_fine_detail_follows_from_coarse_and_is_as_strong_as_it_was(grain):
    real, fake = regenerated(grain, np.random.default_rng(0))
    assert real.shape == fake.shape == grain.shape
    assert real.dtype == fake.dtype == np.uint8
    assert odd_from_even(real) < 0.05
    pairs = [regenerated(grain, np.random.default_rng(seed)) for seed in range(12)]
    assert np.mean([odd_from_even(fake) for _, fake in pairs]) > 0.15
    detail = np.array([[np.diff(each.astype(float), axis=1).std() for each in pair] for pair in pairs])
    assert 0.6 < np.mean(detail[:, 1] / detail[:, 0]) < 1.1, "noise has more of it than the kernels leave"


def test_both_of_a_pair_are_stored_alike(grain, monkeypatch):
    qualities = []
    monkeypatch.setattr(
        regenerate.degrade, "jpeg", lambda picture, quality: qualities.append(quality) or picture
    )
    for seed in range(30):
        regenerated(grain, np.random.default_rng(seed))
    assert qualities[::2] == qualities[1::2]
    assert len(set(qualities)) > 8
    assert min(qualities) >= 70


@pytest.mark.parametrize("shape", [(16, 16, 3), (33, 50, 3), (50, 33, 3)])
def test_any_size_stays_what_it_is(shape):
    picture = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    assert [each.shape for each in regenerated(picture, np.random.default_rng(3))] == [shape, shape]


def test_the_same_generator_gives_the_same_pair(grain):
    one, other = (regenerated(grain, np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_an_even_area_stays_even_whatever_the_kernel():
    rng = np.random.default_rng(4)
    drawn = [kernel(rng) for _ in range(40)]
    assert {len(each) for each in drawn} == {len(each) for each in KERNELS}
    for weights in drawn:
        np.testing.assert_allclose(doubled(np.full((8, 8, 1), 7, np.float32), weights), 7, rtol=1e-5)


def test_a_spectrum_takes_the_strength_of_another():
    rng = np.random.default_rng(6)
    made, like = (rng.normal(0, sigma, (64, 64, 1)).astype(np.float32) for sigma in (2, 6))
    assert as_strong(made, like).std() == pytest.approx(6, rel=0.05)
    faint = as_strong(made * 1e-3, like)
    assert faint.std() < 0.2, "what is hardly there is not blown up"
