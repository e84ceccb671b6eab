"""What the analyzer of voices says of files."""

import io
import wave

import numpy as np
import pytest

from deepscan.errors import NoSoundError, TooShortError
from deepscan.evidence import voice
from deepscan.evidence.catalog import load_builtin
from deepscan.media.source import Media
from deepscan.media.voice import NAMES, RATE_HZ
from tests.material import encoded


def sound_file(samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE_HZ)
        writer.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return Media.from_bytes(file.getvalue(), "voice.wav")


def tone(pitch_hz, seconds=6.0):
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return sum(np.cos(2 * np.pi * pitch_hz * k * t) / k for k in range(1, 12)) * 0.1


def test_the_words_and_the_figures_agree():
    evidence = voice.testify(sound_file(tone(140)))
    assert evidence.measurements["pitch_median_hz"] == pytest.approx(140, rel=0.01)
    assert "about 140 Hz" in evidence.summary
    assert evidence.limits


def test_every_measure_comes_with_its_spread_over_windows():
    steady, changing = tone(140, 8.0), np.concatenate([tone(120, 4.0), tone(240, 4.0)])
    assert set(voice.testify(sound_file(steady)).measurements) == {
        *NAMES,
        *(f"{name}_spread" for name in NAMES),
    }
    spreads = [
        voice.testify(sound_file(s)).measurements["pitch_median_hz_spread"] for s in (steady, changing)
    ]
    assert spreads == pytest.approx([0, 60], abs=2)


def test_curves_follow_the_windows():
    changing = np.concatenate([tone(120, 4.0), np.zeros(4 * RATE_HZ), tone(240, 4.0)])
    curves = {curve.name: curve for curve in voice.testify(sound_file(changing)).curves}
    assert tuple(curves) == tuple(voice.SHOWN)
    pitch = curves["pitch_median_hz"]
    assert pitch.x == (2, 6, 10)
    assert pitch.y == (pytest.approx(120, rel=0.01), None, pytest.approx(240, rel=0.01))


def test_noise_is_no_voice():
    noise = np.random.default_rng(0).normal(0, 0.05, 2 * RATE_HZ)
    assert voice.testify(sound_file(noise)).summary == "No voice with a pitch was heard."


def test_what_cannot_be_measured_is_said_by_type():
    with pytest.raises(TooShortError):
        voice.testify(sound_file(tone(140, 0.2)))
    picture = Media.from_bytes(encoded(np.zeros((20, 20, 3), np.uint8)), "a.png")
    with pytest.raises(NoSoundError):
        voice.testify(picture)
    assert not load_builtin().get("voice").accepts(picture)
