"""Traces of blocks, on sound that was given them."""

import numpy as np
import pytest
from scipy import signal

from deepscan.evidence import vocoder
from deepscan.media import vocode
from deepscan.media.source import Media
from tests.sounds import speech, wav

RATE_HZ = 22050


def breath(seconds=5.0, seed=0):
    """Coloured noise whose level moves as that of speech does."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    noise = signal.lfilter([1], [1, -0.9], rng.standard_normal(len(time_s)))
    return 0.02 * noise * (0.6 + 0.4 * np.sin(2 * np.pi * 3.1 * time_s))


def judged(sound, rate_hz=RATE_HZ):
    return vocoder.testify(Media.from_bytes(wav(sound, rate_hz), "a.wav"))


def pulses(period, count, level):
    train = np.zeros(count)
    train[::period] = level
    return train


def test_sound_without_blocks_is_ordinary():
    for seed in range(4):
        evidence = judged(breath(seed=seed))
        assert evidence.finding == "ordinary"
        assert evidence.measurements["tones_sigmas"] < vocoder.TONES_SIGMAS
        assert "No tones" in evidence.summary


def test_tones_at_the_rate_of_hops_are_found_with_their_spacing():
    sound = breath()
    values = judged(sound + pulses(256, len(sound), 0.02)).measurements
    assert values["tones_sigmas"] > 10
    assert values["tones_block_hz"] == pytest.approx(RATE_HZ / 256)


def test_the_spacing_stays_when_the_sound_is_resampled():
    sound = breath()
    sound = signal.resample_poly(sound + pulses(256, len(sound), 0.02), 320, 441)
    values = judged(sound, 16000).measurements
    assert values["tones_sigmas"] > 6
    assert values["tones_block_hz"] == pytest.approx(RATE_HZ / 256)


def test_levels_that_follow_blocks_are_found():
    sound = breath()
    sound *= 1 + 2 * (np.arange(len(sound)) % 256 < 4)
    values = judged(sound).measurements
    assert values["levels_sigmas"] > vocoder.LEVELS_SIGMAS
    assert values["levels_block_hz"] == pytest.approx(RATE_HZ / 256)


def test_a_tone_at_an_eighth_of_the_rate_is_found():
    sound = breath()
    sound += 0.003 * np.cos(2 * np.pi / 8 * np.arange(len(sound)))
    evidence = judged(sound)
    assert evidence.measurements["coarse_tone_db"] > vocoder.COARSE_DB
    assert evidence.finding == "unusual"


def test_a_mirrored_band_is_more_alike_than_another():
    voice = speech(4.0).astype(np.float64)
    repeated = np.zeros(2 * len(voice))
    repeated[::2] = voice
    assert vocoder.mirrored(repeated) > 0.9
    assert abs(vocoder.mirrored(breath())) < 0.1


def test_the_project_s_vocoder_that_writes_in_blocks_leaves_levels():
    voice = speech(6.0, level=0.5)
    copied = vocode.linear_prediction(voice, np.random.default_rng(0))
    before, after = judged(voice, 16000).measurements, judged(vocode.level(copied, 0.1), 16000).measurements
    assert after["levels_sigmas"] > before["levels_sigmas"]
