"""A camera that drifts over pictures, all of them alike."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from deepscan.media.stills import drift


@pytest.fixture
def picture():
    rough = np.random.default_rng(0).integers(0, 256, (81, 64, 3)).astype(float)
    smooth = ndimage.gaussian_filter(rough, (3, 3, 0))
    return np.clip((smooth - smooth.mean()) * 8 + 128, 0, 255).astype(np.uint8)


def frames_of(picture, count=9, seed=1):
    return [frame for (frame,) in drift((picture,), count, np.random.default_rng(seed))]


def test_frames_have_even_sides_and_as_many_as_were_asked_for(picture):
    frames = frames_of(picture, 7)
    assert len(frames) == 7
    assert {(frame.shape, frame.dtype) for frame in frames} == {((80, 64, 3), np.dtype(np.uint8))}
    assert all(frame.flags.c_contiguous for frame in frames)


def test_the_camera_moves_smoothly_and_ends_elsewhere(picture):
    frames = [frame.astype(int) for frame in frames_of(picture, 25)]
    steps = [np.abs(one - other).mean() for one, other in itertools.pairwise(frames)]
    whole = np.abs(frames[0] - frames[-1]).mean()
    assert whole > 2 * max(steps)
    assert min(steps) < 0.5 * max(steps)  # it starts and stops softly


def test_the_way_depends_on_the_generator_alone(picture):
    assert np.array_equal(frames_of(picture), frames_of(picture))
    assert not np.array_equal(frames_of(picture)[0], frames_of(picture, seed=2)[0])


def test_pictures_are_seen_by_one_camera(picture):
    changed = picture.copy()
    changed[30:50, 20:40] = 255
    for first, second in drift((picture, changed), 5, np.random.default_rng(0)):
        differs = (first != second).any(2)
        assert 200 < differs.sum() < 900
        assert not differs[:10].any()


def test_what_is_seen_is_the_picture_enlarged_a_little(picture):
    even = picture[:80]
    nearest = min(np.abs(frame.astype(int) - even).mean() for frame in frames_of(even, 9))
    stranger = np.abs(even[::-1].astype(int) - even).mean()
    assert nearest < 0.8 * stranger
