"""Phases, on voices whose phases were kept, drawn anew or guessed."""

import numpy as np
import pytest

from deepscan.evidence import phase
from deepscan.media import vocode
from deepscan.media.source import Media
from tests.sounds import RATE_HZ, sine, speech, wav


def judged(sound):
    return phase.testify(Media.from_bytes(wav(sound), "a.wav"))


def test_a_steady_tone_runs_on():
    assert judged(sine(1000, 2.0)).measurements["coherence"] == pytest.approx(1, abs=1e-3)


def test_a_voice_with_its_own_phases_is_ordinary():
    evidence = judged(speech(4.0))
    assert evidence.finding == "ordinary"
    assert evidence.curves[0].x_unit == "s"


def test_phases_drawn_by_lot_dull_the_pulses():
    voice = speech(4.0)
    drawn = vocode.random_phase(voice, np.random.default_rng(0))
    before, after = judged(voice), judged(drawn)
    assert after.measurements["pulse_kurtosis"] < before.measurements["pulse_kurtosis"] - 1
    assert after.measurements["pulse_kurtosis"] < phase.DULL_KURTOSIS
    assert after.finding == "unusual"


def test_guessed_phases_do_not_run_on():
    voice = speech(4.0)
    guessed = vocode.mel_inversion(voice, np.random.default_rng(0))
    assert judged(guessed).measurements["coherence"] < judged(voice).measurements["coherence"]


def test_group_delay_is_that_of_the_pulse():
    """A pulse in the middle of every frame has one delay at all frequencies, noise has none."""
    pulse = np.zeros(RATE_HZ)
    pulse[:: phase.HOP] = 0.5
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ)
    spread = [judged(each).measurements["group_delay_deviation_ms"] for each in (pulse, noise)]
    assert spread[0] < spread[1]
