"""Traces of interpolation, on noise that was resampled by known factors."""

import numpy as np
import pytest
from scipy import signal

from deepscan.evidence import resampled_sound
from deepscan.media.source import Media
from tests.sounds import wav

RATE_HZ = 16_000


def sound(seed=0, seconds=5.0):
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return 0.02 * signal.lfilter([1], [1, -1.2, 0.6], noise)


def stretched(wave, factor):
    return np.interp(np.arange(0, len(wave) - 1, 1 / factor), np.arange(len(wave)), wave)


def judged(wave, rate_hz=RATE_HZ):
    return resampled_sound.testify(Media.from_bytes(wav(wave, rate_hz), "a.wav"))


def test_untouched_sound_has_no_line():
    for seed in range(4):
        evidence = judged(sound(seed))
        assert evidence.finding == "ordinary"
        assert evidence.measurements["source_rate_hz"] == 0


@pytest.mark.parametrize("factor", [1.05, 1.25, 0.93, 1.7])
def test_a_change_of_speed_shows_as_a_line_at_its_period(factor):
    evidence = judged(stretched(sound(), factor))
    at = abs(1 / factor - round(1 / factor))
    assert evidence.measurements["line_cycles_per_sample"] == pytest.approx(at, abs=1e-4)
    assert evidence.finding == "unusual"
    assert "period" in evidence.summary


@pytest.mark.parametrize("rate_hz", [22050, 24000, 44100])
def test_the_rate_that_sound_came_from_is_told(rate_hz):
    evidence = judged(stretched(sound(), rate_hz / RATE_HZ), rate_hz)
    assert evidence.measurements["source_rate_hz"] == RATE_HZ
    assert f"{RATE_HZ} Hz" in evidence.summary


def test_a_filter_bank_of_an_ordinary_converter_is_seen():
    raised = signal.resample_poly(sound(), 441, 320)
    assert judged(raised, 22050).measurements["line_db"] > resampled_sound.LINE_DB
