"""How well faces are found: found faces beside true ones, at an overlap of one half."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from deepscan.finder.network import FaceNetwork
from deepscan.media.faces import Face
from deepscan.media.scenes import Scene
from deepscan.media.shipped_faces import STRIDES, decode, iou

LEAST_IOU = 0.5
_LOWEST = 0.05
_FALSE_SHARE = 0.005
_MARGIN = 0.05
_NOTHING = -30.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What finding faces in pictures came to.

    Attributes:
        pictures: Pictures looked at.
        faces: True faces in them.
        found: Of these, those that overlap a found one by half.
        false: Found faces that overlap no true one by half, nor anything unsure.
        landmark_error: Mean distance of a found face's landmarks from the true ones over that of the eyes.
    """

    pictures: int
    faces: int
    found: int
    false: int
    landmark_error: float

    @property
    def recall(self) -> float:
        """Share of the true faces that are found; 1 where there are none."""
        return self.found / self.faces if self.faces else 1.0

    @property
    def false_per_picture(self) -> float:
        """False faces a picture."""
        return self.false / max(1, self.pictures)

    def rounded(self) -> dict[str, float | None]:
        """Return the figures for a file; None where nothing was found whose landmarks could be wrong."""
        return {
            "pictures": self.pictures,
            "faces": self.faces,
            "recall": round(self.recall, 4),
            "false_per_picture": round(self.false_per_picture, 4),
            "landmark_error": None if math.isnan(self.landmark_error) else round(self.landmark_error, 4),
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Match:
    """What was found in one picture beside what is there.

    Attributes:
        faces: True faces.
        hits: Scores of the found faces that are true, float64 [K].
        sides: Indices of the true faces that these are, int [K].
        errors: Landmark errors of these.
        misses: Scores of the false ones.
    """

    faces: int
    hits: NDArray[np.float64]
    sides: NDArray[np.intp]
    errors: NDArray[np.float64]
    misses: NDArray[np.float64]


def match(scene: Scene, found: Sequence[Face]) -> Match:
    """Pair found faces with true ones, the surest first, each true face once."""
    left = dict(enumerate(scene.faces))
    unsure = np.array(scene.unsure, float).reshape(-1, 4)
    hits, sides, errors, misses = list[float](), list[int](), list[float](), list[float]()
    for face in sorted(found, key=lambda each: -each.score):
        box = np.array(face.box_px)
        overlaps = {number: float(iou(box, np.array(each.box_px))) for number, each in left.items()}
        best = max(overlaps, key=lambda number: overlaps[number], default=None)
        if best is not None and overlaps[best] >= LEAST_IOU:
            hits.append(face.score)
            sides.append(best)
            errors.append(landmark_error(face, left.pop(best)))
        elif not _excused(box, unsure):
            misses.append(face.score)
    return Match(
        faces=len(scene.faces),
        hits=np.array(hits, float),
        sides=np.array(sides, np.intp),
        errors=np.array(errors, float),
        misses=np.array(misses, float),
    )


def landmark_error(face: Face, truth: Face) -> float:
    """Return how far landmarks are from true ones, mean over the eye distance; NaN without five."""
    if face.landmarks_px is None or truth.landmarks_px is None or len(face.landmarks_px) != 5:
        return float("nan")
    eyes = max(1e-6, float(np.linalg.norm(truth.landmarks_px[1] - truth.landmarks_px[0])))
    return float(np.linalg.norm(face.landmarks_px - truth.landmarks_px, axis=1).mean() / eyes)


def figures(matches: Iterable[Match], threshold: float) -> Figures:
    """Sum up matches, of the found faces of at least a score."""
    listed = list(matches)
    errors = [each.errors[each.hits >= threshold] for each in listed]
    known = np.concatenate([*errors, np.zeros(0)])
    known = known[np.isfinite(known)]
    return Figures(
        pictures=len(listed),
        faces=sum(each.faces for each in listed),
        found=sum(int((each.hits >= threshold).sum()) for each in listed),
        false=sum(int((each.misses >= threshold).sum()) for each in listed),
        landmark_error=float(known.mean()) if known.size else float("nan"),
    )


def measure(network: FaceNetwork, batches: Sequence[Sequence[Scene]], threshold: float) -> Figures:
    """Return how well a network finds the faces of scenes, from a score on."""
    return figures(_matches(network, batches), threshold)


def shifts(network: FaceNetwork, batches: Sequence[Sequence[Scene]], least: float) -> list[float]:
    """Return what to add to the logits of each map, so that it finds few false faces by itself.

    Of the scores of its false faces, the one that as many as ``_FALSE_SHARE`` of the scenes exceed becomes
    ``least``: to judge what is no face is worse than not to find a face. Scores are never raised.
    """
    told = []
    for level in range(len(STRIDES)):
        listed = list(_matches(network, batches, level))
        misses = np.sort(np.concatenate([each.misses for each in listed]))[::-1]
        allowed = int(_FALSE_SHARE * len(listed))
        score = float(misses[allowed]) if len(misses) > allowed else 0.0
        told.append(_logit(least) - _logit(max(score, least)) - _MARGIN)
    return told


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _matches(
    network: FaceNetwork, batches: Sequence[Sequence[Scene]], level: int | None = None
) -> Iterable[Match]:
    """Match what a network, or one of its maps, finds in scenes."""
    network.eval()
    for scenes in batches:
        pictures = torch.from_numpy(np.stack([scene.picture_HWC for scene in scenes])).permute(0, 3, 1, 2)
        with torch.no_grad():
            maps = [each.numpy() for each in network(pixels=pictures)["maps"]]
        for number, scene in enumerate(scenes):
            own = [
                each[number : number + 1] if level in (None, place) else np.full_like(each[:1], _NOTHING)
                for place, each in enumerate(maps)
            ]
            boxes, points = decode(own, _LOWEST)
            yield match(scene, [_face(*both) for both in zip(boxes, points, strict=True)])


def _face(row: NDArray[np.float32], points: NDArray[np.float32]) -> Face:
    left, top, right, bottom, score = row.tolist()
    return Face(box_px=(left, top, right, bottom), score=score, landmarks_px=points)


def _excused(box: NDArray[np.float64], unsure: NDArray[np.float64]) -> bool:
    """Whether a box overlaps something unsure, or lies mostly within it."""
    if not len(unsure):
        return False
    shared = np.clip(np.minimum(box[2:], unsure[:, 2:]) - np.maximum(box[:2], unsure[:, :2]), 0, None).prod(1)
    return bool((iou(box, unsure) >= 0.3).any() or (shared >= 0.7 * np.prod(box[2:] - box[:2])).any())
