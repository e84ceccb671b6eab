"""What a fixed clock leaves in sound."""

import numpy as np
import pytest
from scipy import signal

from deepscan.media import periodicity


def noise(count=60_000, seed=0):
    return np.random.default_rng(seed).standard_normal(count)


def test_the_residual_of_a_predictable_sound_is_what_drives_it():
    driven = noise()
    coloured = signal.lfilter([1], [1, -1.6, 0.8], driven)
    left = periodicity.residual(coloured)
    assert np.corrcoef(left[100:], driven[100:])[0, 1] > 0.999


def test_levelled_sound_is_even_and_silence_stays():
    loud = noise() * np.repeat([1.0, 100.0, 0.0], 20_000)
    even = periodicity.levelled(loud)
    assert even[2000:18_000].std() == pytest.approx(even[22_000:38_000].std(), rel=0.02)
    assert not even[41_000:].any()


def test_lines_of_noise_have_mean_one_and_a_sine_stands_out_at_its_bin():
    assert periodicity.lines(noise()).mean() == pytest.approx(1, rel=0.05)
    lines_F = periodicity.lines(noise() + 0.2 * np.sin(2 * np.pi * 0.123 * np.arange(60_000)))
    assert lines_F.argmax() / (2 * (len(lines_F) - 1)) == pytest.approx(0.123, abs=1e-5)


def test_a_lattice_of_noise_is_a_standard_score():
    scores = [periodicity.lattice(periodicity.lines(noise(seed=n)), 1 / 256) for n in range(40)]
    assert np.mean(scores) == pytest.approx(0, abs=0.5)
    assert np.std(scores) == pytest.approx(1, abs=0.4)


def test_one_strong_tone_is_no_lattice_but_many_weak_ones_are():
    alone = noise() + 0.5 * np.sin(2 * np.pi * 8 / 256 * np.arange(60_000))
    comb = noise()
    comb[::256] += 3
    alone, together = (periodicity.lattice(periodicity.lines(each), 1 / 256) for each in (alone, comb))
    assert alone < 3 < 5 < together
