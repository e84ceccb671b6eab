"""Faces are followed through a clip, and steadied without being held back."""

import itertools
import threading
import time

import numpy as np
import pytest

from deepscan.media import tracks
from deepscan.media.faces import Face, align_crop
from deepscan.media.source import Frame
from deepscan.media.tracks import Glimpse, Sight, Track, follow, look, steadied
from tests.material import DrawnFace, draw

RATE_HZ = 25
EYES = np.array([[0.3, 0.4], [0.7, 0.4]])


def face(x_px, y_px=200.0, side_px=100.0, score=0.9, tilt_px=0.0, eyes=True):
    left, top = x_px - side_px / 2, y_px - side_px / 2
    eyes_px = (EYES * side_px + (left, top) + [[0, -tilt_px / 2], [0, tilt_px / 2]]).astype(np.float32)
    box_px = (left, top, left + side_px, top + side_px)
    return Face(box_px=box_px, score=score, landmarks_px=eyes_px if eyes else None)


def track_of(faces, rate_hz=RATE_HZ):
    return Track(
        tuple(
            Sight(frame=n, time_s=n / rate_hz, face=each) for n, each in enumerate(faces) if each is not None
        )
    )


def followed(faces):
    return follow([number / RATE_HZ for number in range(len(faces))], faces)


def boxes(track):
    return np.array([sight.face.box_px for sight in track.sights])


def centres(track):
    box_N4 = boxes(track)
    return (box_N4[:, :2] + box_N4[:, 2:]) / 2


def jittered(rng, path, spread_px=1.5):
    shaken = []
    for steady in path:
        box_px = tuple((np.array(steady.box_px) + rng.normal(0, spread_px, 4)).tolist())
        points = (steady.landmarks_px + rng.normal(0, spread_px, (2, 2))).astype(np.float32)
        shaken.append(Face(box_px=box_px, score=0.9, landmarks_px=points))
    return shaken


def test_one_face_is_one_track_in_the_order_of_time():
    (track,) = followed([[face(100 + 3 * number)] for number in range(10)])
    assert [sight.frame for sight in track.sights] == list(range(10))
    assert np.allclose([sight.time_s for sight in track.sights], np.arange(10) / RATE_HZ)
    assert np.allclose(centres(track)[:, 0], 100 + 3 * np.arange(10))


def test_faces_that_pass_each_other_keep_their_tracks_whatever_the_order_of_detections():
    rng = np.random.default_rng(0)
    frames = []
    for number in range(21):
        pair = [face(100 + 10 * number, 150), face(300 - 10 * number, 260)]
        frames.append([pair[at] for at in rng.permutation(2)])
    found = followed(frames)
    assert len(found) == 2
    assert sorted(set(centres(each)[:, 1]) for each in found) == [{150}, {260}]


def test_the_sum_of_distances_decides_not_the_first_best():
    """The nearest two, joined first, would leave the others too far apart to be one face."""
    found = followed([[face(100), face(190)], [face(150), face(240)]])
    assert sorted(centres(track)[:, 0].tolist() for track in found) == [[100, 150], [190, 240]]


def test_another_place_or_another_size_is_another_face():
    assert len(followed([[face(100)], [face(205)]])) == 2
    assert len(followed([[face(100)], [face(195)]])) == 1
    assert len(followed([[face(100, side_px=40)], [face(100, side_px=120)]])) == 2
    assert len(followed([[face(100, side_px=80)], [face(100, side_px=120)]])) == 1


@pytest.mark.parametrize(("missing", "count"), [(0, 1), (2, 1), (3, 2)])
def test_a_face_that_is_lost_for_up_to_two_frames_stays_the_same(missing, count):
    frames = [[face(100)]] * 4 + [[]] * missing + [[face(100)]] * 4
    found = followed(frames)
    assert len(found) == count
    assert sum(len(track.sights) for track in found) == 8


def test_the_longest_seen_comes_first_then_the_largest():
    brief_large, small, large = face(500, side_px=200), face(100, side_px=50), face(250, side_px=70)
    found = followed([[brief_large, large, small]] * 2 + [[large, small]] * 3)
    assert [track.side_px for track in found] == [70, 50, 200]


def test_no_frame_and_no_face_give_no_track():
    assert follow([], []) == []
    assert followed([[], [], []]) == []


