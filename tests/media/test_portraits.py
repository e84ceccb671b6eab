"""The face that a clip shows longest, followed and cut up once."""

import gc
import weakref

import numpy as np
import pytest

from deepscan.errors import NoFaceError, NoPictureError, TooShortError
from deepscan.media import portraits
from deepscan.media.portraits import EYE_PX, LEAST_FRAMES, MOUTH_PX, SKIN, level, portrait
from deepscan.media.source import Media
from tests.clips import clip, faces_clip
from tests.material import DrawnFace, draw, encoded


def media(data, name="a.mp4"):
    return Media.from_bytes(data, name)


def moving(count=20, rate_hz=25, **face):
    face = {"x_px": 80, "y_px": 80, "radius_px": 45} | face
    return faces_clip(
        *([DrawnFace(**face | {"x_px": face["x_px"] + n})] for n in range(count)), rate_hz=rate_hz
    )


def test_all_that_is_cut_out_has_its_size():
    seen = portrait(media(moving()))
    frames = len(seen.times_s_T)
    assert 18 <= frames <= 20
    assert seen.eyes_TEHW.shape == (frames, 2, *EYE_PX[::-1])
    assert seen.mouth_THW.shape == (frames, MOUTH_PX, MOUTH_PX)
    assert seen.skin_TR3.shape == (frames, len(SKIN), 3)
    assert seen.points_TL2.shape[0] == frames
    assert seen.eyes_TEHW.dtype == seen.mouth_THW.dtype == np.uint8
    assert seen.duration_s == pytest.approx(frames / 25, abs=1e-6)


def test_the_eyes_are_where_they_were_drawn():
    seen = portrait(media(moving()))
    for number, points_L2 in enumerate(seen.points_TL2):
        drawn = DrawnFace(x_px=80 + number, y_px=80, radius_px=45).eyes_px
        assert np.abs(points_L2[:2] - drawn).max() < 5
    assert seen.eyes_px == pytest.approx(0.74 * 45, rel=0.15)


def test_patches_hold_eyes_that_are_dark_in_their_middle_and_skin_that_is_not():
    seen = portrait(media(moving(radius_px=60, x_px=90)))
    middle = seen.eyes_TEHW[:, :, 12:28, 18:38].min(axis=(2, 3))
    assert (middle < 90).all()
    assert np.abs(seen.skin_TR3 - (215, 170, 140)).mean() < 12


@pytest.mark.parametrize("tilt_deg", [-15, 15])
def test_a_tilted_head_is_cut_out_level(tilt_deg, monkeypatch):
    # The cascade finds the eyes of drawings; the finder that ships has learnt from photographs.
    monkeypatch.setattr(portraits, "default_finder", lambda: "haar")
    seen = portrait(media(faces_clip(*[[DrawnFace(x_px=90, y_px=80, radius_px=50, tilt_deg=tilt_deg)]] * 16)))
    dx, dy = (seen.points_TL2[:, 1] - seen.points_TL2[:, 0]).mean(axis=0)
    assert np.degrees(np.arctan2(dy, dx)) == pytest.approx(tilt_deg, abs=8)


def test_the_own_frame_of_eyes_has_its_origin_between_them():
    matrix = level(np.array([[10.0, 20.0], [40.0, 60.0]]))
    ends = matrix[:, :2] @ np.array([[10, 40, 25], [20, 60, 40.0]]) + matrix[:, 2:]
    assert pytest.approx(np.array([[-0.5, 0], [0.5, 0], [0, 0]])) == ends.T


def test_the_face_that_is_seen_longer_is_followed():
    first, second = DrawnFace(x_px=50, y_px=80, radius_px=40), DrawnFace(x_px=150, y_px=80, radius_px=40)
    seen = portrait(media(faces_clip(*[[first]] * 12, *[[]] * 12, *[[second]] * 24)))
    assert seen.points_TL2[:, :, 0].min() > 100
    assert len(seen.times_s_T) < 30


def test_a_face_that_is_lost_for_a_moment_is_one_face():
    face = [DrawnFace(x_px=90, y_px=80, radius_px=45)]
    seen = portrait(media(faces_clip(*[face] * 12, *[[]] * 2, *[face] * 12)))
    assert len(seen.times_s_T) >= 22


def test_it_is_looked_for_once_and_forgotten_with_the_media(monkeypatch):
    looked = []
    monkeypatch.setattr(portraits, "_take", lambda *given: looked.append(given[0].facts.name) or _some())
    asked = media(moving(10))
    assert portrait(asked) is portrait(asked)
    assert looked == ["a.mp4"]
    gone = weakref.ref(asked)
    looked.clear()
    del asked
    gc.collect()
    assert gone() is None


def _some():
    return object.__new__(portraits.Portrait)


def test_that_there_is_none_is_found_once_and_said_anew(monkeypatch):
    blank, looked = media(clip([np.full((120, 160, 3), 90, np.uint8)] * 12)), []
    search = portraits.find_faces
    monkeypatch.setattr(portraits, "find_faces", lambda *a, **k: looked.append(1) or search(*a, **k))
    errors = []
    for _ in range(2):
        with pytest.raises(NoFaceError) as caught:
            portrait(blank)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert len(looked) == 4


def test_without_any_face_less_is_searched(monkeypatch):
    looked = []
    monkeypatch.setattr(portraits, "find_faces", lambda *a, **k: looked.append(1) or [])
    with pytest.raises(NoFaceError):
        portrait(media(clip([np.full((48, 64, 3), 90, np.uint8)] * 100)))
    assert len(looked) < 15


def test_small_eyes_and_short_clips_are_refused_by_type():
    with pytest.raises(TooShortError, match=f"at least {LEAST_FRAMES}"):
        portrait(media(moving(5)))
    small = draw(DrawnFace(x_px=100, y_px=80, radius_px=60), size_px=(200, 160))[::5, ::5]
    with pytest.raises(NoFaceError):
        portrait(media(clip([np.ascontiguousarray(np.pad(small, ((32, 32), (40, 40), (0, 0))))] * 12)))
    with pytest.raises(NoPictureError):
        portrait(media(encoded(draw(DrawnFace())), "a.png"))


def test_long_clips_are_looked_at_at_half_the_rate(monkeypatch):
    monkeypatch.setattr(portraits, "SHORT_S", 0.5)
    seen = portrait(media(moving(24)))
    assert np.median(np.diff(seen.times_s_T)) == pytest.approx(0.08)
