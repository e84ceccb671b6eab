import dataclasses
import itertools
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torchaudio

from deepscan.errors import ConfigError
from deepscan.media import spectra, voice
from deepscan.media.spectra import FrontEnd
from tests.sounds import RATE_HZ, silence, sine, speech

OVER_TIME = ("mfcc", "lfcc", "logmel", "spectrogram", "cqt")
SPECTRUM = {"n_fft": 512, "win_length": 320, "hop_length": 160}


def plain(kind, **settings):
    return FrontEnd(kind=kind, deltas=False, normalize=False, **settings)


@pytest.fixture(scope="module")
def wave_N():
    return speech(1.3)


def torch_of(transform, wave_N):
    return transform(torch.from_numpy(wave_N)).numpy()


def test_mfcc_agree_with_torchaudio(wave_N):
    ours = spectra.features(wave_N, plain("mfcc", filters=40, coefficients=20))
    bank = {**SPECTRUM, "n_mels": 40, "mel_scale": "htk", "norm": None}
    theirs = torchaudio.transforms.MFCC(RATE_HZ, n_mfcc=20, log_mels=True, melkwargs=bank)
    np.testing.assert_allclose(ours, torch_of(theirs, wave_N), atol=2e-3)


def test_lfcc_agree_with_torchaudio(wave_N):
    ours = spectra.features(wave_N, plain("lfcc", filters=40, coefficients=20))
    theirs = torchaudio.transforms.LFCC(RATE_HZ, n_filter=40, n_lfcc=20, log_lf=True, speckwargs=SPECTRUM)
    np.testing.assert_allclose(ours, torch_of(theirs, wave_N), atol=2e-3)


def test_log_mel_agrees_with_torchaudio(wave_N):
    ours = spectra.features(wave_N, plain("logmel", filters=64, length_ms=64))
    theirs = torchaudio.transforms.MelSpectrogram(RATE_HZ, n_fft=1024, hop_length=160, n_mels=64)
    np.testing.assert_allclose(ours, np.log(torch_of(theirs, wave_N) + spectra.FLOOR), atol=2e-3)


def test_the_power_within_a_filter_is_added_up_exactly(wave_N):
    front_end = plain("logmel", filters=40)
    power_KT = spectra._power(wave_N, front_end).astype(np.longdouble)
    bank_FK = spectra.filter_bank("mel", 40, 512).astype(np.longdouble)
    exact_FT = (bank_FK[:, :, None] * power_KT).sum(1).astype(np.float32)
    np.testing.assert_array_equal(spectra.features(wave_N, front_end), spectra._log(exact_FT))


AS_BYTES = """
import sys
from deepscan.media.spectra import FrontEnd, features
from tests.sounds import speech
for kind in ("mfcc", "lfcc", "logmel", "spectrogram", "cqt"):
    sys.stdout.buffer.write(features(speech(1.3), FrontEnd(kind=kind)).tobytes())
"""


def test_features_are_the_same_however_many_threads_a_process_may_use():
    """A worker of Ray may use one, the command line all of them."""
    ran = [
        subprocess.run(
            [sys.executable, "-c", AS_BYTES],
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        )
        for threads in ("1", "2")
    ]
    assert len(ran[0].stdout) > 10_000
    assert ran[0].stdout == ran[1].stdout


@pytest.mark.parametrize(("length_ms", "hop_ms", "size"), [(20, 10, 512), (25, 12.5, 512), (32, 8, 512)])
def test_log_spectrogram_agrees_with_torchaudio(length_ms, hop_ms, size, wave_N):
    ours = spectra.features(wave_N, plain("spectrogram", length_ms=length_ms, hop_ms=hop_ms))
    lengths = {"win_length": round(16 * length_ms), "hop_length": round(16 * hop_ms)}
    theirs = torch_of(torchaudio.transforms.Spectrogram(size, **lengths), wave_N)
    np.testing.assert_allclose(ours, np.log(theirs + spectra.FLOOR), atol=2e-3)


