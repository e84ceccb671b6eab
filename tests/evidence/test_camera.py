"""Whether a synthetic sensor is known again by its pattern, and others are not."""

import numpy as np
import pytest

from deepscan.errors import ConfigError, NoPictureError
from deepscan.evidence.camera import DECISION_ENERGY, MEASURES, compare, fingerprint, known_camera
from deepscan.media.source import Media
from tests.material import encoded
from tests.scenery import pixels, scenery

SIZE = 192
RNG = np.random.default_rng(0)


def sensor(seed):
    return np.random.default_rng([seed, 7]).normal(0, 0.015, (SIZE, SIZE, 1))


def shot(seed, pattern, grain=1.5):
    light = scenery(seed, SIZE, SIZE) * (1 + pattern)
    return pixels(light + RNG.normal(0, grain, light.shape))


OWN, OTHER = sensor(1), sensor(2)
PATTERN = fingerprint(shot(seed, OWN) for seed in range(12))


def test_the_pattern_is_that_of_the_sensor():
    assert PATTERN.dtype == np.float32
    assert np.corrcoef(PATTERN.ravel(), OWN.ravel())[0, 1] > 0.7
    assert abs(np.corrcoef(PATTERN.ravel(), OTHER.ravel())[0, 1]) < 0.03


def test_more_pictures_make_a_better_pattern():
    few = fingerprint(shot(seed, OWN) for seed in range(2))
    fits = [np.corrcoef(pattern.ravel(), OWN.ravel())[0, 1] for pattern in (few, PATTERN)]
    assert fits[0] < fits[1]


def test_pictures_of_the_camera_are_known_and_those_of_another_are_not():
    for seed in range(50, 56):
        own, other = (compare(shot(seed, sensor), PATTERN) for sensor in (OWN, OTHER))
        assert own.same_camera
        assert own.energy > 5 * DECISION_ENERGY
        assert own.shift_px == (0, 0)
        assert not other.same_camera
        assert abs(other.energy) < DECISION_ENERGY / 2
        assert own.correlation > 0.1 > abs(other.correlation)


def test_jpeg_weakens_the_match_and_leaves_it():
    clean = shot(60, OWN)
    again = Media.from_bytes(encoded(clean, "JPEG", quality=90, subsampling=0), "a.jpg").picture_HWC
    assert compare(clean, PATTERN).energy > compare(again, PATTERN).energy > DECISION_ENERGY


def test_a_picture_that_was_shifted_has_its_peak_there():
    shifted = np.roll(shot(61, OWN), (5, 9), (0, 1))
    match = compare(shifted, PATTERN)
    assert match.shift_px == (5, 9)
    assert match.peak_energy > DECISION_ENERGY > abs(match.energy)


def test_a_flat_picture_matches_nothing():
    match = compare(np.full((SIZE, SIZE, 3), 128, np.uint8), PATTERN)
    assert not match.same_camera
    assert np.isfinite([match.energy, match.correlation, match.peak_energy]).all()


def test_sizes_must_agree_and_there_must_be_pictures():
    with pytest.raises(ConfigError, match="at least one picture"):
        fingerprint([])
    with pytest.raises(ConfigError, match="192 x 192 px is needed"):
        compare(pixels(scenery(0, 128, 192)), PATTERN)
    with pytest.raises(ConfigError, match="192 x 128 px does not fit"):
        fingerprint([shot(0, OWN), pixels(scenery(0, 128, 192))])
    with pytest.raises(ConfigError, match="at least 32"):
        fingerprint([pixels(scenery(0, 16, 64))])


def test_an_analyzer_of_reference_pictures_tells_whose_picture_it_is():
    analyzer = known_camera(as_media(shot(seed, OWN)) for seed in range(12))
    own, other = (analyzer.testify(as_media(shot(70, sensor))) for sensor in (OWN, OTHER))
    assert (own.finding, other.finding) == ("telling", "ordinary")
    assert tuple(own.measurements) == tuple(other.measurements) == MEASURES == analyzer.measures
    assert own.measurements["references"] == 12
    assert "says nothing" in other.summary
    with pytest.raises(NoPictureError, match="192 x 192 px, and this one is not"):
        analyzer.testify(as_media(pixels(scenery(0, 128, 192))))


def as_media(picture_HWC):
    return Media.from_bytes(encoded(picture_HWC), "a.png")
