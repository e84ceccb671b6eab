"""What every delivery promises, and what some of them do to pictures, clips and sound."""

import io
import itertools

import av
import numpy as np
import pytest
from scipy import signal

from deepscan.errors import (
    ConfigError,
    DeepscanError,
    FormatError,
    MediaError,
    MediaTooLargeError,
    NoSoundError,
    UnknownNameError,
)
from deepscan.media import deliveries
from deepscan.media.deliveries import choose, deliver
from deepscan.media.deliveries.catalog import load_builtin
from deepscan.media.deliveries.clips import Recoding, recode
from deepscan.media.source import Media, Sampling
from tests.clips import clip, faces_clip, spoken
from tests.material import Clip, DrawnFace, draw, encoded, numbers
from tests.sounds import sine, speech, wav

KNOWN = load_builtin()
FAMILIES = {
    name: list(members) for name, members in itertools.groupby(KNOWN, key=lambda delivery: delivery.family)
}
EVERY = Sampling(kind="every", step=1, count=1000)
WIDTH_PX, HEIGHT_PX = 201, 161
FRAMES, RATE_HZ, SECONDS = 24, 24, 2.0
SCALES = {
    "downscale-0.75": 0.75,
    "downscale-0.5": 0.5,
    "downscale-0.25": 0.25,
    "upscale-1.25": 1.25,
    "upscale-1.5": 1.5,
    "upscale-2": 2,
    "crop-0.9": 0.9,
    "crop-0.75": 0.75,
    "crop-0.5": 0.5,
    "screenshot-0.8": 0.8,
    "screenshot-0.5": 0.5,
    "picture-screenshot": 0.8,
}
SPEEDS = {"speed-1.05": 1.05, "speed-0.9": 0.9, "speed-1.25": 1.25}
LEFT = {"frame-rate-15fps": 15, "frame-rate-10fps": 10}
"""Frames of a second that stay."""


@pytest.fixture(scope="module")
def given():
    """One file of every kind: a face, a face that moves and speaks, a voice."""
    face = draw(DrawnFace(x_px=100, y_px=80, radius_px=50), size_px=(WIDTH_PX, HEIGHT_PX))
    moving = [[DrawnFace(x_px=80 + 2 * n, y_px=80, radius_px=40)] for n in range(FRAMES)]
    film = spoken(faces_clip(*moving, rate_hz=RATE_HZ), speech(FRAMES / RATE_HZ))
    return {
        "image": Media.from_bytes(encoded(face), "face.png"),
        "video": Media.from_bytes(film, "film.mkv"),
        "audio": Media.from_bytes(wav(speech(SECONDS)), "voice.wav"),
    }


def picture(seed=0, size_px=(64, 48)):
    return np.random.default_rng(seed).integers(0, 256, (*size_px[::-1], 3), np.uint8)


def of_picture(array):
    return Media.from_bytes(encoded(array), "a.png")


def of_sound(wave_N, rate_hz=16_000):
    return Media.from_bytes(wav(wave_N, rate_hz), "a.wav")


# --- the contract ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN.names())
def test_what_is_delivered_is_another_file_of_the_same_kind_and_always_the_same(given, name):
    delivery = KNOWN.get(name)
    media = given[delivery.kinds[0]]
    arrived = deliver(delivery, media)
    assert arrived.facts.kind == media.facts.kind
    assert arrived.facts.notes == ()
    assert arrived.data != media.data
    assert deliver(delivery, Media.from_bytes(media.data, "other name")).data == arrived.data


@pytest.mark.parametrize("name", [each.name for each in KNOWN if each.kinds == ("image",)])
def test_a_delivered_picture_decodes_at_the_size_that_it_should_have(given, name):
    arrived = deliver(KNOWN.get(name), given["image"])
    scale = SCALES.get(name, 1)
    assert arrived.picture_HWC.shape == (round(scale * HEIGHT_PX), round(scale * WIDTH_PX), 3)
    changed = arrived.picture_HWC.shape != (HEIGHT_PX, WIDTH_PX, 3)
    assert changed or (arrived.picture_HWC != given["image"].picture_HWC).any()


