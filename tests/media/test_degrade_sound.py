import math

import numpy as np
import pytest
from scipy import signal, stats

from deepscan.errors import ConfigError
from deepscan.media import degrade_sound
from deepscan.media.degrade_sound import CODINGS, Notch, Order
from tests.sounds import RATE_HZ, silence, sine, speech


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def voice_N():
    return speech(1.5)


@pytest.fixture(scope="module")
def white_N():
    return np.random.default_rng(3).normal(0, 0.1, 4 * RATE_HZ).astype(np.float32)


NARROW_NOTCH = Notch(center_hz=1000, width_hz=200)
EVERY_CHANGE = {
    "invert": lambda wave_N, rng: degrade_sound.invert(wave_N),
    "shift": lambda wave_N, rng: degrade_sound.shift(wave_N, 100),
    "crop": lambda wave_N, rng: degrade_sound.crop(wave_N, 0, max(1, len(wave_N) // 2)),
    "noise": lambda wave_N, rng: degrade_sound.noise(wave_N, 20, 1, rng),
    "impulses": lambda wave_N, rng: degrade_sound.impulses(wave_N, 0.1, 2, rng),
    "notch": lambda wave_N, rng: degrade_sound.notch(wave_N, [NARROW_NOTCH]),
    "distort": lambda wave_N, rng: degrade_sound.distort(
        wave_N, [Order(gain_db=0, notches=(NARROW_NOTCH,)), Order(gain_db=-10, notches=())]
    ),
    "reverberate": lambda wave_N, rng: degrade_sound.reverberate(wave_N, 0.2, -6, rng),
    "narrow": lambda wave_N, rng: degrade_sound.narrow(wave_N, 8000),
    **{
        name: lambda wave_N, rng, name=name: degrade_sound.encode(wave_N, name, CODINGS[name].rates_bps[-1])
        for name in CODINGS
    },
}
RANDOM = {"noise", "impulses", "reverberate"}


def power_db(wave_N):
    return 10 * math.log10(np.mean(np.square(wave_N, dtype=np.float64)))


def spectrum_db(wave_N):
    hz, power = signal.welch(wave_N.astype(np.float64), RATE_HZ, nperseg=4096)
    return hz, 10 * np.log10(power + 1e-20)


@pytest.mark.parametrize("name", EVERY_CHANGE)
def test_change_keeps_length_and_dtype_and_spares_its_argument(name, voice_N):
    before_N = voice_N.copy()
    voice_N.setflags(write=False)
    changed_N = EVERY_CHANGE[name](voice_N, np.random.default_rng(5))
    assert (changed_N.dtype, changed_N.shape) == (np.float32, voice_N.shape)
    assert not np.shares_memory(changed_N, voice_N)
    assert np.array_equal(voice_N, before_N)
    assert not np.array_equal(changed_N, voice_N)
    assert np.array_equal(changed_N, EVERY_CHANGE[name](voice_N, np.random.default_rng(5)))


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_other_seeds_give_other_sounds(name, voice_N):
    one_N, other_N = (EVERY_CHANGE[name](voice_N, np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.array_equal(one_N, other_N)


@pytest.mark.parametrize("name", EVERY_CHANGE)
@pytest.mark.parametrize("samples", [1, 33, 2000])
def test_change_survives_silence_and_the_shortest_sounds(name, samples, rng):
    for sound_N in (np.zeros(samples, np.float32), np.full(samples, 0.3, np.float32)):
        changed_N = EVERY_CHANGE[name](sound_N, rng)
        assert changed_N.shape == (samples,)
        assert np.isfinite(changed_N).all()
    assert np.abs(EVERY_CHANGE[name](np.zeros(samples, np.float32), rng)).max() < 1e-3


def test_inverting_twice_gives_the_sound(voice_N):
    assert np.array_equal(degrade_sound.invert(voice_N), -voice_N)
    assert np.array_equal(degrade_sound.invert(degrade_sound.invert(voice_N)), voice_N)


def test_shift_turns_the_sound_around():
    sound_N = np.arange(5, dtype=np.float32)
    assert degrade_sound.shift(sound_N, 2).tolist() == [3, 4, 0, 1, 2]


def test_crop_repeats_what_it_keeps():
    sound_N = np.arange(7, dtype=np.float32)
    assert degrade_sound.crop(sound_N, 2, 3).tolist() == [2, 3, 4, 2, 3, 4, 2]


@pytest.mark.parametrize("snr_db", [0, 10, 25, 40])
@pytest.mark.parametrize("falloff", [0, 1, 2])
def test_noise_has_the_ratio_that_is_asked_for(snr_db, falloff, voice_N, rng):
    added_N = degrade_sound.noise(voice_N, snr_db, falloff, rng) - voice_N
    assert power_db(voice_N) - power_db(added_N) == pytest.approx(snr_db, abs=0.01)


@pytest.mark.parametrize("falloff", [0, 1, 2])
def test_noise_has_its_colour(falloff, white_N, rng):
    hz, level_db = spectrum_db(degrade_sound.noise(white_N, 0, falloff, rng) - white_N)
    heard = (hz > 50) & (hz < 7500)
    slope = stats.linregress(np.log10(hz[heard]), level_db[heard]).slope
    assert slope == pytest.approx(-10 * falloff, abs=0.6)


@pytest.mark.parametrize("share", [0, 0.03, 0.1, 1])
def test_impulses_hit_their_share_in_proportion_to_the_sound(share, white_N, rng):
    ratio_N = degrade_sound.impulses(white_N, share, 2, rng) / white_N
    hit_N = np.abs(ratio_N - 1) > 1e-6
    assert hit_N.sum() == pytest.approx(share * len(white_N), abs=2)
    assert np.abs(ratio_N - 1).max() <= 2.0001
    assert share == 0 or np.abs(ratio_N - 1).max() > 1.9


def test_notches_lie_where_they_are_asked_for(white_N):
    notches = (Notch(center_hz=1000, width_hz=200), Notch(center_hz=5000, width_hz=600))
    hz, before_db = spectrum_db(white_N)
    after_db = spectrum_db(degrade_sound.notch(white_N, notches))[1]
    gain_db = after_db - before_db
    for band in notches:
        assert gain_db[np.abs(hz - band.center_hz).argmin()] < -25
        edges_hz = band.center_hz + np.array([-1, 1]) * band.width_hz / 2
        assert np.interp(edges_hz, hz, gain_db) == pytest.approx([-3, -3], abs=0.8)
    far = (np.abs(hz - 1000) > 600) & (np.abs(hz - 5000) > 1800)
    assert np.abs(gain_db[far]).max() < 0.8


def test_distortion_of_first_order_alone_filters(white_N):
    changed_N = degrade_sound.distort(white_N, [Order(gain_db=0, notches=(NARROW_NOTCH,))])
    filtered_N = degrade_sound.notch(white_N, [NARROW_NOTCH])
    assert np.corrcoef(changed_N, filtered_N)[0, 1] > 0.99999
    assert power_db(changed_N) == pytest.approx(power_db(white_N), abs=0.01)


def test_third_order_of_a_sine_is_heard_three_times_as_high():
    """By sin(x)^3 = (3 sin(x) - sin(3x)) / 4, at -20 dB: 1.075 of the sine, 0.025 of the harmonic."""
    orders = [Order(gain_db=0, notches=()), Order(gain_db=-300, notches=()), Order(gain_db=-20, notches=())]
    harmonics = np.abs(np.fft.rfft(degrade_sound.distort(sine(500, 1.0, 0.4), orders)))[[500, 1000, 1500]]
    assert harmonics[2] / harmonics[0] == pytest.approx(0.025 / 1.075, rel=1e-3)
    assert harmonics[1] < harmonics[0] * 1e-4


def test_reverberation_rings_after_a_click_and_decays(rng):
    click_N = silence(1.0)
    click_N[100] = 1
    wet_N = degrade_sound.reverberate(click_N, 0.5, 0, rng)
    assert np.abs(wet_N[:100]).max() < 1e-6
    direct, tail_N = wet_N[100], wet_N[101:]
    assert np.linalg.norm(tail_N) / direct == pytest.approx(1, rel=0.01)
    early_db, late_db = power_db(tail_N[:800]), power_db(tail_N[4000:4800])
    assert early_db - late_db == pytest.approx(60 * 4000 / (0.5 * RATE_HZ), abs=2)
    assert np.linalg.norm(wet_N) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("rate_hz", [8000, 11_025])
def test_narrow_line_takes_the_upper_frequencies_only(rate_hz, white_N):
    hz, before_db = spectrum_db(white_N)
    gain_db = spectrum_db(degrade_sound.narrow(white_N, rate_hz))[1] - before_db
    assert np.abs(gain_db[(hz > 50) & (hz < 0.4 * rate_hz)]).max() < 1
    assert gain_db[hz > 0.58 * rate_hz].max() < -30


@pytest.mark.parametrize(
    ("coding", "rate_bps"), [(name, rate) for name, each in CODINGS.items() for rate in each.rates_bps]
)
def test_codec_gives_the_sound_without_delay(coding, rate_bps, voice_N):
    coded_N = degrade_sound.encode(voice_N, coding, rate_bps)
    likeness = signal.correlate(coded_N, voice_N, mode="full")
    lags = signal.correlation_lags(len(coded_N), len(voice_N))
    assert lags[likeness.argmax()] == 0
    assert np.corrcoef(coded_N, voice_N)[0, 1] > 0.9


@pytest.mark.parametrize("coding", ["mp3", "aac", "opus"])
def test_more_bits_come_closer(coding, voice_N):
    rates_bps = CODINGS[coding].rates_bps
    errors_db = [
        power_db(degrade_sound.encode(voice_N, coding, rate) - voice_N)
        for rate in (rates_bps[0], rates_bps[-1])
    ]
    assert errors_db[1] < errors_db[0]


def test_telephone_has_no_upper_frequencies(white_N):
    hz, level_db = spectrum_db(degrade_sound.encode(white_N, "mulaw", 64_000))
    assert level_db[hz > 4600].max() < level_db[(hz > 500) & (hz < 3000)].min() - 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w, r: degrade_sound.crop(w, 0, 0), "inside the sound's 24000 samples"),
        (lambda w, r: degrade_sound.crop(w, 1, len(w)), "begin, length"),
        (lambda w, r: degrade_sound.crop(w, -1, 5), "begin, length"),
        (lambda w, r: degrade_sound.noise(w, 10, -1, r), "falloff must be at least 0, not -1"),
        (lambda w, r: degrade_sound.impulses(w, 1.1, 2, r), r"share must be in \[0, 1\], not 1.1"),
        (lambda w, r: degrade_sound.impulses(w, 0.1, -2, r), "strength"),
        (lambda w, r: degrade_sound.notch(w, [Notch(center_hz=8000, width_hz=9)]), "center_hz .* 8000"),
        (lambda w, r: degrade_sound.notch(w, [Notch(center_hz=900, width_hz=0)]), "width_hz"),
        (lambda w, r: degrade_sound.reverberate(w, 0, 0, r), "decay_s must be above 0"),
        (lambda w, r: degrade_sound.narrow(w, 999), "rate_hz"),
        (lambda w, r: degrade_sound.narrow(w, 16_001), r"rate_hz must be in \[1000, 16000\]"),
        (lambda w, r: degrade_sound.encode(w, "flac", 9), "coding must be one of mp3, .* not 'flac'"),
        (lambda w, r: degrade_sound.encode(w, "opus", 9), "rate_bps must be one of .*8000"),
    ],
)
def test_parameters_out_of_range_are_refused(change, said, voice_N, rng):
    with pytest.raises(ConfigError, match=said):
        change(voice_N, rng)
