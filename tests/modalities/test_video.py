"""Clips become faces followed through time."""

import dataclasses
import itertools

import numpy as np
import pytest

from deepscan import config
from deepscan.errors import ConfigError, NoFaceError, NoPictureError, TooShortError
from deepscan.media import assets
from deepscan.media.source import Media, Sampling
from deepscan.modalities import MODALITIES, batch
from deepscan.modalities import video as video_module
from deepscan.modalities.video import VideoPrep, augment_frames
from deepscan.recipe import Augment
from tests.clips import clip, faces_clip
from tests.material import DrawnFace, draw, encoded, shared

SIZE_PX = (300, 180)
LARGE, SMALL = DrawnFace(x_px=200, y_px=90, radius_px=55), DrawnFace(x_px=60, y_px=90, radius_px=38)
PREP = VideoPrep(size_px=32, finder="haar", sampling=Sampling(count=6))
MODALITY = MODALITIES.get("video")


def media(data):
    return Media.from_bytes(data, "clip.mp4")


def film(*moments, rate_hz=5):
    return media(faces_clip(*moments, rate_hz=rate_hz, size_px=SIZE_PX))


def grey_film(count):
    return media(clip([np.full((64, 64, 3), 100, np.uint8)] * count))


@pytest.fixture(scope="module")
def steady():
    """Two seconds of two faces; the small one is there in the first half only."""
    return film(*[[LARGE, SMALL]] * 6, *[[LARGE]] * 6)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def example(rng):
    """Five real frames, told apart by their brightness, and three of padding."""
    prep = VideoPrep(size_px=32, finder="haar", sampling=Sampling(count=8))
    empty = {name: np.zeros(column.shape, column.dtype) for name, column in prep.columns.items()}
    empty["frames"][:5] = rng.integers(0, 40, (32, 32, 3), dtype=np.uint8)
    empty["frames"][:5] += np.arange(40, 240, 40, dtype=np.uint8)[:, None, None, None]
    empty["mask"][:5] = 1
    empty["time_s"][:5] = [0.0, 0.5, 1.0, 1.5, 4.0]
    empty["box"][:5] = [[0.1, 0.2, 0.3, 0.4]] * 4 + [[0.5, 0.2, 0.7, 0.4]]
    return empty


def test_each_face_is_an_example_the_longest_seen_first(steady):
    large, small = PREP(steady)
    assert large["mask"].tolist() == [1, 1, 1, 1, 1, 1]
    assert small["mask"].tolist() == [1, 1, 1, 0, 0, 0]
    for example, drawn in ((large, LARGE), (small, SMALL)):
        seen = int(example["mask"].sum())
        box_N4 = example["box"][:seen] * (SIZE_PX * 2)
        assert np.abs((box_N4[:, 0] + box_N4[:, 2]) / 2 - drawn.x_px).max() < 0.2 * drawn.radius_px
        assert ((box_N4[:, 2] - box_N4[:, 0]) / drawn.radius_px).min() > 1.5
        assert (example["frames"][:seen].mean(axis=(1, 2, 3)) > 60).all()


def test_padding_comes_last_and_is_empty(steady):
    small = PREP(steady)[1]
    for column in small.values():
        assert not column[3:].any()
    assert (np.diff(small["time_s"][:3]) > 0).all()


def test_times_are_those_of_the_frames(steady):
    expected = [frame.time_s for frame in steady.frames(PREP.sampling)]
    assert np.allclose(PREP(steady)[0]["time_s"], expected)


def test_frames_without_the_face_are_left_out_not_made_up():
    moments = [[LARGE]] * 12
    moments[4:6] = [[], []]
    prep = dataclasses.replace(PREP, sampling=Sampling(count=12))
    (example,) = prep(film(*moments))
    assert example["mask"].sum() == 10
    gaps = np.diff(example["time_s"][:10])
    assert np.isclose(gaps.max(), 3 * gaps.min(), atol=0.02)


