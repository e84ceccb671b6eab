"""Whether the map of noise finds what has noise of its own, and leaves even pictures alone."""

import pathlib

import numpy as np
import pytest

from deepscan.errors import NoPictureError
from deepscan.evidence import noise
from deepscan.evidence.exhibits import values_of
from deepscan.media.source import Media
from deepscan.metrics import auc
from tests.clips import clip
from tests.material import shared
from tests.scenery import disc, over, picture, pixels, scenery
from tests.sounds import speech, wav

FIRST = [scenery(seed) for seed in range(6)]
RNG = np.random.default_rng(0)


def grain(values, deviation):
    return values + RNG.normal(0, deviation, values.shape)


def pasted(host, guest):
    return np.where(disc()[..., None], guest, host)


def area(evidence):
    values = values_of(evidence.pictures[0])
    inside = over(disc(), values.shape)
    return auc(inside.ravel().astype(np.int64), values.ravel().astype(np.float64))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("around", "inside"), [(1.0, 5.0), (5.0, 1.0), (3.0, 7.0)])
def test_a_region_with_noise_of_its_own_is_found(seed, around, inside):
    values = pasted(grain(FIRST[seed], around), grain(FIRST[seed + 3], inside))
    evidence = noise.testify(picture(values))
    assert area(evidence) > 0.95
    assert evidence.finding == "unusual"
    assert (evidence.measurements["region_noise_db"] > 0) == (inside > around)
    assert ("more than" in evidence.summary) == (inside > around)


@pytest.mark.parametrize("deviation", [0.0, 2.0, 5.0])
def test_even_noise_is_ordinary_whatever_the_content(deviation):
    for values in FIRST:
        evidence = noise.testify(picture(grain(values, deviation)))
        assert evidence.finding == "ordinary"
        assert evidence.measurements["region_share"] < noise.REGION


def test_the_level_of_noise_is_told_in_grey_levels():
    flat = np.full((256, 256, 3), 128.0)
    noisy = np.repeat(grain(flat[..., :1], 4.0), 3, axis=2)
    measured = noise.testify(picture(noisy)).measurements
    assert measured["luma_noise_levels"] == pytest.approx(4, rel=0.1)
    assert measured["chroma_noise_levels"] < 0.5


def test_noise_that_grows_with_brightness_is_of_one_recording():
    for values in FIRST[:3]:
        shot = values + RNG.normal(size=values.shape) * np.sqrt(0.1 * values)
        assert noise.testify(picture(shot)).finding == "ordinary"


def test_clipped_places_have_no_noise_and_are_not_judged():
    for level in (-60.0, 320.0):
        values = np.where(disc()[..., None], level, grain(FIRST[0], 4.0))
        evidence = noise.testify(picture(values))
        assert evidence.finding == "ordinary"
        assert area(evidence) < 0.5
    white = noise.testify(picture(np.full((80, 90, 3), 255.0)))
    assert (white.finding, white.measurements["odd_share"]) == ("ordinary", 0)


def test_large_pictures_have_no_more_cells_than_small_ones():
    large = noise.noise_map(pixels(scenery(0, 700, 1500)))
    assert large.cell_px == 7
    assert large.deviations_HW.shape == (100, 214)


def test_small_pictures_moving_ones_and_sounds_cannot_be_measured():
    with pytest.raises(NoPictureError, match="at least 64 x 64"):
        noise.testify(picture(scenery(0, 63, 200)))
    for data, name in ((clip([pixels(FIRST[0])] * 3), "a.mp4"), (wav(speech(1.0)), "a.wav")):
        media = Media.from_bytes(data, name)
        with pytest.raises(NoPictureError, match="no still picture"):
            noise.testify(media)


@pytest.mark.media
def test_few_genuine_pictures_are_unusual():
    files = sorted((shared("media") / "image/real").rglob("*.jpg"))[::10]
    assert len(files) >= 60
    found = [noise.testify(Media.from_path(pathlib.Path(file))).finding for file in files]
    assert found.count("unusual") <= 0.1 * len(files)
