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
from deepscan.media.source import Media, Sampling
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import MODALITIES
from deepscan.recipe import Augment
from tests.clips import clip, spoken
from tests.material import DrawnFace, draw, encoded
from tests.sounds import speech, wav

for found in pkgutil.iter_modules(modalities.__path__):
    importlib.import_module(f"{modalities.__name__}.{found.name}")

CHEAP = {
    "image": (
        {"size_px": 48, "finder": "haar"},
        {"size_px": 40, "finder": "tiny"},
        {"size_px": 48, "region": "whole"},
        {"size_px": 33, "finder": "haar", "no_face": "center", "denoise": 1, "sharpen": 1, "margin": 0},
    ),
    "video": (
        {"size_px": 24, "finder": "haar", "sampling": Sampling(count=5)},
        {"size_px": 24, "finder": "tiny", "sampling": Sampling(count=4)},
        {
            "size_px": 17,
            "finder": "haar",
            "min_frames": 1,
            "margin": 0,
            "sampling": Sampling(kind="every", step=3),
        },
    ),
    "audio": (
        {"window_s": 0.5, "hop_s": 0.25, "max_windows": 1},
        {"window_s": 2.0, "trim": False, "front_end": FrontEnd(kind="wave")},
        {"window_s": 1.5, "hop_s": 0.1, "min_s": 0.01, "front_end": FrontEnd(kind="voice")},
    ),
    "av": (
        {"size_px": 20, "filters": 16, "finder": "haar", "window_s": 2.4},
        {"size_px": 20, "filters": 16, "finder": "tiny", "window_s": 2.4},
        {"size_px": 16, "filters": 16, "finder": "haar", "max_windows": 1, "min_s": 2.0, "window_s": 2.0},
    ),
    # What analyzers measure is the business of their own tests.
    "forensic": ({"analyzers": ("voice",)},),
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


def face_pictures(count=7, size_px=(200, 160)):
    faces = (DrawnFace(x_px=90 + number, y_px=80, radius_px=45) for number in range(count))
    return [draw(face, size_px=size_px) for face in faces]


def face_animation():
    first, *others = map(Image.fromarray, face_pictures())
    return encoded(np.asarray(first), "GIF", save_all=True, append_images=others, duration=100)


ODD_FILES = {
    "image": {
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
    },
    "video": {
        "face": clip(face_pictures()),
        "uneven": clip(face_pictures(), times_s=(0, 0.04, 0.5, 0.54, 1.1, 3.0, 3.01)),
        "odd sides": clip(face_pictures(size_px=(199, 161))),
        "animation": face_animation(),
        "one frame": clip(face_pictures(1)),
        "tiny": clip([np.full((16, 16, 3), 90, np.uint8)] * 5),
        "truncated": clip(face_pictures())[:900],
        "still": face_file(),
    },
    "audio": {
        "face": wav(speech(1.1)),
        "stereo": wav(np.stack([speech(3), speech(3, seed=1)], axis=1), rate_hz=44_100),
        "odd rate": wav(speech(0.8), rate_hz=11_025),
        "cut off": wav(speech(1.1))[:50_001],
        "one sample": wav(speech(1)[:1]),
        "few samples": wav(speech(1)[:399]),
        "silence": wav(np.zeros(9000)),
        "truncated": wav(speech(1))[:30],
        "no sound": face_file(),
    },
    "forensic": {
        "face": wav(speech(1.1)),
        "clip": spoken(clip(face_pictures(10)), speech(1.2)),
        "stereo": wav(np.stack([speech(3), speech(3, seed=1)], axis=1), rate_hz=44_100),
        "one sample": wav(speech(1)[:1]),
        "no sound": face_file(),
        "truncated": wav(speech(1))[:30],
    },
    "av": {
        "face": spoken(clip(face_pictures(55)), speech(2.2)),
        "odd sides": spoken(clip(face_pictures(55, size_px=(199, 161))), speech(2.3)),
        "mute": clip(face_pictures(55)),
        "silence": spoken(clip(face_pictures(55)), np.zeros(36_000)),
        "one frame": spoken(clip(face_pictures(1)), speech(2.2)),
        "few samples": spoken(clip(face_pictures(55)), speech(1)[:399]),
        "no pictures": wav(speech(2.2)),
        "still": face_file(),
        "truncated": spoken(clip(face_pictures(55)), speech(2.2))[:900],
    },
}
"""By modality; each has a ``face`` (or voice) that is beyond doubt."""
SOUND = {
    "image": ("face", "jpeg", "turned"),
    "video": ("face", "uneven", "odd sides", "animation"),
    "audio": ("face", "stereo", "odd rate", "cut off"),
    "av": ("face", "odd sides"),
    "forensic": ("face", "clip", "stereo"),
}
BROKEN = {
    "image": ("truncated", "truncated png"),
    "video": ("truncated",),
    "audio": ("truncated",),
    "av": ("truncated",),
    "forensic": ("truncated",),
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
def media(modality):
    return Media.from_bytes(ODD_FILES[modality.name]["face"], "face")


def each_file(files):
    """Parametrise a test with every Prep and these of its modality's files."""
    pairs = [(case, name) for case in CASES for name in files[case[0]]]
    ids = [f"{case[0]}{case[1]}-{name}" for case, name in pairs]
    return pytest.mark.parametrize(("case", "name"), pairs, indirect=["case"], ids=ids)


@pytest.fixture
def odd_media(modality, name):
    return Media.from_bytes(ODD_FILES[modality.name][name], name)


PICTURES_ONLY = pytest.mark.parametrize("case", [case for case in CASES if case[0] == "image"], indirect=True)


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def test_every_modality_is_tried():
    assert set(CHEAP) == set(MODALITIES.names())


@each_file(ODD_FILES)
def test_examples_match_the_columns_or_the_file_is_refused_by_a_typed_error(prep, modality, name):
    try:
        examples = prep(Media.from_bytes(ODD_FILES[modality.name][name], name))
    except REFUSED:
        return
    assert examples
    for example in examples:
        assert example.keys() == prep.columns.keys()
        for key, column in prep.columns.items():
            assert (example[key].shape, example[key].dtype) == (column.shape, np.dtype(column.dtype))
            assert example[key].flags.c_contiguous
            assert example[key].flags.writeable


@each_file(SOUND)
def test_sound_files_are_not_refused(prep, modality, odd_media):
    assert modality.accepts(odd_media)
    assert len(prep(odd_media)) == 1


@each_file(BROKEN)
def test_truncated_files_are_refused(prep, modality, name):
    with pytest.raises(MediaError):
        prep(Media.from_bytes(ODD_FILES[modality.name][name], name))


@PICTURES_ONLY
def test_turned_file_gives_the_examples_of_the_upright_picture(prep):
    turned = Media.from_bytes(ODD_FILES["image"]["turned"], "turned")
    upright = Media.from_bytes(encoded(turned.picture_HWC), "upright")
    assert all(same(*pair) for pair in zip(prep(turned), prep(upright), strict=True))


def test_same_file_gives_the_same_examples(prep, modality, media):
    again = Media.from_bytes(ODD_FILES[modality.name]["face"], "again")
    assert all(same(*pair) for pair in zip(prep(media), prep(again), strict=True))


@PICTURES_ONLY
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


def test_features_read_what_they_need_and_give_the_inputs(prep, media):
    example = prep(media)[0]
    features = prep.features({name: example[name] for name in prep.needs})
    assert features
    assert {name: (array.shape, str(array.dtype)) for name, array in features.items()} == {
        name: (column.shape, column.dtype) for name, column in prep.inputs.items()
    }
    assert same(features, prep.features(example))


def lies_in(region, media):
    box, (start_s, end_s) = region.box, (region.start_s, region.end_s)
    inside = box is None or (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1)
    timed = media.facts.duration_s is not None
    return inside and (
        0 <= start_s < end_s <= 1.2 * media.facts.duration_s if timed else start_s is end_s is None
    )


def test_region_lies_in_the_media(modality, prep, media):
    for example in prep(media):
        assert lies_in(modality.locate(example), media)


def test_moments_lie_in_the_media_in_the_order_of_time(modality, prep, media):
    if modality.moments is None:
        return
    for example in prep(media):
        moments = modality.moments(example, 4)
        assert 1 <= len(moments) <= 4
        assert all(lies_in(moment, media) for moment in moments)
        assert [moment.start_s for moment in moments] == sorted(moment.start_s for moment in moments)


@pytest.mark.parametrize("level", ["none", "flip", "basic", "advanced", "delivery", "rough"])
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
        assert len({(key, changed[key].shape) for changed in runs[0] for key in prep.needs}) == len(
            prep.needs
        )


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