def test_a_moving_face_stays_in_the_middle_of_its_crops():
    moving = [[dataclasses.replace(LARGE, x_px=80 + 12 * number)] for number in range(12)]
    frames = PREP(film(*moving))[0]["frames"].astype(int)
    assert np.abs(frames[1:] - frames[0]).mean() < 15
    still = [frame.picture_HWC[::4, ::4].astype(int) for frame in film(*moving).frames(PREP.sampling)]
    assert np.abs(np.stack(still[1:]) - still[0]).mean() > 25


def test_only_the_longest_seen_faces_are_judged(steady):
    (only,) = dataclasses.replace(PREP, max_tracks=1)(steady)
    assert np.array_equal(only["frames"], PREP(steady)[0]["frames"])


def test_faces_seen_too_briefly_or_too_small_are_not_judged(steady):
    assert len(dataclasses.replace(PREP, min_frames=4)(steady)) == 1
    assert len(dataclasses.replace(PREP, min_face_px=90)(steady)) == 1
    with pytest.raises(NoFaceError, match=r"300 px .* 3 frames; 6 of 6 show a face"):
        dataclasses.replace(PREP, min_face_px=300)(steady)


def test_without_a_face_it_abstains():
    with pytest.raises(NoFaceError, match="0 of 6"):
        PREP(grey_film(8))


def test_a_clip_of_too_few_frames_is_too_short():
    with pytest.raises(TooShortError, match="2 frames where 3 are needed"):
        PREP(film([LARGE], [LARGE]))
    assert len(dataclasses.replace(PREP, min_frames=2)(film([LARGE], [LARGE]))) == 1


def test_a_still_picture_is_no_clip():
    still = Media.from_bytes(encoded(draw(LARGE, size_px=SIZE_PX)), "still.png")
    assert not MODALITY.accepts(still)
    with pytest.raises(NoPictureError):
        PREP(still)


def test_clips_are_accepted(steady):
    assert MODALITY.accepts(steady)


def test_small_faces_in_large_pictures_are_found_by_a_second_look():
    tiny = DrawnFace(x_px=700, y_px=300, radius_px=28)
    data = faces_clip(*[[tiny]] * 3, rate_hz=5, size_px=(1280, 720))
    (example,) = PREP(media(data))
    left, _, right, _ = example["box"][0] * 1280
    assert abs((left + right) / 2 - 700) < 12


def test_segments_are_sampled_and_followed_on_their_own(steady):
    prep = dataclasses.replace(PREP, sampling=Sampling(count=3), segments=2, max_tracks=1)
    first, second = prep(steady)
    both = [frame.time_s for frame in steady.frames(Sampling(count=6))]
    assert np.allclose([*first["time_s"], *second["time_s"]], both)
    assert prep.columns["frames"].shape[0] == 3


def test_a_face_seen_in_one_segment_only_is_judged_there(steady):
    prep = dataclasses.replace(PREP, segments=2)
    ends_s = [MODALITY.locate(example).end_s for example in prep(steady)]
    assert len(ends_s) == 3
    assert sum(end_s > 1.5 for end_s in ends_s) == 1


@pytest.mark.parametrize(("frames", "segments"), [(3, 1), (6, 2), (7, 2), (12, 4)])
def test_a_clip_of_few_frames_has_fewer_segments_but_loses_no_frame(frames, segments):
    prep = dataclasses.replace(PREP, segments=4)
    examples = prep(film(*[[LARGE]] * frames))
    assert len(examples) == segments
    assert sum(int(example["mask"].sum()) for example in examples) == frames


@pytest.mark.parametrize(
    "sampling",
    [Sampling(kind="every", step=2, count=6), Sampling(kind="window", center_s=1.0, span_s=1.2, count=6)],
)
def test_other_samplings_work_too(steady, sampling):
    expected = [frame.time_s for frame in steady.frames(sampling)]
    assert np.allclose(dataclasses.replace(PREP, sampling=sampling)(steady)[0]["time_s"], expected)


