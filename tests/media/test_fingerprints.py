import itertools

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from deepscan.datasets.repeats import ALIKE
from deepscan.media.encode import encode_clip
from deepscan.media.fingerprints import (
    FRAMES,
    PICTURE_BITS,
    SOUND_BITS,
    alike,
    fingerprint,
    picture_bits,
    sound_bits,
)
from deepscan.media.source import Media
from tests.material import encoded, sound_file
from tests.sounds import RATE_HZ, silence, wav


def scene(seed, size_px=160):
    """A cloudy picture with structure at every scale, as photographs have."""
    rng = np.random.default_rng(seed)
    layers = [
        scipy.ndimage.zoom(rng.normal(size=(3 * n, 3 * n, 3)), (size_px / (3 * n),) * 2 + (1,), order=1)
        for n in (1, 2, 4)
    ]
    field = sum(layer / 2**depth for depth, layer in enumerate(layers))
    return np.clip(128 + 45 * field, 0, 255).astype(np.uint8)


def murmur(seed, duration_s=3.0):
    """Notes of random pitch and length over faint noise, float32 [N]."""
    rng = np.random.default_rng(seed)
    size = round(duration_s * RATE_HZ)
    pitch_hz = np.repeat(rng.uniform(200, 3000, 60), rng.integers(1000, 4000, 60))[:size]
    tone = np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ)
    return (0.3 * tone + 0.01 * rng.normal(size=size)).astype(np.float32)


def differing(first, second):
    return np.mean(first != second)


def of(data):
    return fingerprint(Media.from_bytes(data, "file"))


def brighter(picture):
    return np.clip(picture * 0.9 + 20, 0, 255).astype(np.uint8)


def smaller(picture):
    return np.asarray(Image.fromarray(picture).resize((90, 90)))


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_in_another_coding_is_alike(seed):
    picture = scene(seed)
    bits = of(encoded(picture))
    assert bits.shape == (PICTURE_BITS,)
    copies = [
        encoded(picture, "JPEG", quality=40),
        encoded(picture, "WEBP", quality=50),
        encoded(smaller(picture)),
        encoded(brighter(picture), "JPEG", quality=80),
    ]
    assert max(differing(bits, of(copy)) for copy in copies) <= ALIKE


def test_unrelated_pictures_differ_in_about_half_of_their_bits():
    bits = [picture_bits(scene(seed)) for seed in range(20)]
    shares = [differing(a, b) for a, b in itertools.combinations(bits, 2)]
    assert min(shares) > 2 * ALIKE
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)


def test_a_flat_picture_has_nothing_to_compare():
    assert picture_bits(np.full((50, 50, 3), 7, np.uint8)) is None


def test_a_clip_has_the_bits_of_three_frames_and_outlives_another_coding():
    frames = [scene(seed) for seed in range(3) for _ in range(5)]
    bits = of(encode_clip(frames, 25))
    assert bits.shape == (FRAMES * PICTURE_BITS,)
    assert differing(bits, of(encode_clip(frames, 25, quality=30))) <= ALIKE
    middle = bits[PICTURE_BITS : 2 * PICTURE_BITS]
    assert differing(middle, picture_bits(scene(1))) <= ALIKE


def test_a_clip_with_a_flat_frame_has_nothing_to_compare():
    assert of(encode_clip([np.zeros((64, 64, 3), np.uint8)] * 9, 25)) is None


@pytest.mark.parametrize("seed", range(3))
def test_sound_outlives_gain_coding_and_silence_at_its_ends(seed):
    wave_N = murmur(seed)
    bits = of(wav(wave_N))
    assert bits.shape == (SOUND_BITS,)
    late = np.concatenate([silence(0.7), wave_N, silence(0.3)])
    copies = [wav(0.2 * wave_N), wav(late), sound_file(wave_N[None], "mp3", "libmp3lame", 16_000, b="32000")]
    assert max(differing(bits, of(copy)) for copy in copies) <= ALIKE


def test_unrelated_sounds_differ():
    bits = [sound_bits(murmur(seed)) for seed in range(20)]
    assert min(differing(a, b) for a, b in itertools.combinations(bits, 2)) > 2 * ALIKE


def test_hardly_any_sound_has_nothing_to_compare():
    assert sound_bits(silence(2.0)) is None
    assert sound_bits(murmur(0, 0.3)) is None
    assert sound_bits(murmur(0, 0.51)).shape == (SOUND_BITS,)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.45])
def test_alike_finds_what_counting_finds(rows, share):
    rng = np.random.default_rng(0)
    bits_NB = rng.random((30, 64)) < 0.5
    bits_NB[11] = bits_NB[3]
    counted = {
        (a, b)
        for a, b in itertools.combinations(range(30), 2)
        if np.count_nonzero(bits_NB[a] ^ bits_NB[b]) <= share * 64
    }
    assert set(alike(bits_NB, share, rows)) == counted
    assert (3, 11) in counted
