import itertools
import math

import numpy as np
import pytest
from PIL import Image

from deepscan.media import backdrops, scenes
from deepscan.media.faces import Face, find_faces
from deepscan.media.scenes import Portrait, Scene, compose, moved, settled, worsen
from deepscan.media.shipped_faces import iou
from tests.material import shared

MARKS = np.array([(-20, -15), (20, -15), (0, 5), (-14, 25), (14, 25)])
COLOURS = np.array([(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 40), (255, 40, 255)])


def face_at(x, y, half=(36, 45), score=0.9):
    return Face(
        box_px=(x - half[0], y - half[1], x + half[0], y + half[1]),
        score=score,
        landmarks_px=(MARKS + np.array([x, y])).astype(np.float32),
    )


def portrait():
    """A grey picture with a coloured disc at each landmark of its face."""
    y, x = np.mgrid[0:160, 0:140] + 0.5
    picture, face = np.full((160, 140, 3), 90, np.uint8), face_at(70, 80)
    for (px, py), colour in zip(face.landmarks_px, COLOURS, strict=True):
        picture[np.hypot(x - px, y - py) < 7] = colour
    return Portrait(picture_HWC=picture, faces=(face,))


def rigid(angle_deg, scale, mirrored):
    cos, sin = scale * math.cos(math.radians(angle_deg)), scale * math.sin(math.radians(angle_deg))
    turn = np.array([[cos, -sin], [sin, cos]])
    if mirrored:
        turn = turn @ np.diag([-1, 1])
    return np.column_stack([turn, (130, 130) - turn @ (70, 80)])


def test_a_shifted_and_scaled_face_keeps_its_shape():
    face = moved(face_at(70, 80), np.array([[2.0, 0, 5], [0, 2.0, -7]]))
    assert face.box_px == pytest.approx((73, 63, 217, 243))
    assert np.allclose(face.landmarks_px, 2 * MARKS + np.array([145, 153]))


def test_a_quarter_turn_swaps_the_sides_of_the_box():
    face = moved(face_at(0, 0), np.array([[0, -1.0, 0], [1.0, 0, 0]]))
    assert face.box_px == pytest.approx((-45, -36, 45, 36))
    assert np.allclose(face.landmarks_px[0], (15, -20))


def test_a_mirrored_face_has_its_left_eye_on_the_left_again():
    face = moved(face_at(0, 0), np.array([[-1.0, 0, 0], [0, 1.0, 0]]))
    assert np.allclose(face.landmarks_px, MARKS)


@pytest.mark.parametrize(
    ("angle_deg", "scale", "mirrored"),
    list(itertools.product((-40, 0, 25), (0.3, 1.0, 1.4), (False, True))),
)
def test_landmarks_go_where_their_pixels_go(angle_deg, scale, mirrored):
    given = portrait()
    canvas = scenes._Canvas(np.zeros((260, 260, 3), np.uint8))
    piece = scenes._Piece(
        picture_HWC=given.picture_HWC, opaque_HW=np.ones((160, 140), np.float32), faces=given.faces
    )
    canvas.paste(piece, rigid(angle_deg, scale, mirrored))
    made = canvas.scene()
    (face,) = made.faces
    order = [1, 0, 2, 4, 3] if mirrored else range(5)
    y, x = np.mgrid[0:260, 0:260] + 0.5
    for point, colour in zip(face.landmarks_px, COLOURS[list(order)], strict=True):
        near = np.abs(made.picture_HWC.astype(int) - colour).sum(axis=2) < 110
        assert abs(x[near].mean() - point[0]) < 0.7
        assert abs(y[near].mean() - point[1]) < 0.7


def paste_two(shift):
    given = portrait()
    canvas = scenes._Canvas(np.zeros((200, 300, 3), np.uint8))
    piece = scenes._Piece(
        picture_HWC=given.picture_HWC, opaque_HW=np.ones((160, 140), np.float32), faces=given.faces
    )
    for x in (0, shift):
        canvas.paste(piece, np.array([[1.0, 0, x], [0, 1.0, 0]]))
    return canvas.scene()


def test_a_covered_face_is_no_longer_demanded():
    assert len(paste_two(150).faces) == 2
    assert paste_two(150).unsure == ()
    half = paste_two(75)
    assert [face.box_px[0] for face in half.faces] == [34 + 75]
    assert len(half.unsure) == 1
    whole = paste_two(5)
    assert [face.box_px[0] for face in whole.faces] == [39]
    assert whole.unsure == ()


def test_a_face_that_leaves_the_picture_is_unsure_then_gone():
    assert len(paste_two(190).faces) == 2
    half = paste_two(240)
    assert (len(half.faces), len(half.unsure)) == (1, 1)
    gone = paste_two(290)
    assert (len(gone.faces), len(gone.unsure)) == (1, 0)