@pytest.mark.parametrize("name", [each.name for each in KNOWN if each.kinds == ("video",)])
def test_a_delivered_clip_keeps_its_size_its_times_and_its_sound(given, name):
    media, arrived = given["video"], deliver(KNOWN.get(name), given["video"])
    frames, before = list(arrived.frames(EVERY)), list(media.frames(EVERY))
    assert len(frames) == LEFT.get(name, FRAMES)
    assert {frame.picture_HWC.shape for frame in frames} == {(160, 200, 3)}
    kept_s = [frame.time_s for frame in frames]
    if name not in LEFT:
        np.testing.assert_allclose(kept_s, [frame.time_s for frame in before], atol=2e-3)
        pairs = zip(frames, before, strict=True)
        off = [np.abs(a.picture_HWC - b.picture_HWC.astype(float)).mean() for a, b in pairs]
        assert 0 < max(off) < 12
    assert arrived.facts.duration_s == pytest.approx(media.facts.duration_s, abs=0.05)
    length = min(len(arrived.sound_N), len(media.sound_N))
    alike = signal.correlate(arrived.sound_N[:length], media.sound_N[:length], "same")
    assert abs(int(alike.argmax()) - length // 2) < 32
    assert alike.max() > 0.8 * np.square(media.sound_N).sum()


@pytest.mark.parametrize("name", [each.name for each in KNOWN if each.kinds == ("audio",)])
def test_a_delivered_sound_keeps_its_length_unless_its_speed_changes(given, name):
    arrived = deliver(KNOWN.get(name), given["audio"])
    heard_s = len(arrived.sound_N) / 16_000
    assert heard_s == pytest.approx(SECONDS / SPEEDS.get(name, 1), abs=0.12)
    assert np.abs(arrived.sound_N).max() > 0.005


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_counted_from_the_mildest_on_and_is_of_one_kind(family):
    members = FAMILIES[family]
    assert [each.severity for each in members] == list(range(1, len(members) + 1))
    assert len({each.kinds for each in members}) == len({each.family for each in members}) == 1
    assert len({each.setting for each in members}) == len(members)


def test_every_kind_has_a_few_quick_deliveries_and_two_mild_ones_or_more():
    for kind in ("image", "video", "audio"):
        able = [each for each in KNOWN if kind in each.kinds]
        assert 4 <= sum(each.quick for each in able) < len(able) / 2
        assert 2 <= sum(each.mild for each in able) <= 4


@pytest.mark.parametrize("family", ["jpeg", "webp", "blur", "noise"])
def test_the_more_severe_the_further_from_the_original(given, family):
    original = given["image"].picture_HWC.astype(float)
    off = [np.abs(deliver(each, given["image"]).picture_HWC - original).mean() for each in FAMILIES[family]]
    assert off == sorted(off)
    assert off[-1] > 1.5 * off[0]


# --- what cannot be delivered ----------------------------------------------------------------------


def test_another_kind_is_refused(given):
    with pytest.raises(ConfigError, match=r"'jpeg-90' takes image, and 'voice.wav' is audio"):
        deliver(KNOWN.get("jpeg-90"), given["audio"])


def test_an_encoder_that_is_not_there_is_named(given, monkeypatch):
    monkeypatch.setattr(deliveries, "can_encode", lambda coder: coder != "libx265")
    assert deliver(KNOWN.get("h264-28"), given["video"]).facts.container == "mp4"
    with pytest.raises(FormatError, match=r"'h265-28' needs FFmpeg's encoder libx265.*pip install av"):
        deliver(KNOWN.get("h265-28"), given["video"])


def test_encoders_are_looked_up_by_name():
    assert deliveries.can_encode("aac")
    assert not deliveries.can_encode("h264_of_nobody")
    assert not deliveries.can_encode("mp3float")  # a decoder


def test_a_picture_that_does_not_fit_the_format_is_an_error_of_the_file():
    wide = of_picture(np.zeros((2, 17_000, 3), np.uint8))
    with pytest.raises(MediaError, match="webp"):
        deliver(KNOWN.get("webp-75"), wide)


def test_what_would_exceed_a_limit_is_an_error_of_the_file():
    with pytest.raises(MediaTooLargeError):
        deliver(KNOWN.get("upscale-2"), of_picture(np.zeros((2, 17_000, 3), np.uint8)))


def test_a_damaged_file_is_not_delivered(given):
    cut = Media.from_bytes(given["image"].data[:2000], "cut.png")
    with pytest.raises(DeepscanError):
        deliver(KNOWN.get("jpeg-90"), cut)


def test_sound_that_is_not_there_cannot_be_delivered(given):
    with pytest.raises(NoSoundError):
        given["image"].whole_recording()


@pytest.mark.parametrize("name", [each.name for each in KNOWN if each.kinds == ("image",)])
def test_a_picture_of_one_pixel_goes_through_every_delivery(name):
    arrived = deliver(KNOWN.get(name), of_picture(np.full((1, 1, 3), 90, np.uint8)))
    assert min(arrived.picture_HWC.shape) >= 1


# --- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [95, 30])
def test_a_jpeg_has_the_tables_of_its_quality(given, quality):
    from PIL import Image

    arrived = deliver(KNOWN.get(f"jpeg-{quality}"), given["image"])
    stream = io.BytesIO()
    Image.fromarray(given["image"].picture_HWC).save(stream, "JPEG", quality=quality)
    tables = [Image.open(io.BytesIO(data)).quantization for data in (arrived.data, stream.getvalue())]
    assert tables[0] == tables[1]


def test_a_crop_is_a_piece_of_the_picture_that_depends_on_its_content():
    corners = set()
    for seed in range(4):
        whole = picture(seed)
        part = deliver(KNOWN.get("crop-0.5"), of_picture(whole)).picture_HWC
        windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)[:, :, 0]
        [corner] = np.argwhere((windows == part).all((2, 3, 4)))
        corners.add(tuple(corner))
    assert len(corners) == 4


