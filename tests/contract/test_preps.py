"""Every modality's Prep keeps the contract, on every odd file that its modality accepts."""

import dataclasses
import importlib
import json
import pickle
import pkgutil

import numpy as np
import pytest
from PIL import Image

from deepscan import config, modalities
from deepscan.errors import AbstainError, ConfigError, MediaError
from deepscan.media.source import Media
from deepscan.modalities import MODALITIES
from deepscan.recipe import Augment
from tests.material import DrawnFace, draw, encoded

for found in pkgutil.iter_modules(modalities.__path__):
    importlib.import_module(f"{modalities.__name__}.{found.name}")

CHEAP = {
    "image": (
        {"size_px": 48, "finder": "haar"},
        {"size_px": 48, "region": "whole"},
        {"size_px": 33, "finder": "haar", "no_face": "center", "denoise": 1, "sharpen": 1, "margin": 0},
    ),
}
CASES = [(name, number) for name, settings in CHEAP.items() for number in range(len(settings))]


def face_file(container="PNG", **options):
    face = DrawnFace(x_px=130, y_px=120, radius_px=60)
    return encoded(draw(face, size_px=(260, 240)), container, **options)


def turned_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def noise_file(height, width, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(values[..., 0] if mode == "L" else values)


ODD_FILES = {
    "face": face_file(),
    "jpeg": face_file("JPEG", quality=60),
    "turned": encoded(np.rot90(draw(DrawnFace())), "JPEG", exif=turned_exif(6)),
    "one pixel": noise_file(1, 1),
    "one row": noise_file(1, 300),
    "one column": noise_file(300, 1),
    "odd": noise_file(31, 47),
    "grey": noise_file(60, 50, "L"),
    "truncated": face_file("JPEG")[:-2000],
    "truncated png": face_file()[:900],
}
REFUSED = (MediaError, AbstainError)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}{case[1]}")
def case(request):
    name, number = request.param
    modality = MODALITIES.get(name)
    return modality, modality.prep(**CHEAP[name][number])


@pytest.fixture
def modality(case):
    return case[0]


@pytest.fixture
def prep(case):
    return case[1]


@pytest.fixture
def media():
    return Media.from_bytes(ODD_FILES["face"], "face.png")


def prepared(prep, name):
    return prep(Media.from_bytes(ODD_FILES[name], name))


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def test_every_modality_is_tried():
    assert set(CHEAP) == set(MODALITIES.names())


@pytest.mark.parametrize("name", ODD_FILES)
def test_examples_match_the_columns_or_the_file_is_refused_by_a_typed_error(prep, name):
    try:
        examples = prepared(prep, name)
    except REFUSED:
        return
    assert examples
    for example in examples:
        assert example.keys() == prep.columns.keys()
        for key, column in prep.columns.items():
            assert (example[key].shape, example[key].dtype) == (column.shape, np.dtype(column.dtype))
            assert example[key].flags.c_contiguous
            assert example[key].flags.writeable


@pytest.mark.parametrize("name", ["face", "jpeg", "turned"])
def test_sound_files_are_not_refused(prep, name):
    assert len(prepared(prep, name)) == 1


@pytest.mark.parametrize("name", ["truncated", "truncated png"])
def test_truncated_files_are_refused(prep, name):
    with pytest.raises(MediaError):
        prepared(prep, name)


def test_turned_file_gives_the_examples_of_the_upright_picture(prep):
    upright = Media.from_bytes(ODD_FILES["turned"], "turned").picture_HWC
    upright = Media.from_bytes(encoded(upright), "upright")
    assert all(same(*pair) for pair in zip(prepared(prep, "turned"), prep(upright), strict=True))


def test_same_file_gives_the_same_examples(prep):
    first, second = prepared(prep, "face"), prepared(prep, "face")
    assert all(same(*pair) for pair in zip(first, second, strict=True))


def test_media_is_not_changed(prep, media):
    before = media.picture_HWC.copy()
    prep(media)
    assert np.array_equal(media.picture_HWC, before)


def test_json_round_trip_keeps_prep_and_digest(prep):
    again = config.from_dict(type(prep), json.loads(json.dumps(config.to_dict(prep))))
    assert again == prep
    assert again.digest == prep.digest
    assert int(prep.digest, 16) >= 0


def test_digest_tells_preps_apart(modality):
    digests = {modality.prep(**settings).digest for settings in CHEAP[modality.name]}
    assert len(digests) == len(CHEAP[modality.name])


def test_pickled_prep_gives_the_same_examples(prep, media):
    again = pickle.loads(pickle.dumps(prep))
    assert again == prep
    assert all(same(*pair) for pair in zip(prep(media), again(media), strict=True))


def test_prep_is_frozen_and_hashable(prep):
    field = dataclasses.fields(prep)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(prep, field, 1)
    assert hash(prep) == hash(dataclasses.replace(prep))


def test_unknown_setting_is_refused(prep):
    with pytest.raises(ConfigError, match="nonsense"):
        config.from_dict(type(prep), {"nonsense": 1})


def test_inputs_are_columns(prep):
    assert prep.inputs
    assert set(prep.inputs) <= set(prep.columns)


def test_region_lies_in_the_picture(modality, prep, media):
    for example in prep(media):
        left, top, right, bottom = modality.locate(example).box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


@pytest.mark.parametrize("level", ["none", "basic", "advanced"])
@pytest.mark.parametrize("crop", [1.0, 0.7])
def test_augmentation_keeps_dtypes_and_depends_on_its_generator_only(modality, prep, media, level, crop):
    example = prep(media)[0]
    kept = {key: array.copy() for key, array in example.items()}
    settings = Augment(level=level, crop=crop)
    runs = [
        [modality.augment(example, settings, rng) for _ in range(12)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    assert all(same(*pair) for pair in zip(*runs, strict=True))
    assert same(example, kept)
    for changed in runs[0]:
        assert {key: array.dtype for key, array in changed.items()} == {
            key: np.dtype(column.dtype) for key, column in prep.columns.items()
        }
        assert all(array.flags.c_contiguous for array in changed.values())
        assert len({changed[key].shape for changed in runs[0] for key in prep.inputs}) == len(prep.inputs)


@pytest.mark.parametrize("level", ["basic", "advanced"])
def test_augmentation_changes_the_inputs(modality, prep, media, level):
    example = prep(media)[0]
    rng = np.random.default_rng(0)
    changed = [modality.augment(example, Augment(level=level), rng) for _ in range(20)]
    assert sum(not same(example, other) for other in changed) >= 15


def test_no_augmentation_is_the_identity(modality, prep, media):
    example = prep(media)[0]
    assert same(example, modality.augment(example, Augment(level="none"), np.random.default_rng(0)))


def test_one_part_decides_alone(modality):
    assert modality.aggregate(np.array([-1.25], np.float32)) == -1.25


def test_more_suspicious_parts_never_lower_the_logit(modality):
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.normal(size=rng.integers(1, 9)).astype(np.float32)
        raised = logits.copy()
        raised[rng.integers(logits.size)] += 1
        assert modality.aggregate(raised) >= modality.aggregate(logits)
        assert np.isclose(modality.aggregate(logits + 1), modality.aggregate(logits) + 1, atol=1e-5)
        assert isinstance(modality.aggregate(logits), float)
