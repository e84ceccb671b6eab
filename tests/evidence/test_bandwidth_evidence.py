"""Band limits, on noise whose band is known."""

import numpy as np
import pytest
from scipy import signal

from deepscan.errors import NoSoundError, TooShortError
from deepscan.evidence import bandwidth
from deepscan.media.source import Media
from tests.material import sound_file
from tests.sounds import silence, wav


def noise(rate_hz, seconds=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.05, round(rate_hz * seconds))


def judged(sound, rate_hz):
    return bandwidth.testify(Media.from_bytes(wav(sound, rate_hz), "a.wav"))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 48000])
def test_a_full_band_ends_at_half_the_rate_of_the_file(rate_hz):
    evidence = judged(noise(rate_hz), rate_hz)
    assert evidence.measurements["rate_hz"] == rate_hz
    assert evidence.measurements["band_limit_share"] == 1
    assert evidence.finding == "ordinary"
    assert "fills the band" in evidence.summary


@pytest.mark.parametrize(("source_hz", "rate_hz"), [(8000, 16000), (16000, 22050), (16000, 48000)])
def test_sound_of_a_lower_rate_ends_at_half_of_that(source_hz, rate_hz):
    raised = signal.resample(noise(source_hz), 3 * rate_hz)
    evidence = judged(raised, rate_hz)
    assert evidence.measurements["band_limit_hz"] == pytest.approx(source_hz / 2, abs=600)
    assert evidence.finding == "unusual"
    assert evidence.curves[0].spans[0][1] == pytest.approx(rate_hz / 2, rel=1e-3)


def test_a_fall_is_found_at_the_rate_that_caused_it():
    raised = signal.resample(noise(16000), 3 * 48000)
    values = judged(raised, 48000).measurements
    falls = {hz: values[f"fall_at_{hz}_hz_db"] for hz in (4000, 8000, 11025, 16000)}
    assert max(falls, key=falls.get) == 8000
    assert falls[8000] > 20 > abs(falls[16000])


def test_a_cut_by_a_codec_is_ordinary():
    sound = signal.sosfilt(signal.butter(16, 15_000, output="sos", fs=44100), noise(44100))
    coded = Media.from_bytes(sound_file(sound[None].astype(np.float32), "mp3", "libmp3lame", 44100), "a.mp3")
    evidence = bandwidth.testify(coded)
    assert evidence.measurements["band_limit_share"] < 0.9
    assert evidence.finding == "ordinary"


def test_too_little_and_silence_are_told_by_type():
    with pytest.raises(TooShortError):
        judged(noise(16000, 0.1), 16000)
    with pytest.raises(NoSoundError):
        judged(silence(1.0), 16000)
