"""Prepared files of small pictures and of sound, alike or not, made in a millisecond."""

import numpy as np

SIDE = 32


def scene(seed, side=SIDE):
    """Return a picture whose power falls with frequency, as in nature: uint8 [side, side, 3]."""
    rng = np.random.default_rng([7, seed])
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]) + 1 / side
    plane = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, side, side))) / radius**1.3).real.transpose(1, 2, 0)
    plane = plane @ (np.full((3, 3), 0.25) + 0.25 * np.eye(3))
    plane = plane / plane.std() * rng.uniform(30, 50) + rng.uniform(100, 150)
    return np.clip(plane + rng.normal(0, 2, plane.shape), 0, 255).astype(np.uint8)


def noise(seed, side=SIDE):
    return np.random.default_rng([8, seed]).integers(0, 256, (side, side, 3)).astype(np.uint8)


def drawing(seed, side=SIDE):
    """Return a rectangle on a plain ground."""
    rng = np.random.default_rng([9, seed])
    picture = np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
    picture[side // 4 : side // 2, side // 4 :] = rng.integers(0, 256, 3)
    return picture


def examples(*pictures):
    return [{"pixels": picture, "box": np.zeros(4, np.float32)} for picture in pictures]


def speech(seed, samples=16_000):
    """Return something like syllables: a gliding buzz that comes and goes, over faint noise, int16."""
    rng = np.random.default_rng([10, seed])
    t = np.arange(samples) / 16_000
    pitch_hz = rng.uniform(90, 220) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(1, 3) * t))
    phase = np.cumsum(pitch_hz) / 16_000 * 2 * np.pi
    buzz = sum(np.sin(n * phase) / n for n in range(1, 20))
    gate = np.clip(np.sin(2 * np.pi * rng.uniform(3, 5) * t + rng.uniform(0, 6)), 0, 1)
    hiss = rng.normal(0, 0.3, samples) * np.clip(np.sin(2 * np.pi * rng.uniform(2, 4) * t), 0, 1) ** 4
    wave = buzz * gate + hiss + rng.normal(0, 0.003, samples)
    return np.rint(wave / wave.std() * 1600).clip(-32767, 32767).astype(np.int16)


def tone(seed, samples=16_000):
    hz = np.random.default_rng([11, seed]).uniform(200, 3000)
    return np.rint(3000 * np.sin(2 * np.pi * hz * np.arange(samples) / 16_000)).astype(np.int16)


def sounds(*waves):
    return [{"wave": wave} for wave in waves]
