import dataclasses

import cv2
import numpy as np
import pytest
from scipy import ndimage

from deepscan.media import blend
from deepscan.media.blend import Portrait, deform, outline, perturb, self_blend, soften, swap
from deepscan.media.faces import Face

FACE = Face(box_px=(70, 40, 190, 210), score=1.0)
SEEDS = range(40)


@pytest.fixture(scope="module")
def picture():
    """Smooth noise, which shows every shift and every change of sharpness."""
    noise = np.random.default_rng(0).uniform(0, 255, (256, 256, 3))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
    made = np.clip(128 + 8 * (smooth - smooth.mean()), 30, 225).astype(np.uint8)
    made.setflags(write=False)
    return made


def made(picture, seed, face=FACE):
    return self_blend(picture, face, np.random.default_rng(seed))


def extent(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pair_differs_where_it_was_blended_and_nowhere_else(picture, seed):
    pair = made(picture, seed)
    assert pair.real.dtype == pair.fake.dtype == np.uint8
    assert pair.real.shape == pair.fake.shape == picture.shape
    assert pair.alpha_HW.dtype == np.float32
    assert pair.alpha_HW.min() >= 0
    assert pair.alpha_HW.max() == pytest.approx(min(blend.RATIOS, key=lambda r: abs(r - pair.alpha_HW.max())))
    changed = (pair.real != pair.fake).any(2)
    assert not changed[pair.alpha_HW == 0].any()
    assert changed[pair.alpha_HW > 0.2].mean() > 0.8


def test_the_same_generator_gives_the_same_pair_and_another_seed_another(picture):
    first, again, other = made(picture, 1), made(picture, 1), made(picture, 2)
    for name in ("real", "fake", "alpha_HW"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_in_half_of_the_pairs_it_is_the_real_one_that_was_recoloured(picture):
    """Else a network would learn that recoloured pictures are fakes."""
    kept = [np.array_equal(made(picture, seed).real, picture) for seed in range(200)]
    assert 0.4 < np.mean(kept) < 0.6


def test_every_ratio_occurs(picture):
    found = {round(float(made(picture, seed).alpha_HW.max()), 2) for seed in range(60)}
    assert found == set(blend.RATIOS)


def test_without_recolouring_there_is_a_small_misfit_still(picture, monkeypatch):
    monkeypatch.setattr(blend, "perturb", lambda same, rng: same)
    shifts_px = []
    for seed in range(60):
        pair = made(picture, seed)
        if pair.alpha_HW.max() < 1 or (pair.alpha_HW == 1).sum() < 4000:
            continue
        left, top, right, bottom = extent(pair.alpha_HW == 1)
        inner = (slice((3 * top + bottom) // 4, (top + 3 * bottom) // 4),
                 slice((3 * left + right) // 4, (left + 3 * right) // 4))  # fmt: skip
        ours, theirs = (p[inner].mean(2).astype(np.float32) for p in (pair.real, pair.fake))
        shifts_px.append(cv2.phaseCorrelate(ours, theirs)[0])
    x_px, y_px = np.abs(shifts_px).T
    assert len(shifts_px) > 10
    # 3 % of 120 px and 1.5 % of 170 px, and what a change of size of 5 % moves off the centre.
    assert 0.5 < x_px.max() < 3.6 + 1.5
    assert 0.2 < y_px.max() < 2.55 + 2.5
    assert x_px.mean() > 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_recolouring_is_moderate(picture, seed):
    changed = perturb(picture, np.random.default_rng(seed))
    moved = changed.astype(float).mean((0, 1)) - picture.astype(float).mean((0, 1))
    assert np.abs(moved).max() < 20 + 0.1 * 255 + 12
    assert not np.array_equal(changed, picture)


def test_recolouring_sharpens_or_blurs():
    rng = np.random.default_rng(0)
    fine = rng.integers(100, 156, (64, 64, 3), dtype=np.uint8)
    ratios = [perturb(fine, rng).std() / fine.std() for _ in range(60)]
    assert np.mean(np.array(ratios) > 1) > 0.25
    assert np.mean(np.array(ratios) < 0.8) > 0.25


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_replaced_lies_on_the_face(seed):
    mask = outline((256, 256), FACE, np.random.default_rng(seed))
    assert set(np.unique(mask)) == {0, 1}
    left, top, right, bottom = extent(mask)
    assert (left >= 69, top >= 39, right <= 192, bottom <= 212) == (True,) * 4


def test_all_of_a_face_or_a_part_of_it_is_replaced():
    area = np.array([outline((256, 256), FACE, np.random.default_rng(s)).sum() for s in range(200)])
    whole = np.pi / 4 * FACE.width_px * FACE.height_px
    assert 0.4 < np.mean(np.abs(area / whole - 1) < 0.03) < 0.7
    tops, bottoms = np.array([extent(outline((256, 256), FACE, np.random.default_rng(s)))[1::2]
                              for s in range(200)]).T  # fmt: skip
    nose = FACE.box_px[1] + blend.USUAL_POINTS[2, 1] * FACE.height_px
    assert 0.05 < np.mean((bottoms <= nose + 2) & (tops < 50)) < 0.3
    assert 0.05 < np.mean((tops >= nose - 2) & (bottoms > 200)) < 0.3


def test_landmarks_tell_where_the_middle_of_a_face_is():
    points = FACE.box_px[:2] + blend.USUAL_POINTS * (FACE.width_px, FACE.height_px)
    moved = dataclasses.replace(FACE, landmarks_px=np.add(points, (15, -9)).astype(np.float32))
    eyes_alone = dataclasses.replace(FACE, landmarks_px=points[:2].astype(np.float32))
    shifts = set()
    for seed in range(60):
        usual, found, eyes = (
            outline((256, 256), face, np.random.default_rng(seed)) for face in (FACE, moved, eyes_alone)
        )
        assert np.array_equal(usual, eyes)
        shifts.add(tuple(np.round(np.mean(np.nonzero(found), 1) - np.mean(np.nonzero(usual), 1)).tolist()))
    assert (-9.0, 15.0) in shifts
    assert (0.0, 0.0) in shifts, "all of a face follows the box"


@pytest.mark.parametrize("size", [128, 256])
def test_the_elastic_field_is_as_strong_as_white_noise_blurred_at_full_resolution(size):
    """Noise in [-1, 1] times 50, blurred by 7 px, at 256 px."""
    ramp = np.tile(np.arange(size, dtype=np.float32) / size, (size, 1))
    rng, inner = np.random.default_rng(0), slice(size // 8, -size // 8)
    found = [(deform(ramp, rng) - ramp)[inner, inner].std() * 256 for _ in range(12)]
    field = 50 * ndimage.gaussian_filter(rng.uniform(-1, 1, (12, 256, 256)), (0, 7, 7))
    assert np.mean(found) == pytest.approx(field[:, 32:-32, 32:-32].std(), rel=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_softened_masks_reach_one_and_fall_off_within_the_kernels(seed):
    hard = np.zeros((256, 256), np.float32)
    hard[60:200, 80:180] = 1
    soft = soften(hard, np.random.default_rng(seed))
    assert soft.max() == 1
    assert soft.min() == 0
    assert not soft[ndimage.maximum_filter(hard, 27) == 0].any()
    assert (soft[ndimage.binary_erosion(hard, iterations=26)] > 0.999).all()
    assert ((soft > 0.05) & (soft < 0.95)).sum() > 100


def test_softening_shrinks_some_masks_and_lets_others_grow():
    hard = np.zeros((256, 256), np.float32)
    hard[60:200, 80:180] = 1
    areas = [(soften(hard, np.random.default_rng(seed)) > 0.01).sum() for seed in SEEDS]
    assert min(areas) < hard.sum() < max(areas)


@pytest.mark.parametrize("height", [8, 15, 33])
def test_tiny_and_oblong_pictures_are_blended_too(height):
    picture = np.random.default_rng(0).integers(0, 256, (height, 21, 3), dtype=np.uint8)
    face = Face(box_px=(4, 1, 17, height - 1), score=1.0)
    for seed in SEEDS:
        pair = made(picture, seed, face)
        assert pair.fake.shape == picture.shape
        assert np.isfinite(pair.alpha_HW).all()


# --- the face of somebody else ---------------------------------------------------------------------


def standing(picture, scale=1.0, shift_px=(0.0, 0.0), bend_px=0.0):
    """A portrait whose landmarks are the usual ones, resized, moved, and one of them bent away."""
    points = FACE.box_px[:2] + blend.USUAL_POINTS * (FACE.width_px, FACE.height_px)
    points = scale * points + shift_px
    points[2, 0] += bend_px
    return Portrait(picture=picture, face=dataclasses.replace(FACE, landmarks_px=points.astype(np.float32)))


def of_level(level):
    return np.full((256, 256, 3), level, np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_swap_differs_where_it_was_blended_and_nowhere_else(picture, seed):
    other = np.ascontiguousarray(picture[::-1])
    pair = swap(standing(picture), [standing(other)], np.random.default_rng(seed))
    assert pair.real.dtype == pair.fake.dtype == np.uint8
    assert pair.alpha_HW.dtype == np.float32
    assert round(float(pair.alpha_HW.max()), 2) in blend.SWAP_RATIOS
    changed = (pair.real != pair.fake).any(2)
    assert not changed[pair.alpha_HW == 0].any()
    assert changed[pair.alpha_HW > 0.2].mean() > 0.8


def test_the_face_that_fits_best_is_taken_and_brought_onto_the_other(monkeypatch):
    """It lies elsewhere and is half as large; the others are bent."""
    monkeypatch.setattr(blend, "_recolored", lambda source, *_: source)
    monkeypatch.setattr(blend.degrade, "rescale", lambda source, factor: source)
    marked = of_level(60)
    fitting = standing(marked, scale=0.5, shift_px=(20, 30))
    # A white nose, so that one sees where it comes to lie.
    x_px, y_px = np.rint(fitting.face.landmarks_px[2]).astype(int)
    marked[y_px - 3 : y_px + 4, x_px - 3 : x_px + 4] = 255
    bent = [standing(of_level(200), bend_px=bend_px) for bend_px in (-30, 25)]
    noses = []
    for seed in range(20):
        pair = swap(standing(of_level(120)), [bent[0], fitting, bent[1]], np.random.default_rng(seed))
        sure = pair.alpha_HW == 1
        if sure.any():
            assert (pair.fake[sure] <= 70).any(), "of the fitting one"
        white = (pair.fake[..., 0] > 200) & sure
        if white.sum() > 100:
            noses.append(np.mean(np.nonzero(white), 1)[::-1])
    own_px = standing(of_level(0)).face.landmarks_px[2]
    assert len(noses) > 5
    np.testing.assert_allclose(np.mean(noses, 0), own_px, atol=2)


def test_a_swap_takes_over_the_light_and_not_wholly(monkeypatch):
    monkeypatch.setattr(blend, "perturb", lambda same, rng: same)
    levels = []
    for seed in range(40):
        pair = swap(standing(of_level(80)), [standing(of_level(200))], np.random.default_rng(seed))
        levels.append(pair.fake[pair.alpha_HW == pair.alpha_HW.max()].mean())
    assert 80 <= min(levels) < 85
    assert 110 < max(levels) < 145


def test_what_the_other_picture_does_not_show_is_not_replaced(picture):
    """The other face lies at the edge: beyond it there is nothing to blend over."""
    far = standing(of_level(0), shift_px=(120, 0))
    for seed in range(20):
        pair = swap(standing(picture), [far], np.random.default_rng(seed))
        assert not pair.alpha_HW[:, 150:].any()


def test_without_landmarks_a_face_is_blended_into_itself(picture):
    bare, whole = Portrait(picture=picture, face=FACE), standing(picture)
    for one, others in ((bare, [whole]), (whole, [bare]), (whole, [])):
        pair = swap(one, others, np.random.default_rng(1))
        alone = self_blend(one.picture, one.face, np.random.default_rng(1))
        assert np.array_equal(pair.fake, alone.fake)


def test_a_swap_shows_in_half_of_the_pairs_a_real_one_that_was_recoloured(picture):
    others = [standing(of_level(90))]
    kept = [
        np.array_equal(swap(standing(picture), others, np.random.default_rng(s)).real, picture)
        for s in range(100)
    ]
    assert 0.35 < np.mean(kept) < 0.65


def test_from_the_brows_to_the_chin():
    parts = {"below brows": 1.0}
    for seed in SEEDS:
        left, top, right, bottom = extent(outline((256, 256), FACE, np.random.default_rng(seed), parts))
        eyes_px = FACE.box_px[1] + blend.USUAL_POINTS[0, 1] * FACE.height_px
        assert FACE.box_px[1] + 20 < top < eyes_px
        assert (left >= 69, right <= 192, 180 < bottom <= 212) == (True,) * 3
