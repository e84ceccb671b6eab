"""How pseudo-fakes are made of prepared pictures."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepscan.cache import Cache
from deepscan.media import blend, regenerate
from deepscan.media.blend import DONORS, SWAPPED, Blend, Portrait
from deepscan.media.faces import Face, face_in_crop, find_faces
from deepscan.media.pixels import Picture
from deepscan.modalities import ALPHA, Example, Forgery, settings

if TYPE_CHECKING:
    from deepscan.modalities.image import ImagePrep

_LOOK_PX = 96
"""Long side at which a crop is looked at for landmarks; the face fills most of it."""

_PORTRAIT_MARGIN = 0.5
"""Half of the side of a portrait is the face."""

_FACE_BYTES = 512
_found: Cache[bytes, Face] = Cache(4 * 1024**2)
"""Where the faces of some 8,000 crops are: they come again in every epoch, and to look takes longest."""


def self_blended(
    example: Example, prep: "ImagePrep", rng: np.random.Generator, others: Sequence[Example] = ()
) -> tuple[Example, Example]:
    """Return a real Example and the same face blended into itself; see ``media.blend.self_blend``."""
    pixels = example["pixels"]
    return _pair(example, blend.self_blend(pixels, _face(pixels, prep), rng))


def blended(
    example: Example, prep: "ImagePrep", rng: np.random.Generator, others: Sequence[Example] = ()
) -> tuple[Example, Example]:
    """Return a real Example and a fake: another's face blended over it, or its own; see ``media.blend``."""
    if rng.random() >= SWAPPED or not others:
        return self_blended(example, prep, rng)
    donors = rng.choice(len(others), min(DONORS, len(others)), replace=False).tolist()
    portraits = [Portrait(picture=p, face=_face(p, prep)) for p in (others[i]["pixels"] for i in donors)]
    pixels = example["pixels"]
    portrait = Portrait(picture=pixels, face=_face(pixels, prep))
    return _pair(example, blend.swap(portrait, portraits, rng))


def regenerated(
    example: Example, prep: "ImagePrep", rng: np.random.Generator, others: Sequence[Example] = ()
) -> tuple[Example, Example]:
    """Return a real Example and the same with its detail made anew, all over; see ``media.regenerate``."""
    real, fake = regenerate.regenerated(example["pixels"], rng)
    nowhere = _untouched(example)
    return {**example, "pixels": real, ALPHA: nowhere}, {**example, "pixels": fake, ALPHA: ~nowhere}


def _pair(example: Example, made: Blend) -> tuple[Example, Example]:
    alpha_HW = np.rint(255 * made.alpha_HW).astype(np.uint8)
    real = {**example, "pixels": made.real, ALPHA: _untouched(example)}
    return real, {**example, "pixels": made.fake, ALPHA: alpha_HW}


def _untouched(example: Example) -> NDArray[np.uint8]:
    return np.zeros(example["pixels"].shape[:2], np.uint8)


def _face(crop_HWC: Picture, prep: "ImagePrep") -> Face:
    """Return where the face is.

    It is looked for in the crop where a network is the Prep's finder, for its landmarks; else it lies where
    the Prep put it. In whole pictures it is taken to fill the middle, as portraits do.
    """
    looks = prep.region == "face" and prep.finder in ("yunet", "tiny")
    if not looks:
        margin = prep.margin if prep.region == "face" else _PORTRAIT_MARGIN
        return face_in_crop(crop_HWC.shape[0], margin)
    key = hashlib.blake2b(crop_HWC.tobytes(), digest_size=16, key=prep.finder.encode()).digest()
    face = _found.get(key)
    if face is None:
        face = _look(crop_HWC, prep)
        _found.put(key, face, _FACE_BYTES)
    return face


def _look(crop_HWC: Picture, prep: "ImagePrep") -> Face:
    found = find_faces(crop_HWC, finder=settings.settled_finder(prep.finder), looks_px=(_LOOK_PX,))
    middle = crop_HWC.shape[0] / 2
    if found and _holds(found[0], middle):
        return found[0]
    return face_in_crop(crop_HWC.shape[0], prep.margin)


def _holds(face: Face, middle: float) -> bool:
    left, top, right, bottom = face.box_px
    return left < middle < right and top < middle < bottom


FORGERIES = {
    "self-blended": Forgery(
        summary="The face blended into itself, a little off in place, colour and sharpness",
        make=self_blended,
        untouched=_untouched,
    ),
    "blended": Forgery(
        summary="The face of somebody else blended over it, or its own, a little off",
        make=blended,
        untouched=_untouched,
    ),
    "regenerated": Forgery(
        summary="All fine detail made anew from a picture of half the size, as generators make it",
        make=regenerated,
        untouched=_untouched,
    ),
}
"""Ways of making pseudo-fakes, by name."""