def test_a_model_reads_frames_and_mask(steady):
    examples = PREP(steady)
    inputs = batch(examples, PREP)
    assert {name: array.shape for name, array in inputs.items()} == {
        "frames": (2, 6, 32, 32, 3),
        "mask": (2, 6),
    }
    assert np.array_equal(inputs["frames"][1], examples[1]["frames"])


OTHER_VALUES = {
    "sampling": Sampling(count=7),
    "segments": 2,
    "size_px": 33,
    "finder": "yunet",
    "margin": 0.25,
    "min_face_px": 33,
    "min_score": 0.7,
    "min_frames": 4,
    "max_tracks": 3,
}


def test_every_field_has_another_value_here():
    assert set(OTHER_VALUES) == {field.name for field in dataclasses.fields(VideoPrep)}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_field_changes_the_digest(name):
    assert dataclasses.replace(PREP, **{name: OTHER_VALUES[name]}).digest != PREP.digest


def test_new_weights_or_new_code_change_the_digest(monkeypatch):
    prep = dataclasses.replace(PREP, finder="yunet")
    before, haar_before = prep.digest, PREP.digest
    altered = dataclasses.replace(assets.ASSETS.get("yunet"), sha256="0" * 64)
    monkeypatch.setitem(assets.ASSETS._items, "yunet", altered)
    assert prep.digest != before
    assert PREP.digest == haar_before
    monkeypatch.setattr(video_module, "PREP_VERSION", 0)
    assert PREP.digest != haar_before


def test_auto_neither_runs_nor_has_a_digest_and_becomes_what_is_here(steady, monkeypatch, tmp_path):
    auto = dataclasses.replace(PREP, finder="auto")
    with pytest.raises(ConfigError, match=r"resolved\(\)"):
        auto.digest  # noqa: B018
    with pytest.raises(ConfigError, match=r"resolved\(\)"):
        auto(steady)
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))
    assert auto.resolved() == dataclasses.replace(PREP, finder="tiny")
    assert PREP.resolved() is PREP


@pytest.mark.parametrize(
    "setting",
    [
        {"segments": 0},
        {"size_px": 7},
        {"margin": 2.1},
        {"margin": float("nan")},
        {"min_face_px": 0},
        {"min_score": -0.1},
        {"min_frames": 0},
        {"min_frames": 17},
        {"max_tracks": 0},
    ],
)
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        VideoPrep(**setting)


def test_a_sampling_with_a_number_of_frames_of_its_own_is_refused():
    with pytest.raises(ConfigError, match="even, every, window, not 'rate'"):
        VideoPrep(sampling=Sampling(kind="rate"))


def test_overrides_reach_the_sampling():
    prep = config.override(PREP, ["sampling.count=4", "sampling.kind=every"])
    assert prep.sampling == Sampling(kind="every", count=4)
    assert prep.columns["frames"].shape == (4, 32, 32, 3)


def test_most_suspicious_face_decides():
    assert MODALITY.aggregate(np.array([-2.0, 1.5, 0.5], np.float32)) == 1.5


def test_moments_meet_half_way_and_end_where_the_face_was_lost(example):
    moments = MODALITY.moments(example, 8)
    assert [(m.start_s, m.end_s) for m in moments] == [
        (0.0, 0.25),
        (0.25, 0.75),
        (0.75, 1.25),
        (1.25, 1.75),
        (3.75, 4.25),
    ]
    assert np.allclose(moments[4].box, [0.5, 0.2, 0.7, 0.4])


def test_moments_are_those_asked_for(example):
    assert MODALITY.moments(example, 2) == MODALITY.moments(example, 8)[:2]


def test_one_frame_is_a_moment_without_length(example):
    example["mask"][1:] = 0
    (moment,) = MODALITY.moments(example, 8)
    assert (moment.start_s, moment.end_s) == (0.0, 0.0)


