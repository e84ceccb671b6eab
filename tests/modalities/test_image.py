import dataclasses
import math
import threading

import numpy as np
import pytest

from deepscan import config
from deepscan.errors import AssetError, ConfigError, NoFaceError
from deepscan.media import assets, pixels, shipped_faces
from deepscan.media.faces import find_faces
from deepscan.media.source import Media
from deepscan.modalities import MODALITIES
from deepscan.modalities import image as image_module
from deepscan.modalities.image import ImagePrep, augment_pixels, draw_changes
from deepscan.recipe import Augment
from tests.material import DrawnFace, draw, encoded, shared

WHOLE = ImagePrep(size_px=64, region="whole")
FACE = ImagePrep(size_px=64, finder="haar")


def media(picture, container="PNG", **options):
    return Media.from_bytes(encoded(picture, container, **options), f"picture.{container.lower()}")


@pytest.fixture
def no_assets(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def example(rng):
    return {"pixels": rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), "box": np.zeros(4, np.float32)}


@pytest.fixture(scope="module")
def two_faces():
    small, large = DrawnFace(x_px=110, radius_px=45), DrawnFace(x_px=320, radius_px=80)
    return media(draw(small, large, size_px=(450, 400)))


def test_whole_is_bit_exact_at_its_own_size_and_looks_for_no_face(rng, monkeypatch):
    monkeypatch.setattr(image_module, "find_faces", None)
    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (example,) = WHOLE(media(picture))
    assert np.array_equal(example["pixels"], picture)
    assert example["box"].tolist() == [0, 0, 1, 1]


def test_whole_takes_the_central_square_and_says_so(rng):
    picture = rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)
    (example,) = WHOLE(media(picture))
    assert np.array_equal(example["pixels"], picture[:, 32:96])
    assert example["box"].tolist() == [0.25, 0, 0.75, 1]


def test_faces_come_largest_first_with_boxes_as_fractions(two_faces):
    large, small = FACE(two_faces)
    for example, x_px, radius_px in ((large, 320, 80), (small, 110, 45)):
        left, top, right, bottom = example["box"] * (450, 400, 450, 400)
        assert abs((left + right) / 2 - x_px) < 12
        assert abs((top + bottom) / 2 - 200) < 20
        assert 1.6 * radius_px < right - left < 2.8 * radius_px
    assert large["pixels"].shape == small["pixels"].shape == (64, 64, 3)


def test_only_the_largest_faces_are_judged(two_faces):
    (only,) = dataclasses.replace(FACE, max_faces=1)(two_faces)
    assert np.array_equal(only["pixels"], FACE(two_faces)[0]["pixels"])


def test_small_faces_are_not_judged(two_faces):
    assert len(dataclasses.replace(FACE, min_face_px=130)(two_faces)) == 1
    with pytest.raises(NoFaceError, match="of at least 300 px was found; 2 smaller"):
        dataclasses.replace(FACE, min_face_px=300)(two_faces)


def test_uncertain_faces_are_not_judged(two_faces):
    with pytest.raises(NoFaceError):
        dataclasses.replace(FACE, min_score=1.0)(two_faces)


def test_tilted_face_is_levelled():
    tilted = draw(DrawnFace(radius_px=100, tilt_deg=14))
    (example,) = dataclasses.replace(FACE, size_px=256)(media(tilted))
    before, after = (
        math.degrees(find_faces(picture, finder="haar")[0].tilt_rad)
        for picture in (tilted, example["pixels"])
    )
    assert before > 9
    assert abs(after) < 4


def test_margin_makes_the_face_smaller_in_its_crop(two_faces):
    skin = [
        (dataclasses.replace(FACE, margin=margin)(two_faces)[0]["pixels"][..., 0] > 170).mean()
        for margin in (0.0, 0.3, 1.0)
    ]
    assert skin[0] > skin[1] > skin[2]


