import dataclasses
import math

import numpy as np
import pytest

from deepscan.errors import ConfigError, NoSoundError, TooShortError
from deepscan.media import degrade_sound, levels, spectra
from deepscan.media.source import Media
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import MODALITIES, audio, batch
from deepscan.modalities.audio import AudioPrep, augment_sound, draw_changes
from deepscan.recipe import Augment
from tests.material import encoded, shared
from tests.sounds import RATE_HZ, silence, sine, speech, wav

AUDIO = MODALITIES.get("audio")
SMALL = AudioPrep(window_s=1.0, hop_s=0.5, max_windows=100)


def media(sound_N, name="voice.wav"):
    return Media.from_bytes(wav(sound_N), name)


def times_s(examples):
    return [(float(each["start_s"]), float(each["end_s"])) for each in examples]


@pytest.fixture(scope="module")
def voice_N():
    """A voice whose ends are those that trimming finds."""
    whole_N = speech(3.3)
    return whole_N[levels.active(whole_N)]


@pytest.fixture
def example(voice_N):
    return SMALL(media(voice_N))[0]


@pytest.mark.parametrize(("before_s", "after_s"), [(1, 0), (0, 1), (0.377, 2.2)])
def test_silence_at_the_ends_changes_nothing_but_the_times(before_s, after_s, voice_N):
    plain = SMALL(media(voice_N))
    longer = SMALL(media(np.concatenate([silence(before_s), voice_N, silence(after_s)])))
    assert len(longer) == len(plain)
    for one, other in zip(plain, longer, strict=True):
        assert np.array_equal(one["wave"], other["wave"])
        assert other["start_s"] == pytest.approx(float(one["start_s"]) + before_s, abs=1e-4)
        assert other["end_s"] == pytest.approx(float(one["end_s"]) + before_s, abs=1e-4)


def test_without_trimming_silence_is_kept(voice_N):
    prep = dataclasses.replace(SMALL, trim=False)
    first = prep(media(np.concatenate([silence(1.0), voice_N])))[0]
    assert not first["wave"].any()
    assert times_s([first]) == [(0.0, 1.0)]


@pytest.mark.parametrize("gain_db", [-12, -3, 3, 12])
def test_gain_changes_nothing_but_rounding(gain_db, voice_N):
    plain, other = (SMALL(media(wave_N)) for wave_N in (voice_N, voice_N * 10 ** (gain_db / 20)))
    assert times_s(plain) == times_s(other)
    for one, same in zip(plain, other, strict=True):
        np.testing.assert_allclose(one["wave"], same["wave"], atol=1)
        features = [SMALL.features(each)["features"] for each in (one, same)]
        assert np.sqrt(np.mean((features[0] - features[1]) ** 2)) < 0.01


@pytest.mark.parametrize("level_db", [-30, -26, -20])
def test_sound_has_the_level_that_is_set(level_db, voice_N):
    prep = AudioPrep(window_s=len(voice_N) / RATE_HZ, level_db=level_db)
    (whole,) = prep(media(voice_N))
    assert levels.loudness_db(whole["wave"] / np.float32(32767)) == pytest.approx(level_db, abs=0.05)


def test_what_is_too_loud_is_limited():
    spikes_N = sine(200, 1.0, level=0.01)
    spikes_N[::4000] = 0.9
    (example,) = SMALL(media(spikes_N))
    assert example["wave"].max() == 32767
    assert example["wave"].min() >= -32767


@pytest.mark.parametrize("duration_s", [1.0, 1.01, 1.5, 1.501, 2.7, 4.0])
def test_windows_cover_the_sound_and_overlap(duration_s):
    prep = dataclasses.replace(SMALL, trim=False)
    spans_s = times_s(prep(media(sine(220, duration_s))))
    starts_s = np.array([start for start, _ in spans_s])
    assert starts_s[0] == 0
    assert spans_s[-1][1] == pytest.approx(duration_s, abs=1e-4)
    assert all(end - start == pytest.approx(1.0, abs=1e-4) for start, end in spans_s)
    assert np.diff(starts_s).max(initial=0) <= 0.5 + 1e-4
    assert len(spans_s) == 1 + math.ceil((duration_s - 1) / 0.5 - 1e-9)


