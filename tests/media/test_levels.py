import math

import numpy as np
import pytest

from deepscan.media import levels
from tests.sounds import RATE_HZ, silence, sine, speech


def faint_noise(duration_s, level):
    return np.random.default_rng(1).normal(0, level, round(duration_s * RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize(("before_s", "after_s"), [(0, 0), (1, 0), (0, 1), (0.1234, 2.5), (0.00025, 0.5)])
def test_added_silence_is_found_at_both_ends(before_s, after_s):
    voice_N = speech()
    kept = levels.active(voice_N)
    longer_N = np.concatenate([silence(before_s), voice_N, silence(after_s)])
    offset = len(silence(before_s))
    assert levels.active(longer_N) == slice(kept.start + offset, kept.stop + offset)
    assert levels.loudness_db(longer_N) == levels.loudness_db(voice_N)


def test_ends_lie_at_the_sound_within_a_block():
    sound_N = np.concatenate([silence(0.5037), sine(300, 0.8), silence(0.7)])
    kept = levels.active(sound_N)
    assert kept.start / RATE_HZ == pytest.approx(0.5037, abs=0.011)
    assert kept.stop / RATE_HZ == pytest.approx(0.5037 + 0.8, abs=0.011)


def test_hum_of_the_room_at_the_ends_is_silence():
    loud_N, room_N = sine(300, 1.0, level=0.3), faint_noise(1.5, 0.3 * 10 ** (-50 / 20))
    kept = levels.active(np.concatenate([room_N, loud_N, room_N]))
    assert kept.start / RATE_HZ == pytest.approx(1.5, abs=0.011)
    assert kept.stop / RATE_HZ == pytest.approx(2.5, abs=0.011)


def test_quiet_beginning_of_a_word_is_kept():
    loud_N, quiet_N = sine(300, 1.0, level=0.3), faint_noise(0.2, 0.3 * 10 ** (-25 / 20))
    assert levels.active(np.concatenate([quiet_N, loud_N])).start < 0.011 * RATE_HZ


def test_pauses_inside_are_kept():
    parts = [sine(200, 0.3), silence(2), sine(200, 0.3)]
    assert levels.active(np.concatenate(parts)) == slice(1, pytest.approx(2.6 * RATE_HZ, abs=161))


@pytest.mark.parametrize("gain_db", [-30, -12, 12])
def test_gain_moves_no_end_and_shows_in_the_loudness(gain_db):
    sound_N = np.concatenate([faint_noise(0.4, 1e-4), speech(level=0.1), faint_noise(0.4, 1e-4)])
    louder_N = sound_N * np.float32(10 ** (gain_db / 20))
    assert levels.active(louder_N) == levels.active(sound_N)
    assert levels.loudness_db(louder_N) == pytest.approx(levels.loudness_db(sound_N) + gain_db, abs=1e-3)


def test_loudness_of_a_sine_is_its_power():
    assert levels.loudness_db(sine(1000, level=1.0)) == pytest.approx(10 * math.log10(0.5), abs=0.01)
    assert levels.loudness_db(sine(1000, level=0.1)) == pytest.approx(-20 + 10 * math.log10(0.5), abs=0.01)


def test_pauses_do_not_count_in_the_loudness():
    sine_N = sine(1000, 0.5)
    paused_N = np.concatenate([sine_N, silence(1.0), sine_N])
    assert levels.loudness_db(paused_N) == pytest.approx(levels.loudness_db(sine_N), abs=0.05)


@pytest.mark.parametrize("samples", [0, 1, 5000])
def test_nothing_is_infinitely_quiet_and_empty(samples):
    assert levels.loudness_db(np.zeros(samples, np.float32)) == -math.inf
    kept = levels.active(np.zeros(samples, np.float32))
    assert kept.start == kept.stop


@pytest.mark.parametrize("samples", [1, 2, 159, 161])
def test_shortest_sounds_are_kept_whole(samples):
    sound_N = np.full(samples, 0.5, np.float32)
    assert levels.active(sound_N) == slice(0, samples)
    assert levels.loudness_db(sound_N) == pytest.approx(20 * math.log10(0.5))


def test_amplified_sound_is_cut_off_at_full_scale():
    sound_N = np.array([0.1, -0.2, 0.6, -0.9], np.float32)
    louder_N = levels.amplify(sound_N, 20 * math.log10(2))
    np.testing.assert_allclose(louder_N, [0.2, -0.4, 1, -1], rtol=1e-6)
    assert louder_N.dtype == np.float32
    assert sound_N[3] == np.float32(-0.9)
