"""The pose of heads whose pose is known."""

import cv2
import numpy as np
import pytest

from deepscan.media import landmarks
from deepscan.media.faces import Face
from deepscan.media.landmarks import FIVE, FIVE_L3, LANDMARKERS, Landmarker, landmarker, pose

SIZE_PX = (1280, 720)


def rotation(yaw, pitch, roll):
    """Turns about y, then x, then z: to the right of the picture, downward, clockwise."""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    about_y = cv2.Rodrigues(np.array([0, -yaw, 0.0]))[0]
    about_x = cv2.Rodrigues(np.array([pitch, 0, 0.0]))[0]
    about_z = cv2.Rodrigues(np.array([0, 0, roll]))[0]
    return about_z @ about_x @ about_y


def seen(yaw=0.0, pitch=0.0, roll=0.0, head_L3=FIVE_L3):
    camera = np.array([[1280.0, 0, 640], [0, 1280, 360], [0, 0, 1]])
    turn = cv2.Rodrigues(rotation(yaw, pitch, roll))[0]
    return cv2.projectPoints(head_L3, turn, np.array([0.0, 0, 700]), camera, None)[0][:, 0]


@pytest.mark.parametrize("yaw", [-40, 0, 25])
@pytest.mark.parametrize("roll", [0, 15])
def test_a_turned_head_is_told(yaw, roll):
    found = pose(seen(yaw=yaw, roll=roll), FIVE_L3, SIZE_PX)
    # Turning the picture afterwards takes some of the yaw to the pitch.
    across = np.sin(np.radians(yaw)) * np.cos(np.radians(roll))
    assert found.yaw_deg == pytest.approx(np.degrees(np.arcsin(across)), abs=2)
    assert found.misfit_share < 1e-3
    if yaw == 0:
        assert found.roll_deg == pytest.approx(roll, abs=1)


@pytest.mark.parametrize("pitch", [-20, 0, 20])
def test_a_nodding_head_is_told(pitch):
    found = pose(seen(pitch=pitch), FIVE_L3, SIZE_PX)
    assert found.pitch_deg == pytest.approx(pitch, abs=1)
    assert found.yaw_deg == pytest.approx(0, abs=1)


def test_points_that_are_no_head_fit_worse():
    points = seen()
    points[3] += (0, 40)
    assert pose(points, FIVE_L3, SIZE_PX).misfit_share > 0.05


def test_a_small_face_in_a_large_picture_is_told_too():
    found = pose(seen(yaw=25) / 10, FIVE_L3, (12_000, 8_000))
    assert found.yaw_deg == pytest.approx(25, abs=4)


def test_points_in_one_place_have_no_pose():
    assert pose(np.full((5, 2), 7.0), FIVE_L3, SIZE_PX) is None


def test_five_points_are_those_of_the_finder():
    face = Face(box_px=(0, 0, 9, 9), score=1.0, landmarks_px=np.ones((5, 2), np.float32))
    assert FIVE.find(np.zeros((9, 9, 3), np.uint8), face) is face.landmarks_px
    eyes = Face(box_px=(0, 0, 9, 9), score=1.0, landmarks_px=np.ones((2, 2), np.float32))
    assert FIVE.find(np.zeros((9, 9, 3), np.uint8), eyes) is None
    assert FIVE.find(np.zeros((9, 9, 3), np.uint8), Face(box_px=(0, 0, 9, 9), score=1.0)) is None


def test_who_registers_more_points_is_asked(monkeypatch):
    assert landmarker() is FIVE
    monkeypatch.setattr(LANDMARKERS, "_items", dict(LANDMARKERS._items))
    dense = Landmarker(name="dense", head_L3=FIVE_L3, find=lambda picture, face: None)
    LANDMARKERS.register("dense", dense)
    assert landmarks.landmarker() is dense
