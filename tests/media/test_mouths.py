"""Mouths are cut out where they are, however the head moves."""

import numpy as np
import pytest

from deepscan.media.faces import Face
from deepscan.media.mouths import EVERY, SPAN, follow_mouth, place_of_mouth
from deepscan.media.source import Frame
from tests.material import DrawnFace, draw

SIZE_PX = (320, 240)
BOX = (100.0, 100.0, 200.0, 220.0)
EMPTY = ()


def film(*moments, size_px=SIZE_PX):
    """Frames of drawn faces at 25 a second."""
    return [Frame(number / 25, draw(*faces, size_px=size_px)) for number, faces in enumerate(moments)]


def followed(frames):
    return follow_mouth(frames, finder="haar", min_score=0.0, size_px=32)


def face_with(*points):
    return Face(box_px=BOX, score=1.0, landmarks_px=np.array(points, np.float32))


def test_the_square_is_centred_between_the_corners_of_the_mouth():
    place = place_of_mouth(face_with((130, 140), (170, 140), (150, 165), (135, 190), (165, 190)))
    np.testing.assert_allclose(place, [150, 190, SPAN * 50, 0])


def test_a_turned_head_has_a_mouth_of_the_same_size():
    turned = place_of_mouth(face_with((140, 140), (160, 140), (155, 165), (145, 190), (158, 190)))
    assert turned[2] == pytest.approx(SPAN * 50, rel=0.01)


def test_a_nodding_head_has_a_mouth_of_the_same_size():
    nodding = place_of_mouth(face_with((130, 140), (170, 140), (150, 150), (135, 165), (165, 165)))
    assert nodding[2] == pytest.approx(SPAN * 46)


@pytest.mark.parametrize(
    ("eyes", "place"),
    [
        (((130, 140), (170, 140)), (150, 186, SPAN * 46, 0)),
        (((150, 120), (150, 160)), (104, 140, SPAN * 46, np.pi / 2)),
    ],
)
def test_without_its_corners_the_mouth_is_below_the_eyes(eyes, place):
    np.testing.assert_allclose(place_of_mouth(face_with(*eyes)), place, atol=1e-4)


def test_without_landmarks_the_mouth_is_in_the_lower_middle_of_the_box():
    x, y, side, turn = place_of_mouth(Face(box_px=BOX, score=1.0))
    assert (x, turn) == (150, 0)
    assert 160 < y < 220
    assert 40 < side < 80


def test_a_moving_growing_head_keeps_its_mouth_in_place():
    moments = [[DrawnFace(x_px=110 + 3 * n, y_px=120, radius_px=60 + n)] for n in range(21)]
    crops_TSS = followed(film(*moments)).crops_TSS.astype(float)
    assert crops_TSS.shape == (21, 32, 32)
    still = np.abs(crops_TSS - crops_TSS.mean(0)).mean()
    left_where_it_was = np.abs(crops_TSS[0] - np.roll(crops_TSS[0], 8, axis=1)).mean()
    assert still < left_where_it_was / 3


def test_a_mouth_lies_in_the_middle_of_its_crop():
    """The lips of a drawn face are the darkest there, once the picture is grey."""
    crop_SS = followed(film([DrawnFace(x_px=160, y_px=120, radius_px=70)])).crops_TSS[0]
    rows, columns = np.nonzero(crop_SS < crop_SS.max() - 60)
    assert columns.mean() == pytest.approx(15.5, abs=3)
    assert 8 < rows.mean() < 24


def test_frames_reach_a_search_beyond_where_the_face_was_found():
    face = [DrawnFace(x_px=160, y_px=120, radius_px=70)]
    mouth = followed(film(*[EMPTY] * 7, *[face] * 13, *[EMPTY] * 11))
    assert mouth.first == 10 - EVERY + 1
    assert len(mouth.crops_TSS) == 15 + EVERY - mouth.first


def test_a_face_that_is_missed_once_is_followed_on():
    face = [DrawnFace(x_px=160, y_px=120, radius_px=70)]
    mouth = followed(film(*[face] * 10, EMPTY, *[face] * 10))
    assert (mouth.first, len(mouth.crops_TSS)) == (0, 21)


def test_the_face_that_is_seen_longest_is_followed():
    large, small = DrawnFace(x_px=230, y_px=120, radius_px=65), DrawnFace(x_px=70, y_px=120, radius_px=45)
    mouth = followed(film(*[[small]] * 6, *[[small, large]] * 6))
    assert mouth.box[2] < 0.5
    assert mouth.face_px < 2.5 * 45
    both = followed(film(*[[small, large]] * 6))
    assert both.box[0] > 0.4, "of two seen as long it is the larger"


def test_large_frames_give_the_mouths_of_smaller_ones():
    face, larger = DrawnFace(x_px=160, y_px=120, radius_px=70), DrawnFace(x_px=640, y_px=480, radius_px=280)
    small, large = followed(film([face])), followed(film([larger], size_px=(1280, 960)))
    assert large.face_px == pytest.approx(4 * small.face_px, rel=0.15)
    np.testing.assert_allclose(large.box, small.box, atol=0.05)
    assert np.abs(large.crops_TSS.astype(float) - small.crops_TSS).mean() < 12


def test_without_a_face_there_is_no_mouth():
    assert followed(film(EMPTY, EMPTY)) is None
