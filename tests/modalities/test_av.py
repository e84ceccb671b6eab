"""Clips with sound become windows of a mouth and what is heard meanwhile."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from deepscan.errors import ConfigError, NoFaceError, NoPictureError, NoSoundError, TooShortError
from deepscan.media import spectra
from deepscan.media.source import Media
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import MODALITIES, batch
from deepscan.modalities.av import SAMPLES, AvPrep, augment_av
from deepscan.recipe import Augment
from tests.clips import clip
from tests.material import DrawnFace, draw, shared
from tests.sounds import RATE_HZ, silence, speech, wav

FACE = DrawnFace(x_px=100, y_px=80, radius_px=50)
PREP = AvPrep(window_s=2.4, max_windows=2, size_px=24, filters=20, finder="haar")
FRAMES = 60
MODALITY = MODALITIES.get("av")


def picture(is_open=False, face=FACE):
    """A drawn face, whose mouth may be wide open."""
    drawn = Image.fromarray(draw(face, size_px=(200, 160)))
    if is_open:
        x, y, r = face.x_px, face.y_px + 0.55 * face.radius_px, face.radius_px
        ImageDraw.Draw(drawn).ellipse((x - 0.3 * r, y - 0.25 * r, x + 0.3 * r, y + 0.25 * r), fill=(20, 5, 5))
    return np.asarray(drawn)


SHUT, OPEN = picture(), picture(is_open=True)


def film(pictures, sound_N, rate_hz=25):
    return Media.joined(
        Media.from_bytes(clip(pictures, rate_hz), "clip.mp4"), Media.from_bytes(wav(sound_N), "clip.wav")
    )


@pytest.fixture(scope="module")
def talking():
    """Six seconds of a voice and a face whose mouth opens once a second."""
    return film([OPEN if number % 25 < 5 else SHUT for number in range(150)], speech(6.0))


@pytest.fixture(scope="module")
def examples(talking):
    return PREP(talking)


@pytest.fixture
def short(examples):
    """An Example of 50 frames, the rest padding."""
    example = {name: array.copy() for name, array in examples[0].items()}
    example["mouth"][50:], example["mask"][50:], example["wave"][50 * SAMPLES :] = 0, 0, 0
    return example


def test_windows_lie_evenly_over_the_clip(talking, examples):
    assert [float(each["start_s"]) for each in examples] == pytest.approx([0, 3.6])
    one = dataclasses.replace(PREP, max_windows=1)(talking)
    assert [float(each["start_s"]) for each in one] == pytest.approx([1.8])
    many = dataclasses.replace(PREP, max_windows=9)(talking)
    assert [float(each["start_s"]) for each in many] == pytest.approx([0, 1.8, 3.6])


def test_examples_have_their_columns(examples):
    for example in examples:
        assert {name: (each.shape, str(each.dtype)) for name, each in example.items()} == {
            name: (column.shape, column.dtype) for name, column in PREP.columns.items()
        }
        assert example["mask"].all()


def test_the_wave_is_the_sound_of_the_same_time(talking, examples):
    begin = round(3.6 * RATE_HZ)
    heard_N = talking.sound_N[begin : begin + FRAMES * SAMPLES]
    np.testing.assert_allclose(examples[1]["wave"] / 32767, heard_N, atol=2e-5)


@pytest.mark.parametrize("rate_hz", [25, 30, 50])
def test_a_mouth_opens_in_the_frame_in_which_its_sound_begins(rate_hz):
    """Whatever the rate of the clip, in the mouth, in the wave and in the spectrum."""
    begin_s, frames = 1.2, round(2.4 * rate_hz)
    pictures = [OPEN if number >= begin_s * rate_hz else SHUT for number in range(frames)]
    sound_N = speech(2.4)
    sound_N[: round(begin_s * RATE_HZ)] *= 0.01
    example = PREP(film(pictures, sound_N, rate_hz))[0]
    moves_T = np.abs(np.diff(example["mouth"].astype(float), axis=0)).mean((1, 2))
    assert moves_T.argmax() + 1 == pytest.approx(30, abs=1)
    assert np.abs(example["wave"]).reshape(FRAMES, SAMPLES).max(1).argmax() >= 30
    rises = np.diff(PREP.features(example)["sound"].mean(0)[8:-8])
    assert rises.argmax() + 9 == pytest.approx(120, abs=4)


def test_the_spectrum_covers_what_is_real_and_nothing_else(short):
    sound_FT = PREP.features(short)["sound"]
    assert sound_FT.shape == (20, 4 * FRAMES)
    assert not sound_FT[:, 200:].any()
    np.testing.assert_allclose(sound_FT[:, :200].mean(1), 0, atol=0.05)
    np.testing.assert_allclose(sound_FT[:, :200].std(1), 1, atol=0.05)
    front_end = FrontEnd(kind="logmel", filters=20, deltas=False)
    wave_N = (short["wave"][: 50 * SAMPLES] / 32767).astype(np.float32)
    np.testing.assert_allclose(sound_FT[:, :200], spectra.features(wave_N, front_end)[:, :200], atol=1e-5)


def test_a_model_reads_what_inputs_say(examples):
    read = batch(examples, PREP)
    assert list(read) == ["mouth", "sound", "mask"]
    assert {name: (each.shape[1:], str(each.dtype)) for name, each in read.items()} == {
        name: (column.shape, column.dtype) for name, column in PREP.inputs.items()
    }
    assert set(PREP.needs) == {"mouth", "wave", "mask"}


@pytest.mark.parametrize(("pictures_s", "sound_s"), [(2.2, 3.0), (3.0, 2.2)])
def test_where_pictures_or_sound_end_padding_begins(pictures_s, sound_s):
    prep = dataclasses.replace(PREP, window_s=3.0)
    example = prep(film([SHUT] * round(25 * pictures_s), speech(sound_s)))[0]
    assert example["mask"].tolist() == [1] * 55 + [0] * 20
    assert not example["mouth"][55:].any()
    assert not example["wave"][55 * SAMPLES :].any()


def test_a_window_begins_where_the_face_comes_in():
    nobody = np.full_like(SHUT, 90)
    example = dataclasses.replace(PREP, window_s=4.0)(film([nobody] * 25 + [SHUT] * 75, speech(4.0)))[0]
    assert float(example["start_s"]) == pytest.approx(1.0, abs=0.17)
    begin = round(float(example["start_s"]) * RATE_HZ)
    seen = int(example["mask"].sum())
    np.testing.assert_allclose(example["wave"][:1000] / 32767, speech(4.0)[begin : begin + 1000], atol=2e-5)
    assert seen == round((4.0 - float(example["start_s"])) * 25)


def test_silent_windows_are_left_out():
    sound_N = speech(6.0)
    sound_N[3 * RATE_HZ :] = 0
    assert [float(each["start_s"]) for each in PREP(film([SHUT] * 150, sound_N))] == [0.0]


@pytest.mark.parametrize(
    ("pictures", "sound_N", "error"),
    [
        ([SHUT] * 60, silence(2.4), NoSoundError),
        ([SHUT] * 40, speech(3.0), TooShortError),
        ([SHUT] * 75, speech(1.5), TooShortError),
        ([np.full_like(SHUT, 90)] * 60, speech(2.4), NoFaceError),
        ([picture(face=DrawnFace(x_px=100, y_px=80, radius_px=20))] * 60, speech(2.4), NoFaceError),
        ([SHUT] * 30 + [np.full_like(SHUT, 90)] * 60, speech(3.6), NoFaceError),
    ],
    ids=["silent", "pictures too short", "sound too short", "nobody", "too small", "gone too soon"],
)
def test_what_cannot_be_judged_is_said(pictures, sound_N, error):
    with pytest.raises(error):
        PREP(film(pictures, sound_N))


def test_only_moving_pictures_with_sound_are_accepted(talking):
    mute, blind = Media.from_bytes(clip([SHUT] * 60), "mute"), Media.from_bytes(wav(speech(3.0)), "blind")
    assert [MODALITY.accepts(media) for media in (talking, mute, blind)] == [True, False, False]
    with pytest.raises(NoSoundError):
        PREP(mute)
    with pytest.raises(NoPictureError):
        PREP(blind)


def test_no_augmentation_moves_anything_in_time(examples):
    """Mouth and sound may change in every way but one: when what happens happens."""
    example, rng = examples[0], np.random.default_rng(0)
    for _ in range(8):
        changed = augment_av(example, Augment(level="advanced"), rng)
        for name, column in (("mouth", _motion), ("wave", _loudness)):
            before, after = column(example[name]), column(changed[name])
            at = np.correlate(after - after.mean(), before - before.mean(), "full").argmax()
            assert at - (len(before) - 1) == pytest.approx(0, abs=1)


def _motion(mouth_TSS):
    return mouth_TSS.astype(float).mean((1, 2))


def _loudness(wave_N):
    return np.square(wave_N.astype(float)).reshape(FRAMES, SAMPLES).mean(1)


def test_equal_frames_stay_equal_and_padding_empty(short):
    short["mouth"][:50] = short["mouth"][0]
    for seed in range(6):
        changed = augment_av(short, Augment(level="basic", crop=0.75), np.random.default_rng(seed))
        assert changed["mouth"].shape == (FRAMES, 18, 18)
        assert (changed["mouth"][:50] == changed["mouth"][0]).all()
        assert not changed["mouth"][50:].any()
        assert not changed["wave"][50 * SAMPLES :].any()


@pytest.mark.parametrize("level", ["basic", "advanced"])
def test_augmentation_draws_from_its_generator_only(short, level):
    first, second = (augment_av(short, Augment(level=level), np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in short)


def test_moments_are_equal_slices_of_the_window_as_far_as_they_are_real(short):
    short["start_s"] = np.float32(3.0)
    moments = MODALITY.moments(short, 4)
    assert [moment.start_s for moment in moments] == pytest.approx([3.0, 3.6, 4.2, 4.8])
    assert [moment.end_s for moment in moments] == pytest.approx([3.6, 4.2, 4.8, 5.0])
    whole = MODALITY.locate(short)
    assert (whole.start_s, whole.end_s) == pytest.approx((3.0, 5.0))
    assert moments[0].box == whole.box == pytest.approx(short["box"].tolist())


def test_a_moment_too_short_to_be_judged_is_none(short):
    short["mask"][49] = 0
    assert len(MODALITY.moments(short, 4)) == 3


def test_the_box_is_that_of_the_face(examples):
    left, top, right, bottom = examples[0]["box"].tolist()
    assert left < 0.5 < right
    assert top < 0.5 < bottom


def test_a_pause_does_not_decide():
    assert MODALITY.aggregate(np.array([-4.0, 0.0, -2.0], np.float32)) == pytest.approx(-2)


CHANGED = {
    "window_s": 3.0, "max_windows": 5, "min_s": 2.2, "size_px": 32, "filters": 30, "min_face_px": 40,
    "min_score": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_changes_the_digest(name):
    assert dataclasses.replace(PREP, **{name: CHANGED[name]}).digest != PREP.digest


@pytest.mark.parametrize(
    "wrong", [{"window_s": 1.9}, {"min_s": 2.5}, {"max_windows": 0}, {"size_px": 8}, {"min_score": 1.1}]
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dataclasses.replace(PREP, **wrong)


def test_auto_is_resolved_before_anything_runs(talking):
    auto = dataclasses.replace(PREP, finder="auto")
    with pytest.raises(ConfigError, match="auto"):
        auto(talking)
    assert auto.resolved().finder in {"yunet", "tiny"}
    assert PREP.resolved() is PREP


@pytest.mark.media
def test_genuine_clips_with_their_sound_are_followed(monkeypatch):
    media = shared("media")
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    clip_file = media / "video/real/ff-c23-real/253.mp4"
    sound_file = media / "audio/real/ff-original-sound-track/253.mp3"
    joined = Media.joined(Media.from_path(clip_file), Media.from_path(sound_file))
    prep = AvPrep(max_windows=1, window_s=2.0, finder="yunet")
    example = prep(joined)[0]
    assert example["mask"].all()
    assert np.abs(np.diff(example["mouth"].astype(float), axis=0)).mean() > 1
