"""Pictures: the faces in them, or the whole."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoFaceError, NoPictureError
from deepscan.media import degrade, pixels
from deepscan.media.faces import Face, align_crop, find_faces
from deepscan.media.pixels import Picture
from deepscan.media.source import Media
from deepscan.modalities import ALPHA, MODALITIES, Column, Example, Modality, settings
from deepscan.modalities.forged_pictures import FORGERIES
from deepscan.modalities.settings import FinderChoice
from deepscan.recipe import Augment
from deepscan.verdict import Box, MediaFacts, Region

PREP_VERSION = 1
"""Part of every digest; goes up with any change of code that changes an Example."""

Change = Callable[[Picture], Picture]
"""A change of a picture whose parameters are drawn already."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImagePrep:
    """Pictures to square crops: columns ``pixels`` uint8 [S, S, 3] and ``box`` float32 [4].

    ``box`` is left, top, right, bottom as fractions of the upright picture: the face, without the
    margin, or the square that was taken. Nothing depends on the machine: ``auto`` must be replaced by
    ``resolved()`` before a Prep that looks for faces has a digest or runs.

    Attributes:
        size_px: Side S of a crop.
        region: ``face`` gives one Example a face; ``whole`` the largest central square, bit-exact where
            the picture is a square of ``size_px`` already.
        finder: Who looks for faces: ``yunet`` (an asset), ``tiny`` (ships with deepscan), ``haar`` (with
            OpenCV), or ``auto``.
        margin: Share of the face that is added on each side, in [0, 2].
        no_face: Without a face ``abstain``, or take the largest central square (``center``).
        min_face_px: Faces whose shorter side is smaller are not judged.
        max_faces: Only so many of the largest faces are judged.
        min_score: Less certain faces are not judged, in [0, 1]; see ``faces.Face``.
        denoise: Strength in [0, 1] of smoothing, on the crop; 0 = off.
        equalize: Strength in [0, 1] of evening out contrast, after that; 0 = off.
        sharpen: Strength in [0, 1] of sharpening, after that; 0 = off.
    """

    size_px: int = 224
    region: Literal["face", "whole"] = "face"
    finder: FinderChoice = "auto"
    margin: float = 0.3
    no_face: Literal["abstain", "center"] = "abstain"
    min_face_px: int = 32
    max_faces: int = 4
    min_score: float = 0.6
    denoise: float = 0.0
    equalize: float = 0.0
    sharpen: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        limits = {
            "size_px": (8, 4096),
            "margin": (0, 2),
            "min_face_px": (1, 4096),
            "max_faces": (1, 1000),
            "min_score": (0, 1),
            "denoise": (0, 1),
            "equalize": (0, 1),
            "sharpen": (0, 1),
        }
        settings.check_ranges(self, limits)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        pixels_HWC = Column(shape=(self.size_px, self.size_px, 3), dtype="uint8")
        return {"pixels": pixels_HWC, "box": Column(shape=(4,), dtype="float32")}

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("pixels",)

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: the pixels as they are."""
        return {"pixels": self.columns["pixels"]}

    def features(self, example: Example) -> Example:
        """Return the pixels; networks normalise them themselves."""
        return {"pixels": example["pixels"]}

    @property
    def digest(self) -> str:
        """Hex digest of the settings, the version of this code and the finder's weights.

        Raises:
            ConfigError: The finder is still ``auto``.
        """
        return settings.digest(self, PREP_VERSION, self.finder if self.region == "face" else None)

    def resolved(self) -> "ImagePrep":
        """Return the Prep with ``auto`` replaced by the best finder on this machine; call it once a run.

        Raises:
            AssetError: The finder's weights are absent or altered.
        """
        if self.region == "whole":
            return self
        finder = settings.available_finder(self.finder)
        return self if finder == self.finder else dataclasses.replace(self, finder=finder)

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a picture: one Example a face, largest first, or one of the central square.

        Raises:
            NoPictureError: The media is no still picture.
            NoFaceError: There is no face to judge, and ``no_face`` is ``abstain``.
            AssetError: The finder's weights are absent; another finder never takes its place.
            ConfigError: The finder is still ``auto``.
            MediaError: The media does not decode.
        """
        if not _accepts(media):
            msg = f"{media.facts.name!r} is no picture but {media.facts.kind}; give a still picture."
            raise NoPictureError(msg)
        picture_HWC = media.picture_HWC
        if self.region == "whole":
            return [self._central_square(picture_HWC)]
        finder = settings.settled_finder(self.finder)
        faces = find_faces(picture_HWC, finder=finder, min_score=self.min_score)
        judged = [face for face in faces if min(face.width_px, face.height_px) >= self.min_face_px]
        if judged:
            return [self._face(picture_HWC, face) for face in judged[: self.max_faces]]
        if self.no_face == "center":
            return [self._central_square(picture_HWC)]
        smaller = f"; {len(faces)} smaller" if faces else ""
        msg = f"No face of at least {self.min_face_px} px was found{smaller}. Give a larger picture."
        raise NoFaceError(msg)

    def _face(self, picture_HWC: Picture, face: Face) -> Example:
        crop_HWC = align_crop(picture_HWC, face, self.size_px, self.margin)
        return self._example(crop_HWC, picture_HWC, face.box_px)

    def _central_square(self, picture_HWC: Picture) -> Example:
        height, width = picture_HWC.shape[:2]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        square_HWC = pixels.fit_square(picture_HWC, self.size_px)
        return self._example(square_HWC, picture_HWC, (left, top, left + side, top + side))

    def _example(self, crop_HWC: Picture, picture_HWC: Picture, box_px: Box) -> Example:
        if self.denoise > 0:
            crop_HWC = pixels.denoise(crop_HWC, self.denoise)
        if self.equalize > 0:
            crop_HWC = pixels.equalize(crop_HWC, self.equalize)
        if self.sharpen > 0:
            crop_HWC = pixels.sharpen(crop_HWC, self.sharpen)
        height, width = picture_HWC.shape[:2]
        box = np.clip(np.array(box_px) / (width, height, width, height), 0, 1)
        return {"pixels": np.ascontiguousarray(crop_HWC), "box": box.astype(np.float32)}