def test_windows_hold_the_sound_of_their_times():
    prep = dataclasses.replace(SMALL, trim=False)
    sound_N = np.concatenate([sine(hz, 0.5) for hz in (200, 400, 800, 1600, 3200, 6400)])
    heard_hz = [
        np.abs(np.fft.rfft(each["wave"][: RATE_HZ // 2])).argmax() * 2 for each in prep(media(sound_N))
    ]
    assert heard_hz == [200, 400, 800, 1600, 3200]


@pytest.mark.parametrize(("most", "starts_s"), [(1, [4.5]), (2, [0, 9]), (4, [0, 3, 6, 9])])
def test_few_windows_lie_evenly_over_a_long_sound(most, starts_s):
    prep = dataclasses.replace(SMALL, trim=False, max_windows=most)
    assert [start for start, _ in times_s(prep(media(sine(220, 10))))] == pytest.approx(starts_s, abs=1e-3)


def test_short_sound_is_repeated_and_its_own_times_told():
    prep = dataclasses.replace(SMALL, trim=False)
    (example,) = prep(media(np.concatenate([speech(0.3), speech(0.31, seed=2)])))
    length = round(0.61 * RATE_HZ)
    assert np.array_equal(example["wave"][length:], example["wave"][: RATE_HZ - length])
    assert times_s([example]) == [(0.0, pytest.approx(0.61))]


def test_silence_and_missing_sound_abstain(voice_N):
    for nothing_N in (silence(2), voice_N * np.float32(0.003)):
        with pytest.raises(NoSoundError, match=r"'voice\.wav' is silent .*dB of full scale"):
            SMALL(media(nothing_N))
    picture = Media.from_bytes(encoded(np.zeros((9, 9, 3), np.uint8)), "picture.png")
    assert not AUDIO.accepts(picture)
    with pytest.raises(NoSoundError, match="no sound track"):
        SMALL(picture)


def test_sound_of_minus_forty_decibels_is_judged(voice_N):
    assert SMALL(media(voice_N * np.float32(0.1)))


def test_too_little_sound_between_silences_abstains():
    brief_N = np.concatenate([silence(1), sine(300, 0.4), silence(1)])
    with pytest.raises(TooShortError, match=r"holds 0\.\d\d s of sound; at least 0\.5 s are needed"):
        SMALL(media(brief_N))
    assert dataclasses.replace(SMALL, min_s=0.3)(media(brief_N))
    assert dataclasses.replace(SMALL, trim=False)(media(brief_N))


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (22_050, 2), (44_100, 1), (48_000, 2)])
def test_rate_and_channels_of_the_file_do_not_matter(rate_hz, channels):
    time_s = np.arange(2 * rate_hz) / rate_hz
    sound_N = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    file = wav(sound_N if channels == 1 else np.stack([sound_N] * channels, 1), rate_hz)
    examples = SMALL(Media.from_bytes(file, "tone.wav"))
    assert times_s(examples)[-1][1] == pytest.approx(2, abs=0.01)
    expected = SMALL(media(sine(440, 2, 0.3)))[1]["wave"]
    given = examples[1]["wave"]
    assert [np.abs(np.fft.rfft(wave)).argmax() for wave in (given, expected)] == [440, 440]
    assert given.std() == pytest.approx(expected.std(), rel=0.01)


@pytest.mark.parametrize("kind", ["wave", "lfcc", "mfcc", "logmel", "spectrogram", "cqt", "voice"])
def test_the_model_reads_what_the_front_end_says(kind, voice_N):
    prep = dataclasses.replace(SMALL, front_end=FrontEnd(kind=kind))
    examples = prep(media(voice_N))
    inputs = batch(examples, prep)
    (name,) = prep.inputs
    assert inputs.keys() == {name}
    assert inputs[name].shape == (len(examples), *prep.inputs[name].shape)
    assert inputs[name].dtype == prep.inputs[name].dtype == "float32"
    wave_N = examples[0]["wave"] / np.float32(32767)
    expected = wave_N if kind == "wave" else spectra.features(wave_N, prep.front_end)
    np.testing.assert_allclose(inputs[name][0], expected, rtol=1e-6)


def test_whole_first_half_is_the_same_for_every_front_end(voice_N):
    preps = [dataclasses.replace(SMALL, front_end=FrontEnd(kind=kind)) for kind in ("wave", "cqt")]
    one, other = (prep(media(voice_N))[0] for prep in preps)
    assert np.array_equal(one["wave"], other["wave"])
    assert preps[0].digest != preps[1].digest


OTHER = {
    "front_end": FrontEnd(kind="mfcc"),
    "window_s": 3.0,
    "hop_s": 1.0,
    "max_windows": 3,
    "trim": False,
    "level_db": -20.0,
    "min_s": 1.0,
}


def test_every_field_has_another_value_here():
    assert set(OTHER) == {field.name for field in dataclasses.fields(AudioPrep)}


@pytest.mark.parametrize("name", OTHER)
def test_every_field_changes_the_digest(name):
    assert AudioPrep(**{name: OTHER[name]}).digest != AudioPrep().digest


def test_new_code_changes_the_digest(monkeypatch):
    before = AudioPrep().digest
    monkeypatch.setattr(audio, "PREP_VERSION", audio.PREP_VERSION + 1)
    assert AudioPrep().digest != before
    assert AudioPrep().resolved() == AudioPrep()


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"window_s": 0.05}, r"'window_s'.*\[0.1, 60\], not 0.05"),
        ({"hop_s": 0}, r"'hop_s'.*\[0.01, 4.0\], not 0"),
        ({"window_s": 1.0, "hop_s": 1.5}, r"'hop_s'.*\[0.01, 1.0\], not 1.5"),
        ({"max_windows": 0}, "'max_windows'"),
        ({"level_db": 0.0}, r"'level_db'.*\[-50, -10\], not 0"),
        ({"min_s": float("nan")}, "'min_s'"),
    ],
)
def test_settings_out_of_range_are_named(settings, allowed):
    with pytest.raises(ConfigError, match=allowed):
        AudioPrep(**settings)


