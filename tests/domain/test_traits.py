"""Statistics of prepared files."""

import math

import numpy as np
import pytest

from deepscan.domain import pictures, sounds, traits
from deepscan.modalities.catalog import load_builtin
from tests.domain.files import drawing, noise, scene, speech, tone


def plain(value, side=32):
    return np.full((side, side, 3), value, np.uint8)


def test_tone_and_colour_are_what_they_are_by_hand():
    picture = plain((200, 100, 50))
    told = pictures.describe(picture)
    assert told["brightness"] == pytest.approx((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, abs=1e-6)
    assert told["contrast"] == pytest.approx(0, abs=1e-6)
    assert told["saturation"] == pytest.approx(150 / 201, abs=1e-6)
    assert told["red"] == pytest.approx(100 / 255, abs=1e-6)
    assert told["yellow"] == pytest.approx(150 / 255 - 50 / 255, abs=1e-6)
    assert (told["entropy_bits"], told["flat_blocks"], told["edges"]) == (0, 1, 0)


@pytest.mark.parametrize(("value", "dark", "bright"), [(0, 1, 0), (255, 0, 1), (128, 0, 0)])
def test_dark_and_bright_shares(value, dark, bright):
    told = pictures.describe(plain(value))
    assert (told["dark"], told["bright"]) == (dark, bright)


def test_noise_has_equal_power_in_every_octave_and_nature_has_more_in_lower_ones():
    white, natural = (pictures.describe(make(0, 128)) for make in (noise, scene))
    for number in (2, 3, 4):
        assert abs(white[f"octave_{number}_more"]) < 0.1
        assert 0.2 < natural[f"octave_{number}_more"] < 1.2
    assert white["octave_1"] > natural["octave_1"]


def test_drawings_have_flat_blocks_and_edges_along_the_axes():
    drawn, natural = pictures.describe(drawing(0, 64)), pictures.describe(scene(0, 64))
    assert drawn["flat_blocks"] > 0.5 > natural["flat_blocks"]
    assert drawn["along_axes"] > 0.9 > natural["along_axes"] + 0.3
    assert drawn["sparseness"] > natural["sparseness"] + 1


def test_layout_tells_what_is_where():
    centre, top = plain(50, 64), plain(50, 64)
    centre[16:48, 16:48] = (250, 90, 90)
    top[:32] = 200
    told = pictures.describe(centre)
    assert told["centre_brighter"] > 0.2
    assert told["centre_redder"] > 0.3
    assert told["symmetry"] == pytest.approx(1, abs=0.01)
    assert pictures.describe(top)["top_brighter"] == pytest.approx(150 / 255, abs=0.01)
    half = plain(50, 64)
    half[:, 32:] = 200
    assert pictures.describe(half)["symmetry"] < -0.9


def test_grey_pictures_have_all_but_colour():
    grey, colour = pictures.describe(scene(0)[..., 0]), pictures.describe(scene(0))
    about = ("saturation", "red", "yellow", "colour", "centre_redder")
    assert set(colour) - set(grey) == {name for name in colour if name.startswith(about)}
    assert len(grey) + 8 == len(colour)
    assert pictures.describe(scene(0)[..., :1]) == grey


def wave(values):
    return values.astype(np.float32) / 32767


def test_speech_a_tone_and_noise_differ_where_the_ear_says():
    rng = np.random.default_rng(0)
    said, held = sounds.describe(wave(speech(0, 64_000))), sounds.describe(wave(tone(0, 64_000)))
    hiss = sounds.describe(wave(rng.normal(0, 1600, 64_000)))
    assert said["pauses"] > 0.1 > max(held["pauses"], hiss["pauses"])
    assert said["level_spread_db"] > 5 > max(held["level_spread_db"], hiss["level_spread_db"])
    assert hiss["flatness"] > -1 > max(said["flatness"], held["flatness"])
    assert min(said["periodic"], held["periodic"]) > 0.5 > hiss["periodic"]
    assert said["syllables"] > 0.3
    assert held["period_moves"] < said["period_moves"] < hiss["period_moves"]


def test_bands_tell_the_level_by_frequency():
    low, high = (
        sounds.describe(0.1 * np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32))
        for hz in (120, 7000)
    )
    assert low["band_1"] > low["band_8"] + 3
    assert high["band_8"] > high["band_1"] + 3
    assert high["crossings"] == pytest.approx(2 * 7000 / 16_000, abs=0.01)


