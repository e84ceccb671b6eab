"""Points of a face and how the head is turned: five points, or more where a finder of more is registered.

A ``Landmarker`` finds points in a face that was found already, and says where each lies on a mean head. The
one that comes with the package reads the five points of the face finder; whoever has a model of denser points
registers it in ``LANDMARKERS``, and it is used in place of the five.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media.faces import Face
from deepscan.media.pixels import Picture
from deepscan.registry import Registry

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Landmarker:
    """A way of finding points in a face.

    Attributes:
        name: Name in the registry.
        head_L3: Where the points lie on a mean head, in millimetres from the tip of the nose: x to the right
        of the picture, y downward, z away from the camera, float64 [L, 3].
        inner: Which of them are eyes, nose and mouth; empty where there are no others.
        outer: Which of them are the outline of the face.
        find: Returns them in pixels of the picture, float [L, 2]; None where they cannot be found.
    """

    name: str
    head_L3: Floats
    inner: tuple[int, ...] = ()
    outer: tuple[int, ...] = ()
    find: Callable[[Picture, Face], NDArray[np.floating] | None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """How a head is turned.

    Attributes:
        yaw_deg: To the right of the picture, in [-180, 180].
        pitch_deg: Downward.
        roll_deg: Clockwise.
        misfit_share: Root mean square distance of the points from those of the mean head, in distances of the
            first two points from each other.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    misfit_share: float


FOCAL_EYES = (4.0, 40.0)
"""Shortest and longest focal length, in distances of the eyes from each other."""

LANDMARKERS: Registry[Landmarker] = Registry("landmarker")

FIVE_L3 = np.array([(-31.5, -39, 28), (31.5, -39, 28), (0, 0, 0), (-27, 26, 20), (27, 26, 20)], np.float64)
"""Both eyes, the tip of the nose, the corners of the mouth. The eyes are 63 mm apart (Dodgson, "Variation and
extrema of human interpupillary distance", SPIE 2004); x and y follow in proportion from the median of YuNet's
points on frontal faces, z is that of a mean adult head."""

FIVE = LANDMARKERS.register(
    "five",
    Landmarker(name="five", head_L3=FIVE_L3, find=lambda picture, face: _five(face)),
)


def landmarker() -> Landmarker:
    """Return the way of finding points that was registered last."""
    return LANDMARKERS.get(LANDMARKERS.names()[-1])


def pose(points_L2: NDArray[np.floating], head_L3: Floats, size_px: tuple[int, int]) -> Pose | None:
    """Return how a head is turned whose points are seen at these places; None where no pose explains them.

    The pose is the one of least squared distances in the picture (Terzakis and Lourakis, "A consistently fast
    and globally optimal solution to the perspective-n-point problem", ECCV 2020), relative to the line from
    the camera to the face. The focal length is taken to be the longer side of the picture, within
    ``FOCAL_EYES``, so that neither a tiny nor a cropped face asks for a camera that there is not.

    Args:
        points_L2: In pixels of the picture, [L, 2] with L >= 4.
        head_L3: Where they lie on the head, in millimetres, float64 [L, 3].
        size_px: Width and height of the picture.
    """
    seen_L2 = np.asarray(points_L2, np.float64)
    unit_px = float(np.linalg.norm(seen_L2[1] - seen_L2[0]))
    if unit_px < 1:
        return None
    x, y = seen_L2.mean(axis=0)
    focal_px = float(np.clip(max(size_px), FOCAL_EYES[0] * unit_px, FOCAL_EYES[1] * unit_px))
    camera = np.array([[focal_px, 0, x], [0, focal_px, y], [0, 0, 1]])
    found, turn_3, shift_3 = cv2.solvePnP(head_L3, seen_L2, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        return None
    expected_L2 = cv2.projectPoints(head_L3, turn_3, shift_3, camera, None)[0][:, 0]
    misfit_px = math.sqrt(float(np.mean(np.sum((expected_L2 - seen_L2) ** 2, axis=1))))
    yaw, pitch, roll = _angles(np.asarray(cv2.Rodrigues(turn_3)[0], np.float64))
    if not all(map(math.isfinite, (yaw, pitch, roll, misfit_px))):
        return None
    return Pose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, misfit_share=misfit_px / unit_px)


def _five(face: Face) -> NDArray[np.floating] | None:
    points = face.landmarks_px
    return points if points is not None and len(points) == len(FIVE_L3) else None


def _angles(turn_33: Floats) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a rotation, in degrees, from where it takes the nose and the eyes."""
    nose_3 = turn_33 @ (0.0, 0.0, -1.0)
    yaw = math.atan2(nose_3[0], math.hypot(nose_3[1], nose_3[2]))
    pitch = math.atan2(nose_3[1], -nose_3[2])
    roll = math.atan2(turn_33[1, 0], turn_33[0, 0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
