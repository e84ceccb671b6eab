import numpy as np
import pytest
from scipy import linalg, signal

from deepscan.media import vocode
from deepscan.media.vocode import VOCODERS, level, pitch

RATE_HZ = 16_000


def vowel(seconds=1.0, hz=120.0, seed=0):
    """Pulses through three resonances, fading in and out, with a little noise."""
    count = int(seconds * RATE_HZ)
    turns = np.floor(np.arange(count) * hz / RATE_HZ)
    wave = np.diff(turns, prepend=0) + 0.01 * np.random.default_rng(seed).standard_normal(count)
    for formant_hz, width_hz in ((700, 80), (1200, 100), (2500, 140)):
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        wave = signal.lfilter(
            [1], [1, -2 * radius * np.cos(2 * np.pi * formant_hz / RATE_HZ), radius**2], wave
        )
    wave *= np.sin(np.pi * np.arange(count) / count)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def envelope(wave):
    return np.sqrt(signal.oaconvolve(wave**2, np.full(800, 1 / 800), "same").clip(0))


def log_spectrum(wave):
    return np.log(signal.welch(wave, RATE_HZ, nperseg=512)[1] + 1e-12)


@pytest.mark.parametrize("name", VOCODERS)
def test_a_copy_has_the_length_envelope_and_colour_of_the_recording_but_other_samples(name):
    wave = vowel()
    copy = level(VOCODERS[name](wave, np.random.default_rng(1)), float(wave.std()))
    assert (copy.dtype, copy.shape) == (np.float32, wave.shape)
    assert np.abs(copy).max() <= 1
    assert np.corrcoef(envelope(copy), envelope(wave))[0, 1] > 0.9
    assert np.corrcoef(log_spectrum(copy), log_spectrum(wave))[0, 1] > 0.9
    assert abs(np.corrcoef(copy, wave)[0, 1]) < 0.9


@pytest.mark.parametrize("name", VOCODERS)
def test_a_copy_depends_on_the_generator_only(name):
    wave = vowel(0.4)
    first, again, other = (VOCODERS[name](wave, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("samples", [1, 255, 4001])
@pytest.mark.parametrize("name", VOCODERS)
def test_any_length_and_silence_are_copied(name, samples):
    rng = np.random.default_rng(0)
    for wave in (vowel(1)[3000 : 3000 + samples], np.zeros(samples, np.float32)):
        copy = VOCODERS[name](wave, rng)
        assert copy.shape == (samples,)
        assert np.isfinite(copy).all()


@pytest.mark.parametrize("hz", [80.0, 120.0, 210.0, 333.0])
def test_the_pitch_of_pulses_is_found(hz):
    found = pitch(vowel(1, hz))
    assert np.median(found[found > 0]) == pytest.approx(hz, rel=0.02)
    assert (found > 0).mean() > 0.8


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    assert (pitch(noise) > 0).mean() < 0.05
    assert not pitch(np.zeros(RATE_HZ, np.float32)).any()


def test_pulses_follow_the_pitch_with_unit_power():
    excitation = vocode._excitation(vowel(2, 200.0), np.random.default_rng(0), breath=0.0)
    middle = excitation[RATE_HZ // 2 : -RATE_HZ // 2]
    assert (middle > 1).sum() == pytest.approx(200, abs=5)
    assert np.mean(middle**2) == pytest.approx(1, abs=0.05)


def test_predictors_solve_the_normal_equations():
    frame = vowel(0.1)[400:1200] * np.hanning(800)
    correlation = np.correlate(frame, frame, "full")[799 : 799 + 9]
    filters, gains = vocode._levinson(correlation[None])
    # The function's own little white noise, for the same system.
    correlation[0] = 1.0001 * correlation[0] + 1e-9
    expected = linalg.solve_toeplitz(correlation[:8], -correlation[1:])
    np.testing.assert_allclose(filters[0], [1, *expected], rtol=1e-5, atol=1e-7)
    assert gains[0] ** 2 == pytest.approx(correlation @ filters[0], rel=1e-6)


def test_the_short_time_spectrum_inverts():
    wave = vowel(0.3)
    np.testing.assert_allclose(vocode._wave(vocode._spectrum(wave), wave.size), wave, atol=1e-6)


def test_mel_filters_meet_at_half_height_and_fewer_bands_lose_more():
    bank, _ = vocode._mel_bank(40)
    assert bank.shape == (513, 40)
    covered = bank.sum(1)[8:-40]
    np.testing.assert_allclose(covered, 1, atol=1e-5)
    wave = vowel()
    spectrum = np.abs(vocode._spectrum(wave))

    def loss(bands):
        copy = vocode.mel_inversion(wave, np.random.default_rng(0), bands=bands)
        return np.linalg.norm(np.abs(vocode._spectrum(copy)) - spectrum) / np.linalg.norm(spectrum)

    assert loss(160) < loss(80) < loss(20)


def test_iterations_bring_the_phases_together():
    wave = vowel()
    spectrum = np.abs(vocode._spectrum(wave))

    def loss(rounds):
        copy = vocode.mel_inversion(wave, np.random.default_rng(0), rounds=rounds)
        return np.linalg.norm(np.abs(vocode._spectrum(copy)) - spectrum)

    assert loss(24) < 0.8 * loss(0)


def test_levels_are_reached_unless_they_would_clip():
    wave = vowel()
    assert level(wave, 0.02).std() == pytest.approx(0.02, rel=1e-3)
    assert np.abs(level(wave, 0.9)).max() == pytest.approx(0.99, abs=1e-6)
    assert not level(np.zeros(9, np.float32), 0.1).any()
