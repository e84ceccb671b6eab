"""Where eyes look whose pupils are known."""

import numpy as np
import pytest

from deepscan.errors import TooShortError
from deepscan.evidence import gaze
from deepscan.media.source import Media
from tests.clips import faces_clip
from tests.evidence.faces import still_portrait
from tests.material import DrawnFace


def told(monkeypatch, places_TE2, open_TE=None):
    """What is said of pupils at these places, in pixels of a patch."""
    frames = len(places_TE2)
    seen = still_portrait(frames, eyes_TEHW=np.arange(frames * 2, dtype=np.uint16).reshape(frames, 2, 1, 1))
    opened = np.ones((frames, 2)) if open_TE is None else open_TE
    monkeypatch.setattr(gaze, "portrait", lambda media: seen)
    monkeypatch.setattr(gaze, "openness", lambda eyes: opened)
    monkeypatch.setattr(gaze, "pupil", lambda eye: places_TE2.reshape(-1, 2)[int(eye.item())])
    return gaze.testify(Media.from_bytes(faces_clip([DrawnFace()]), "a.mp4"))


def looking(across_T, apart_T=0.0):
    across_T = np.asarray(across_T, float)
    zeros = np.zeros_like(across_T)
    left, right = (np.stack([across_T + side * apart_T, zeros], axis=1) for side in (-0.5, 0.5))
    return np.stack([left, right], axis=1)


def test_eyes_that_jump_together(monkeypatch):
    said = told(monkeypatch, looking(np.repeat([0, 4, -4, 0, 4], 25)))
    assert said.measurements["left_right_correlation"] == pytest.approx(1)
    assert said.measurements["vergence_spread_deg"] == pytest.approx(0)
    assert said.measurements["saccades_per_minute"] == pytest.approx(4 * 60 / 5, rel=0.05)
    assert said.measurements["gaze_range_deg"] == pytest.approx(2 * np.degrees(np.arcsin(4 / (64 * 12 / 63))))


def test_eyes_that_part(monkeypatch):
    apart = told(monkeypatch, looking(np.zeros(100), 3 * np.sin(np.arange(100) / 5))).measurements
    assert apart["left_right_correlation"] == pytest.approx(-1)
    assert apart["vergence_spread_deg"] > 5


def test_closed_eyes_are_gaps(monkeypatch):
    open_TE = np.ones((50, 2))
    open_TE[20:25] = 0.1
    said = told(monkeypatch, looking(np.zeros(50)), open_TE)
    assert said.measurements["tracked_share"] == 0.9
    assert [value is None for value in said.curves[0].y].count(True) == 5
    with pytest.raises(TooShortError, match="open in 0 frames"):
        told(monkeypatch, looking(np.zeros(50)), np.zeros((50, 2)))


def test_a_drawn_face_that_stares_looks_straight_ahead():
    data = faces_clip(*[[DrawnFace(x_px=90, y_px=80, radius_px=60)]] * 16)
    said = gaze.testify(Media.from_bytes(data, "a.mp4"))
    assert said.measurements["gaze_range_deg"] < 8
    assert said.measurements["saccades_per_minute"] == 0
