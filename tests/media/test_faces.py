import itertools
import math
import threading
import time

import av
import numpy as np
import pytest
from PIL import Image

from deepscan.errors import AssetError
from deepscan.media import faces
from deepscan.media.faces import Face, align_crop, find_faces
from tests.material import DrawnFace, draw, shared


@pytest.fixture
def yunet_asset(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))


@pytest.fixture
def no_assets(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))


@pytest.fixture(params=["haar", "tiny", pytest.param("yunet", marks=pytest.mark.media)])
def finder(request):
    if request.param == "yunet":
        request.getfixturevalue("yunet_asset")
    return request.param


def marked(eyes_px, size_px=(300, 400)):
    """A dark picture with a bright dot at each eye."""
    y, x = np.mgrid[0 : size_px[1], 0 : size_px[0]] + 0.5
    dots = sum(255 * np.exp(-((x - ex) ** 2 + (y - ey) ** 2) / 18) for ex, ey in eyes_px)
    return np.repeat(np.clip(dots, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def dots(crop):
    """Centres of mass of the left and the right half, in pixels from the crop's corner."""
    half = crop.shape[1] // 2
    found = []
    for start in (0, half):
        weight = crop[:, start : start + half, 0].astype(float)
        y, x = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]] + 0.5
        found.append((start + (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()))
    return np.array(found)


def face_at(x, y, *, side=100.0, tilt_deg=0.0):
    cos, sin = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    eyes = np.array([[x - 20 * cos, y - 20 * sin], [x + 20 * cos, y + 20 * sin]], dtype=np.float32)
    return Face(box_px=(x - side / 2, y - side / 2, x + side / 2, y + side / 2), score=1.0, landmarks_px=eyes)


def test_drawn_face_is_found_where_it_was_drawn(finder):
    drawn = DrawnFace(x_px=230, y_px=180, radius_px=70)
    (face,) = find_faces(draw(drawn), finder=finder)
    left, top, right, bottom = face.box_px
    assert abs((left + right) / 2 - 230) < 15
    assert abs((top + bottom) / 2 - 180) < 25
    assert 100 < face.width_px < 180
    assert np.abs(face.eyes_px - drawn.eyes_px).max() < 10
    assert 0.6 <= face.score <= 1


def test_faces_come_largest_first_and_always_alike(finder):
    picture = draw(DrawnFace(x_px=100, radius_px=45), DrawnFace(x_px=320, radius_px=75), size_px=(450, 400))
    small_last = find_faces(picture, finder=finder)
    find_faces(picture[:200, :333], finder=finder)
    again = find_faces(picture, finder=finder)
    assert [round(face.box_px[0] / 225) for face in small_last] == [1, 0]
    assert [face.box_px for face in small_last] == [face.box_px for face in again]
    assert [face.score for face in small_last] == [face.score for face in again]


def test_plain_picture_holds_no_face(finder):
    assert find_faces(np.full((200, 300, 3), 90, np.uint8), finder=finder) == []


def test_uncertain_faces_are_left_out(finder):
    picture = draw(DrawnFace())
    (face,) = find_faces(picture, finder=finder, looks_px=(320,))
    assert find_faces(picture, finder=finder, looks_px=(320,), min_score=face.score) != []
    assert find_faces(picture, finder=finder, looks_px=(320,), min_score=face.score + 1e-6) == []


def test_second_look_finds_the_face_that_is_lost_in_the_first(finder):
    radius_px = {"yunet": 24, "tiny": 27, "haar": 44}[finder]
    picture = draw(DrawnFace(x_px=500, y_px=300, radius_px=radius_px), size_px=(1920, 1000))
    assert find_faces(picture, finder=finder, looks_px=(320,)) == []
    (face,) = find_faces(picture, finder=finder)
    assert abs((face.box_px[0] + face.box_px[2]) / 2 - 500) < 12


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3), (31, 33), (15, 700)])
def test_degenerate_sizes_give_no_face_and_no_failure(finder, size):
    rng = np.random.default_rng(0)
    assert find_faces(rng.integers(0, 256, (*size, 3), dtype=np.uint8), finder=finder) == []


def test_boxes_that_lie_mostly_beyond_the_picture_are_left_out(monkeypatch):
    half = (-10.0, 0.0, 30.0, 40.0)
    boxes = [half, (-30.0, 0.0, 10.0, 40.0), (-1e9, -1e9, 1e9, 1e9), (200.0, 0.0, 240.0, 40.0)]
    found = [Face(box_px=box, score=1.0) for box in boxes]
    monkeypatch.setitem(faces._FINDERS, "haar", lambda picture, side: found)
    kept = find_faces(np.zeros((100, 100, 3), np.uint8), finder="haar")
    assert [face.box_px for face in kept] == [half]


def test_every_thread_gets_the_same_faces(finder):
    picture = draw(DrawnFace())
    expected = find_faces(picture, finder=finder)[0].box_px
    found = []

    def look():
        found.append(find_faces(picture, finder=finder))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result[0].box_px for result in found] == [expected] * 4


