"""Cuts, on sound that was cut at known times."""

import numpy as np
import pytest
from scipy import signal

from deepscan.evidence import splices
from deepscan.media.source import Media
from tests.sounds import RATE_HZ, speech, wav


def room(seconds, level, pole, seed=0):
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return level * signal.lfilter([1 - abs(pole)], [1, -pole], noise)


def talk(seconds, level=0.002, pole=0.0, seed=0):
    """A voice with pauses over the noise of a room."""
    voice = speech(seconds, seed=seed).astype(np.float64)
    pauses = np.tile(np.repeat([1.0, 0.0], [RATE_HZ, RATE_HZ // 2]), int(seconds) + 1)[: len(voice)]
    return voice * pauses + room(seconds, level, pole, seed)


def judged(sound):
    return splices.testify(Media.from_bytes(wav(sound), "a.wav"))


def test_one_recording_has_no_cut():
    evidence = judged(talk(10.0))
    assert evidence.finding == "ordinary"
    assert evidence.curves[0].spans == ()
    assert "No sign of a cut" in evidence.summary


def test_another_background_is_found_when_it_begins():
    evidence = judged(np.concatenate([talk(5.0, 0.001), talk(5.0, 0.004, 0.8, seed=1)]))
    values = evidence.measurements
    assert values["background_change_deviations"] > splices.BACKGROUND_DEVIATIONS
    assert values["background_change_s"] == pytest.approx(5, abs=1)
    assert any(begin <= 5.6 and end >= 4.4 for begin, end in evidence.curves[0].spans)


def test_a_jump_of_the_waveform_clicks():
    """A cut in a pause, where the offset of the microphone changes."""
    sound = talk(6.0, 0.0005)
    sound[11 * RATE_HZ // 4 :] += 0.1
    values = judged(sound).measurements
    assert values["click_db"] > splices.CLICK_DB
    assert values["click_s"] == pytest.approx(2.75, abs=0.002)


def test_digital_silence_within_is_found_and_at_the_ends_is_not():
    sound = talk(6.0)
    padded = np.concatenate([np.zeros(RATE_HZ // 2), sound, np.zeros(RATE_HZ // 2)])
    assert judged(padded).measurements["inner_silence_ms"] == 0
    assert judged(padded).measurements["silence_share"] == pytest.approx(1 / 7, abs=0.01)
    sound[2 * RATE_HZ : 2 * RATE_HZ + 1600] = 0
    evidence = judged(sound)
    assert evidence.measurements["inner_silence_ms"] == pytest.approx(100, abs=1)
    assert evidence.finding == "unusual"
    assert any(begin == pytest.approx(2, abs=0.01) for begin, _ in evidence.curves[0].spans)
