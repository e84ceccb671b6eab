"""Faces followed through a clip: found in its frames, joined to tracks, steadied over time.

Frames are kept as little more than the faces in them, so that a long sampling of large pictures fits in
memory; faces are looked for in threads while the next frames are being decoded.
"""

import collections
import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.media.faces import Face, Finder, align_crop, find_faces
from deepscan.media.pixels import Picture
from deepscan.media.source import Frame
from deepscan.verdict import Box

# Two searches keep both cores of a small machine busy; a few frames may wait for them.
_SEARCHERS = 2
_WAITING = 4
# A crop may turn by any angle and steadying moves it a little: so much of the face's side is kept beyond it.
_SLACK = 0.25
_FARTHEST = 1.0
_PATIENCE = 3
_STEADY_S = 0.1
_STEADY_PLACE = 0.05
_NO_LANDMARKS = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Glimpse:
    """What is kept of a frame that was searched for faces.

    Attributes:
        time_s: Time of the frame.
        width_px: Width of the whole picture.
        height_px: Height of the whole picture.
        faces: Its faces, largest first, in pixels of the whole picture.
        kept_HWC: RGB uint8, the part of the picture that holds all faces and the margin around them; empty
            where there are none.
        corner_px: Left and top of that part.
    """

    time_s: float
    width_px: int
    height_px: int
    faces: tuple[Face, ...]
    kept_HWC: Picture
    corner_px: tuple[int, int]

    def crop(self, face: Face, size_px: int, margin: float) -> Picture:
        """Cut out one of the faces as ``align_crop`` does, with at most the margin that was kept."""
        left, top = self.corner_px
        return align_crop(self.kept_HWC, _moved(face, -left, -top), size_px, margin)

    def fraction(self, face: Face) -> Box:
        """Return a face's box as fractions [0, 1] of the whole picture, cut off at its edges."""
        size = (self.width_px, self.height_px, self.width_px, self.height_px)
        left, top, right, bottom = np.clip(np.array(face.box_px) / size, 0, 1).tolist()
        return left, top, right, bottom


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """A face as it was seen in one frame.

    Attributes:
        frame: Number of the frame among those that were searched.
        time_s: Time of that frame.
        face: The face.
    """

    frame: int
    time_s: float
    face: Face


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """One face through a clip: at least one sight, in the order of time."""

    sights: tuple[Sight, ...]

    @property
    def side_px(self) -> float:
        """Shorter side of the face, the median over its sights."""
        return statistics.median(min(sight.face.width_px, sight.face.height_px) for sight in self.sights)


def look(
    frames: Iterable[Frame], *, finder: Finder, min_score: float, margin: float, looks_px: tuple[int, ...]
) -> list[Glimpse]:
    """Search frames for faces while the next ones are decoded; the same frames always give the same list.

    Args:
        frames: Frames in the order of their times.
        finder: Which finder looks.
        min_score: Less certain faces are left out, in [0, 1].
        margin: Largest share of a face that will be wanted on each side of it.
        looks_px: How large the pictures are looked at, as for ``find_faces``.

    Raises:
        AssetError: The finder's weights are absent or altered.
        MediaError: What reading the frames raises.
    """
    find = functools.partial(find_faces, finder=finder, min_score=min_score, looks_px=looks_px)
    waiting: collections.deque[Future[Glimpse]] = collections.deque()
    glimpses = []
    with ThreadPoolExecutor(_SEARCHERS, thread_name_prefix="faces") as pool:
        for frame in frames:
            waiting.append(pool.submit(_glimpse, frame, find, margin))
            if len(waiting) > _WAITING:
                glimpses.append(waiting.popleft().result())
        return glimpses + [each.result() for each in waiting]


def follow(times_s: Sequence[float], faces: Sequence[Sequence[Face]]) -> list[Track]:
    """Join the faces of successive frames to tracks: those seen longest first, then the largest.

    Faces of a frame go to the tracks seen last at most three frames before, so that the sum of their
    distances is smallest (Kuhn, Naval Research Logistics 1955). A distance counts in faces: that of the
    centres by the mean side, plus the logarithm of the ratio of the sides; from 1 on it is another face.
    Only place and size are compared: who takes another's place at once, after a cut, joins the same track.

    Args:
        times_s: Times of the frames, ascending.
        faces: The faces of each frame.
    """
    tracks: list[list[Sight]] = []
    for number, (time_s, seen) in enumerate(zip(times_s, faces, strict=True)):
        live = [track for track in tracks if number - track[-1].frame <= _PATIENCE]
        joined = _pairs([track[-1].face for track in live], seen)
        for index, face in enumerate(seen):
            sight = Sight(frame=number, time_s=time_s, face=face)
            if index in joined:
                live[joined[index]].append(sight)
            else:
                tracks.append([sight])
    return sorted((Track(tuple(track)) for track in tracks), key=_rank)


def steadied(track: Track) -> Track:
    """Return the track without the jitter of its detections.

    Boxes are fitted by weighted straight lines in time, centred on each sight, which follow a moving face
    without lag. A neighbour's weight falls with its distance in time (Gaussian of 0.1 s) and in place
    (Gaussian of 5 % of the face's side), as in a bilateral filter (Tomasi & Manduchi, ICCV 1998): what moves
    by more than a finder's jitter stays where it was seen. Landmarks are steadied relative to the box; a
    sight without them gets those of the sights around it.
    """
    times_N = np.array([sight.time_s for sight in track.sights])
    boxes_N4 = np.array([sight.face.box_px for sight in track.sights])
    weights_NN = _likeness(times_N, boxes_N4)
    steady_N4 = _local_lines(times_N, weights_NN) @ boxes_N4
    landmarks = _steadied_landmarks(track, weights_NN, boxes_N4, steady_N4)
    return Track(
        tuple(
            dataclasses.replace(
                sight,
                face=Face(box_px=tuple(box.tolist()), score=sight.face.score, landmarks_px=points),
            )
            for sight, box, points in zip(track.sights, steady_N4, landmarks, strict=True)
        )
    )


