"""Pseudo-fakes of faces: a face blended into itself.

Most swaps paste an altered face over another and leave the same traces: features that sit a little off,
colours and sharpness that change, and an edge where the two pictures were blended. All of them can be made
from one real face (Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022), so a
network learns them without having seen a generator. Lengths in pixels are meant for faces in pictures of
256 px and follow the size of others.
"""

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media import degrade, pixels
from deepscan.media.faces import Face
from deepscan.media.pixels import Picture

Mask = NDArray[np.float32]
"""float32 [H, W] in [0, 1]."""

Points = NDArray[np.float32]
"""float32 [K, 2], x and y in pixels."""

USUAL_POINTS = np.array([[0.31, 0.4], [0.69, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)
"""Eyes, nose and corners of the mouth as shares of a level face's box, where no one has looked for them."""

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""Shares of the altered face in a blend, each as likely."""

_REFERENCE_PX = 256
_COLOR_LEVELS = 20
_ELASTIC_PX, _ELASTIC_SIGMA_PX = 50.0, 7.0
_COARSE = 4
"""The elastic field is drawn at this part of the resolution; it is smooth."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Blend:
    """A pair from one picture.

    Attributes:
        real: What the face was blended into, uint8 [H, W, 3]; the same picture, recoloured in half of the
            pairs, so that it is not the recoloured one that is the fake.
        fake: The blend, uint8 [H, W, 3].
        alpha_HW: Share of the altered face in every pixel of ``fake``; outside of the face 0.
    """

    real: Picture
    fake: Picture
    alpha_HW: Mask


def self_blend(picture: Picture, face: Face, rng: np.random.Generator) -> Blend:
    """Blend a face into itself.

    Two copies of the picture are made and one of them changed in colour and sharpness; the *source* is
    moved and resized a little, and blended over the *target*, which is the real one of the pair.

    Args:
        picture: RGB uint8 [H, W, 3] with one genuine face.
        face: Where it is; without all five landmarks they are taken to be where they usually are.
        rng: Draws everything.
    """
    source, target = picture, picture.copy()
    if rng.random() < 0.5:
        source = perturb(picture, rng)
    else:
        target = perturb(picture, rng)
    mask_HW = outline(picture.shape[:2], face, rng)
    source, mask_HW = _misfit(source, mask_HW, face, rng)
    alpha_HW = soften(deform(mask_HW, rng), rng) * np.float32(rng.choice(RATIOS))
    fake = np.asarray(cv2.blendLinear(source, target, alpha_HW, 1 - alpha_HW), np.uint8)
    return Blend(real=target, fake=fake, alpha_HW=alpha_HW)


def perturb(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change the colours (each channel by up to 20 levels, hue, saturation, contrast) and the sharpness."""
    shift = rng.integers(-_COLOR_LEVELS, _COLOR_LEVELS + 1, 3)
    table = np.clip(np.arange(256)[None, :, None] + shift, 0, 255).astype(np.uint8)
    shifted = np.asarray(cv2.LUT(picture, table), np.uint8)
    colored = degrade.adjust_color(
        shifted,
        brightness=rng.uniform(-0.1, 0.1),
        contrast=rng.uniform(0.9, 1.1),
        saturation=rng.uniform(0.85, 1.15),
        hue_deg=rng.uniform(-8, 8),
    )
    if rng.random() < 0.5:
        return pixels.sharpen(colored, rng.uniform(0.2, 1.0))
    return degrade.rescale(colored, float(rng.choice([0.5, 0.25])))


def outline(size_px: tuple[int, ...], face: Face, rng: np.random.Generator) -> Mask:
    """Draw the part of a face that is replaced, 0 or 1: all, the middle, the upper or the lower half.

    Args:
        size_px: Height and width of the picture.
        face: The face.
        rng: Draws the part.
    """
    points = _points(face)
    part = rng.choice(4, p=[0.55, 0.15, 0.15, 0.15])
    if part == 0:
        contour = _ellipse(face)
    elif part == 1:
        contour = _widened(points, rng.uniform(1.3, 1.8))
    else:
        # The line between above and below runs through the nose; faces in crops are level.
        nose_px = points[2, 1]
        ellipse = _ellipse(face)
        above = ellipse[:, 1] <= nose_px
        contour = ellipse[above if part == 2 else ~above]
    mask_HW = np.zeros(size_px, np.uint8)
    hull = cv2.convexHull(np.rint(contour).astype(np.int32))
    return np.asarray(cv2.fillConvexPoly(mask_HW, hull, (1,)), np.float32)


def deform(mask_HW: Mask, rng: np.random.Generator) -> Mask:
    """Bend a mask by a smooth random field (elastic deformation; Simard et al., ICDAR 2003)."""
    height, width = mask_HW.shape
    scale = max(height, width) / _REFERENCE_PX
    # A kernel that is half as wide leaves twice the deviation of white noise, hence the square.
    strength_px = _ELASTIC_PX * scale**2 / _COARSE
    noise = rng.random((-(-height // _COARSE), -(-width // _COARSE), 2), dtype=np.float32) * 2 - 1
    smooth = cv2.GaussianBlur(noise, (0, 0), _ELASTIC_SIGMA_PX * max(scale, 0.1) / _COARSE)
    field_HW2 = cv2.resize(smooth * np.float32(strength_px), (width, height))
    rows, columns = np.indices((height, width), dtype=np.float32)
    x_HW, y_HW = columns + field_HW2[..., 0], rows + field_HW2[..., 1]
    return np.asarray(cv2.remap(mask_HW, x_HW, y_HW, cv2.INTER_LINEAR), np.float32)


def soften(mask_HW: Mask, rng: np.random.Generator) -> Mask:
    """Blur a mask twice, keeping what is wholly inside after the first time: it shrinks or grows by that."""
    once = _blurred(mask_HW, rng)
    inside = np.asarray(once > once.max() - 1e-3, np.float32)
    twice = _blurred(inside if once.max() > 0 else once, rng)
    return np.asarray(np.clip(twice / max(twice.max(), 1e-6), 0, 1), np.float32)


def _blurred(mask_HW: Mask, rng: np.random.Generator) -> Mask:
    """Blur by a kernel of 5 to 25 px, at the scale of the picture."""
    kernel_px = rng.uniform(5, 25) * max(mask_HW.shape) / _REFERENCE_PX
    side = 2 * int(kernel_px / 2) + 1
    return np.asarray(cv2.GaussianBlur(mask_HW, (side, side), 0), np.float32)


def _misfit(source: Picture, mask_HW: Mask, face: Face, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """Move by up to 3 % of the face sideways and 1.5 % up or down, and resize by up to 5 %."""
    height, width = mask_HW.shape
    left, top, right, bottom = face.box_px
    change = cv2.getRotationMatrix2D(((left + right) / 2, (top + bottom) / 2), 0, rng.uniform(0.95, 1.05))
    reach_px = np.array([0.03 * face.width_px, 0.015 * face.height_px])
    change[:, 2] = change[:, 2] + rng.uniform(-1, 1, 2) * reach_px
    moved = cv2.warpAffine(source, change, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved_mask_HW = cv2.warpAffine(mask_HW, change, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(moved, np.uint8), np.asarray(moved_mask_HW, np.float32)


def _points(face: Face) -> Points:
    found = face.landmarks_px
    if found is not None and len(found) == len(USUAL_POINTS):
        return found
    corner = np.array(face.box_px[:2], np.float32)
    return corner + USUAL_POINTS * np.array([face.width_px, face.height_px], np.float32)


def _ellipse(face: Face, corners: int = 48) -> Points:
    """The ellipse in the box of the face, as a polygon."""
    left, top, right, bottom = face.box_px
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    x, y = (
        (left + right + face.width_px * np.cos(angle)) / 2,
        (top + bottom + face.height_px * np.sin(angle)) / 2,
    )
    return np.column_stack([x, y]).astype(np.float32)


def _widened(points: Points, factor: float) -> Points:
    """Points so many times as far from their mean."""
    middle = points.mean(0)
    return np.asarray(middle + (points - middle) * np.float32(factor), np.float32)
