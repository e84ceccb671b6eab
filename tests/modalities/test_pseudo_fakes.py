"""What the modalities make of real Examples, and how the masks of those are moved along."""

import dataclasses

import numpy as np
import pytest

from deepscan.cache import Cache
from deepscan.errors import UnknownNameError
from deepscan.media import blend, vocode
from deepscan.media.faces import Face
from deepscan.media.source import Media
from deepscan.modalities import forged_pictures, image, video
from deepscan.modalities.audio import AudioPrep, copy_synthesis
from deepscan.modalities.catalog import load_builtin
from deepscan.modalities.forged_pictures import blended, self_blended
from deepscan.modalities.image import ImagePrep, augment_pixels
from deepscan.modalities.video import VideoPrep
from deepscan.recipe import Augment
from tests.material import DrawnFace, draw, encoded, shared
from tests.sounds import speech, wav

FACE = ImagePrep(size_px=96, finder="haar")
SEEDS = range(30)


@pytest.fixture(scope="module")
def example():
    pixels = np.random.default_rng(0).integers(40, 216, (96, 96, 3), dtype=np.uint8)
    return {"pixels": pixels, "box": np.zeros(4, np.float32)}


@pytest.fixture(scope="module")
def sound():
    prep = AudioPrep(window_s=1.0, hop_s=0.5)
    (example, *_) = prep(Media.from_bytes(wav(speech(1.5)), "voice.wav"))
    return example, prep


def altered(example, prep):
    """The rows and columns that any of many pseudo-fakes alters."""
    alphas = [self_blended(example, prep, np.random.default_rng(seed))[1]["alpha"] for seed in SEEDS]
    rows, columns = np.nonzero(np.max(alphas, 0))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_pair_is_one_face_and_says_where_it_was_altered(example):
    real, fake = self_blended(example, FACE, np.random.default_rng(1))
    assert set(real) == set(fake) == {"pixels", "box", "alpha"}
    assert not real["alpha"].any()
    assert fake["alpha"].dtype == np.uint8
    assert fake["alpha"].max() in {64, 128, 191, 255}
    same = fake["alpha"] == 0
    # Less than half of a level of alpha may still change a pixel by one.
    assert np.abs(real["pixels"].astype(int) - fake["pixels"])[same].max() <= 1
    assert (real["pixels"] != fake["pixels"])[~same].any()


@pytest.mark.parametrize(
    ("prep", "height_px"),
    [
        (FACE, 96 / 1.6),
        (dataclasses.replace(FACE, margin=1.0), 32),
        (dataclasses.replace(FACE, region="whole", margin=0.0), 48),
    ],
)
def test_the_face_lies_where_the_preparation_put_it(example, prep, height_px):
    top, bottom, left, right = altered(example, prep)
    slack_px = 8
    assert height_px - slack_px < bottom - top < 1.05 * height_px + slack_px
    assert 0.76 * height_px - slack_px < right - left < 0.8 * height_px + slack_px
    assert abs(top + bottom - 95) < 8
    assert abs(left + right - 95) < 8


@pytest.mark.media
@pytest.mark.parametrize("finder", ["yunet", "tiny"])
def test_landmarks_are_those_that_the_finder_finds_in_the_crop(monkeypatch, finder):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    prep = ImagePrep(size_px=160, finder=finder)
    path = sorted((shared("media") / "image/real/ffhq-256").iterdir())[0]
    (crop, *_) = prep(Media.from_path(path))
    found = forged_pictures._face(crop["pixels"], prep)
    assert found.landmarks_px.shape == (5, 2)
    left, top, right, bottom = found.box_px
    assert left < 80 < right
    assert top < 80 < bottom
    flat = np.full_like(crop["pixels"], 128)
    assert forged_pictures._face(flat, prep).landmarks_px is None


TINY = ImagePrep(size_px=96, finder="tiny")