def _glimpse(frame: Frame, find: Callable[[Picture], list[Face]], margin: float) -> Glimpse:
    picture_HWC = frame.picture_HWC
    height, width = picture_HWC.shape[:2]
    faces = find(picture_HWC)
    left, top, right, bottom = _around(faces, margin, width, height) if faces else (0, 0, 0, 0)
    return Glimpse(
        time_s=frame.time_s,
        width_px=width,
        height_px=height,
        faces=tuple(faces),
        kept_HWC=picture_HWC[top:bottom, left:right].copy(),
        corner_px=(left, top),
    )


def _around(faces: Sequence[Face], margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a picture that crops of these faces can reach, whichever way they are turned."""
    boxes_N4 = np.array([face.box_px for face in faces])
    centres_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
    sides_N1 = np.max(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=1, keepdims=True)
    reach_N1 = sides_N1 * ((1 + 2 * margin) / np.sqrt(2) + _SLACK) + 2
    left, top = np.clip(np.floor(centres_N2 - reach_N1).min(axis=0), 0, None).astype(int).tolist()
    right, bottom = np.ceil(centres_N2 + reach_N1).max(axis=0).astype(int).tolist()
    return left, top, min(right, width), min(bottom, height)


def _moved(face: Face, right_px: float, down_px: float) -> Face:
    left, top, right, bottom = face.box_px
    shift = np.array([right_px, down_px], dtype=np.float32)
    return Face(
        box_px=(left + right_px, top + down_px, right + right_px, bottom + down_px),
        score=face.score,
        landmarks_px=None if face.landmarks_px is None else face.landmarks_px + shift,
    )


def _pairs(before: Sequence[Face], now: Sequence[Face]) -> dict[int, int]:
    """Assign faces of now to those before: index of the one -> index of the other."""
    distances = np.array([[_distance(old, new) for new in now] for old in before]).reshape(
        len(before), len(now)
    )
    rows, columns = scipy.optimize.linear_sum_assignment(np.minimum(distances, _FARTHEST))
    return {
        column: row
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if distances[row, column] < _FARTHEST
    }


def _distance(first: Face, second: Face) -> float:
    sides_px = [np.sqrt(face.width_px * face.height_px) for face in (first, second)]
    centres_px = [np.add(face.box_px[:2], face.box_px[2:]) / 2 for face in (first, second)]
    apart_px = np.linalg.norm(centres_px[0] - centres_px[1])
    return float(apart_px / np.mean(sides_px) + abs(np.log(sides_px[1] / sides_px[0])))


def _rank(track: Track) -> tuple[float | Box, ...]:
    first = track.sights[0]
    return -len(track.sights), -track.side_px, first.frame, first.face.box_px


def _likeness(times_N: NDArray[np.float64], boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each sight counts for each other, in [0, 1]: by nearness in time and in place, [N, N]."""
    sides_N = np.max(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=1)
    time_NN = (times_N[:, None] - times_N) / _STEADY_S
    moved_NN = np.abs(boxes_N4[:, None] - boxes_N4).mean(axis=2)
    place_NN = moved_NN / ((sides_N[:, None] + sides_N) / 2 * _STEADY_PLACE)
    return np.asarray(np.exp(-(time_NN**2 + place_NN**2) / 2))


def _local_lines(times_N: NDArray[np.float64], weights_NN: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix [N, N] that takes values to those of weighted straight lines, each fitted at one time."""
    since_NN = times_N - times_N[:, None]
    sum_N1 = weights_NN.sum(axis=1, keepdims=True)
    first_N1 = (weights_NN * since_NN).sum(axis=1, keepdims=True)
    # A little more than the second moment, so that a sight without neighbours has a level line.
    second_N1 = (weights_NN * since_NN**2).sum(axis=1, keepdims=True) + 1e-6
    return np.asarray(weights_NN * (second_N1 - first_N1 * since_NN) / (sum_N1 * second_N1 - first_N1**2))


def _steadied_landmarks(
    track: Track,
    weights_NN: NDArray[np.float64],
    boxes_N4: NDArray[np.float64],
    steady_N4: NDArray[np.float64],
) -> list[NDArray[np.float32] | None]:
    points = [sight.face.landmarks_px for sight in track.sights]
    known = [number for number, each in enumerate(points) if each is not None]
    if not known:
        return points
    relative_KL2 = np.stack([_relative(points[number], boxes_N4[number]) for number in known])
    weights_NK = weights_NN[:, known]
    sum_N = weights_NK.sum(axis=1)
    shares_NK = weights_NK / np.maximum(sum_N, _NO_LANDMARKS)[:, None]
    mean_NL2 = np.einsum("nk,klc->nlc", shares_NK, relative_KL2)
    return [
        _absolute(mean_L2, box) if total > _NO_LANDMARKS else None
        for mean_L2, box, total in zip(mean_NL2, steady_N4, sum_N, strict=True)
    ]


def _relative(points_px: NDArray[np.float32] | None, box: NDArray[np.float64]) -> NDArray[np.float64]:
    assert points_px is not None
    return np.asarray((points_px - box[:2]) / (box[2:] - box[:2]))


def _absolute(points: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(box[:2] + points * (box[2:] - box[:2]), dtype=np.float32)
