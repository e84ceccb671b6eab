"""The pulse in colours whose pulse is known."""

import numpy as np
import pytest

from deepscan.errors import TooShortError, UnclearError
from deepscan.evidence import pulse
from deepscan.evidence.pulse import LEAST_SNR_DB, pulse_wave, strongest
from deepscan.media.source import Media
from tests.clips import faces_clip
from tests.evidence.faces import still_portrait
from tests.material import DrawnFace

BEAT = np.array([0.33, 0.77, 0.53])


def skin(seconds, rate_hz, level, noise=0.1, frames_hz=25.0, places=3):
    """Colours of places of skin that beat by so many levels, under light that flickers slowly."""
    rng = np.random.default_rng(0)
    times_s = np.arange(0, seconds, 1 / frames_hz)
    light_T = 1 + 0.05 * np.sin(2 * np.pi * 0.3 * times_s)
    colour_T3 = np.array([170, 120, 95]) * light_T[:, None]
    beat_T3 = level * np.sin(2 * np.pi * rate_hz * times_s)[:, None] * BEAT
    return (colour_T3 + beat_T3)[:, None] + rng.normal(0, noise, (len(times_s), places, 3))


@pytest.mark.parametrize("rate_hz", [0.8, 1.2, 2.4])
@pytest.mark.parametrize("seconds", [8, 20])
def test_the_rate_of_a_pulse_is_found(rate_hz, seconds):
    found_hz, snr_db = strongest(pulse_wave(skin(seconds, rate_hz, 0.5).mean(axis=1)))
    assert found_hz == pytest.approx(rate_hz, abs=0.06)
    assert snr_db > LEAST_SNR_DB


def test_a_weaker_pulse_is_less_sure():
    sure = [strongest(pulse_wave(skin(10, 1.2, level).mean(axis=1)))[1] for level in (1.0, 0.2, 0.0)]
    assert sure == sorted(sure, reverse=True)
    assert sure[-1] < LEAST_SNR_DB


def test_light_that_flickers_alike_in_all_colours_is_no_pulse():
    times_s = np.arange(0, 12, 0.04)
    flicker = 1 + 0.03 * np.sin(2 * np.pi * 1.5 * times_s)
    noise = np.random.default_rng(3).normal(0, 0.05, (len(times_s), 3))
    assert strongest(pulse_wave(flicker[:, None] * (170, 120, 95) + noise))[1] < LEAST_SNR_DB


def test_nothing_that_changes_has_no_pulse():
    assert strongest(pulse_wave(np.full((200, 3), 99.0)))[1] < LEAST_SNR_DB
    assert np.isfinite(pulse_wave(np.zeros((20, 3)))).all()


def told(monkeypatch, skin_TR3, frames_hz=25.0):
    seen = still_portrait(len(skin_TR3), frames_hz, skin_TR3=skin_TR3)
    monkeypatch.setattr(pulse, "portrait", lambda media: seen)
    return pulse.testify(Media.from_bytes(faces_clip([DrawnFace()]), "a.mp4"))


@pytest.mark.parametrize("frames_hz", [12.5, 25.0, 30.0])
def test_the_words_and_the_figures_agree(monkeypatch, frames_hz):
    said = told(monkeypatch, skin(10, 1.5, 0.5, frames_hz=frames_hz), frames_hz)
    assert said.measurements["pulse_per_minute"] == pytest.approx(90, abs=3)
    assert said.measurements["agreement_correlation"] > 0.4
    assert said.finding == "ordinary"
    assert "times a minute" in said.summary
    assert len(said.curves[0].x) > 100


def test_where_it_is_not_told_from_noise_nothing_is_said(monkeypatch):
    with pytest.raises(UnclearError, match="dB are needed") as caught:
        told(monkeypatch, skin(10, 1.2, 0.0))
    assert caught.value.reason == "unclear"
    with pytest.raises(TooShortError):
        told(monkeypatch, skin(3, 1.2, 0.5))
