"""Sound: every codec, rate and layout as one channel of 16 kHz."""

import dataclasses
import logging

import numpy as np
import pytest
from scipy import signal

from deepscan.errors import CorruptMediaError, NoSoundError
from deepscan.media import sound
from deepscan.media.source import SOUND_RATE_HZ, Media
from tests.material import Clip, shared, sound_file, tone

FILES = [
    ("wav", "pcm_u8", 8000),
    ("wav", "pcm_s16le", 44100),
    ("wav", "pcm_s24le", 48000),
    ("wav", "pcm_f32le", 16000),
    ("mp3", "libmp3lame", 44100),
    ("ogg", "libopus", 48000),
    ("flac", "flac", 44100),
    ("adts", "aac", 44100),
    ("aiff", "pcm_s16be", 22050),
    ("caf", "pcm_s16be", 11025),
    ("au", "pcm_s16be", 8000),
    ("amr", "libopencore_amrnb", 8000),
    ("ipod", "aac", 44100),
    ("webm", "libopus", 48000),
    ("mp2", "mp2", 32000),
]
LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6}


def heard(data: bytes, name: str = "a") -> np.ndarray:
    return Media.from_bytes(data, name).sound_N


def pitch_and_level(sound_N: np.ndarray) -> tuple[float, float]:
    """Of the strongest sine in the middle of a sound, by the peak of a flat-top spectrum."""
    middle_N = sound_N[len(sound_N) // 4 :][:8000]
    window_N = signal.windows.flattop(len(middle_N))
    level_F = np.abs(np.fft.rfft(middle_N * window_N)) * 2 / window_N.sum()
    return float(level_F.argmax() * SOUND_RATE_HZ / len(middle_N)), float(level_F.max())


@pytest.mark.parametrize(("container", "codec", "rate_hz"), FILES)
def test_sine_keeps_its_pitch_level_and_length(container, codec, rate_hz):
    sound_N = heard(sound_file(tone(rate_hz)[None], container, codec, rate_hz))
    pitch_hz, level = pitch_and_level(sound_N)
    assert sound_N.dtype == np.float32
    assert pitch_hz == pytest.approx(440, abs=2)
    assert level == pytest.approx(0.5, rel={"libopencore_amrnb": 0.15, "libmp3lame": 0.06}.get(codec, 0.02))
    assert len(sound_N) == pytest.approx(16_000, abs=1000)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_are_averaged(layout):
    channels = LAYOUTS[layout]
    weights = np.arange(1, channels + 1)[:, None] / 10
    sound_N = heard(sound_file(tone(16_000) * weights, "wav", "pcm_s16le", 16_000, layout))
    assert np.abs(sound_N - tone(16_000) * weights.mean()).max() < 2e-4


def test_opposite_channels_cancel():
    both_CN = np.stack([tone(48_000), -tone(48_000)])
    assert np.abs(heard(sound_file(both_CN, "wav", "pcm_s16le", 48_000, "stereo"))).max() < 1e-4


def test_sound_of_the_target_rate_is_exact():
    wave_N = np.random.default_rng(0).integers(-32768, 32768, 5000) / 32768
    assert np.array_equal(heard(sound_file(wave_N[None], "wav", "pcm_s16le", 16_000)), wave_N.astype("f4"))


def test_resampling_agrees_with_scipy_and_keeps_aliases_out():
    wave_N = tone(48_000, pitch_hz=1000) + tone(48_000, pitch_hz=11_000, level=0.4)
    ours = heard(sound_file(wave_N[None], "wav", "pcm_f32le", 48_000))
    theirs = signal.resample_poly(wave_N, 1, 3)
    assert np.abs(ours - theirs)[100:-100].max() < 5e-3


def test_loud_and_broken_samples_stay_within_one():
    wave_N = np.array([3.0, -3.0, np.nan, np.inf, -np.inf, 0.25] * 100)
    sound_N = heard(sound_file(wave_N[None], "wav", "pcm_f32le", 16_000))
    assert np.array_equal(sound_N[:6], np.array([1, -1, 0, 1, -1, 0.25], np.float32))


def test_sound_is_decoded_once_and_cannot_be_changed_by_one_of_its_users():
    media = Media.from_bytes(sound_file(tone(8000)[None], "wav", "pcm_s16le", 8000), "a.wav")
    assert media.sound_N is media.sound_N
    with pytest.raises(ValueError, match="read-only"):
        media.sound_N[0] = 1


def test_sound_of_a_clip_begins_with_its_pictures():
    wave_N = np.concatenate([np.zeros(8000, np.float32), tone(16_000, 1.5)])
    clip = Clip(container="matroska", sound_N=wave_N, sound_codec="pcm_s16le")
    sound_N = heard(clip.encoded())
    assert np.abs(sound_N[:8000]).max() < 1e-3
    assert np.argmax(np.abs(sound_N) > 0.1) == pytest.approx(8000, abs=20)


def test_pictures_that_begin_first_put_silence_before_the_sound():
    times_s = tuple(number / 20 for number in range(20))
    clip = Clip(container="matroska", times_s=times_s, sound_N=tone(16_000), sound_codec="flac", late_s=0.5)
    sound_N = heard(clip.encoded())
    assert np.abs(sound_N[:7900]).max() == 0
    assert np.argmax(np.abs(sound_N) > 0.01) == pytest.approx(8000, abs=40)


@pytest.mark.parametrize(
    ("container", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("flac", "flac")]
)
def test_truncated_sound_keeps_what_is_there(container, codec):
    data = sound_file(tone(16_000, 4.0)[None], container, codec, 16_000)
    media = Media.from_bytes(data[: len(data) // 2], "a")
    assert 1.2 < len(media.sound_N) / SOUND_RATE_HZ < 2.2
    assert media.facts.duration_s == pytest.approx(len(media.sound_N) / SOUND_RATE_HZ, abs=0.2)
    assert pitch_and_level(media.sound_N)[0] == pytest.approx(440, abs=2)


def test_damaged_packets_are_left_out_and_logged(caplog):
    data = bytearray(sound_file(tone(16_000, 4.0)[None], "flac", "flac", 16_000))
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    with caplog.at_level(logging.WARNING):
        sound_N = heard(bytes(data))
    assert 2 < len(sound_N) / SOUND_RATE_HZ < 4
    assert "does not decode" in caplog.text


def test_file_of_which_no_sound_decodes_is_corrupt(caplog):
    data = sound_file(tone(16_000)[None], "matroska", "flac", 16_000)
    facts = Media.from_bytes(data, "a.mka").facts
    for at in [at for at in range(len(data)) if data.startswith(b"\xff\xf8", at)]:
        data = data[:at] + bytes(8) + data[at + 8 :]
    with pytest.raises(CorruptMediaError, match=r"Nothing of the sound of 'a\.mka' decodes"):
        _ = Media(data, facts).sound_N
    assert caplog.text.count("does not decode") == 1, "a line for each packet would fill the log"


def test_sound_behind_the_told_end_is_left_out(caplog, monkeypatch):
    monkeypatch.setattr(sound, "_SLACK_S", 0.25)
    data = sound_file(tone(16_000, 2.0)[None], "wav", "pcm_s16le", 16_000)
    with caplog.at_level(logging.WARNING):
        assert len(sound.decode_sound(data, "a", 0.5)) == 12_000
    assert "the rest is left out" in caplog.text


def test_silent_film_says_so():
    with pytest.raises(NoSoundError, match=r"'a\.mp4' has no sound track; give a file with sound"):
        _ = Media.from_bytes(Clip().encoded(), "a.mp4").sound_N


@pytest.mark.media
def test_real_recordings_decode_to_their_length():
    for path in sorted(path for path in shared("media/audio").rglob("*.*") if path.is_file())[::60]:
        media = Media.from_path(path)
        assert len(media.sound_N) / SOUND_RATE_HZ == pytest.approx(media.facts.duration_s, abs=0.01)
        assert 0.01 < np.abs(media.sound_N).max() <= 1


@pytest.mark.parametrize(("container", "codec", "rate_hz"), [FILES[0], FILES[1], FILES[4], FILES[6]])
def test_a_recording_keeps_the_rate_of_its_file(container, codec, rate_hz):
    recording = Media.from_bytes(sound_file(tone(rate_hz)[None], container, codec, rate_hz), "a").recording
    assert recording.rate_hz == rate_hz
    assert recording.duration_s == pytest.approx(1, abs=0.1)
    assert not recording.wave_N.flags.writeable


def test_a_recording_is_bit_exact_and_its_channels_are_averaged():
    steps = np.arange(-100, 100, dtype=np.float32).repeat(10) / 32768
    data = sound_file(np.stack([steps, np.zeros_like(steps)]), "wav", "pcm_s16le", 22050, "stereo")
    np.testing.assert_array_equal(Media.from_bytes(data, "a").recording.wave_N, steps / 2)


def test_of_a_recording_the_first_minute_is_decoded(caplog):
    data = sound_file(np.zeros((1, 61 * 8000), np.float32), "wav", "pcm_u8", 8000)
    assert Media.from_bytes(data, "a").recording.duration_s == sound.RECORDING_S
    assert not caplog.records


def test_the_recording_of_joined_media_is_that_of_the_sound():
    voice = Media.from_bytes(sound_file(tone(8000)[None], "wav", "pcm_u8", 8000), "a")
    pictures = Media(b"", dataclasses.replace(voice.facts, width_px=8, height_px=8, has_sound=False))
    assert Media.joined(pictures, voice).recording is voice.recording