def test_noise_has_the_strength_that_it_says():
    grey = np.full((64, 64, 3), 128, np.uint8)
    arrived = deliver(KNOWN.get("noise-5"), of_picture(grey)).picture_HWC
    assert arrived.std() == pytest.approx(5, rel=0.1)


def test_messengers_shrink_large_pictures():
    tall = of_picture(np.zeros((2000, 500, 3), np.uint8))
    assert deliver(KNOWN.get("picture-messenger"), tall).picture_HWC.shape == (1280, 320, 3)
    assert deliver(KNOWN.get("picture-post"), tall).picture_HWC.shape == (1080, 270, 3)


# --- clips -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("h264-28", "h264", "aac"), ("h265-28", "hevc", "aac"), ("vp9-40", "vp9", "opus")],
)
def test_a_clip_is_in_the_codec_that_the_name_says(given, name, codec, sound):
    with av.open(io.BytesIO(deliver(KNOWN.get(name), given["video"]).data)) as container:
        assert container.streams.video[0].codec_context.name.removeprefix("lib").startswith(codec)
        assert container.streams.audio[0].codec_context.name.removeprefix("lib") == sound


def test_frames_are_left_out_evenly():
    film = Media.from_bytes(Clip(times_s=tuple(n / 20 for n in range(40))).encoded(), "a.mp4")
    kept = list(deliver(KNOWN.get("frame-rate-10fps"), film).frames(EVERY))
    assert numbers(kept) == list(range(0, 40, 2))
    assert [frame.time_s for frame in kept] == pytest.approx([n / 10 for n in range(20)], abs=2e-3)


def test_uneven_times_are_kept():
    times_s = (0.0, 0.04, 0.3, 0.34, 0.5, 0.9)
    film = Media.from_bytes(clip([draw(size_px=(64, 48))] * 6, times_s=times_s), "a.mp4")
    kept = list(deliver(KNOWN.get("h264-28"), film).frames(EVERY))
    assert [frame.time_s for frame in kept] == pytest.approx(times_s, abs=2e-3)


def test_a_silent_clip_stays_silent_and_odd_sides_become_even():
    film = Media.from_bytes(clip([picture(n, (65, 49)) for n in range(5)]), "a.mp4")
    arrived = deliver(KNOWN.get("h265-28"), film)
    assert not arrived.facts.has_sound
    assert (arrived.facts.width_px, arrived.facts.height_px) == (64, 48)


def test_large_clips_lose_lines_and_small_ones_do_not():
    wide = Media.from_bytes(clip([np.zeros((300, 500, 3), np.uint8)] * 3), "a.mp4")
    arrived = deliver(KNOWN.get("resolution-240p"), wide).facts
    assert (arrived.width_px, arrived.height_px) == (400, 240)


def test_a_coarser_factor_gives_a_smaller_file():
    film = Media.from_bytes(clip([picture(n) for n in range(6)]), "a.mp4")
    sizes = [len(recode(film, Recoding(crf=crf))) for crf in (18, 28, 40)]
    assert sizes == sorted(sizes, reverse=True)


# --- sounds ----------------------------------------------------------------------------------------


def power_db(wave_N, frequency_hz, rate_hz=16_000):
    spectrum = np.abs(np.fft.rfft(wave_N * np.hanning(len(wave_N))))
    at = round(frequency_hz * len(wave_N) / rate_hz)
    return 20 * np.log10(spectrum[at - 3 : at + 4].max() + 1e-9)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 8000])