def test_statistics_of_sound_are_finite_for_silence():
    assert all(map(math.isfinite, sounds.describe(np.zeros(8000, np.float32)).values()))
    assert all(map(math.isfinite, pictures.describe(plain(0)).values()))


def told_by(**columns):
    return traits.of_example(columns, tuple(columns))


def test_arrays_are_told_by_rank_and_type():
    colour = told_by(pixels=scene(0))
    assert colour == {f"pixels.{name}": value for name, value in pictures.describe(scene(0)).items()}
    assert set(told_by(wave=speech(0))) == {f"wave.{name}" for name in sounds.describe(wave(speech(0)))}
    assert told_by(wave=speech(0)) == told_by(wave=wave(speech(0)))
    grid = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    assert told_by(features=grid)["features.mean"] == pytest.approx(float(grid.mean()), abs=1e-6)
    assert told_by(tiny=np.zeros((4, 4), np.uint8), box=np.zeros((2, 3), np.float32)) == {}


def test_a_run_of_pictures_tells_the_median_of_those_that_are_no_padding():
    odd = [scene(0), scene(0), noise(0)]
    padding = [np.zeros_like(odd[0])] * 3
    found = told_by(frames=np.stack(odd + padding))
    assert found == {f"frames.{name}": value for name, value in pictures.describe(scene(0)).items()}
    grey = np.stack([each[..., 0] for each in odd])
    assert set(told_by(mouth=grey)) == {f"mouth.{name}" for name in pictures.describe(grey[0])}
    assert told_by(frames=np.stack(padding)) == told_by(frames=np.stack(padding[:1]))


def test_only_some_pictures_of_a_long_run_are_looked_at(monkeypatch):
    asked = []
    real = pictures.describe
    monkeypatch.setattr(pictures, "describe", lambda picture: asked.append(picture) or real(picture))
    told_by(frames=np.stack([scene(number) for number in range(20)]))
    assert len(asked) == traits.MOST_PICTURES
    assert (asked[0] == scene(0)).all()
    assert (asked[-1] == scene(19)).all()


def test_measurements_stand_for_themselves_unless_they_are_unknown():
    found = told_by(measures=np.array([1.5, 2.5, np.inf], np.float32), known=np.array([1, 0, 1], np.uint8))
    assert found["measures.0"] == 1.5
    assert math.isnan(found["measures.1"])
    assert math.isnan(found["measures.2"])
    assert told_by(measures=np.array([1.5, 2.5], np.float32)) == {"measures.0": 1.5, "measures.1": 2.5}


def test_features_tell_moments_over_time_and_rows():
    ramp = np.tile(np.arange(40, dtype=np.float32)[:, None], (1, 50))
    found = told_by(features=ramp)
    assert found["features.level_spread"] == pytest.approx(0, abs=1e-6)
    assert found["features.profile_spread"] == pytest.approx(1, abs=1e-4)
    assert found["features.quarter_1"] < found["features.quarter_4"]
    assert found["features.steps_time"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("modality", ["image", "video", "audio", "av", "forensic"])
def test_every_modality_has_statistics(modality):
    prep = load_builtin().get(modality).prep()
    columns = {name: np.ones(column.shape, column.dtype) for name, column in prep.columns.items()}
    found = traits.of_example(columns, prep.needs)
    assert len(found) >= 20
    assert not [name for name, value in found.items() if math.isinf(value)]
