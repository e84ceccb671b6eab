"""What the analyzer of poses says of pictures and clips."""

import contextlib
import dataclasses

import numpy as np
import pytest

from deepscan.errors import NoFaceError
from deepscan.evidence import pose
from deepscan.evidence.catalog import load_builtin
from deepscan.media import faces
from deepscan.media.faces import Face
from deepscan.media.landmarks import FIVE_L3, LANDMARKERS, Landmarker
from deepscan.media.source import Media
from deepscan.media.tracks import Sight, Track
from tests.clips import clip
from tests.evidence.faces import POINTS, still_portrait
from tests.material import DrawnFace, draw, encoded, shared
from tests.sounds import silence, wav


def picture(name="a.png", pixels=None):
    return Media.from_bytes(encoded(draw(DrawnFace()) if pixels is None else pixels), name)


@pytest.fixture
def five(monkeypatch):
    """Lets one face be found whose five points are given."""

    def give(points):
        found = Face(box_px=(50, 20, 150, 150), score=1.0, landmarks_px=np.asarray(points, np.float32))
        monkeypatch.setattr(pose, "find_faces", lambda picture, finder: [found])

    return give


def test_a_frontal_face_is_frontal(five):
    five(POINTS)
    said = pose.testify(picture())
    assert abs(said.measurements["yaw_deg"]) < 3
    assert abs(said.measurements["roll_deg"]) < 1
    assert said.measurements["misfit_share"] < 0.08
    assert said.measurements["pose_count"] == 1
    assert said.measurements["jitter_deg"] == said.measurements["yaw_range_deg"] == 0
    assert said.finding == "ordinary"
    assert said.curves == ()


@pytest.mark.parametrize(("moved_px", "way"), [(12, "right"), (-12, "left")])
def test_a_nose_to_one_side_is_a_head_that_is_turned(five, moved_px, way):
    five(POINTS + np.array([(0, 0), (0, 0), (moved_px, 0), (0, 0), (0, 0)]))
    said = pose.testify(picture())
    assert said.measurements["yaw_deg"] * moved_px > 0
    assert 10 < abs(said.measurements["yaw_deg"]) < 40
    assert f"to the {way} of the picture" in said.summary


def test_points_that_are_no_head_are_unusual(five):
    five(POINTS + np.array([(0, 0), (0, 0), (0, 0), (20, 0), (-20, 0)]))
    assert pose.testify(picture()).finding == "unusual"


def test_eyes_alone_tell_no_pose_and_small_faces_none(five):
    five(POINTS[:2])
    with pytest.raises(NoFaceError, match="from the front"):
        pose.testify(picture())
    five(POINTS / 6)
    with pytest.raises(NoFaceError, match="nearer"):
        pose.testify(picture())
    with pytest.raises(NoFaceError, match="No face"):
        pose_of_blank()


def pose_of_blank():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pose, "find_faces", faces.find_faces)
        pose.testify(picture(pixels=np.full((64, 64, 3), 90, np.uint8)))


def test_a_head_that_turns_has_a_range_and_one_that_shakes_jitters(monkeypatch):
    def told(noses):
        still = still_portrait(len(noses))
        turned = [POINTS + np.outer(np.arange(5) == 2, (x, 0)) for x in noses]
        sights = tuple(
            Sight(
                frame=each.frame,
                time_s=each.time_s,
                face=Face(box_px=each.face.box_px, score=1.0, landmarks_px=points.astype(np.float32)),
            )
            for each, points in zip(still.track.sights, turned, strict=True)
        )
        seen = dataclasses.replace(still, track=Track(sights))
        monkeypatch.setattr(pose, "portrait", lambda media: seen)
        return pose.testify(Media.from_bytes(clip([np.zeros((32, 32, 3), np.uint8)] * 3), "a.mp4"))

    steady, shaking = told(np.linspace(-10, 10, 40)), told(np.resize([-6.0, 6.0], 40))
    assert steady.measurements["yaw_range_deg"] > 15
    assert steady.measurements["jitter_deg"] < 0.5
    assert shaking.measurements["jitter_deg"] > 5
    assert [each.name for each in steady.curves] == ["yaw", "pitch", "roll"]
    assert list(steady.curves[0].y) == sorted(steady.curves[0].y)


def test_more_points_tell_whether_inner_and_outer_face_agree(five, monkeypatch):
    monkeypatch.setattr(LANDMARKERS, "_items", dict(LANDMARKERS._items))
    head = np.concatenate([FIVE_L3, FIVE_L3 * (2, 1.5, 0.5)])
    twisted = np.concatenate([POINTS, (POINTS - POINTS[2]) * (2.0, 1.5) + POINTS[2] + (0, 4)])
    LANDMARKERS.register(
        "dense",
        Landmarker(
            name="dense", head_L3=head, inner=(0, 1, 2, 3, 4), outer=(5, 6, 7, 8, 9), find=lambda *_: twisted
        ),
    )
    five(POINTS)
    assert "differ by" in pose.testify(picture()).facts["inner and outer face"]


@pytest.mark.media
def test_few_genuine_faces_are_unusual(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    paths = sorted(shared("media/image/real/ffhq-256").iterdir())[5::30]
    said = []
    for path in paths:
        with contextlib.suppress(NoFaceError):
            said.append(pose.testify(Media.from_path(path)))
    assert len(said) > 0.8 * len(paths)
    assert sum(each.finding == "unusual" for each in said) <= 0.05 * len(said)
    assert np.median([abs(each.measurements["yaw_deg"]) for each in said]) < 15
    assert np.median([abs(each.measurements["roll_deg"]) for each in said]) < 8


def test_pictures_are_accepted_and_sounds_are_not():
    analyzer = load_builtin().get("pose")
    assert analyzer.accepts(picture())
    assert not analyzer.accepts(Media.from_bytes(wav(silence(0.5)), "a.wav"))