def test_a_telephone_leaves_its_band(rate_hz):
    time_s = np.arange(rate_hz) / rate_hz
    mixed = sum(0.2 * np.sin(2 * np.pi * f * time_s) for f in (60, 1000))
    heard = deliver(KNOWN.get("telephone-g711"), of_sound(mixed, rate_hz)).sound_N
    assert power_db(heard, 1000) - power_db(heard, 60) > 40


def test_a_telephone_has_nothing_above_four_kilohertz():
    heard = deliver(KNOWN.get("telephone-g711"), of_sound(sine(1000) / 2 + sine(6000) / 2)).sound_N
    assert power_db(heard, 1000) - power_db(heard, 6000) > 40


def test_speed_moves_the_pitch():
    heard = deliver(KNOWN.get("speed-1.25"), of_sound(sine(800))).sound_N
    assert power_db(heard, 1000) - power_db(heard, 800) > 40


@pytest.mark.parametrize(("name", "ratio"), [("gain-down-6dB", 10**-0.3), ("gain-up-6dB", 10**0.3)])
def test_gain_is_what_it_says(name, ratio):
    heard = deliver(KNOWN.get(name), of_sound(sine(440, level=0.2))).sound_N
    assert np.abs(heard).max() == pytest.approx(0.2 * ratio, rel=0.01)


def test_too_much_gain_clips():
    heard = deliver(KNOWN.get("gain-up-18dB"), of_sound(sine(440, level=0.5))).sound_N
    assert (np.abs(heard) > 0.99).mean() > 0.5


def test_white_noise_has_the_ratio_that_it_says():
    tone = sine(440, 2.0, level=0.2)
    heard = deliver(KNOWN.get("white-noise-20dB"), of_sound(tone)).sound_N
    added = heard[: len(tone)] - tone
    assert 10 * np.log10(np.square(tone).mean() / np.square(added).mean()) == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_a_room_decays_as_fast_at_every_rate(rate_hz):
    click = np.zeros(2 * rate_hz, np.float32)
    click[100] = 0.9
    wave_N = deliver(KNOWN.get("reverb-0.6s"), of_sound(click, rate_hz)).whole_recording().wave_N
    levels = [np.sqrt(np.square(wave_N[int(s * rate_hz) :][: rate_hz // 20]).mean()) for s in (0.05, 0.35)]
    assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(30, abs=4)  # 60 dB in 0.6 s


def test_sound_is_changed_at_its_own_rate():
    arrived = deliver(KNOWN.get("white-noise-20dB"), of_sound(sine(440), 44_100))
    assert arrived.whole_recording().rate_hz == 44_100


def test_the_whole_of_a_long_sound_is_delivered():
    arrived = deliver(KNOWN.get("gain-down-6dB"), of_sound(np.full(70 * 8000, 0.1, np.float32), 8000))
    assert arrived.facts.duration_s == pytest.approx(70, abs=0.1)


def test_the_whole_sound_of_joined_files_is_that_of_the_second(given):
    film = Media.from_bytes(Clip().encoded(), "silent.mp4")
    joined = Media.joined(film, given["audio"])
    np.testing.assert_array_equal(joined.whole_recording().wave_N, given["audio"].whole_recording().wave_N)


# --- choosing --------------------------------------------------------------------------------------


def chosen(*given, kinds=("image",)):
    return [each.name for each in choose(given, kinds, KNOWN)]


def test_all_are_those_that_take_some_of_the_media():
    assert chosen("all") == [each.name for each in KNOWN if "image" in each.kinds]
    assert chosen("all", kinds=("image", "audio")) == [e.name for e in KNOWN if "video" not in e.kinds]


def test_quick_ones_and_names_add_up_in_the_order_of_the_registry():
    quick = chosen("quick")
    assert set(quick) < set(chosen("all"))
    assert set(chosen("jpeg-30", "quick")) == {*quick, "jpeg-30"}
    assert chosen("jpeg-30", "jpeg-95") == ["jpeg-95", "jpeg-30"]


@pytest.mark.parametrize(
    ("given", "kinds", "error", "words"),
    [
        (["jpg-30"], ["image"], UnknownNameError, "Did you mean 'jpeg-30'"),
        (["h264-28"], ["image"], ConfigError, "'h264-28' takes video, of which there is none here"),
        (["all"], [], ConfigError, "No delivery is for media of kind none"),
    ],
)
def test_what_cannot_be_chosen_is_refused(given, kinds, error, words):
    with pytest.raises(error, match=words):
        choose(given, kinds, KNOWN)
