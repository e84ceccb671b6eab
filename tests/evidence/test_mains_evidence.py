"""Hum of the mains, added with a known frequency and phase."""

import numpy as np
import pytest

from deepscan.errors import NoHumError, TooShortError
from deepscan.evidence import mains
from deepscan.media.source import Media
from tests.sounds import RATE_HZ, speech, wav


def hum(hz, seconds=10.0, level=0.003, jump_deg=0.0):
    """Hum of two harmonics; ``jump_deg`` is by how much the second jumps in the middle."""
    phase = np.cumsum(np.broadcast_to(hz, round(seconds * RATE_HZ))) * 2 * np.pi / RATE_HZ
    phase[len(phase) // 2 :] += np.radians(jump_deg) / 2
    return level * (np.cos(2 * phase) + 0.5 * np.cos(4 * phase))


def judged(sound):
    return mains.testify(Media.from_bytes(wav(sound), "a.wav"))


def noise(seconds=10.0):
    return np.random.default_rng(0).normal(0, 0.003, round(seconds * RATE_HZ))


@pytest.mark.parametrize("hz", [50.03, 59.96])
def test_the_mains_and_their_frequency_are_told(hz):
    evidence = judged(speech(10.0) + hum(hz) + noise())
    values = evidence.measurements
    assert values["mains_hz"] == round(hz / 10) * 10
    assert values["harmonic_hz"] / round(values["harmonic_hz"] / hz) == pytest.approx(hz, abs=0.02)
    assert evidence.finding == "ordinary"


def test_where_there_is_no_hum_it_says_why():
    with pytest.raises(NoHumError, match="15 dB are needed"):
        judged(noise())
    with pytest.raises(TooShortError):
        judged(hum(50, 2.0))


def test_a_phase_that_jumps_is_found_where_it_does():
    evidence = judged(noise() + hum(50, jump_deg=120))
    values = evidence.measurements
    assert values["phase_jump_deg"] == pytest.approx(120, abs=15)
    assert values["phase_jump_s"] == pytest.approx(5, abs=0.3)
    assert evidence.finding == "unusual"
    assert evidence.curves[1].spans[0] == pytest.approx((4.5, 5.5), abs=0.3)


def test_a_phase_that_stays_does_not_jump():
    assert judged(noise() + hum(50)).measurements["phase_jump_deg"] < 30


def test_the_curve_follows_a_drifting_frequency():
    hz = np.linspace(49.95, 50.05, round(10 * RATE_HZ))
    evidence = judged(noise() + hum(hz))
    curve = evidence.curves[0]
    known = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
    assert len(known) > 50
    assert np.corrcoef(*zip(*known, strict=True))[0, 1] > 0.9
    assert evidence.measurements["frequency_deviation_hz"] > 0.01