def test_a_face_is_located_where_it_mostly_is(example):
    region = MODALITY.locate(example)
    assert np.allclose(region.box, [0.1, 0.2, 0.3, 0.4])
    assert (region.start_s, region.end_s) == (0.0, 4.25)


def test_moments_of_a_clip_cover_it_without_overlap(steady):
    moments = MODALITY.moments(PREP(steady)[0], 6)
    for one, other in itertools.pairwise(moments):
        assert one.end_s <= other.start_s + 1e-6
    assert sum(m.end_s - m.start_s for m in moments) > 0.9 * (moments[-1].end_s - moments[0].start_s)


@pytest.mark.parametrize("level", ["flip", "basic", "advanced", "delivery", "rough"])
def test_equal_frames_stay_equal_but_for_the_grain_of_noise(example, level, monkeypatch):
    monkeypatch.setattr(
        video_module.draw_changes.__globals__["degrade"], "noise", lambda picture, **_: picture
    )
    example["frames"][:5] = example["frames"][0]
    for seed in range(20):
        changed = augment_frames(example, Augment(level=level, crop=0.8), np.random.default_rng(seed))
        seen = int(changed["mask"].sum())
        assert (changed["frames"][:seen] == changed["frames"][0]).all()


def test_augmented_padding_stays_last_and_empty(example):
    for seed in range(20):
        changed = augment_frames(example, Augment(level="advanced"), np.random.default_rng(seed))
        seen = int(changed["mask"].sum())
        assert changed["mask"].tolist() == [1] * seen + [0] * (8 - seen)
        for column in changed.values():
            assert not column[seen:].any()


def test_advanced_keeps_at_least_half_of_the_frames_in_the_order_of_time(example, monkeypatch):
    monkeypatch.setattr(video_module, "draw_changes", lambda *_: [])
    kept = []
    for seed in range(200):
        changed = augment_frames(example, Augment(level="advanced"), np.random.default_rng(seed))
        seen = int(changed["mask"].sum())
        origin = [example["time_s"].tolist().index(time_s) for time_s in changed["time_s"][:seen]]
        assert origin == sorted(set(origin))
        for name in ("frames", "box"):
            assert np.array_equal(changed[name][:seen], example[name][origin])
        kept.append(tuple(origin))
    assert min(map(len, kept)) == 3
    assert 0.35 < np.mean([len(each) == 5 for each in kept]) < 0.85
    assert {(0, 1, 2), (2, 3, 4)} <= set(kept)  # stretches
    assert any(np.diff(each).max() > 1 for each in kept)  # skipped frames


@pytest.mark.parametrize("level", ["flip", "basic", "delivery", "rough"])
def test_lower_levels_keep_every_frame(example, level):
    for seed in range(20):
        changed = augment_frames(example, Augment(level=level), np.random.default_rng(seed))
        for name in ("mask", "time_s", "box"):
            assert np.array_equal(changed[name], example[name])


def test_crop_takes_the_same_square_of_every_frame(example, rng):
    changed = augment_frames(example, Augment(level="none", crop=0.75), rng)
    assert changed["frames"].shape == (8, 24, 24, 3)
    windows = np.lib.stride_tricks.sliding_window_view(example["frames"][:5], (24, 24), axis=(1, 2))
    same = (windows.transpose(0, 1, 2, 4, 5, 3) == changed["frames"][:5, None, None]).all(axis=(0, 3, 4, 5))
    assert same.sum() == 1


@pytest.mark.media
def test_genuine_and_fake_clips_have_one_face_each(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    prep = VideoPrep(finder="yunet", max_tracks=1, sampling=Sampling(kind="every", step=8, count=8))
    for part in ("real/ff-c23-real/183.mp4", "fake/ff-c23-deepfakes/183_253.mp4"):
        (example,) = prep(Media.from_path(shared("media/video") / part))
        assert example["mask"].sum() >= 6
        assert 0.05 < (example["box"][0, 2] - example["box"][0, 0]) < 0.6
        assert example["frames"][0].std() > 20
