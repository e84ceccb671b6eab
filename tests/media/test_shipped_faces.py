import hashlib
import itertools
import math

import av
import numpy as np
import pytest
from PIL import Image

from deepscan.errors import AssetError
from deepscan.media import backdrops, shipped_faces
from deepscan.media.faces import default_finder, find_faces
from deepscan.media.shipped_faces import CHANNELS, STRIDES, decode, iou, suppress
from tests.material import DrawnFace, draw, shared


def logit(score):
    return math.log(score / (1 - score))


def empty_maps(size_px=64):
    maps = [np.zeros((1, CHANNELS, size_px // stride, size_px // stride), np.float32) for stride in STRIDES]
    for each in maps:
        each[:, 0] = -9
    return maps


def tell(maps, level, row, column, *, score, sides=(1, 1, 1, 1), points=((0, 0),) * 5):
    """Let a cell tell of a face: sides and points in strides from the cell's centre."""
    maps[level][0, 0, row, column] = logit(score)
    maps[level][0, 1:5, row, column] = np.log(sides)
    maps[level][0, 5:, row, column] = np.ravel(points)


def test_a_cell_tells_box_and_landmarks_in_pixels():
    maps, points = empty_maps(), ((-1, -0.5), (1, -0.5), (0, 0), (-0.5, 1), (0.5, 1))
    tell(maps, 1, 1, 2, score=0.8, sides=(1.5, 0.5, 2.0, 1.0), points=points)
    boxes, landmarks = decode(maps)
    # The cell of stride 16 in row 1, column 2 has its centre at (40, 24).
    assert np.allclose(boxes, [[40 - 24, 24 - 8, 40 + 32, 24 + 16, 0.8]], atol=1e-4)
    assert np.allclose(landmarks[0], np.array(points) * 16 + (40, 24), atol=1e-4)
    assert boxes.dtype == landmarks.dtype == np.float32


def test_maps_that_tell_of_nothing_give_empty_arrays():
    boxes, points = decode(empty_maps())
    assert boxes.shape == (0, 5)
    assert points.shape == (0, 5, 2)


def test_the_surest_of_cells_that_tell_of_one_face_stays():
    maps = empty_maps()
    tell(maps, 0, 3, 3, score=0.7, sides=(2, 2, 2, 2))
    tell(maps, 0, 3, 4, score=0.9, sides=(3, 2, 1, 2))
    tell(maps, 1, 1, 1, score=0.8, sides=(0.75, 0.75, 1.25, 1.25))
    tell(maps, 0, 7, 7, score=0.5, sides=(0.5, 0.5, 0.5, 0.5))
    boxes, _ = decode(maps)
    assert np.allclose(boxes[:, 4], [0.9, 0.5], atol=1e-5)
    assert np.allclose(boxes[0, :4], [12, 12, 44, 44], atol=1e-4)


def test_cells_that_are_less_sure_than_asked_are_left_out():
    maps = empty_maps()
    tell(maps, 2, 0, 0, score=0.4)
    assert len(decode(maps, 0.39)[0]) == 1
    assert len(decode(maps, 0.41)[0]) == 0


def test_a_box_that_overlaps_only_a_suppressed_one_stays():
    boxes = np.array([[0, 0, 10, 10, 0.9], [4, 0, 14, 10, 0.8], [8, 0, 18, 10, 0.7]], np.float32)
    assert suppress(boxes, 0.3) == [0, 2]
    assert suppress(boxes, 0.5) == [0, 1, 2]


def test_overlap_is_intersection_over_union():
    assert iou(np.array([0, 0, 10, 10.0]), np.array([5, 0, 15, 10.0])) == pytest.approx(1 / 3)
    assert iou(np.array([0, 0, 10, 10.0]), np.array([10, 0, 20, 10.0])) == 0
    assert iou(np.zeros(4), np.zeros(4)) == 0


def test_a_distance_without_bounds_is_bounded():
    maps = empty_maps()
    tell(maps, 0, 0, 0, score=0.9)
    maps[0][0, 1:5, 0, 0] = 1e6
    assert np.isfinite(decode(maps)[0]).all()


def test_the_file_in_the_package_is_the_one_that_is_pinned_and_small():
    data = shipped_faces.weights_path().read_bytes()
    assert hashlib.sha256(data).hexdigest() == shipped_faces.SHA256
    assert len(data) <= 400_000
    shipped_faces.check()


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    data = bytearray(shipped_faces.weights_path().read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / shipped_faces.FILE
    path.write_bytes(data)
    with pytest.raises(AssetError, match="Install deepscan again"):
        shipped_faces.load(path)
    with pytest.raises(AssetError, match="cannot be read"):
        shipped_faces.load(tmp_path / "absent.onnx")
    monkeypatch.setattr(shipped_faces, "weights_path", lambda: path)
    with pytest.raises(AssetError, match="sha256"):
        shipped_faces.check()


def test_it_is_the_default_where_yunet_is_not(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))
    assert default_finder() == "tiny"


@pytest.mark.parametrize("size", [(320, 240), (33, 65), (321, 100)])
def test_a_size_that_is_no_multiple_of_the_stride_changes_no_coordinates(size):
    picture = draw(DrawnFace(x_px=120, y_px=130, radius_px=60), size_px=(320, 320))[: size[0], : size[1]]
    network = shipped_faces.load()
    boxes, points = network(picture)
    below, beside = -size[0] % 32, -size[1] % 32
    padded, _ = network(np.pad(picture, ((0, below), (0, beside), (0, 0))))
    assert np.array_equal(boxes, padded)
    assert points.shape == (len(boxes), 5, 2)


def test_a_drawn_face_has_its_landmarks_in_yunets_order():
    drawn = DrawnFace(x_px=200, y_px=180, radius_px=80)
    (face,) = find_faces(draw(drawn), finder="tiny")
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks_px
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def blanks():
    """Noise, text, drawings and plain colours."""
    rng = np.random.default_rng(5)
    for _ in range(12):
        yield backdrops.plain(256, rng)
        yield backdrops.noisy(256, rng)
        yield backdrops.shaded(256, rng)
        yield backdrops.written(backdrops.plain(256, rng), rng)


def test_there_is_hardly_a_face_in_noise_text_and_plain_colour():
    seen = np.array([bool(find_faces(picture, finder="tiny")) for picture in blanks()]).reshape(12, 4)
    # Of every twelve: plain colours, noise, shades, text. Letters of some fonts look like a face of 12 px.
    assert seen[:, :3].sum() == 0
    assert seen[:, 3].sum() <= 1


@pytest.mark.media
def test_it_finds_the_faces_of_real_pictures_as_yunet_does(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    paths = itertools.chain.from_iterable(
        sorted(shared(f"media/image/{folder}").iterdir())[::45]
        for folder in ("real/ffhq-256", "fake/stylegan1-256")
    )
    found = 0
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    for picture in pictures:
        truth = find_faces(picture, finder="yunet")[0]
        boxes = np.array([face.box_px for face in find_faces(picture, finder="tiny")]).reshape(-1, 4)
        found += bool((iou(boxes, np.array(truth.box_px)) > 0.5).any())
    assert len(pictures) > 40
    assert found >= 0.95 * len(pictures)


@pytest.mark.media
def test_it_finds_the_face_of_nearly_every_real_frame():
    found = []
    for path in sorted(shared("media/video/real").rglob("*.mp4")):
        with av.open(str(path)) as clip:
            frames = itertools.islice(clip.decode(clip.streams.video[0]), 0, 40, 20)
            found += [bool(find_faces(frame.to_ndarray(format="rgb24"), finder="tiny")) for frame in frames]
    assert len(found) == 12
    assert sum(found) >= 11
