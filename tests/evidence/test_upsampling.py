"""Whether doubled pictures have an echo and others none, and whether the spectrum is what it should be."""

import numpy as np
import pytest

from benchmarks.upsampling_traces import KINDS, doubled
from deepscan.errors import NoPictureError
from deepscan.evidence import upsampling
from deepscan.media.residuals import high_pass
from deepscan.media.source import Media
from tests.material import shared
from tests.scenery import picture, pixels, scenery

HALVES = [pixels(scenery(seed, 128, 128, grain=2.0, fall=1.2)) for seed in range(4)]
WHOLE = [pixels(scenery(seed, grain=2.0, fall=1.2)) for seed in range(4)]


def measured(values, container="PNG", **options):
    return upsampling.testify(picture(values, container, **options)).measurements


@pytest.mark.parametrize("kind", KINDS)
def test_doubled_pictures_have_an_echo_along_rows_and_columns(kind):
    for number, half in enumerate(HALVES):
        evidence = upsampling.testify(picture(doubled(half, kind, np.random.default_rng(number))))
        assert min(evidence.measurements["echo_rows"], evidence.measurements["echo_columns"]) > 0.3
        assert evidence.finding == "unusual"
        assert "holds its detail twice" in evidence.summary


def test_others_have_none():
    for whole in WHOLE:
        evidence = upsampling.testify(picture(whole))
        assert max(evidence.measurements[f"echo_{axis}"] for axis in upsampling.AXES) < 0.2
        assert evidence.finding == "ordinary"


def test_the_direction_of_an_echo_is_told():
    wide = measured(HALVES[0].repeat(2, 1)[:, :128].repeat(1, 0))
    assert wide["echo_columns"] > 0.9 > 0.3 > wide["echo_rows"]
    tall = measured(HALVES[0].repeat(2, 0)[:128])
    assert tall["echo_rows"] > 0.9 > 0.3 > tall["echo_columns"]


@pytest.mark.parametrize("kind", KINDS)
def test_after_jpeg_the_echo_is_weaker_and_still_above_that_of_others(kind):
    options = {"container": "JPEG", "quality": 75}
    for number, (half, whole) in enumerate(zip(HALVES, WHOLE, strict=True)):
        other = measured(whole, **options)
        twice = measured(doubled(half, kind, np.random.default_rng(number)), **options)
        assert twice["echo_rows"] + twice["echo_columns"] > other["echo_rows"] + other["echo_columns"]


def test_the_spectrum_tells_which_frequencies_there_are():
    y, x = np.mgrid[:256, :256]
    for cycles in (0.1, 0.25, 0.45):
        values = 128 + 50 * np.cos(2 * np.pi * cycles * x)
        evidence = upsampling.testify(picture(np.repeat(values[..., None], 3, 2)))
        spectrum = evidence.curves[0]
        highest = spectrum.x[int(np.argmax(spectrum.y))]
        assert highest == pytest.approx(cycles, abs=upsampling.REACH / upsampling.BANDS)
    assert y.shape == x.shape


def test_white_noise_has_a_flat_spectrum():
    noise = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    spectra = upsampling.spectra(noise)
    bands_db = upsampling.azimuthal((spectra.real**2 + spectra.imag**2).mean(0))
    assert np.abs(bands_db[2:]).max() < 1


def test_alternation_is_told_by_direction():
    noise = np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32)
    noise[::2] *= 3
    rows, columns, both = upsampling.periodicity(noise)
    assert rows == pytest.approx(20 * np.log10(0.5), abs=0.3)
    assert max(columns, both) < -30


def test_windows_lie_on_the_grid_and_are_few():
    residual = high_pass(scenery(0, 600, 1100)[..., 1].astype(np.float32))
    assert upsampling.spectra(residual).shape == (8, 256, 256)
    assert len(upsampling.spectra(np.zeros((2000, 3000), np.float32))) <= upsampling.MOST_WINDOWS
    assert upsampling._starts(301, 128) == [0, 168]


def test_small_pictures_cannot_be_measured():
    with pytest.raises(NoPictureError):
        upsampling.testify(picture(scenery(0, 63, 80)))


@pytest.mark.media
def test_genuine_pictures_have_no_echo():
    files = sorted((shared("media") / "image/real").rglob("*.jpg"))[::30]
    assert len(files) >= 20
    assert {upsampling.testify(Media.from_path(file)).finding for file in files} == {"ordinary"}
