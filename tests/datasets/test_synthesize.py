import collections
import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from deepscan.datasets import camera, synthesize
from deepscan.datasets.camera import draw_camera, draw_scene, shoot
from deepscan.datasets.layout import scan
from deepscan.datasets.split import assign
from deepscan.datasets.synthesize import KINDS, make_pair
from deepscan.errors import ConfigError, DataError

SIZE_PX = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    synthesize.synthesize(folder, 24, SIZE_PX, seed=5)
    return folder


def ideal_camera(size_px=SIZE_PX, **changes):
    perfect = {
        "psf_sigma_px": 0.01,
        "aberration": 0.0,
        "vignetting": 0.0,
        "photon_noise": 0.0,
        "read_noise": 0.0,
        "gain_rgb": (0.5, 1.0, 0.75),
        "smooth_hue": False,
        "prnu_HW": np.ones((size_px, size_px), np.float32),
    }
    return camera.Camera(**perfect | changes)


def flat(level, size_px=SIZE_PX):
    return np.full((size_px, size_px, 3), level, np.float32)


def linear(picture):
    return (picture / 255.0) ** camera.GAMMA


def residual(picture):
    grey = picture.astype(np.float32).mean(-1)
    return grey - ndimage.median_filter(grey, 3)


# --- camera --------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth_hue", [False, True])
def test_an_ideal_camera_reproduces_a_ramp_of_colours(smooth_hue):
    ramp = np.linspace(0.2, 0.8, SIZE_PX, dtype=np.float32)
    scene = flat(0.3)
    scene[..., 0], scene[..., 1] = ramp, ramp[:, None]
    picture = shoot(scene, ideal_camera(smooth_hue=smooth_hue), np.random.default_rng(0))
    assert picture.dtype == np.uint8
    expected = 255 * scene ** (1 / camera.GAMMA)
    np.testing.assert_allclose(picture[2:-2, 2:-2], expected[2:-2, 2:-2], atol=0.51)


def test_the_mosaic_interpolates_two_colours_of_three():
    checker = flat(0.2)
    checker[0::2, 0::2] = checker[1::2, 1::2] = 0.8
    picture = linear(shoot(checker, ideal_camera(), np.random.default_rng(0)))
    np.testing.assert_allclose(picture[8:-8, 8:-8], np.broadcast_to((0.8, 0.2, 0.8), (48, 48, 3)), atol=0.01)


def test_noise_has_the_variance_of_photons_and_reading():
    device = ideal_camera(256, photon_noise=6e-4, read_noise=4e-3, gain_rgb=(1.0, 1.0, 1.0))
    for level in (0.15, 0.6):
        reds = linear(shoot(flat(level, 256), device, np.random.default_rng(1)))[0::2, 0::2, 0]
        assert reds.mean() == pytest.approx(level, rel=0.01)
        assert reds.var() == pytest.approx(6e-4 * level + 4e-3**2, rel=0.06)


def test_corners_lose_the_light_of_vignetting():
    picture = linear(shoot(flat(0.5), ideal_camera(vignetting=0.3), np.random.default_rng(0)))
    assert picture[-1, -1] == pytest.approx(0.35 * np.ones(3), abs=0.01)
    assert picture[32, 32] == pytest.approx(0.5 * np.ones(3), abs=0.01)


def test_the_sensor_pattern_identifies_the_camera():
    rng = np.random.default_rng(2)
    ours, other = draw_camera(SIZE_PX, rng), draw_camera(SIZE_PX, rng)
    mean = np.mean([residual(shoot(flat(0.5), ours, rng)) for _ in range(20)], axis=0)
    match, mismatch = (
        abs(np.corrcoef(mean.ravel(), sensor.prnu_HW.ravel())[0, 1]) for sensor in (ours, other)
    )
    assert match > 0.3 > 0.1 > mismatch


def test_aberration_moves_red_and_blue_apart_and_leaves_green():
    scene = draw_scene(SIZE_PX, np.random.default_rng(3))
    plain, fringed = (shoot(scene, ideal_camera(aberration=a), np.random.default_rng(0)) for a in (0.0, 0.02))
    changed = np.abs(plain.astype(int) - fringed).mean((0, 1))
    assert changed[1] == 0
    assert changed[[0, 2]].min() > 0.5


def test_scenes_are_bounded_varied_and_smoother_than_noise():
    first, second = (draw_scene(SIZE_PX, np.random.default_rng(seed)) for seed in (0, 1))
    assert first.dtype == np.float32
    assert first.shape == (SIZE_PX, SIZE_PX, 3)
    assert 0 < first.min() < first.max() <= 1
    assert np.abs(first - second).mean() > 0.05
    power = np.abs(np.fft.fft2(first.mean(-1) - first.mean())) ** 2
    assert power[1:4, 1:4].mean() > 100 * power[28:36, 28:36].mean()


# --- forgeries -----------------------------------------------------------------------------------