def test_deltas_agree_with_torchaudio():
    rows_FT = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)
    theirs_FT = torchaudio.functional.compute_deltas(torch.from_numpy(rows_FT), win_length=5)
    np.testing.assert_allclose(spectra.deltas(rows_FT), theirs_FT.numpy(), atol=1e-6)


@pytest.mark.parametrize(("filters", "fft_size"), [(20, 512), (40, 512), (80, 2048)])
def test_filter_banks_agree_with_torchaudio(filters, fft_size):
    arguments = (fft_size // 2 + 1, 0.0, RATE_HZ / 2, filters, RATE_HZ)
    mel = torchaudio.functional.melscale_fbanks(*arguments).numpy().T
    linear = torchaudio.functional.linear_fbanks(*arguments).numpy().T
    np.testing.assert_allclose(spectra.filter_bank("mel", filters, fft_size), mel, atol=1e-4)
    np.testing.assert_allclose(spectra.filter_bank("linear", filters, fft_size), linear, atol=1e-4)


@pytest.mark.parametrize("number", [0, 13, 40, 70, 83])
def test_constant_q_finds_a_sine_at_its_pitch_and_level(number):
    pitch_hz = spectra.pitches_hz(84)[number]
    rows_FT = spectra.features(sine(pitch_hz, 2.0, level=0.25), plain("cqt", filters=84))
    middle_F = rows_FT[:, rows_FT.shape[1] // 2]
    assert middle_F.argmax() == number
    # The peak of the Fourier transform of a windowed sine: half its amplitude times the window's sum.
    assert middle_F[number] == pytest.approx(2 * np.log(0.25 / 2 * 160), abs=0.1)
    away = np.abs(np.arange(84) - number) > 1
    assert middle_F[away].max() < middle_F[number] - 4


def test_constant_q_pitches_double_every_octave_up_to_nyquist():
    pitches_hz = spectra.pitches_hz(84)
    np.testing.assert_allclose(pitches_hz[12:], 2 * pitches_hz[:-12])
    assert pitches_hz[0] == pytest.approx(62.5)
    assert pitches_hz[-1] * 2 ** (1 / 12) == pytest.approx(8000)


@pytest.mark.parametrize("kind", OVER_TIME)
@pytest.mark.parametrize("frame", [20, 51, 80])
def test_click_is_heard_in_the_frame_that_is_centred_on_it(kind, frame):
    click_N = silence(1.0)
    click_N[160 * frame] = 1
    rows_FT = spectra.features(click_N, plain("logmel" if kind.endswith("fcc") else kind))
    assert rows_FT[-4:].sum(0).argmax() == frame


@pytest.mark.parametrize("kind", OVER_TIME)
@pytest.mark.parametrize("deltas", [False, True])
def test_shape_is_foretold(kind, deltas):
    for samples, hop_ms in itertools.product((1, 159, 160, 7001), (7.5, 10, 100)):
        front_end = FrontEnd(kind=kind, deltas=deltas, hop_ms=hop_ms)
        rows_FT = spectra.features(speech(1)[:samples], front_end)
        assert spectra.shape(front_end, samples) == rows_FT.shape
        assert rows_FT.shape[1] == 1 + samples // round(16 * hop_ms)
        assert rows_FT.dtype == np.float32
        assert rows_FT.flags.c_contiguous
        assert np.isfinite(rows_FT).all()


@pytest.mark.parametrize(
    ("kind", "rows"), [("mfcc", 20), ("lfcc", 20), ("logmel", 40), ("spectrogram", 257), ("cqt", 40)]
)
def test_kinds_have_their_rows(kind, rows):
    assert spectra.shape(plain(kind), 8000) == (rows, 51)
    assert spectra.shape(FrontEnd(kind=kind), 8000) == (3 * rows, 51)


def test_derivatives_follow_the_rows_they_are_of(wave_N):
    plain_FT = spectra.features(wave_N, plain("lfcc"))
    with_deltas_FT = spectra.features(wave_N, FrontEnd(kind="lfcc", normalize=False))
    first_FT = spectra.deltas(plain_FT)
    expected_FT = np.concatenate([plain_FT, first_FT, spectra.deltas(first_FT)])
    assert np.array_equal(with_deltas_FT, expected_FT)


@pytest.mark.parametrize("kind", OVER_TIME)
def test_normalised_rows_have_mean_zero_and_deviation_one(kind, wave_N):
    rows_FT = spectra.features(wave_N, FrontEnd(kind=kind))
    np.testing.assert_allclose(rows_FT.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(rows_FT.std(1), 1, atol=1e-3)


@pytest.mark.parametrize("kind", OVER_TIME)
def test_normalised_silence_is_zero_and_no_noise(kind):
    np.testing.assert_allclose(spectra.features(silence(0.5), FrontEnd(kind=kind)), 0, atol=1e-2)


@pytest.mark.parametrize("kind", OVER_TIME)
@pytest.mark.parametrize("gain_db", [-3, 3])
def test_gain_of_three_decibels_changes_little_of_what_is_normalised(kind, gain_db, wave_N):
    louder_N = wave_N * np.float32(10 ** (gain_db / 20))
    before_FT, after_FT = (spectra.features(each, FrontEnd(kind=kind)) for each in (wave_N, louder_N))
    assert np.sqrt(np.mean((before_FT - after_FT) ** 2)) < 0.15


def test_voice_gives_its_measures_in_one_frame_as_they_are(wave_N):
    front_end = FrontEnd(kind="voice")
    rows_F1 = spectra.features(wave_N, front_end)
    assert spectra.shape(front_end, len(wave_N)) == rows_F1.shape == (len(voice.NAMES), 1)
    measured = voice.measure(wave_N)
    np.testing.assert_allclose(rows_F1[:, 0], [measured[name] for name in voice.NAMES], rtol=1e-6)
    assert rows_F1.dtype == np.float32


def test_wave_has_no_features(wave_N):
    with pytest.raises(ConfigError, match=r"'wave' has no features; take one of .*lfcc"):
        spectra.features(wave_N, FrontEnd(kind="wave"))
    with pytest.raises(ConfigError, match="'wave'"):
        spectra.shape(FrontEnd(kind="wave"), 100)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"filters": 3}, r"'filters'.*\[4, 256\], not 3"),
        ({"coefficients": 0}, r"'coefficients'.*\[1, 256\]"),
        ({"coefficients": 41}, r"'coefficients'.*at most filters \(40\), not 41"),
        ({"length_ms": 4.0}, r"'length_ms'.*\[5, 100\], not 4"),
        ({"hop_ms": 0.5}, r"'hop_ms'.*\[1, 100\]"),
        ({"hop_ms": float("nan")}, "'hop_ms'"),
        ({"kind": "logmel", "filters": 128, "length_ms": 20.0}, "'filters'.*fewer.*longer"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        FrontEnd(**settings)


def test_more_filters_are_heard_in_longer_frames():
    assert spectra.filter_bank("mel", 128, 2048).any(1).all()
    assert FrontEnd(kind="logmel", filters=128, length_ms=100).filters == 128


@pytest.mark.parametrize("kind", OVER_TIME)
def test_sound_is_not_changed(kind, wave_N):
    before_N = wave_N.copy()
    wave_N.setflags(write=False)
    first_FT, again_FT = (spectra.features(wave_N, FrontEnd(kind=kind)) for _ in range(2))
    assert np.array_equal(first_FT, again_FT)
    assert np.array_equal(wave_N, before_N)


def test_four_seconds_take_milliseconds():
    wave_N = speech(4)
    for kind in OVER_TIME:
        front_end = dataclasses.replace(FrontEnd(), kind=kind)
        spectra.features(wave_N, front_end)
        spans_s = []
        for _ in range(5):
            begin_s = time.perf_counter()
            spectra.features(wave_N, front_end)
            spans_s.append(time.perf_counter() - begin_s)
        assert min(spans_s) < 0.05
