"""What faces are pasted over, and the edges that they are cut out with: pictures without any face."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media import degrade, pixels
from deepscan.media.pixels import Picture

_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?"))
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)

_EDGE_PX = 64
"""Side of the square that edges are made on, before they are stretched."""


def draw_backdrop(rests: Sequence[Picture], size_px: int, rng: np.random.Generator) -> Picture:
    """Draw a square picture without a face: plain, shaded, noisy, a drawing, text, or made of rests.

    Args:
        rests: Parts of pictures without faces, at least one.
        size_px: Its side.
        rng: Source of all randomness.
    """
    kind = rng.choice(["plain", "shaded", "noise", "rest", "mosaic"], p=[0.08, 0.12, 0.1, 0.4, 0.3])
    if kind == "plain":
        picture = plain(size_px, rng)
    elif kind == "shaded":
        picture = shaded(size_px, rng)
    elif kind == "noise":
        picture = noisy(size_px, rng)
    elif kind == "rest":
        picture = pixels.resize(rests[0], size_px, size_px)
        if rng.random() < 0.3:
            picture = degrade.blur(picture, float(rng.uniform(1, 12)))
    else:
        picture = _mosaic(rests, size_px, rng)
    if rng.random() < 0.2:
        picture = drawing(picture, rng)
    if rng.random() < 0.15:
        picture = written(picture, rng)
    return picture


def plain(size_px: int, rng: np.random.Generator) -> Picture:
    """Return one colour."""
    return np.broadcast_to(_colour(rng), (size_px, size_px, 3)).copy()


def shaded(size_px: int, rng: np.random.Generator) -> Picture:
    """Return two colours that turn into each other, along a line or from a point outwards."""
    y_HW, x_HW = np.mgrid[0 : 1 : size_px * 1j, 0 : 1 : size_px * 1j]
    if rng.random() < 0.5:
        along = rng.normal(size=2)
        way_HW = along[0] * x_HW + along[1] * y_HW
    else:
        way_HW = np.hypot(x_HW - rng.random(), y_HW - rng.random())
    way_HW = (way_HW - way_HW.min()) / max(1e-6, float(np.ptp(way_HW)))
    one, other = _colour(rng).astype(float), _colour(rng).astype(float)
    return np.asarray(np.rint(one + (other - one) * way_HW[..., None]), np.uint8)


def noisy(size_px: int, rng: np.random.Generator) -> Picture:
    """Return noise whose grains are one pixel to an eighth of the picture."""
    grains = max(4, int(size_px / np.exp(rng.uniform(0, np.log(size_px / 8)))))
    channels = 3 if rng.random() < 0.6 else 1
    spread = float(rng.uniform(10, 110))
    grain = rng.normal(128, spread, (grains, grains, channels)).clip(0, 255).astype(np.uint8)
    return pixels.resize(np.repeat(grain, 3 // channels, axis=2), size_px, size_px)


def drawing(picture_HWC: Picture, rng: np.random.Generator) -> Picture:
    """Draw lines, boxes and discs over a picture."""
    drawn, side = picture_HWC.copy(), picture_HWC.shape[0]
    for _ in range(int(rng.integers(2, 20))):
        (x0, y0, x1, y1), colour = rng.integers(0, side, 4).tolist(), _colour(rng).tolist()
        thick = int(rng.choice([-1, 1, 2, 4]))
        kind = rng.integers(3)
        if kind == 0:
            cv2.line(drawn, (x0, y0), (x1, y1), colour, abs(thick), cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(drawn, (x0, y0), (x0 + x1 // 3, y0 + y1 // 3), colour, thick)
        else:
            cv2.ellipse(drawn, (x0, y0), (2 + x1 // 6, 2 + y1 // 6), x1, 0, 360, colour, thick, cv2.LINE_AA)
    return drawn


def written(picture_HWC: Picture, rng: np.random.Generator) -> Picture:
    """Write lines of random letters over a picture."""
    drawn, side = picture_HWC.copy(), picture_HWC.shape[0]
    scale, colour = float(rng.uniform(0.3, 1.2)), _colour(rng).tolist()
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    for y in range(int(rng.integers(8, 40)), side, max(8, int(30 * scale))):
        text = "".join(rng.choice(_LETTERS, int(rng.integers(3, 40))))
        cv2.putText(drawn, text, (int(rng.integers(0, 20)), y), font, scale, colour, 1, cv2.LINE_AA)
    return drawn


def edge(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how opaque a piece is, float32 [H, W] in [0, 1]: a box or a disc, hard or soft."""
    height, width = shape[:2]
    side = _EDGE_PX
    opaque_HW = np.ones((side, side), np.float32)
    if rng.random() < 0.4:
        opaque_HW[:] = 0
        cv2.circle(opaque_HW, (side // 2, side // 2), side // 2, 1.0, -1)
    if rng.random() < 0.6:
        sigma_px = float(rng.uniform(0.01, 0.08)) * side
        framed = cv2.copyMakeBorder(opaque_HW, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        soft = cv2.GaussianBlur(framed, (0, 0), sigma_px, borderType=cv2.BORDER_CONSTANT)
        opaque_HW = np.clip(2 * soft[1:-1, 1:-1] - 1, 0, 1)
    return np.asarray(cv2.resize(opaque_HW, (width, height)), np.float32)


def _mosaic(rests: Sequence[Picture], size_px: int, rng: np.random.Generator) -> Picture:
    """Lay rests side by side in blocks of one size, mirrored at random."""
    picture = np.zeros((size_px, size_px, 3), np.uint8)
    blocks = int(rng.integers(1, 6))
    side = -(-size_px // blocks)
    for top in range(0, size_px, side):
        for left in range(0, size_px, side):
            rest = rests[int(rng.integers(len(rests)))]
            piece = pixels.resize(rest, side, side)[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
            picture[top : top + side, left : left + side] = piece[: size_px - top, : size_px - left]
    return picture


def _colour(rng: np.random.Generator) -> Picture:
    if rng.random() < 0.3:  # of skin, from pale to dark
        skin = np.array([225, 180, 150]) * rng.uniform(0.25, 1.1) * rng.uniform(0.93, 1.07, 3)
        return np.clip(skin, 0, 255).astype(np.uint8)
    return rng.integers(0, 256, 3, dtype=np.uint8)