def whole_face(crop_HWC, **_):
    """What a finder that knows its way finds: a face in the middle with all landmarks."""
    box_px = (24.0, 12.0, 72.0, 84.0)
    points = np.add(box_px[:2], blend.USUAL_POINTS * (48, 72)).astype(np.float32)
    return [Face(box_px=box_px, score=1.0, landmarks_px=points)]


@pytest.fixture
def looked(monkeypatch):
    """Which crops were looked at for faces, of which there is one in each."""
    crops = []
    monkeypatch.setattr(
        forged_pictures, "find_faces", lambda crop, **_: crops.append(crop) or whole_face(crop)
    )
    monkeypatch.setattr(forged_pictures, "_found", Cache(4096))
    return crops


def greys(*levels):
    return [{"pixels": np.full((96, 96, 3), level, np.uint8)} for level in levels]


def test_in_three_of_five_fakes_the_face_is_that_of_another(looked, monkeypatch):
    example, *others = greys(100, 140, 180)
    lent = []
    monkeypatch.setattr(
        forged_pictures.blend, "swap", lambda one, them, rng: lent.append(them) or self_blend(one, rng)
    )
    for seed in range(200):
        real, fake = blended(example, TINY, np.random.default_rng(seed), others)
        assert not real["alpha"].any()
        assert fake["alpha"].any()
    assert 0.5 < len(lent) / 200 < 0.7
    assert all(sorted(int(p.picture[0, 0, 0]) for p in them) == [140, 180] for them in lent)


def self_blend(portrait, rng):
    return blend.self_blend(portrait.picture, portrait.face, rng)


def test_no_more_faces_are_tried_than_make_a_difference(looked, monkeypatch):
    example, *others = greys(*range(100, 140))
    tried = []
    monkeypatch.setattr(
        forged_pictures.blend, "swap", lambda one, them, rng: tried.append(len(them)) or self_blend(one, rng)
    )
    for seed in range(20):
        blended(example, TINY, np.random.default_rng(seed), others)
    assert set(tried) == {8}


def test_where_nobody_lends_a_face_it_is_blended_into_itself(example):
    for seed in SEEDS:
        rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
        same.random()
        assert np.array_equal(
            blended(example, FACE, rng)[1]["pixels"], self_blended(example, FACE, same)[1]["pixels"]
        )


def test_a_crop_that_comes_again_is_not_looked_at_again(looked):
    one, other = greys(100, 140)
    for seed in range(5):
        self_blended(one, TINY, np.random.default_rng(seed))
    assert len(looked) == 1
    self_blended(other, TINY, np.random.default_rng(0))
    self_blended(one, dataclasses.replace(TINY, finder="yunet"), np.random.default_rng(0))
    assert len(looked) == 3, "another crop, and another finder"


def test_a_drawn_face_is_blended_through_the_whole_preparation():
    picture = draw(DrawnFace())
    (crop,) = FACE(Media.from_bytes(encoded(picture), "face.png"))
    real, fake = self_blended(crop, FACE, np.random.default_rng(3))
    assert real["pixels"].shape == fake["pixels"].shape == (96, 96, 3)


def shown_as_alpha(example, seed):
    """An Example whose red is its alpha, so that both have to stay equal."""
    alpha = np.random.default_rng(seed).integers(0, 256, (96, 96), dtype=np.uint8)
    return {**example, "pixels": np.dstack([alpha] * 3), "alpha": alpha}


@pytest.mark.parametrize("name", ["_draw_flip", "_draw_rotation"])
@pytest.mark.parametrize("crop", [1.0, 0.6])
def test_alpha_moves_with_the_pixels(example, monkeypatch, name, crop):
    monkeypatch.setitem(image._LEVELS, "flip", ((1.0, getattr(image, name)),))
    moved = 0
    for seed in SEEDS:
        before = shown_as_alpha(example, seed)
        after = augment_pixels(before, Augment(level="flip", crop=crop), np.random.default_rng(seed))
        assert after["alpha"].shape == after["pixels"].shape[:2]
        assert np.array_equal(after["alpha"], after["pixels"][..., 0])
        moved += not np.array_equal(after["alpha"], before["alpha"])
    assert moved > 20, "all but the smallest turns show"