def draw_changes(augment: Augment, side_px: int, rng: np.random.Generator) -> list[Change]:
    """Draw the random changes of one training example of ``side_px`` squared, in the order to apply them.

    The crop comes first, so that the others touch fewer pixels. Those that resample (rotation,
    rescaling, blur) come with a low probability, because they destroy the fine traces of forgeries.
    """
    kept_px = max(1, round(augment.crop * side_px))
    changes = [] if kept_px == side_px else [_draw_crop(side_px, kept_px, rng)]
    return changes + [draw(kept_px, rng) for chance, draw in _LEVELS[augment.level] if rng.random() < chance]


def augment_pixels(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example with its ``pixels`` changed at random, and its ``alpha`` moved along.

    With ``augment.crop`` below 1 the pixels are a smaller square, at the scale they had.
    """
    changed = dict(example)
    for change in draw_changes(augment, example["pixels"].shape[0], rng):
        changed["pixels"] = change(changed["pixels"])
        if ALPHA in changed and (move := _move(change)):
            changed[ALPHA] = move(changed[ALPHA])
    return changed


def _move(change: Change) -> Change | None:
    """Return what a change of a picture does to where it was altered; None = nothing."""
    kind = getattr(change, "func", change)
    if kind is degrade.cutout:
        covered: Change = functools.partial(change, value=0)  # type: ignore[call-arg]
        return covered
    return change if kind in (degrade.crop, degrade.flip, degrade.rotate) else None


def _draw_crop(side_px: int, kept_px: int, rng: np.random.Generator) -> Change:
    top, left = rng.integers(0, side_px - kept_px + 1, 2).tolist()
    return functools.partial(degrade.crop, top=top, left=left, height=kept_px, width=kept_px)


def _draw_flip(side_px: int, rng: np.random.Generator) -> Change:
    return degrade.flip


def _draw_rotation(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade.rotate, angle_deg=rng.uniform(-10, 10))


def _draw_color(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(
        degrade.adjust_color,
        brightness=rng.uniform(-0.1, 0.1),
        contrast=rng.uniform(0.85, 1.15),
        saturation=rng.uniform(0.8, 1.2),
        hue_deg=rng.uniform(-6, 6),
    )


def _draw_rescale(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade.rescale, factor=rng.uniform(0.4, 0.95))


def _draw_blur(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade.blur, sigma_px=rng.uniform(0.3, 1.5))


def _draw_noise(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade.noise, sigma=rng.uniform(1, 8), rng=rng)


def _draw_jpeg(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade.jpeg, quality=int(rng.integers(40, 96)))


def _draw_smaller(side_px: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade.rescale, factor=rng.uniform(0.5, 0.95))


def _draw_coding(side_px: int, rng: np.random.Generator) -> Change:
    if rng.random() < 0.75:
        return _draw_jpeg(side_px, rng)
    return functools.partial(degrade.h264, crf=int(rng.integers(18, 33)))


def _draw_cutout(side_px: int, rng: np.random.Generator) -> Change:
    height, width = np.ceil(side_px * rng.uniform(0.1, 0.3, 2)).astype(int).tolist()
    top, left = int(rng.integers(0, side_px - height + 1)), int(rng.integers(0, side_px - width + 1))
    return functools.partial(
        degrade.cutout, top=top, left=left, height=height, width=width, value=int(rng.integers(0, 256))
    )


Draw = Callable[[int, np.random.Generator], Change]

_FLIP: tuple[tuple[float, Draw], ...] = ((0.5, _draw_flip),)
_BASIC: tuple[tuple[float, Draw], ...] = (*_FLIP, (0.3, _draw_rotation), (0.8, _draw_color))
_ADVANCED: tuple[tuple[float, Draw], ...] = (
    (0.3, _draw_rescale),
    (0.2, _draw_blur),
    (0.2, _draw_noise),
    (0.5, _draw_jpeg),
    (0.2, _draw_cutout),
)
_DELIVERY: tuple[tuple[float, Draw], ...] = (
    *_FLIP,
    (0.5, _draw_color),
    (0.5, _draw_smaller),
    (0.75, _draw_coding),
)
_ROUGH: tuple[tuple[float, Draw], ...] = (
    *_FLIP,
    (0.5, _draw_color),
    (0.25, _draw_blur),
    (0.5, _draw_smaller),
    (0.25, _draw_noise),
    (0.75, _draw_coding),
)
_LEVELS = {
    "none": (),
    "flip": _FLIP,
    "basic": _BASIC,
    "advanced": _BASIC + _ADVANCED,
    "delivery": _DELIVERY,
    "rough": _ROUGH,
}


def _accepts(media: Media) -> bool:
    return media.facts.kind == "image"


def _aggregate(logits: NDArray[np.float32]) -> float:
    """One forged face makes the picture a fake."""
    return float(np.max(logits))


def _locate(example: Example) -> Region:
    return Region(box=_box(example))


def _shown(example: Example, prep: ImagePrep, size_px: tuple[int, int]) -> list[Box]:
    left, top, right, bottom = box = _box(example)
    side_px = min(size_px)
    sides_px = ((right - left) * size_px[0], (bottom - top) * size_px[1])
    central = prep.no_face == "center" and all(abs(side - side_px) < 1 for side in sides_px)
    margin = 0.0 if central or prep.region == "whole" else prep.margin
    return [settings.square_around(box, size_px, margin)]


def _box(example: Example) -> Box:
    left, top, right, bottom = example["box"].tolist()
    return left, top, right, bottom


MODALITIES.register(
    "image",
    Modality(
        name="image",
        summary="A picture: each face in it, or the whole.",
        accepts=_accepts,
        prep=ImagePrep,
        augment=augment_pixels,
        aggregate=_aggregate,
        locate=_locate,
        shown=_shown,
        limits=(
            "Small faces, heavy compression, blur and pictures of screens hide the traces that it looks for.",
            "A face that was drawn, painted or rendered openly is no deepfake, and it cannot tell that.",
            "Filters of cameras and apps that smooth or reshape faces may look like forgery.",
        ),
        example=MediaFacts(
            name="photo.jpg",
            kind="image",
            container="jpeg",
            bytes=84213,
            sha256="0" * 64,
            width_px=640,
            height_px=480,
        ),
        forgeries=FORGERIES,
    ),
)
