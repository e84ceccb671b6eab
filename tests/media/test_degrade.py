import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from deepscan.errors import ConfigError
from deepscan.media import degrade


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def textured(rng):
    """A smooth random picture of odd size without any symmetry."""
    rough = rng.integers(0, 256, (61, 83, 3)).astype(float)
    smooth = ndimage.gaussian_filter(rough, (3, 3, 0))
    return np.clip((smooth - smooth.mean()) * 5 + 128, 40, 215).astype(np.uint8)


EVERY_CHANGE = {
    "flip": lambda picture: degrade.flip(picture),
    "crop": lambda picture: degrade.crop(picture, 1, 2, 20, 30),
    "cutout": lambda picture: degrade.cutout(picture, 1, 2, 20, 30, 9),
    "rotate": lambda picture: degrade.rotate(picture, 7),
    "rescale": lambda picture: degrade.rescale(picture, 0.5),
    "jpeg": lambda picture: degrade.jpeg(picture, 60),
    "h264": lambda picture: degrade.h264(picture, 28),
    "blur": lambda picture: degrade.blur(picture, 1.2),
    "noise": lambda picture: degrade.noise(picture, 4, np.random.default_rng(0)),
    "adjust_color": lambda picture: degrade.adjust_color(picture, brightness=0.1, hue_deg=5),
}


@pytest.mark.parametrize("name", EVERY_CHANGE)
def test_change_gives_a_new_contiguous_picture_and_spares_its_argument(name, textured):
    before = textured.copy()
    textured.setflags(write=False)
    changed = EVERY_CHANGE[name](textured)
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert changed.shape == ((20, 30, 3) if name == "crop" else textured.shape)
    assert not np.shares_memory(changed, textured)
    assert np.array_equal(textured, before)
    assert not np.array_equal(changed, textured)
    assert np.array_equal(changed, EVERY_CHANGE[name](textured))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("name", sorted(set(EVERY_CHANGE) - {"crop", "cutout"}))
def test_change_survives_the_smallest_pictures(name, size):
    assert EVERY_CHANGE[name](np.full((*size, 3), 100, np.uint8)).shape == (*size, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: degrade.rotate(picture, 0),
        lambda picture: degrade.rescale(picture, 1),
        lambda picture: degrade.blur(picture, 0),
        lambda picture: degrade.noise(picture, 0, np.random.default_rng(0)),
        lambda picture: degrade.adjust_color(picture),
        lambda picture: degrade.flip(degrade.flip(picture)),
    ],
)
def test_neutral_parameters_change_nothing(change, rng):
    picture = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(change(picture), picture)


def test_flip_mirrors_left_and_right(textured):
    assert np.array_equal(degrade.flip(textured), textured[:, ::-1])


def test_crop_and_cutout_take_rows_then_columns(textured):
    assert np.array_equal(degrade.crop(textured, 3, 5, 20, 40), textured[3:23, 5:45])
    expected = textured.copy()
    expected[3:23, 5:45] = 77
    assert np.array_equal(degrade.cutout(textured, 3, 5, 20, 40, 77), expected)


def test_rotation_agrees_with_scipy_and_turns_counter_clockwise(textured):
    turned = degrade.rotate(textured, 8).astype(float)
    expected = ndimage.rotate(textured.astype(float), 8, reshape=False, order=1, mode="mirror")
    assert np.abs(turned - expected).mean() < 1


def test_blur_agrees_with_scipy(textured):
    expected = ndimage.gaussian_filter(textured.astype(float), (1.5, 1.5, 0), mode="mirror")
    assert np.abs(degrade.blur(textured, 1.5) - expected).max() < 2


def test_noise_is_normal_of_the_stated_deviation(rng):
    grey = np.full((200, 200, 3), 128, np.uint8)
    grain = degrade.noise(grey, 10, rng).astype(float).ravel() - 128
    assert abs(grain.mean()) < 0.15
    assert abs(grain.std() - 10) < 0.15
    assert abs(stats.skew(grain)) < 0.05
    assert abs(stats.kurtosis(grain)) < 0.25
    assert abs(np.corrcoef(grain[:-1], grain[1:])[0, 1]) < 0.02