def test_a_forged_part_outweighs_genuine_ones_but_length_alone_does_not_count():
    genuine = np.full(7, -4, np.float32)
    assert AUDIO.aggregate(np.append(genuine, np.float32(6))) == pytest.approx(3.92, abs=0.01)
    assert AUDIO.aggregate(genuine) == pytest.approx(-4)
    assert AUDIO.aggregate(np.repeat(genuine, 9)) == pytest.approx(-4)
    odds = np.exp([-1.0, 0.5, 2.0])
    assert AUDIO.aggregate(np.log(odds).astype(np.float32)) == pytest.approx(np.log(odds.mean()), abs=1e-6)
    assert AUDIO.aggregate(np.array([800, -800], np.float32)) == pytest.approx(800 - math.log(2))


def test_window_is_located_in_the_file(voice_N):
    second = SMALL(media(np.concatenate([silence(1), voice_N])))[1]
    region = AUDIO.locate(second)
    assert (region.start_s, region.end_s) == (second["start_s"], second["end_s"])
    assert region.start_s > 1
    assert region.box is None


def test_moments_are_equal_slices_of_the_window(voice_N):
    example = SMALL(media(np.concatenate([silence(1), voice_N])))[1]
    regions = AUDIO.moments(example, 5)
    start_s = float(example["start_s"])
    edges_s = start_s + np.arange(6) / 5
    assert [each.start_s for each in regions] == pytest.approx(edges_s[:-1].tolist(), abs=1e-5)
    assert [each.end_s for each in regions] == pytest.approx(edges_s[1:].tolist(), abs=1e-5)


def test_moments_of_repeated_sound_are_those_of_its_first_time():
    (example,) = dataclasses.replace(SMALL, trim=False)(media(speech(0.6)))
    regions = AUDIO.moments(example, 4)
    assert [each.start_s for each in regions] == pytest.approx([0, 0.25, 0.5])
    assert [each.end_s for each in regions] == pytest.approx([0.25, 0.5, 0.6])


def changed_names(changes):
    return {getattr(change, "func", change).__name__ for change in changes}