def test_without_a_face_it_abstains_or_takes_the_centre(rng):
    plain = media(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    with pytest.raises(NoFaceError, match="No face"):
        FACE(plain)
    (example,) = dataclasses.replace(FACE, no_face="center")(plain)
    assert np.array_equal(example["pixels"], plain.picture_HWC[:, 16:80])
    assert np.allclose(example["box"], [1 / 6, 0, 5 / 6, 1])


def test_clean_up_runs_on_the_crop_in_its_order(rng):
    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    strengths = {"denoise": 0.5, "equalize": 0.6, "sharpen": 0.7}
    expected = picture
    for name, strength in strengths.items():
        expected = getattr(pixels, name)(expected, strength)
        (example,) = dataclasses.replace(WHOLE, **{name: strength})(media(picture))
        assert np.array_equal(example["pixels"], getattr(pixels, name)(picture, strength))
    (example,) = dataclasses.replace(WHOLE, **strengths)(media(picture))
    assert np.array_equal(example["pixels"], expected)


OTHER_VALUES = {
    "size_px": 65,
    "region": "whole",
    "finder": "yunet",
    "margin": 0.25,
    "no_face": "center",
    "min_face_px": 33,
    "max_faces": 3,
    "min_score": 0.7,
    "denoise": 0.1,
    "equalize": 0.1,
    "sharpen": 0.1,
}


def test_every_field_has_another_value_here():
    assert set(OTHER_VALUES) == {field.name for field in dataclasses.fields(ImagePrep)}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_field_changes_the_digest(name):
    assert dataclasses.replace(FACE, **{name: OTHER_VALUES[name]}).digest != FACE.digest


def test_new_weights_or_new_code_change_the_digest(monkeypatch):
    prep = ImagePrep(finder="yunet")
    before, haar_before = prep.digest, FACE.digest
    altered = dataclasses.replace(assets.ASSETS.get("yunet"), sha256="0" * 64)
    monkeypatch.setitem(assets.ASSETS._items, "yunet", altered)
    assert prep.digest != before
    assert FACE.digest == haar_before
    tiny = ImagePrep(finder="tiny").digest
    monkeypatch.setattr(shipped_faces, "SHA256", "0" * 64)
    assert ImagePrep(finder="tiny").digest != tiny
    assert FACE.digest == haar_before
    monkeypatch.setattr(image_module, "PREP_VERSION", 0)
    assert FACE.digest != haar_before


def test_auto_finder_neither_runs_nor_has_a_digest(two_faces):
    prep = ImagePrep()
    assert prep.finder == "auto"
    with pytest.raises(ConfigError, match=r"resolved\(\)"):
        prep.digest  # noqa: B018
    with pytest.raises(ConfigError, match=r"resolved\(\)"):
        prep(two_faces)


def test_auto_becomes_the_shipped_finder_where_yunet_is_absent(no_assets):
    prep = ImagePrep(margin=0.2).resolved()
    assert prep == ImagePrep(margin=0.2, finder="tiny")
    assert prep.resolved() is prep
    assert WHOLE.resolved() is WHOLE


def test_a_finder_that_is_absent_is_told_before_the_first_picture(no_assets):
    with pytest.raises(AssetError, match="assets fetch yunet"):
        ImagePrep(finder="yunet").resolved()


@pytest.mark.media
def test_auto_becomes_yunet_where_it_is_present(monkeypatch, two_faces):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    prep = ImagePrep(size_px=64).resolved()
    assert prep.finder == "yunet"
    assert len(prep(two_faces)) == 2


def test_yunet_prep_never_falls_back(no_assets, two_faces):
    raised = []

    def run():
        with pytest.raises(AssetError):
            ImagePrep(finder="yunet")(two_faces)
        raised.append(True)

    thread = threading.Thread(target=run)  # a fresh thread has made no detector yet
    thread.start()
    thread.join()
    assert raised


@pytest.mark.parametrize(
    "setting",
    [
        {"size_px": 7},
        {"margin": -0.1},
        {"margin": float("nan")},
        {"min_face_px": 0},
        {"max_faces": 0},
        {"min_score": 1.1},
        {"denoise": -0.1},
        {"equalize": 2},
        {"sharpen": 1.5},
    ],
)
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        ImagePrep(**setting)


def test_overrides_reach_a_prep_and_unknown_values_do_not():
    assert config.override(FACE, ["size_px=128", "region=whole"]).columns["pixels"].shape == (128, 128, 3)
    with pytest.raises(ConfigError, match="finder"):
        config.override(FACE, ["finder=dlib"])


def test_only_pictures_are_accepted(two_faces):
    modality = MODALITIES.get("image")
    assert modality.accepts(two_faces)
    video = Media(b"", dataclasses.replace(two_faces.facts, kind="video"))
    assert not modality.accepts(video)


def test_most_suspicious_face_decides_and_is_located(two_faces):
    modality = MODALITIES.get("image")
    assert modality.aggregate(np.array([-2.0, 1.5, 0.5], np.float32)) == 1.5
    example = FACE(two_faces)[0]
    assert modality.locate(example).box == tuple(example["box"].tolist())


def test_crop_keeps_scale_and_box(example, rng):
    cropped = augment_pixels(example, Augment(level="none", crop=0.75), rng)
    windows = np.lib.stride_tricks.sliding_window_view(example["pixels"], (48, 48), axis=(0, 1))
    same = (windows.transpose(0, 1, 3, 4, 2) == cropped["pixels"]).all(axis=(2, 3, 4))
    assert same.sum() == 1
    assert cropped["box"] is example["box"]


def test_crops_reach_every_edge(rng):
    crops = [draw_changes(Augment(level="none", crop=0.75), 8, rng)[0].keywords for _ in range(99)]
    assert {crop["top"] for crop in crops} == {crop["left"] for crop in crops} == {0, 1, 2}


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("none", set()),
        ("basic", {"flip", "rotate", "adjust_color"}),
        ("advanced", {"flip", "rotate", "adjust_color", "jpeg", "blur", "noise", "rescale", "cutout"}),
        ("delivery", {"flip", "adjust_color", "rescale", "jpeg", "h264"}),
        ("rough", {"flip", "adjust_color", "blur", "rescale", "noise", "jpeg", "h264"}),
    ],
)
def test_level_draws_each_of_its_changes_and_no_other(level, names, rng):
    drawn = [draw_changes(Augment(level=level), 64, rng) for _ in range(300)]
    found = {getattr(change, "func", change).__name__ for changes in drawn for change in changes}
    assert found == names
    resampled = [any(getattr(c, "func", c).__name__ == "rotate" for c in changes) for changes in drawn]
    assert np.mean(resampled) < 0.4


def test_one_drawing_changes_every_picture_alike(example, rng):
    changes = draw_changes(Augment(level="basic", crop=0.9), 64, rng)
    first, second = example["pixels"], example["pixels"]
    for change in changes:
        first, second = change(first), change(second)
    assert np.array_equal(first, second)


def test_advanced_changes_keep_the_mean_colour_near(example, rng):
    means = [augment_pixels(example, Augment(level="advanced"), rng)["pixels"].mean() for _ in range(100)]
    assert abs(np.mean(means) - example["pixels"].mean()) < 6
    assert np.std(means) > 3


@pytest.mark.media
def test_genuine_and_fake_pictures_have_one_face_each(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    prep = ImagePrep(finder="yunet", max_faces=1)
    for part in ("media/image/real/ffhq-256", "media/image/fake/stylegan1-256"):
        for path in sorted(shared(part).iterdir())[::300]:
            (example,) = prep(Media.from_path(path))
            left, top, right, bottom = example["box"]
            assert 0.2 < right - left < 0.9
            assert 0.3 < bottom - top <= 1
