import json
import pathlib

import numpy as np
import pytest
from material import shared
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from deepscan.datasets.layout import scan
from deepscan.datasets.synthetic import KINDS, Order, clips
from deepscan.datasets.synthetic.clips import FORGERS, OFFSETS, film, forge, talk
from deepscan.datasets.synthetic.talker import RATE_HZ, face_mask, pose_of
from deepscan.datasets.synthetic.voice import draw_room, draw_speaker
from deepscan.media import assets
from deepscan.media.faces import find_faces
from deepscan.media.source import Media, Sampling

SIZE_PX = 128
LAGS = range(-OFFSETS[1] - 2, OFFSETS[1] + 3)


def speaking(frames):
    return np.sin(np.arange(frames) * 0.7) ** 2


@pytest.fixture(scope="module")
def footage():
    return film(speaking(30), SIZE_PX, np.random.default_rng(2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of each kind, of very short clips."""
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "FRAMES", (50, 60))
        for kind in ("video", "av"):
            KINDS[kind](Order(out=folder / kind, count=6, size_px=SIZE_PX, seed=1), None)
    return folder


def rows(folder):
    """Each row with its truth and its media."""
    for row in scan(folder).to_pylist():
        known = json.loads((folder / row["truth"]).read_text())
        yield row, known[row["path"].removeprefix(f"{folder}/")], Media.from_path(pathlib.Path(row["path"]))


def pictures(media):
    return [frame.picture_HWC for frame in media.frames(Sampling(kind="every", step=1, count=200))]


def lag(opening, loud):
    """By how many frames the sound is late, from the best match of two curves."""
    count = len(opening)
    match = [
        np.corrcoef(
            opening[max(0, -late) : count - max(0, late)], loud[max(0, late) : count - max(0, -late)]
        )[0, 1]
        for late in LAGS
    ]
    return LAGS[int(np.argmax(match))], max(match)


def loudness(wave, frames):
    step = 16_000 // RATE_HZ
    return np.sqrt(np.mean(wave[: frames * step].reshape(frames, step) ** 2, 1))


def patch_mean(footage, frame, u, v, half):
    """Mean grey level of a rectangle of the face, whose half sides are given in half widths of the face."""
    pose = pose_of(footage.acting, frame, SIZE_PX)
    inside = (np.abs(pose.u_HW - u) < half[0]) & (np.abs(pose.v_HW - v) < half[1])
    return footage.frames[frame][inside].mean()


def sharpness(picture, inside):
    grey = picture.astype(np.float32).mean(-1)
    return (grey - ndimage.gaussian_filter(grey, 1))[inside].std()


# --- faces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_px", [128, 192])
def test_the_cascade_finds_the_one_face_speaking_or_not(size_px):
    for seed in range(6):
        footage = film(np.array([0.0, 0.5, 1.0]), size_px, np.random.default_rng(seed))
        for frame in footage.frames:
            assert len(find_faces(frame, finder="haar")) == 1


@pytest.mark.media
def test_the_network_sees_eyes_and_mouth_where_they_are_drawn(monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    assert assets.locate("yunet")
    for seed in range(6):
        footage = film(np.array([0.0, 0.5, 1.0]), SIZE_PX, np.random.default_rng(seed))
        for t, frame in enumerate(footage.frames):
            (face,) = find_faces(frame, finder="yunet")
            pose = pose_of(footage.acting, t, SIZE_PX)
            places = [(round(float(y)), round(float(x))) for x, y in face.landmarks_px]
            seen = np.array([(pose.u_HW[place], pose.v_HW[place]) for place in places])
            drawn = [(-0.37, -0.2), (0.37, -0.2), (0, 0.25), (-0.3, 0.58), (0.3, 0.58)]
            np.testing.assert_allclose(seen, drawn, atol=0.25)


def test_the_mouth_darkens_as_it_opens(footage):
    dark = [-patch_mean(footage, t, 0, 0.62, (0.15, 0.1)) for t in range(30)]
    assert np.corrcoef(dark, footage.acting.opening_T)[0, 1] > 0.9


def test_lids_close_at_the_times_of_the_blinks():
    footage = film(np.zeros(60), SIZE_PX, np.random.default_rng(5))
    acting = footage.acting
    assert acting.blinks_s
    shut = acting.closure_T > 0.95
    for blink_s in acting.blinks_s:
        assert shut[round(blink_s * RATE_HZ)]
    assert shut.sum() <= 4 * len(acting.blinks_s)
    dark = np.array([-patch_mean(footage, t, 0.37, -0.2, (0.06, 0.05)) for t in range(60)])
    assert dark[shut].mean() < dark[acting.closure_T == 0].mean() - 20


def test_the_face_moves_and_the_ground_does_not():
    frames = np.stack(film(np.zeros(30), SIZE_PX, np.random.default_rng(3)).frames).astype(float)
    moved = np.abs(frames[25] - frames[0]).mean(-1)
    assert moved[:8].mean() < 15
    assert np.quantile(moved, 0.99) > 40


def test_footage_depends_on_the_generator_only():
    first, again, other = (film(speaking(2), SIZE_PX, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert np.abs(np.subtract(first.frames, other.frames, dtype=float)).mean() > 5


# --- forgeries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORGERS)
def test_frames_are_forged_in_the_interval_and_box_only(footage, kind):
    frames, forgery = forge(footage, kind, np.random.default_rng(4))
    first, last = round(forgery.start_s * RATE_HZ), round(forgery.end_s * RATE_HZ)
    assert RATE_HZ <= last - first <= len(frames) == 30
    left, top, right, bottom = forgery.box_px
    changed = np.zeros((SIZE_PX, SIZE_PX), bool)
    for t, (frame, real) in enumerate(zip(frames, footage.frames, strict=True)):
        difference = np.abs(frame.astype(int) - real).max(-1)
        assert bool(difference.any()) == (first <= t < last)
        changed |= difference > 0
    rows_, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert left <= columns[0] <= left + 3
    assert right - 3 <= columns[-1] + 1 <= right
    assert top <= rows_[0] <= top + 3
    assert bottom - 3 <= rows_[-1] + 1 <= bottom


def test_intervals_differ(footage):
    found = {forge(footage, "flickering", np.random.default_rng(seed))[1].start_s for seed in range(8)}
    assert len(found) > 2


def test_a_flickering_face_changes_in_light_and_sharpness_from_frame_to_frame(footage):
    frames, forgery = forge(footage, "flickering", np.random.default_rng(4))
    span = range(round(forgery.start_s * RATE_HZ), round(forgery.end_s * RATE_HZ))
    inside = [face_mask(footage.acting, t, SIZE_PX) == 1 for t in span]

    light = [
        frames[t][mask].mean() / footage.frames[t][mask].mean() for t, mask in zip(span, inside, strict=True)
    ]
    assert 0.01 < np.std(np.diff(light)) < 0.06
    sharp = [
        [sharpness(p[t], mask) for t, mask in zip(span, inside, strict=True)]
        for p in (frames, footage.frames)
    ]
    assert np.mean(sharp[0]) < 0.9 * np.mean(sharp[1])


def test_a_swapped_face_is_another_in_the_same_mean_colour(footage):
    frames, forgery = forge(footage, "face-swapped", np.random.default_rng(4))
    t = round(forgery.start_s * RATE_HZ)
    inside = face_mask(footage.acting, t, SIZE_PX) == 1
    fake, real = frames[t][inside].astype(float), footage.frames[t][inside].astype(float)
    np.testing.assert_allclose(fake.mean(0), real.mean(0), atol=1.5)
    assert np.abs(fake - real).mean() > 4


def test_the_texture_of_a_generator_stays_in_place(footage):
    frames, forgery = forge(footage, "generated", np.random.default_rng(4))
    t = round(forgery.start_s * RATE_HZ)
    inside = face_mask(footage.acting, t, SIZE_PX) * face_mask(footage.acting, t + 1, SIZE_PX) == 1

    def agreement(pictures):
        fine = [
            p.astype(np.float32).mean(-1) - ndimage.gaussian_filter(p.astype(np.float32).mean(-1), 1)
            for p in pictures
        ]
        return np.corrcoef(fine[0][inside], fine[1][inside])[0, 1]

    assert agreement(frames[t : t + 2]) > agreement(footage.frames[t : t + 2]) + 0.1


# --- talks ---------------------------------------------------------------------------------------


def test_the_measured_lag_of_the_sound_is_the_offset():
    rng = np.random.default_rng(7)
    for _ in range(8):
        opening, sounds = talk(draw_speaker(rng), draw_room(rng), 80, rng)
        for offset in (0, -OFFSETS[1], -4, 3, OFFSETS[1]):
            assert lag(opening, loudness(sounds.at(offset), 80))[0] == offset


def test_other_words_match_no_better_anywhere():
    rng = np.random.default_rng(8)
    own, other = [], []
    for _ in range(8):
        opening, sounds = talk(draw_speaker(rng), draw_room(rng), 80, rng)
        assert sounds.other_N.shape == sounds.at(0).shape == (80 * 640,)
        own.append(lag(opening, loudness(sounds.at(0), 80))[1])
        other.append(lag(opening, loudness(sounds.other_N, 80))[1])
    assert min(own) > max(other)


# --- sets ----------------------------------------------------------------------------------------


def test_pairs_differ_in_nothing_but_the_forgery(made):
    for kind, names in (("video", [*FORGERS]), ("av", [clips.SHIFTED, clips.SWAPPED])):
        facts, sizes = {}, {0: [], 1: []}
        for row, known, media in rows(made / kind):
            shape = (
                media.facts.width_px,
                media.facts.height_px,
                media.facts.duration_s,
                media.facts.has_sound,
            )
            facts.setdefault(row["source"], []).append(
                (*shape, tuple(known["opening"]), tuple(known["blinks_s"]))
            )
            sizes[row["label"]].append(len(media.data))
            assert row["generator"] in ["", *names]
        assert [len(found) for found in facts.values()] == [2, 2, 2]
        assert all(len(set(found)) == 1 for found in facts.values())
        assert 0.2 < roc_auc_score([0, 0, 0, 1, 1, 1], sizes[0] + sizes[1]) < 0.8


def test_the_truth_of_a_clip_is_where_it_differs_from_its_real_one(made):
    real = {row["source"]: pictures(media) for row, _, media in rows(made / "video") if not row["label"]}
    for row, known, media in rows(made / "video"):
        if row["label"]:
            left, top, right, bottom = known["box_px"]
            pairs = zip(pictures(media), real[row["source"]], strict=True)
            # What the encoder makes of the camera's noise differs everywhere, but averages out.
            blurred = (ndimage.gaussian_filter(fake - own.astype(float), (2, 2, 0)) for fake, own in pairs)
            change = [np.abs(difference[top:bottom, left:right]).mean() for difference in blurred]
            span = slice(round(known["start_s"] * RATE_HZ), round(known["end_s"] * RATE_HZ))
            untouched = np.delete(change, np.r_[span])
            assert np.mean(change[span]) > (1.2 * untouched.mean() if untouched.size else 1)


def test_lips_and_sound_of_a_talk_part_by_the_offset(made):
    offsets = []
    for row, known, media in rows(made / "av"):
        found, match = lag(np.array(known["opening"]), loudness(media.sound_N, len(known["opening"])))
        assert (known["generator"], bool(known["generator"])) == (row["generator"], bool(row["label"]))
        if known["offset_frames"] is None:
            assert row["generator"] == clips.SWAPPED
            continue
        offsets.append(known["offset_frames"])
        assert (found, match > 0.6) == (known["offset_frames"], True)
    assert offsets.count(0) == 3
    assert all(OFFSETS[0] <= abs(offset) <= OFFSETS[1] for offset in offsets if offset)


def test_the_mouth_in_the_file_moves_as_the_truth_says(made):
    for row, known, media in rows(made / "av"):
        if not row["label"]:
            frames = pictures(media)
            left, top, right, bottom = find_faces(frames[0], finder="haar")[0].box_px
            height, width = slice(round((top + 2 * bottom) / 3), round(bottom)), round((right - left) / 3)
            dark = [(f[height, round(left) + width : round(right) - width] < 60).mean() for f in frames]
            assert np.corrcoef(dark, known["opening"])[0, 1] > 0.7


def test_the_same_seed_gives_the_same_clips(made, tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "FRAMES", (50, 60))
    for kind in ("video", "av"):
        KINDS[kind](Order(out=tmp_path / kind, count=2, size_px=SIZE_PX, seed=1), None)
        for path in sorted((tmp_path / kind).rglob("*.mp4")):
            assert path.read_bytes() == (made / kind / path.relative_to(tmp_path / kind)).read_bytes()