def test_the_teachers_boxes_replace_those_that_it_sees():
    known, other, tiny = face_at(80, 80), face_at(200, 80), face_at(20, 20, half=(3, 4))
    scene = Scene(picture_HWC=np.zeros((240, 300, 3), np.uint8), faces=(known, other, tiny))
    better, alone = face_at(84, 78), face_at(80, 200)
    made = settled(scene, [alone, better])
    assert made.faces[0] is better
    assert made.faces[1] is other
    assert len(made.faces) == 2
    assert set(made.unsure) == {tiny.box_px, alone.box_px}


def composed(count=60, size_px=192, seed=3):
    rng = np.random.default_rng(seed)
    return [compose(lambda rng: portrait(), size_px, rng) for _ in range(count)]


def test_scenes_are_as_many_and_as_varied_as_promised():
    made = composed(300)
    without = sum(not (scene.faces or scene.unsure) for scene in made) / len(made)
    sides = np.array([face.height_px for scene in made for face in scene.faces])
    assert {scene.picture_HWC.shape for scene in made} == {(192, 192, 3)}
    assert 0.12 < without < 0.3
    assert max(len(scene.faces) for scene in made) >= 4
    assert sides.min() < 14
    assert sides.max() > 150


def test_the_same_generator_gives_the_same_scenes():
    one, other = composed(8, seed=4), composed(8, seed=4)
    assert all(np.array_equal(a.picture_HWC, b.picture_HWC) for a, b in zip(one, other, strict=True))
    assert [len(a.faces) for a in one] == [len(b.faces) for b in other]
    assert not np.array_equal(one[0].picture_HWC, composed(1, seed=5)[0].picture_HWC)


def test_what_is_worse_has_the_same_shape_and_other_pixels():
    picture = portrait().picture_HWC
    before = picture.copy()
    made = [worsen(picture, np.random.default_rng(seed)) for seed in range(40)]
    assert {(each.shape, each.dtype) for each in made} == {(picture.shape, np.dtype(np.uint8))}
    assert sum(not np.array_equal(each, picture) for each in made) > 30
    assert np.array_equal(picture, before)


def test_a_part_without_faces_shows_none_of_the_face():
    given, rng = portrait(), np.random.default_rng(0)
    for _ in range(30):
        part = scenes.faceless(given, rng)
        assert min(part.shape[:2]) >= 12
        assert (part == 90).all()


def test_scrambled_blocks_are_the_same_pixels_in_another_order():
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    made = scenes.scrambled(picture, 5, np.random.default_rng(1))
    assert np.array_equal(np.sort(made, axis=None), np.sort(picture, axis=None))
    assert not np.array_equal(made, picture)


def test_edges_are_between_clear_and_opaque_and_opaque_in_the_middle():
    rng = np.random.default_rng(2)
    for _ in range(30):
        opaque = backdrops.edge((50, 90), rng)
        assert opaque.shape == (50, 90)
        assert opaque.min() >= 0
        assert opaque.max() <= 1
        assert opaque[25, 45] > 0.99


@pytest.mark.parametrize("kind", [backdrops.plain, backdrops.shaded, backdrops.noisy])
def test_backdrops_are_pictures(kind):
    picture = kind(64, np.random.default_rng(0))
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8


def test_drawings_and_text_change_the_picture_they_are_put_on():
    rng, ground = np.random.default_rng(0), np.full((128, 128, 3), 90, np.uint8)
    assert (backdrops.drawing(ground, rng) != 90).any()
    assert (backdrops.written(ground, rng) != 90).any()
    assert (ground == 90).all()


@pytest.mark.media
def test_yunet_sees_the_faces_of_scenes_where_they_were_put(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    pictures = [
        np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(shared("media/image/real/ffhq-256").iterdir())[::60]
    ]
    known = [Portrait(picture_HWC=each, faces=tuple(find_faces(each, finder="yunet"))) for each in pictures]
    known = [each for each in known if each.faces]
    rng, overlaps, apart = np.random.default_rng(0), [], []
    for _ in range(40):
        scene = compose(lambda rng: known[int(rng.integers(len(known)))], 320, rng)
        for face in find_faces(scene.picture_HWC, finder="yunet", looks_px=(320,)):
            sharing = [float(iou(np.array(face.box_px), np.array(each.box_px))) for each in scene.faces]
            if sharing and max(sharing) > 0.2:
                truth = scene.faces[int(np.argmax(sharing))]
                overlaps.append(max(sharing))
                apart.append(np.abs(face.landmarks_px - truth.landmarks_px).mean() / truth.width_px)
    assert len(overlaps) > 40
    assert np.median(overlaps) > 0.8
    assert np.median(apart) < 0.05