def pairs(kind, count, size_px=SIZE_PX):
    rng = np.random.default_rng(7)
    cameras = [draw_camera(size_px, rng) for _ in range(3)]
    return [make_pair(kind, cameras, rng) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgery_equals_its_photograph_outside_the_mask_only(kind):
    for pair in pairs(kind, 6):
        outside, inside = pair.mask_HW == 0, pair.mask_HW == 255
        np.testing.assert_array_equal(pair.fake_HWC[outside], pair.real_HWC[outside])
        assert np.abs(pair.fake_HWC[inside].astype(int) - pair.real_HWC[inside]).mean() > 1
        assert {array.dtype for array in (pair.real_HWC, pair.fake_HWC, pair.mask_HW)} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_cover_a_share_of_the_picture_with_a_soft_edge(kind):
    shares = [pair.mask_HW.mean() / 255 for pair in pairs(kind, 12)]
    partial = [share for share in shares if share < 1]
    assert (len(partial) < len(shares)) == (kind == "generated")
    assert all(0.15 < share < 0.65 for share in partial)
    assert any(((pair.mask_HW > 0) & (pair.mask_HW < 255)).mean() > 0.02 for pair in pairs(kind, 12))


@pytest.mark.parametrize(("kind", "most"), [("spliced", 0.95), ("warped", 0.9), ("resampled", 0.8)])
def test_the_noise_inside_the_mask_betrays_the_forgery(kind, most):
    ratios = []
    for pair in pairs(kind, 12, 96):
        inside = pair.mask_HW == 255
        ratios.append(residual(pair.fake_HWC)[inside].std() / residual(pair.real_HWC)[inside].std())
    assert np.median(ratios) < most


def test_up_sampling_leaves_peaks_at_half_the_sampling_rate():
    def peak(picture):
        power = np.abs(np.fft.fft2(residual(picture))) ** 2
        half = len(power) // 2
        return power[0, half] / np.median(power[1:4, half - 3 : half + 4])

    whole = [pair for pair in pairs("generated", 24, 96) if pair.mask_HW.min() == 255]
    fake, real = ([peak(getattr(pair, name)) for pair in whole] for name in ("fake_HWC", "real_HWC"))
    # Zero insertion leaves the peak; the other half repeats pixels and leaves a gap instead.
    assert np.quantile(fake, 0.75) > 100 * np.quantile(real, 0.75)


# --- the set -------------------------------------------------------------------------------------


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_manifest_scans_and_splits(folder):
    table = assign(scan(folder))
    assert collections.Counter(table["generator"].to_pylist()) == {"": 12, **dict.fromkeys(KINDS, 3)}
    assert table["label"].to_pylist() == [int(bool(name)) for name in table["generator"].to_pylist()]
    by_source = collections.Counter(table["source"].to_pylist())
    assert len(by_source) == 12
    assert set(by_source.values()) == {2}


def test_the_container_gives_nothing_away(folder):
    facts = {0: collections.Counter(), 1: collections.Counter()}
    for row in scan(folder).to_pylist():
        with Image.open(row["path"]) as picture:
            tables = tuple(tuple(table) for table in picture.quantization.values())
            facts[row["label"]][picture.format, picture.mode, picture.size, tables, tuple(picture.info)] += 1
            assert not picture.getexif()
    assert facts[0] == facts[1]
    assert len(facts[0]) > 5


def test_masks_lie_beside_the_fakes_and_only_there(folder):
    for row in scan(folder).to_pylist():
        assert bool(row["mask"]) == row["label"]
        if row["mask"]:
            with Image.open(folder / row["mask"]) as mask:
                assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (SIZE_PX, SIZE_PX))


def test_the_same_seed_gives_the_same_bytes_and_a_larger_set_begins_alike(folder, tmp_path):
    for name, seed in (("same", 5), ("other", 6)):
        synthesize.synthesize(tmp_path / name, 8, SIZE_PX, seed)
    same, other, full = contents(tmp_path / "same"), contents(tmp_path / "other"), contents(folder)
    pictures = [name for name in same if name.endswith(("jpg", "png"))]
    assert len(pictures) == 12
    assert all(same[name] == full[name] != other[name] for name in pictures)


def test_a_complete_set_is_left_alone_and_a_broken_one_mended(tmp_path):
    calls = []
    for _ in range(2):
        manifest = synthesize.synthesize(tmp_path, 4, SIZE_PX, 0, lambda *done: calls.append(done))
        assert manifest == tmp_path / "manifest.csv"
        assert calls == [(2, 4), (4, 4)]
    before = contents(tmp_path)
    for name in ("manifest.csv", "real/00001.jpg", "masks/00000.png"):
        (tmp_path / name).unlink()
        synthesize.synthesize(tmp_path, 4, SIZE_PX, 0)
        assert contents(tmp_path) == before


def test_a_folder_made_with_other_settings_is_refused(folder):
    with pytest.raises(DataError, match=r'"seed": 5.*"seed": 9.*another folder'):
        synthesize.synthesize(folder, 24, SIZE_PX, 9)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("draft")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(DataError, match="no empty folder"):
            synthesize.synthesize(path, 2, SIZE_PX)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("count", "size_px", "seed"), [(0, 64, 0), (5, 64, 0), (4, 48, 0), (4, 100, 0), (4, 64, -1)]
)
def test_impossible_sets_are_refused_before_anything_is_written(tmp_path, count, size_px, seed):
    with pytest.raises(ConfigError, match="count must be even"):
        synthesize.synthesize(tmp_path / "new", count, size_px, seed)
    assert not (tmp_path / "new").exists()


def test_cameras_differ_in_every_property():
    rng = np.random.default_rng(0)
    drawn = [dataclasses.asdict(draw_camera(SIZE_PX, rng)) for _ in range(8)]
    for name in drawn[0]:
        assert len({np.asarray(values[name]).tobytes() for values in drawn}) > 1
