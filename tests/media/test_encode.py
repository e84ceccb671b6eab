import io

import numpy as np
import pytest
from scipy.io import wavfile

from deepscan.errors import ConfigError
from deepscan.media import encode
from deepscan.media.encode import encode_clip, encode_wav
from deepscan.media.source import SOUND_RATE_HZ, Media, Sampling

LEVELS = (30, 200, 90, 150, 60, 220, 120, 40)


def ramp(count=8, height=48, width=64):
    return [np.full((height, width, 3), LEVELS[i % len(LEVELS)], np.uint8) for i in range(count)]


def chirp(seconds):
    time_s = np.arange(int(seconds * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)).astype(np.float32)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_clip_decodes_to_its_frames_in_order(monkeypatch, codec):
    monkeypatch.setattr(encode, "_CODEC", codec)
    data = encode_clip(iter(ramp()), 25, quality=8)
    frames = list(Media.from_bytes(data, "clip").frames(Sampling(count=20)))
    assert [frame.picture_HWC.shape for frame in frames] == [(48, 64, 3)] * len(LEVELS)
    assert [frame.picture_HWC.mean() for frame in frames] == pytest.approx(LEVELS, abs=6)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(len(LEVELS)) / 25, atol=1e-3)


def test_the_sound_of_a_clip_starts_with_its_first_frame():
    wave_N = chirp(1)
    media = Media.from_bytes(encode_clip(ramp(25), 25, wave_N), "clip.mp4")
    heard_N = media.sound_N[: wave_N.size]
    assert media.facts.has_sound
    lags = np.correlate(np.pad(heard_N, 50), wave_N, "valid")
    assert lags.argmax() - 50 == 0
    assert np.corrcoef(heard_N, wave_N)[0, 1] > 0.99


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_higher_factor_gives_fewer_bytes(monkeypatch, codec):
    monkeypatch.setattr(encode, "_CODEC", codec)
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    sizes = [len(encode_clip(noise, 25, quality=quality)) for quality in (5, 25, 45)]
    assert sizes[0] > 1.5 * sizes[1] > 1.5**2 * sizes[2]


def test_the_same_frames_give_the_same_bytes():
    assert encode_clip(ramp(), 25, chirp(0.3)) == encode_clip(ramp(), 25, chirp(0.3))


@pytest.mark.parametrize(
    ("frames", "quality", "given"),
    [
        ([], 20, "no frame"),
        (ramp(2, 47), 20, "64 x 47"),
        (ramp(2, 48, 63), 20, "63 x 48"),
        (ramp(2), 52, "52"),
    ],
)
def test_what_cannot_be_encoded_is_refused(frames, quality, given):
    with pytest.raises(ConfigError, match=rf"{given}.*even sides"):
        encode_clip(frames, 25, quality=quality)


def test_sound_survives_a_wav_to_half_a_step_and_is_clipped_beyond():
    wave_N = np.append(chirp(0.2), np.float32([1.5, -1.5]))
    rate_hz, levels = wavfile.read(io.BytesIO(encode_wav(wave_N)))
    assert (rate_hz, levels.dtype, levels.shape) == (SOUND_RATE_HZ, np.int16, wave_N.shape)
    np.testing.assert_allclose(levels[:-2] / 32767, wave_N[:-2], atol=0.5 / 32767)
    assert levels[-2:].tolist() == [32767, -32767]


def test_the_rate_of_a_wav_is_as_given():
    assert wavfile.read(io.BytesIO(encode_wav(chirp(0.1), 8000)))[0] == 8000
    assert Media.from_bytes(encode_wav(chirp(0.5)), "a.wav").sound_N.size == 8000


def moving(count: int) -> list[np.ndarray]:
    """Pictures with a grain, on which an encoder that looks ahead has much to decide."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:160, :200]
    drawn = (128 + 80 * np.sin((columns + 3 * shift) / 17) * np.cos(rows / 23) for shift in range(count))
    return [
        np.clip(each[..., None] + rng.normal(0, 12, (160, 200, 3)), 0, 255).astype(np.uint8) for each in drawn
    ]


def test_many_runs_give_the_same_bytes():
    frames = moving(22)
    assert len({encode_clip(frames, 10) for _ in range(12)}) == 1


@pytest.mark.parametrize(("flags", "limited"), [("avx2 avx512f", True), ("avx2", False)])
def test_x264_is_kept_from_instructions_that_make_it_unsteady(monkeypatch, tmp_path, flags, limited):
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(encode, "_CPU_INFO", tmp_path / "cpuinfo")
    options = encode.x264_options.__wrapped__()
    assert ("x264-params" in options) == limited
    assert options["threads"] == "1"


def test_where_nobody_tells_what_the_cpu_can_it_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(encode, "_CPU_INFO", tmp_path / "none")
    assert encode.x264_options.__wrapped__() == {"threads": "1"}
