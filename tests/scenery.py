"""Pictures like nature's for tests of traces: random, with as much detail at every scale."""

import cv2
import numpy as np

from deepscan.media.source import Media
from tests.material import encoded


def scenery(
    seed: int, height: int = 256, width: int = 256, grain: float = 0.0, fall: float = 1.8
) -> np.ndarray:
    """Return float [H, W, 3] in grey levels whose amplitudes fall as 1 / f^fall, with grain."""
    rng = np.random.default_rng([seed, height, width])
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    radius[0, 0] = 1
    phases = np.fft.fft2(rng.normal(size=(height, width)))
    field = np.fft.ifft2(phases / radius**fall).real
    field = 30 * field / field.std() + 130
    tints = np.array([1.0, 0.9, 0.75])
    return field[..., None] * tints + rng.normal(0, grain, (height, width, 3))


def pixels(values: np.ndarray) -> np.ndarray:
    """Return values as uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def picture(values: np.ndarray, container: str = "PNG", **options: object) -> Media:
    """Return values as a file."""
    return Media.from_bytes(encoded(pixels(values), container, **options), "a." + container.lower())


def disc(height: int = 256, width: int = 256) -> np.ndarray:
    """Return where a disc is, a tenth of the picture, bool [H, W]."""
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - height * 0.45, x - width * 0.55) < 0.18 * min(height, width)


def over(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask on the grid of a map."""
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