FLIP = {"invert"}
BASIC = FLIP | {"shift", "amplify", "noise"}
ADVANCED = BASIC | {"reverberate", "distort", "impulses", "narrow", "encode"}
DELIVERY = FLIP | {"shift", "amplify", "narrow", "encode"}


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("none", set()),
        ("flip", FLIP),
        ("basic", BASIC),
        ("advanced", ADVANCED),
        ("delivery", DELIVERY),
        ("rough", DELIVERY | {"noise", "reverberate"}),
    ],
)
def test_level_draws_each_of_its_changes_and_no_other(level, names):
    rng = np.random.default_rng(0)
    drawn = [draw_changes(Augment(level=level), 1000, rng) for _ in range(200)]
    assert set().union(*map(changed_names, drawn)) == names


def test_level_flip_inverts_exactly(example):
    rng = np.random.default_rng(0)
    waves = [augment_sound(example, Augment(level="flip"), rng)["wave"] for _ in range(40)]
    inverted = [np.array_equal(wave, -example["wave"]) for wave in waves]
    assert 8 <= sum(inverted) <= 32
    assert all(
        np.array_equal(wave, example["wave"])
        for wave, other in zip(waves, inverted, strict=True)
        if not other
    )


def test_crop_keeps_its_share_and_repeats_it(example):
    changed = augment_sound(example, Augment(level="none", crop=0.4), np.random.default_rng(1))
    kept = round(0.4 * RATE_HZ)
    assert np.array_equal(changed["wave"][kept : 2 * kept], changed["wave"][:kept])
    begins = [
        begin
        for begin in range(RATE_HZ - kept + 1)
        if example["wave"][begin] == changed["wave"][0]
        and np.array_equal(example["wave"][begin : begin + kept], changed["wave"][:kept])
    ]
    assert len(begins) == 1


def test_augmentation_spares_times_and_its_argument(example):
    before = {name: array.copy() for name, array in example.items()}
    for seed in range(6):
        changed = augment_sound(example, Augment(level="advanced", crop=0.8), np.random.default_rng(seed))
        again = augment_sound(example, Augment(level="advanced", crop=0.8), np.random.default_rng(seed))
        assert np.array_equal(changed["wave"], again["wave"])
        assert (changed["wave"].dtype, changed["wave"].shape) == (np.int16, example["wave"].shape)
        assert changed["start_s"] == example["start_s"]
        assert changed["end_s"] == example["end_s"]
        assert SMALL.features(changed)["features"].shape == SMALL.inputs["features"].shape
    assert all(np.array_equal(example[name], before[name]) for name in before)


def test_drawn_changes_are_in_range_for_every_drawing(example):
    rng = np.random.default_rng(2)
    wave_N = example["wave"][:2000] / np.float32(32767)
    for _ in range(60):
        for change in draw_changes(Augment(level="advanced", crop=0.9), len(wave_N), rng):
            assert np.isfinite(change(wave_N)).all()


def test_rawboost_draws_five_orders_of_five_notches_and_few_impulses():
    rng = np.random.default_rng(0)
    drawn = [change for _ in range(100) for change in draw_changes(Augment(level="advanced"), 1000, rng)]
    distortions = [
        each.keywords["orders"] for each in drawn if getattr(each, "func", 0) is degrade_sound.distort
    ]
    assert distortions
    assert all(len(order.notches) == 5 for orders in distortions for order in orders)
    assert all(len(orders) == 5 and orders[0].gain_db == 0 for orders in distortions)
    shares = [each.keywords["share"] for each in drawn if getattr(each, "func", 0) is degrade_sound.impulses]
    assert 0 < max(shares) <= 0.1


@pytest.mark.media
def test_real_voices_are_prepared_at_one_level_whatever_their_file():
    folder = shared("media/audio")
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".wav", ".flac"})[::60]
    assert files
    for path in files:
        examples = AudioPrep()(Media.from_path(path))
        joined_N = np.concatenate([each["wave"] for each in examples]) / np.float32(32767)
        assert levels.loudness_db(joined_N) == pytest.approx(-26, abs=1.5)
