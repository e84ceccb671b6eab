"""Pseudo-fakes of faces: a face blended into itself, or another face blended over it.

Most swaps paste an altered face over another and leave the same traces: features that sit a little off,
colours and sharpness that change, and an edge where the two pictures were blended. All of them can be made
from one real face (Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022), so a
network learns them without having seen a generator. A face of somebody else adds what one face cannot show:
light, skin and features that do not belong together (Li et al., "Face X-ray", CVPR 2020). Lengths in pixels
are meant for faces in pictures of 256 px and follow the size of others.
"""

import dataclasses
from collections.abc import Mapping, Sequence

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

SWAP_RATIOS = (0.75, 1.0, 1.0, 1.0)
"""The same for the face of somebody else."""

SWAPPED = 0.6
"""Where both are made: share of the fakes that show the face of somebody else."""

DONORS = 8
"""Of so many other faces the one that fits best is taken; the best of more would look alike."""

Parts = Mapping[str, float]
"""How often which part of a face is replaced: probabilities that add up to 1."""

_OWN_PARTS: Parts = {"all": 0.55, "middle": 0.15, "upper half": 0.15, "lower half": 0.15}
_SWAP_PARTS: Parts = {"all": 0.35, "middle": 0.1, "upper half": 0.1, "lower half": 0.1, "below brows": 0.35}

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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Portrait:
    """A picture, RGB uint8 [H, W, 3], and the face in it."""

    picture: Picture
    face: Face


def swap(portrait: Portrait, others: Sequence[Portrait], rng: np.random.Generator) -> Blend:
    """Blend the face of somebody else over a face.

    Of the others that one is taken whose landmarks fit best, turned, resized and moved onto the portrait's;
    its colours are brought towards those that it covers, and some are blurred, as faces of small generators
    are. The portrait is recoloured in half of the pairs.

    Args:
        portrait: One genuine face.
        others: Those of other people.
        rng: Draws everything.

    Returns:
        The pair; by ``self_blend``, where the portrait or all others lack the five landmarks.
    """
    picture, face = portrait.picture, portrait.face
    fits = [(*_similarity(each.face, face), each.picture) for each in others if _is_whole(each.face)]
    if not fits or not _is_whole(face):
        return self_blend(picture, face, rng)
    _, onto, donor = min(fits, key=lambda fit: fit[0])
    target = perturb(picture, rng) if rng.random() < 0.5 else picture.copy()
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(donor, onto, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    source = np.asarray(moved, np.uint8)
    if rng.random() < 0.3:
        source = degrade.rescale(source, float(rng.choice([0.5, 0.35])))
    shown_HW = np.ones(donor.shape[:2], np.float32)
    shown_HW = np.asarray(cv2.warpAffine(shown_HW, onto, (width, height), flags=cv2.INTER_NEAREST))
    mask_HW = outline(picture.shape[:2], face, rng, _SWAP_PARTS) * shown_HW
    source = _recolored(source, target, mask_HW, rng.uniform(0.5, 1.0))
    alpha_HW = soften(deform(mask_HW, rng), rng) * np.float32(rng.choice(SWAP_RATIOS))
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


def outline(
    size_px: tuple[int, ...], face: Face, rng: np.random.Generator, parts: Parts = _OWN_PARTS
) -> Mask:
    """Draw the part of a face that is replaced, 0 or 1.

    Args:
        size_px: Height and width of the picture.
        face: The face.
        rng: Draws the part.
        parts: Of these: ``all`` of it, the ``middle``, the ``upper half``, the ``lower half``, and what many
            programs replace, from the brows to the chin, ``below brows``.
    """
    points, ellipse = _points(face), _ellipse(face)
    part = rng.choice(list(parts), p=list(parts.values()))
    # Lines across run through brows and nose; faces in crops are level.
    above = ellipse[:, 1] <= points[2, 1]
    if part == "all":
        contour = ellipse
    elif part == "below brows":
        eyes_px, mouth_px = points[:2, 1].mean(), points[3:, 1].mean()
        brows_px = eyes_px - rng.uniform(0.3, 0.7) * (mouth_px - eyes_px)
        below = np.column_stack([ellipse[:, 0], np.maximum(ellipse[:, 1], brows_px)])
        contour = _widened(below.astype(np.float32), rng.uniform(0.8, 1.0))
    elif part == "middle":
        contour = _widened(points, rng.uniform(1.3, 1.8))
    else:
        contour = ellipse[above if part == "upper half" else ~above]
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


def _similarity(face: Face, onto: Face) -> tuple[float, NDArray[np.float64]]:
    """Return how badly one face fits another, and the map [2, 3] that brings it there.

    Turn, scale and shift of least squares over the landmarks, as complex numbers ``onto = a * face + b``;
    the misfit is the mean distance that is left, in pixels.
    """
    from_K, to_K = (_points(each).astype(np.float64) @ (1, 1j) for each in (face, onto))
    arms_K = from_K - from_K.mean()
    a = (np.conj(arms_K) @ (to_K - to_K.mean())) / max((np.abs(arms_K) ** 2).sum(), 1e-9)
    b = to_K.mean() - a * from_K.mean()
    misfit_px = float(np.abs(a * from_K + b - to_K).mean())
    return misfit_px, np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _recolored(source: Picture, target: Picture, mask_HW: Mask, share: float) -> Picture:
    """Bring mean and deviation of L*a*b* under a mask to those of the target, by a share of the way."""
    inside_HW = mask_HW > 0.5
    if not inside_HW.any():
        return source
    lab, aim = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB).astype(np.float32) for each in (source, target))
    mean_3, mean_aim_3 = lab[inside_HW].mean(0), aim[inside_HW].mean(0)
    # One level more: what is all of one colour has no contrast that could be stretched.
    gain_3 = np.clip((aim[inside_HW].std(0) + 1) / (lab[inside_HW].std(0) + 1), 0.5, 2)
    lab += np.float32(share) * ((lab - mean_3) * gain_3 + mean_aim_3 - lab)
    levels = np.clip(np.rint(lab), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_LAB2RGB), np.uint8)


def _is_whole(face: Face) -> bool:
    return face.landmarks_px is not None and len(face.landmarks_px) == len(USUAL_POINTS)


def _points(face: Face) -> Points:
    found = face.landmarks_px
    if found is not None and _is_whole(face):
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