def test_order_of_equal_tracks_does_not_depend_on_the_order_of_detections():
    pair = [face(100), face(300)]
    assert [centres(t)[0, 0] for t in followed([pair] * 3)] == [100, 300]
    assert [centres(t)[0, 0] for t in followed([pair[::-1]] * 3)] == [100, 300]


def test_jitter_of_a_steady_face_is_reduced():
    rng = np.random.default_rng(0)
    shaken = track_of(jittered(rng, [face(200)] * 50))
    steady = steadied(shaken)
    for values in (boxes, lambda track: np.array([sight.face.eyes_px for sight in track.sights])):
        assert values(steady).std(axis=0).mean() < 0.6 * values(shaken).std(axis=0).mean()
        assert np.allclose(values(steady).mean(axis=0), values(shaken).mean(axis=0), atol=0.5)


def test_a_moving_face_is_followed_without_lag():
    path = [face(100 + 6 * number, side_px=100 + number) for number in range(30)]
    assert np.allclose(boxes(steadied(track_of(path))), boxes(track_of(path)), atol=0.01)


def test_a_face_that_starts_to_move_is_not_held_back():
    path = [face(100)] * 15 + [face(100 + 8 * number) for number in range(1, 15)]
    lag_px = np.abs(boxes(steadied(track_of(path))) - boxes(track_of(path)))
    assert lag_px.max() < 4.0
    assert np.delete(lag_px, [13, 14, 15], axis=0).max() < 2.0


def test_jitter_of_a_moving_face_is_reduced_too():
    path = [face(100 + 2 * number) for number in range(50)]
    shaken = track_of(jittered(np.random.default_rng(1), path))
    errors_px = [(boxes(track) - boxes(track_of(path))).std() for track in (shaken, steadied(shaken))]
    assert errors_px[1] < 0.75 * errors_px[0]


def test_frames_far_apart_in_time_do_not_touch_each_other():
    shaken = track_of(jittered(np.random.default_rng(2), [face(200)] * 12), rate_hz=1)
    assert np.allclose(boxes(steadied(shaken)), boxes(shaken), atol=1e-6)


def test_a_single_sight_stays_as_it_is():
    track = track_of([face(200)])
    assert np.allclose(boxes(steadied(track)), boxes(track))
    assert np.allclose(steadied(track).sights[0].face.eyes_px, track.sights[0].face.eyes_px, atol=1e-4)


def test_landmarks_that_a_finder_missed_come_from_the_sights_around():
    path = [face(200 + number, eyes=number != 5) for number in range(10)]
    landmarks = [sight.face.landmarks_px for sight in steadied(track_of(path)).sights]
    assert np.allclose(landmarks[5], (landmarks[4] + landmarks[6]) / 2, atol=0.1)
    assert all(each.dtype == np.float32 for each in landmarks)


def test_without_landmarks_nearby_there_are_none():
    nowhere = steadied(track_of([face(200, eyes=False)] * 3))
    assert [sight.face.landmarks_px for sight in nowhere.sights] == [None] * 3
    far = steadied(track_of([face(200), face(200, eyes=False)], rate_hz=0.5))
    assert far.sights[0].face.landmarks_px is not None
    assert far.sights[1].face.landmarks_px is None


def test_steadying_keeps_frames_times_and_scores():
    track = track_of([face(100, score=0.8), None, face(101, score=0.7)])
    kept = [(sight.frame, sight.time_s, sight.face.score) for sight in steadied(track).sights]
    assert kept == [(0, 0.0, 0.8), (2, 2 / RATE_HZ, 0.7)]


def motion(crops):
    return np.mean([np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(crops)])


def test_crops_of_jittered_detections_move_less_once_steadied():
    picture_HWC = draw(DrawnFace())
    shaken = track_of(jittered(np.random.default_rng(3), [face(200, side_px=180)] * 20, spread_px=2.0))
    crops = [
        [align_crop(picture_HWC, sight.face, 64, 0.2) for sight in track.sights]
        for track in (shaken, steadied(shaken))
    ]
    assert motion(crops[1]) < 0.6 * motion(crops[0])


def seen(frames, **settings):
    options = {"finder": "haar", "min_score": 0.6, "margin": 0.3, "looks_px": (320,)} | settings
    return look(frames, **options)


