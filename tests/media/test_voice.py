"""The measures of a voice, against voices that were made with known ones."""

import numpy as np
import pytest

from deepscan.media.voice import NAMES, RATE_HZ, follow, measure

SECONDS = 3.0


def voice(pitch_hz=150.0, jitter=0.0, shimmer=0.0, tilt_db=-12.0, noise=0.0, seed=0):
    """Pulses through a spectrum that falls by ``tilt_db`` an octave; both disturbances uniform per period."""
    rng = np.random.default_rng(seed)
    samples = round(SECONDS * RATE_HZ)
    wave = np.zeros(samples)
    at = 0.0
    while at < samples - 400:
        length = RATE_HZ / pitch_hz * (1 + jitter * rng.uniform(-1, 1))
        phase = (np.arange(int(np.ceil(at)), min(samples, int(np.ceil(at + length)))) - at) / length
        harmonics = np.arange(1, int(7000 / pitch_hz))
        sizes = 10 ** (tilt_db / 20 * np.log2(harmonics))
        pulse = (sizes * np.cos(2 * np.pi * harmonics * phase[:, None])).sum(1)
        wave[int(np.ceil(at)) : int(np.ceil(at)) + len(pulse)] = pulse * (1 + shimmer * rng.uniform(-1, 1))
        at += length
    wave = wave / np.abs(wave).max() * 0.5
    return (wave + noise * wave.std() * rng.standard_normal(samples)).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * RATE_HZ), np.float32)


@pytest.mark.parametrize("pitch_hz", [75.0, 110.0, 150.0, 233.0, 380.0])
def test_pitch_is_found(pitch_hz):
    found = measure(voice(pitch_hz))
    assert found["pitch_median_hz"] == pytest.approx(pitch_hz, rel=0.01)
    assert found["voiced_share"] > 0.95
    assert found["pitch_range_semitones"] < 0.3


def test_a_glide_has_its_range():
    """One octave up within the sound: the inner 80 % of it are 0.8 octaves."""
    t = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * 120 * SECONDS / np.log(2) * (2 ** (t / SECONDS) - 1)
    glide = sum(np.cos(k * phase) / k for k in range(1, 15)).astype(np.float32) * 0.1
    assert measure(glide)["pitch_range_semitones"] == pytest.approx(0.8 * 12, abs=0.5)


def test_a_perfect_voice_has_neither_jitter_nor_shimmer():
    found = measure(voice())
    assert found["jitter_percent"] < 0.2
    assert found["shimmer_percent"] < 1.0


def test_jitter_is_the_mean_change_of_the_period():
    """Two uniform deviations of +-j differ by 2j/3 on average."""
    assert measure(voice(jitter=0.03))["jitter_percent"] == pytest.approx(2.0, rel=0.4)


def test_shimmer_is_the_mean_change_of_the_amplitude():
    assert measure(voice(shimmer=0.15))["shimmer_percent"] == pytest.approx(10.0, rel=0.35)


def test_noise_lowers_harmonicity():
    levels = [measure(voice(noise=noise))["harmonics_to_noise_db"] for noise in (0.0, 0.1, 0.3)]
    assert levels[0] > levels[1] > levels[2]
    assert levels[1] == pytest.approx(20, abs=4)


def test_the_tilt_of_the_spectrum_is_found():
    steep, flat = (measure(voice(tilt_db=tilt))["tilt_db_per_octave"] for tilt in (-12.0, -6.0))
    assert flat - steep == pytest.approx(6.0, abs=2.5)


def test_pauses_are_counted_and_timed():
    part = voice()[: RATE_HZ // 2]
    sound = np.concatenate([part, silence(0.4), part, silence(0.4), part])
    found = measure(sound)
    assert found["pause_mean_ms"] == pytest.approx(400, abs=60)
    assert found["pauses_per_minute"] == pytest.approx(2 / (len(sound) / RATE_HZ / 60), rel=0.05)
    assert found["pause_share"] == pytest.approx(0.8 / 2.3, abs=0.06)


def test_a_breath_is_noise_of_middling_level_without_pitch():
    breath = np.random.default_rng(0).normal(0, voice().std() * 0.08, RATE_HZ // 3).astype(np.float32)
    sound = np.concatenate([voice()[:RATE_HZ], breath, voice()[:RATE_HZ]])
    assert measure(sound)["breaths_per_minute"] == pytest.approx(60 / (len(sound) / RATE_HZ), rel=0.05)
    assert measure(voice())["breaths_per_minute"] == 0


def test_loudness_changes_nothing():
    sound = voice(jitter=0.02, shimmer=0.05)
    quiet, loud = measure(sound * 0.1), measure(sound)
    assert quiet == pytest.approx(loud, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    "sound",
    [silence(1.0), 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ), np.ones(640)],
    ids=["silence", "noise", "one frame"],
)
def test_what_is_no_voice_gives_finite_figures_and_no_pitch(sound):
    found = measure(sound.astype(np.float32))
    assert tuple(found) == NAMES
    assert np.isfinite(list(found.values())).all()
    assert found["pitch_median_hz"] == 0 or found["voiced_share"] > 0


def test_a_track_has_a_value_every_ten_milliseconds():
    track = follow(voice())
    assert len(track.pitch_hz) == len(track.level_db) == (round(SECONDS * RATE_HZ) - 640) // 160 + 1
