"""The mouth of one face through a stretch of a clip: grey crops that follow the head, steadily.

Faces are looked for in a few frames only; between them the head moves little, and its place is
interpolated. What then moves in the crops is what the mouth does.
"""

import dataclasses
import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media import pixels
from deepscan.media.faces import Face, Finder, align_crop, find_faces
from deepscan.media.source import Frame
from deepscan.media.tracks import Track, follow, steadied
from deepscan.verdict import Box

EVERY = 5
"""Faces are looked for in every so many frames."""

KEPT_PX = 960
"""All frames of a stretch are held at once: grey, and no longer than this."""

SPAN = 1.3
"""Side of a crop in distances from the eyes to the mouth: the lips are half as wide, the chin is inside."""

_DOWN = 1.15
"""Distance from the eyes to the mouth, in distances of the eyes from each other, seen from the front."""

_ACROSS, _DEEP, _WIDE = 0.5, 0.78, 0.55
"""Centre and side of the mouth's crop in a face's box without landmarks."""

Grey = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mouth:
    """A mouth in successive frames.

    Attributes:
        first: Number of the first of these frames.
        crops_TSS: uint8 [T, S, S], grey.
        box: Where the whole face is in the median, as fractions [0, 1] of the upright picture.
        face_px: Shorter side of the face in the median.
    """

    first: int
    crops_TSS: Grey
    box: Box
    face_px: float


def follow_mouth(frames: Iterable[Frame], *, finder: Finder, min_score: float, size_px: int) -> Mouth | None:
    """Cut out the mouth of the face that is seen longest, then the largest; None where there is no face.

    The frames reach from shortly before the face is first found to shortly after it is last found.

    Args:
        frames: Frames at a steady rate.
        finder: Which finder looks.
        min_score: Less certain faces are left out, in [0, 1].
        size_px: Side S of a crop.

    Raises:
        AssetError: The finder's weights are absent or altered.
        MediaError: What reading the frames raises.
    """
    greys, faces, times_s = [], [], []
    for number, frame in enumerate(frames):
        if number % EVERY == 0:
            faces.append(find_faces(frame.picture_HWC, finder=finder, min_score=min_score))
            times_s.append(frame.time_s)
        greys.append(_grey(frame.picture_HWC))
        height, width = frame.picture_HWC.shape[:2]
    tracks = follow(times_s, faces)
    if not tracks:
        return None
    track = tracks[0]
    seen = [sight.frame * EVERY for sight in track.sights]
    kept = range(max(0, seen[0] - EVERY + 1), min(len(greys), seen[-1] + EVERY))
    places = zip(kept, _places(steadied(track), kept), strict=True)
    scale = max(greys[0].shape) / max(height, width)
    return Mouth(
        first=kept.start,
        crops_TSS=np.stack([_cut(greys[number], place_4, scale, size_px) for number, place_4 in places]),
        box=_box(track, width, height),
        face_px=track.side_px,
    )


def place_of_mouth(face: Face) -> NDArray[np.float64]:
    """Return where a mouth is cut out, float64 [4]: centre x and y, side of the square, turn in radians.

    The square is as large as the face, whichever way the head is turned: of the distances of the eyes
    from each other and from the mouth, turning shortens one at a time. Without the corners of the mouth
    it is taken to be below the eyes; without eyes, in the lower middle of the box.
    """
    points = face.landmarks_px
    if points is None:
        left, top = face.box_px[:2]
        x, y = left + _ACROSS * face.width_px, top + _DEEP * face.height_px
        return np.array([x, y, _WIDE * face.width_px, 0.0])
    between, (dx, dy) = points[:2].mean(0), (points[1] - points[0]).tolist()
    below = between + _DOWN * np.array([-dy, dx])
    mouth = below if len(points) < 5 else points[3:].mean(0)
    reach_px = max(_DOWN * math.hypot(dx, dy), float(np.linalg.norm(mouth - between)))
    return np.array([*mouth, SPAN * reach_px, face.tilt_rad])


def _places(track: Track, kept: range) -> NDArray[np.float64]:
    """Interpolate the place of the mouth in the frames between those that were searched, [T, 4]."""
    places_N4 = np.stack([place_of_mouth(sight.face) for sight in track.sights])
    places_N4[:, 3] = np.unwrap(places_N4[:, 3])
    searched_N = [sight.frame * EVERY for sight in track.sights]
    return np.column_stack([np.interp(kept, searched_N, values_N) for values_N in places_N4.T])


def _cut(grey_HW: Grey, place_4: NDArray[np.float64], scale: float, size_px: int) -> Grey:
    x, y, side, turn_rad = place_4.tolist()
    eyes = np.array([[0, 0], [math.cos(turn_rad), math.sin(turn_rad)]], np.float32)
    box_px = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    place = Face(box_px=box_px, score=1.0, landmarks_px=eyes).scaled(scale, scale)
    return align_crop(grey_HW, place, size_px, margin=0.0)


def _grey(picture_HWC: NDArray[np.uint8]) -> Grey:
    grey_HW = np.asarray(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2GRAY), np.uint8)
    height, width = grey_HW.shape
    scale = KEPT_PX / max(height, width)
    if scale >= 1:
        return grey_HW
    return pixels.resize(grey_HW, max(1, round(width * scale)), max(1, round(height * scale)))


def _box(track: Track, width: int, height: int) -> Box:
    boxes_N4 = np.array([sight.face.box_px for sight in track.sights])
    middle_4 = np.median(boxes_N4, axis=0) / (width, height, width, height)
    left, top, right, bottom = np.clip(middle_4, 0, 1).tolist()
    return left, top, right, bottom