@pytest.fixture(scope="module")
def frames():
    small = DrawnFace(x_px=90, y_px=100, radius_px=40)
    pictures = [
        draw(small, DrawnFace(x_px=240 + 4 * n, y_px=110, radius_px=50), size_px=(400, 220)) for n in range(8)
    ]
    pictures.insert(3, np.full((220, 400, 3), 90, np.uint8))
    return [Frame(number / 10, picture) for number, picture in enumerate(pictures)]


def test_look_gives_a_glimpse_of_each_frame_in_order(frames):
    glimpses = seen(iter(frames))
    assert [each.time_s for each in glimpses] == [frame.time_s for frame in frames]
    assert [len(each.faces) for each in glimpses] == [2, 2, 2, 0, 2, 2, 2, 2, 2]
    assert {(each.width_px, each.height_px) for each in glimpses} == {(400, 220)}


def test_look_is_the_same_whichever_search_ends_first(frames, monkeypatch):
    turns = itertools.count()

    def unsteady(picture_HWC, **settings):
        time.sleep(0.02 if next(turns) % 2 else 0)
        return [face(float(picture_HWC[0, 0, 0]))]

    monkeypatch.setattr(tracks, "find_faces", unsteady)
    marked = [Frame(number / 25, np.full((400, 400, 3), 100 + number, np.uint8)) for number in range(12)]
    glimpses = seen(marked)
    assert [glimpse.faces[0].box_px[0] for glimpse in glimpses] == [50 + number for number in range(12)]
    assert [glimpse.kept_HWC[0, 0, 0] for glimpse in glimpses] == [100 + number for number in range(12)]


def test_few_frames_wait_while_faces_are_looked_for(frames, monkeypatch):
    ended, waiting = [], []

    def slow(picture_HWC, **settings):
        time.sleep(0.002)
        ended.append(True)
        return []

    def source():
        for number, frame in enumerate(frames * 5):
            waiting.append(number - len(ended))
            yield frame

    monkeypatch.setattr(tracks, "find_faces", slow)
    assert len(seen(source())) == 45
    assert 2 <= max(waiting) <= 6


def test_search_leaves_no_thread_behind_even_if_reading_fails(frames):
    def broken():
        yield from frames[:3]
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        seen(broken())
    assert threading.active_count() == before


def test_crop_of_a_glimpse_is_that_of_the_whole_picture(frames):
    for glimpse, frame in zip(seen(frames), frames, strict=True):
        for found in glimpse.faces:
            expected = align_crop(frame.picture_HWC, found, 96, 0.3)
            difference = np.abs(glimpse.crop(found, 96, 0.3).astype(int) - expected)
            assert difference.max() <= 2
            assert difference.mean() < 0.02


@pytest.mark.parametrize("tilt_px", [0, 40, -100])
def test_what_is_kept_holds_the_turned_crop(tilt_px):
    rng = np.random.default_rng(0)
    picture_HWC = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    turned = face(200, tilt_px=tilt_px)
    glimpse = tracks._glimpse(Frame(0.0, picture_HWC), lambda _: [turned], 0.3)
    assert glimpse.kept_HWC.shape[0] < 400
    expected = align_crop(picture_HWC, turned, 160, 0.3)
    assert np.abs(glimpse.crop(turned, 160, 0.3).astype(int) - expected).max() <= 2


def test_little_is_kept_of_a_frame(frames):
    large_HWC = np.zeros((1080, 1920, 3), np.uint8)
    large_HWC[400:620, 500:900] = frames[0].picture_HWC
    (glimpse,) = seen([Frame(0.0, large_HWC)], looks_px=(1920,))
    assert len(glimpse.faces) == 2
    assert glimpse.kept_HWC.nbytes < 0.2 * large_HWC.nbytes
    assert glimpse.kept_HWC.base is None
    assert seen([Frame(0.0, large_HWC * 0)])[0].kept_HWC.size == 0


def test_fraction_is_cut_off_at_the_edges():
    glimpse = Glimpse(
        time_s=0.0,
        width_px=200,
        height_px=100,
        faces=(),
        kept_HWC=np.zeros((0, 0, 3), np.uint8),
        corner_px=(0, 0),
    )
    beyond = Face(box_px=(-20.0, 25.0, 50.0, 120.0), score=1.0)
    assert glimpse.fraction(beyond) == (0.0, 0.25, 0.25, 1.0)
