"""Moving pictures: a face followed through a clip, seen at several times."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepscan import config
from deepscan.errors import NoFaceError
from deepscan.media import assets
from deepscan.media.faces import Finder, align_crop, default_finder, find_faces
from deepscan.media.source import Media, Sampling
from deepscan.modalities import MODALITIES, Column, Example, Modality
from deepscan.recipe import Augment
from deepscan.verdict import Region

PREP_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VideoPrep:
    """Clips to face tracks: one Example a track.

    Columns: ``frames`` uint8 [T, S, S, 3]; ``mask`` uint8 [T], 1 for the first frames, which are real, and 0
    for the rest, which are padding (black); ``time_s`` float32 [T]; ``box`` float32 [T, 4], as fractions of
    the upright picture. T is ``sampling.count``.

    Attributes:
        sampling: Which frames are looked at.
        size_px: Side S of a crop.
        finder: As for pictures.
        margin: Share of the face that is added on each side, in [0, 2].
        min_face_px: Faces whose shorter side is smaller are not judged.
        min_score: Less certain faces are not judged, in [0, 1].
        min_frames: A face must be seen in so many frames.
        max_tracks: Only so many faces are judged, those seen longest and largest.
    """

    sampling: Sampling = Sampling()
    size_px: int = 112
    finder: Literal["auto", "yunet", "haar"] = "auto"
    margin: float = 0.3
    min_face_px: int = 32
    min_score: float = 0.6
    min_frames: int = 3
    max_tracks: int = 2

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        frames, side_px = self.sampling.count, self.size_px
        return {
            "frames": Column(shape=(frames, side_px, side_px, 3), dtype="uint8"),
            "mask": Column(shape=(frames,), dtype="uint8"),
            "time_s": Column(shape=(frames,), dtype="float32"),
            "box": Column(shape=(frames, 4), dtype="float32"),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("frames", "mask")

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: the frames and which of them are real."""
        return {name: self.columns[name] for name in self.needs}

    @property
    def digest(self) -> str:
        """Hex digest of the settings, the version of this code and the finder's weights."""
        weights = assets.ASSETS.get(self.finder).sha256 if self.finder in assets.ASSETS else ""
        return hashlib.sha256(f"{config.digest(self)} {PREP_VERSION} {weights}".encode()).hexdigest()[:16]

    def resolved(self) -> "VideoPrep":
        """Return the Prep with ``auto`` replaced by the best finder on this machine."""
        finder: Finder = default_finder() if self.finder == "auto" else self.finder
        return self if finder == self.finder else dataclasses.replace(self, finder=finder)

    def features(self, example: Example) -> Example:
        """Return frames and mask; networks normalise them themselves."""
        return {name: example[name] for name in self.needs}

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a clip."""
        example = {name: np.zeros(c.shape, c.dtype) for name, c in self.columns.items()}
        seen = 0
        for frame in media.frames(self.sampling):
            height, width = frame.picture_HWC.shape[:2]
            for face in find_faces(frame.picture_HWC, finder=self.resolved().finder)[:1]:  # type: ignore[arg-type]
                example["frames"][seen] = align_crop(frame.picture_HWC, face, self.size_px, self.margin)
                example["mask"][seen] = 1
                example["time_s"][seen] = frame.time_s
                example["box"][seen] = np.clip(np.array(face.box_px) / (width, height, width, height), 0, 1)
                seen += 1
        if seen < self.min_frames:
            msg = "No face was found."
            raise NoFaceError(msg)
        return [example]


def _accepts(media: Media) -> bool:
    return media.facts.width_px is not None and media.facts.duration_s is not None


def augment_frames(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example changed at random, all frames alike."""
    return example


def _aggregate(logits: NDArray[np.float32]) -> float:
    return float(np.max(logits))


def _moments(example: Example, count: int) -> list[Region]:
    times_s, boxes = example["time_s"].tolist(), example["box"].tolist()
    seen = int(example["mask"].sum())
    return [
        Region(box=tuple(boxes[i]), start_s=times_s[i], end_s=times_s[i]) for i in range(min(seen, count))
    ]


def _locate(example: Example) -> Region:
    moments = _moments(example, len(example["mask"]))
    return Region(box=moments[0].box, start_s=moments[0].start_s, end_s=moments[-1].end_s)


MODALITIES.register(
    "video",
    Modality(
        name="video",
        summary="A clip: each face in it, followed through time.",
        accepts=_accepts,
        prep=VideoPrep,
        augment=augment_frames,
        aggregate=_aggregate,
        locate=_locate,
        moments=_moments,
    ),
)