def test_what_is_cut_out_shows_no_alteration(example, monkeypatch):
    monkeypatch.setitem(image._LEVELS, "flip", ((1.0, image._draw_cutout),))
    grey, everywhere = np.full((96, 96, 3), 7, np.uint8), np.full((96, 96), 255, np.uint8)
    before = {**example, "pixels": grey, "alpha": everywhere}
    for seed in SEEDS:
        after = augment_pixels(before, Augment(level="flip"), np.random.default_rng(seed))
        covered = after["pixels"][..., 0] != 7
        assert np.array_equal(after["alpha"] == 0, covered) or not covered.any()
        assert set(np.unique(after["alpha"])) == {0, 255}


def test_changes_of_colour_and_sharpness_leave_alpha_alone(example, monkeypatch):
    moving = {image._draw_flip, image._draw_rotation, image._draw_cutout}
    others = tuple((1.0, draw) for _, draw in image._LEVELS["advanced"] if draw not in moving)
    assert len(others) == 5
    monkeypatch.setitem(image._LEVELS, "flip", others)
    before = shown_as_alpha(example, 0)
    after = augment_pixels(before, Augment(level="flip"), np.random.default_rng(0))
    assert np.array_equal(after["alpha"], before["alpha"])
    assert not np.array_equal(after["pixels"], before["pixels"])


def rms(wave):
    return np.sqrt(np.mean(np.square(wave.astype(float))))


def test_a_copy_is_as_long_and_as_loud_and_not_the_same(sound):
    example, prep = sound
    for seed in range(12):
        real, fake = copy_synthesis(example, prep, np.random.default_rng(seed))
        assert real is example
        assert fake["wave"].dtype == np.int16
        assert fake["wave"].shape == real["wave"].shape
        assert fake["start_s"] == real["start_s"]
        assert rms(fake["wave"]) == pytest.approx(rms(real["wave"]), rel=0.02)
        assert np.mean(fake["wave"] != real["wave"]) > 0.5


def test_every_vocoder_has_its_turn(sound, monkeypatch):
    example, prep = sound
    used = set()
    for name in vocode.VOCODERS:
        monkeypatch.setitem(vocode.VOCODERS, name, lambda wave, rng, name=name: used.add(name) or wave)
    for seed in range(60):
        copy_synthesis(example, prep, np.random.default_rng(seed))
    assert used == set(vocode.VOCODERS)


def test_the_same_generator_gives_the_same_copy(sound):
    one, other = (copy_synthesis(*sound, np.random.default_rng(5))[1]["wave"] for _ in range(2))
    assert np.array_equal(one, other)


def test_each_modality_has_its_own_pseudo_fakes():
    assert {m.name: tuple(m.forgeries) for m in load_builtin() if m.forgeries} == {
        "image": ("self-blended", "blended", "regenerated"),
        "audio": ("copy-synthesis",),
        "video": ("self-blended",),
    }
    with pytest.raises(UnknownNameError, match="for modality 'av'"):
        load_builtin().get("av").forgery("self-blended")


def test_a_clip_is_altered_alike_in_all_frames_and_padding_is_not():
    prep = VideoPrep(size_px=96, finder="haar")
    frame = np.random.default_rng(0).integers(40, 216, (96, 96, 3), dtype=np.uint8)
    clip = {
        "frames": np.stack([frame, frame, frame, np.zeros_like(frame)]),
        "mask": np.array([1, 1, 1, 0], np.uint8),
    }
    before = clip["frames"].copy()
    for seed in SEEDS:
        real, fake = video.self_blended(clip, prep, np.random.default_rng(seed))
        assert (clip["frames"] == before).all()
        for made in (real["frames"], fake["frames"]):
            assert (made[:3] == made[0]).all()
            assert not made[3].any()
        assert (real["frames"][0] != fake["frames"][0]).any()
        assert (real["frames"][0, 0] == fake["frames"][0, 0]).all(), "the face is in the middle"