def test_noise_draws_from_its_generator_only(textured):
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    once = degrade.noise(textured, 5, first)
    assert np.array_equal(once, degrade.noise(textured, 5, second))
    assert not np.array_equal(once, degrade.noise(textured, 5, first))


def test_jpeg_is_that_of_pillow(textured):
    stream = io.BytesIO()
    Image.fromarray(textured).save(stream, "JPEG", quality=70, subsampling="4:2:0")
    expected = np.asarray(Image.open(stream)).astype(float)
    assert np.abs(degrade.jpeg(textured, 70) - expected).mean() < 1


def test_a_frame_of_h264_keeps_colours_and_every_pixel_in_its_place(textured):
    fine = degrade.h264(textured, 4).astype(int)
    assert np.abs(fine.mean((0, 1)) - textured.mean((0, 1))).max() < 1.5
    near = np.abs(fine - textured).mean()
    assert near < 6
    for axis in (0, 1):
        assert near < np.abs(np.roll(fine, 1, axis) - textured).mean() - 2


@pytest.mark.parametrize(
    "change",
    [
        lambda picture, much: degrade.jpeg(picture, round(95 - 80 * much)),
        lambda picture, much: degrade.h264(picture, round(51 * much)),
        lambda picture, much: degrade.blur(picture, 3 * much),
        lambda picture, much: degrade.rescale(picture, 1 - 0.8 * much),
        lambda picture, much: degrade.noise(picture, 20 * much, np.random.default_rng(0)),
    ],
)
def test_more_of_a_degradation_takes_the_picture_further_away(change, rng):
    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    distances = [np.abs(change(picture, much).astype(float) - picture).mean() for much in (0.2, 0.5, 1.0)]
    assert distances[0] < distances[1] < distances[2]


def test_brightness_and_contrast_match_hand_computation():
    picture = np.array([[[100, 120, 140]]], np.uint8)
    assert degrade.adjust_color(picture, brightness=0.1).tolist() == [[[126, 146, 166]]]
    assert degrade.adjust_color(picture, contrast=2).tolist() == [[[72, 112, 152]]]
    assert degrade.adjust_color(picture, brightness=-1).max() == 0
    assert degrade.adjust_color(picture, brightness=1).min() == 255


def test_no_saturation_is_the_grey_that_pillow_makes(textured):
    grey = degrade.adjust_color(textured, saturation=0).astype(int)
    expected = np.asarray(Image.fromarray(textured).convert("L")).astype(int)
    assert np.abs(grey - expected[..., None]).max() <= 1


@pytest.mark.parametrize("hue_deg", [-40, 30, 120])
def test_hue_turns_the_hue_and_keeps_luma(hue_deg):
    picture = np.array([[[140, 110, 110]]], np.uint8)
    turned = degrade.adjust_color(picture, hue_deg=hue_deg)
    luma = np.array([0.299, 0.587, 0.114])
    hue = 360 * colorsys.rgb_to_hsv(*(turned[0, 0] / 255.0))[0]
    assert abs((turned[0, 0] - picture[0, 0].astype(float)) @ luma) < 1
    assert abs((hue - (hue_deg % 360) + 180) % 360 - 180) < 25


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: degrade.crop(picture, 0, 0, 62, 10),
        lambda picture: degrade.crop(picture, -1, 0, 10, 10),
        lambda picture: degrade.cutout(picture, 0, 80, 10, 10, 0),
        lambda picture: degrade.cutout(picture, 0, 0, 0, 10, 0),
        lambda picture: degrade.cutout(picture, 0, 0, 5, 5, 256),
        lambda picture: degrade.rescale(picture, 0),
        lambda picture: degrade.rescale(picture, 1.1),
        lambda picture: degrade.jpeg(picture, 0),
        lambda picture: degrade.h264(picture, 52),
        lambda picture: degrade.blur(picture, -1),
        lambda picture: degrade.noise(picture, -1, np.random.default_rng(0)),
        lambda picture: degrade.adjust_color(picture, brightness=1.1),
        lambda picture: degrade.adjust_color(picture, contrast=-1),
        lambda picture: degrade.adjust_color(picture, saturation=-1),
    ],
)
def test_values_out_of_range_are_named(change, textured):
    with pytest.raises(ConfigError, match="must be"):
        change(textured)