def test_yunet_without_its_asset_raises_and_does_not_fall_back(no_assets):
    errors = []

    def look():
        with pytest.raises(AssetError) as caught:
            find_faces(draw(DrawnFace()), finder="yunet")
        errors.append(str(caught.value))

    thread = threading.Thread(target=look)  # a fresh thread has made no detector yet
    thread.start()
    thread.join()
    assert "yunet" in errors[0]


def test_face_of_a_larger_picture_is_scaled_in_each_direction():
    face = face_at(50, 60).scaled(2, 3)
    assert face.box_px == (0, 30, 200, 330)
    assert (face.width_px, face.height_px) == (200, 300)
    assert face.eyes_px.tolist() == [[60, 180], [140, 180]]
    assert Face(box_px=(0, 0, 1, 1), score=1.0).scaled(2, 2).landmarks_px is None


@pytest.mark.parametrize("tilt_deg", [-170, -90, -25, 0, 10, 45, 120])
@pytest.mark.parametrize("side", [60, 200])
def test_crop_levels_the_eyes_and_the_face_fills_its_share(tilt_deg, side):
    face = face_at(140, 210, side=side, tilt_deg=tilt_deg)
    crop = align_crop(marked(face.eyes_px), face, 96, 0.25)
    left, right = dots(crop)
    assert crop.shape == (96, 96, 3)
    assert crop.dtype == np.uint8
    assert abs(math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))) < 1
    assert np.allclose((left + right) / 2, 48, atol=0.25)
    assert math.isclose(right[0] - left[0], 40 * 96 / (1.5 * side), rel_tol=0.02)


def test_crop_without_eyes_stays_upright():
    face = Face(box_px=(20.0, 30.0, 84.0, 94.0), score=1.0)
    picture = np.random.default_rng(0).integers(0, 256, (120, 110, 3), dtype=np.uint8)
    assert np.array_equal(align_crop(picture, face, 64, 0.0), picture[30:94, 20:84])


def test_longer_side_of_the_box_decides():
    picture = np.random.default_rng(0).integers(0, 256, (120, 110, 3), dtype=np.uint8)
    face = Face(box_px=(42.0, 30.0, 62.0, 94.0), score=1.0)
    assert np.array_equal(align_crop(picture, face, 64, 0.0), picture[30:94, 20:84])


@pytest.mark.parametrize("side", [60, 140, 350, 980])
def test_shrinking_averages_instead_of_aliasing(side):
    checks = np.indices((1000, 1000)).sum(axis=0) % 2 * 255
    picture = np.repeat(checks.astype(np.uint8)[..., None], 3, axis=2)
    box = (500.0 - side / 2, 500.0 - side / 2, 500.0 + side / 2, 500.0 + side / 2)
    crop = align_crop(picture, Face(box_px=box, score=1.0), 50, 0.0)
    assert crop.std() < 24
    assert abs(crop.mean() - 127.5) < 2


def test_what_lies_beyond_the_picture_is_its_mirror_image():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crop = align_crop(picture, Face(box_px=(-16.0, 0.0, 48.0, 64.0), score=1.0), 64, 0.0)
    assert np.array_equal(crop[:, 16:], picture[:, :48])
    assert np.array_equal(crop[:, :16], picture[:, 16:0:-1])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5000, 3)])
@pytest.mark.parametrize("side", [0.25, 40.0, 6000.0])
def test_any_box_in_any_picture_gives_a_crop(size, side):
    picture = np.full((*size, 3), 77, np.uint8)
    crop = align_crop(picture, face_at(1, 1, side=side, tilt_deg=20), 33, 0.3)
    assert crop.shape == (33, 33, 3)
    assert (crop == 77).all()


@pytest.mark.media
@pytest.mark.parametrize(("finder", "least"), [("yunet", 37), ("tiny", 37), ("haar", 34)])
def test_one_face_on_nearly_every_real_picture(yunet_asset, finder, least, record_property):
    paths = sorted(shared("media/image/real/ffhq-256").iterdir())[::23]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    start = time.perf_counter()
    counts = [len(find_faces(picture, finder=finder)) for picture in pictures]
    record_property("ms_per_picture", (time.perf_counter() - start) * 1e3 / len(pictures))
    assert len(counts) == 40
    assert counts.count(1) >= least


@pytest.mark.media
@pytest.mark.parametrize(("finder", "least"), [("yunet", 12), ("tiny", 12), ("haar", 9)])
def test_one_face_on_nearly_every_real_frame(yunet_asset, finder, least):
    counts = []
    for path in sorted(shared("media/video").rglob("*.mp4"))[::4]:
        with av.open(str(path)) as clip:
            frames = itertools.islice(clip.decode(clip.streams.video[0]), 0, 40, 20)
            pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
        counts += [len(find_faces(picture, finder=finder)) for picture in pictures]
    assert len(counts) == 12
    assert counts.count(1) >= least
