"""Where the faces in a picture are, and how a face is cut out of it.

Three finders: ``yunet``, a small network (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector",
Machine Intelligence Research 2023) whose weights are an asset; ``tiny``, a smaller one that learnt from it
and ships with deepscan (``shipped_faces``); and ``haar``, the cascade of Viola and Jones (CVPR 2001) that
ships with OpenCV. The cascade disagrees with the others on what a face's box is, so a detector that was
trained on the crops of one finder must not be given those of another.
"""

import dataclasses
import itertools
import math
import pathlib
import threading
from collections.abc import Callable
from typing import Any, Literal

import cv2
import cv2.data
import numpy as np
from numpy.typing import NDArray

from deepscan.media import assets, pixels, shipped_faces
from deepscan.media.pixels import Picture

Finder = Literal["yunet", "tiny", "haar"]

# Measured on faces pasted into 1920 x 1080: the first look finds 35 of 40 that are 128 px high, 3 of 40 that
# are 64 px high; the second finds 38 of those. It is paid for only where the first finds none.
LOOKS_PX = (320, 960)

_YUNET_KEEP = 0.3
_YUNET_OVERLAP = 0.3
_YUNET_LEAST_PX = 64
_HAAR_STEP = 1.1
_HAAR_VOTES = 3
_HAAR_SMALLEST_PX = 24
_EYES_PATCH_PX = 128
_EYES_DISTANCE = 0.42
_EYES_MISFIT = 0.2
_ASPECT = 0.76
"""Width of a usual face as a share of its height."""

# OpenCV detectors hold state while they run: each thread makes its own, when it first needs one.
_detectors = threading.local()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        box_px: Left, top, right, bottom in picture pixels; may reach beyond the picture.
        score: How sure the finder is, in [0, 1]; not a probability, not comparable between finders.
        landmarks_px: float32 [5, 2], x and y of the eyes, the nose and the corners of the mouth, each
            pair from the left of an upright picture to its right; [2, 2], the eyes alone; or None.
    """

    box_px: tuple[float, float, float, float]
    score: float
    landmarks_px: NDArray[np.float32] | None = None

    @property
    def width_px(self) -> float:
        """Width of the box in pixels."""
        return self.box_px[2] - self.box_px[0]

    @property
    def height_px(self) -> float:
        """Height of the box in pixels."""
        return self.box_px[3] - self.box_px[1]

    @property
    def eyes_px(self) -> NDArray[np.float32] | None:
        """Centres of both eyes, float32 [2, 2], the left one of an upright picture first; or None."""
        return None if self.landmarks_px is None else self.landmarks_px[:2]

    @property
    def tilt_rad(self) -> float:
        """Angle by which the line through the eyes falls to the right, in (-pi, pi]; 0 without eyes."""
        if self.eyes_px is None:
            return 0.0
        dx, dy = (self.eyes_px[1] - self.eyes_px[0]).tolist()
        return math.atan2(dy, dx)

    def scaled(self, factor_x: float, factor_y: float) -> "Face":
        """Return the same face in the coordinates of a picture that is so many times larger."""
        left, top, right, bottom = self.box_px
        box_px = (left * factor_x, top * factor_y, right * factor_x, bottom * factor_y)
        factors = np.array([factor_x, factor_y], dtype=np.float32)
        landmarks_px = None if self.landmarks_px is None else self.landmarks_px * factors
        return Face(box_px=box_px, score=self.score, landmarks_px=landmarks_px)


def find_faces(
    picture_HWC: Picture, *, finder: Finder, min_score: float = 0.6, looks_px: tuple[int, ...] = LOOKS_PX
) -> list[Face]:
    """Return the faces of a picture, largest first; the same picture always gives the same list.

    A face of whose box more than half lies beyond the picture is left out.

    Args:
        picture_HWC: RGB uint8 [H, W, 3].
        finder: Which finder looks.
        min_score: Less certain faces are left out, in [0, 1].
        looks_px: Long sides to which the picture is scaled down, one after the other until a face is
            found; it is never scaled up.

    Raises:
        AssetError: The finder's weights are absent or altered.
    """
    long_px = max(picture_HWC.shape[:2])
    for side_px in dict.fromkeys(min(long_px, look_px) for look_px in looks_px):
        found = _FINDERS[finder](picture_HWC, side_px)
        faces = [face for face in found if face.score >= min_score and _mostly_inside(face, picture_HWC)]
        if faces:
            return sorted(faces, key=lambda face: (-face.width_px * face.height_px, face.box_px))
    return []


def default_finder() -> Finder:
    """Return ``yunet`` where its weights are on this machine, else ``tiny``, which is always there.

    Raises:
        AssetError: The weights are there but altered.
    """
    return "tiny" if assets.locate("yunet") is None else "yunet"


def align_crop(picture_HWC: Picture, face: Face, size_px: int, margin: float) -> Picture:
    """Cut a face out as a square, turned so that its eyes are level, and scaled.

    The square is centred on the box; its side is the longer side of the box, and ``margin`` times that
    on either end. What lies beyond the picture is its mirror image. Where the square shrinks, pixels
    are averaged over areas, which keeps out aliasing; where it grows, they are interpolated by cubics.

    Args:
        picture_HWC: RGB uint8 [H, W, 3].
        face: A face in that picture; without eyes it is cut upright.
        size_px: Side of the result.
        margin: Share of the face that is added on each side, at least 0.

    Returns:
        RGB uint8 [size_px, size_px, 3].
    """
    side_px = max(1.0, face.width_px, face.height_px) * (1 + 2 * margin)
    if (factor := int(side_px / (2 * size_px))) > 1:
        picture_HWC, face = _shrink(picture_HWC, face, factor)
        side_px /= factor
    # A linear warp reads four neighbours only: warp to at least the picture's own resolution, then average.
    samples = math.ceil(side_px / size_px)
    fine_px = samples * size_px
    fine_HWC = cv2.warpAffine(
        picture_HWC,
        _square_from_picture(face, fine_px / side_px, fine_px),
        (fine_px, fine_px),
        flags=cv2.INTER_LINEAR if samples > 1 else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return pixels.resize(np.asarray(fine_HWC, dtype=np.uint8), size_px, size_px)


def face_in_crop(side_px: int, margin: float) -> Face:
    """Return where ``align_crop`` puts a face, as tall beside its width as most are."""
    middle, height_px = side_px / 2, side_px / (1 + 2 * margin)
    x_px, y_px = _ASPECT * height_px / 2, height_px / 2
    return Face(box_px=(middle - x_px, middle - y_px, middle + x_px, middle + y_px), score=0.0)


def _mostly_inside(face: Face, picture_HWC: Picture) -> bool:
    height, width = picture_HWC.shape[:2]
    left, top, right, bottom = face.box_px
    inside_x = max(0.0, min(right, width) - max(left, 0.0))
    inside_y = max(0.0, min(bottom, height) - max(top, 0.0))
    return bool(inside_x * inside_y > face.width_px * face.height_px / 2)


def _shrink(picture_HWC: Picture, face: Face, factor: float) -> tuple[Picture, Face]:
    small_HWC = _scaled_down(picture_HWC, max(picture_HWC.shape[:2]) / factor)
    height, width = picture_HWC.shape[:2]
    return small_HWC, face.scaled(small_HWC.shape[1] / width, small_HWC.shape[0] / height)


def _scaled_down(picture_HWC: Picture, side_px: float) -> Picture:
    height, width = picture_HWC.shape[:2]
    factor = side_px / max(height, width)
    return pixels.resize(picture_HWC, max(1, round(width * factor)), max(1, round(height * factor)))


def _square_from_picture(face: Face, scale: float, size_px: int) -> NDArray[np.float64]:
    """The similarity that turns the eyes level and brings the box's centre to the square's, [2, 3]."""
    left, top, right, bottom = face.box_px
    cos, sin = scale * math.cos(face.tilt_rad), scale * math.sin(face.tilt_rad)
    turn = np.array([[cos, sin], [-sin, cos]])
    # Boxes count from the corner of the first pixel, OpenCV from its centre.
    centre = np.array([left + right, top + bottom]) / 2 - 0.5
    shift = (size_px - 1) / 2 - turn @ centre
    return np.column_stack([turn, shift])


def _find_yunet(picture_HWC: Picture, side_px: int) -> list[Face]:
    small_HWC = _scaled_down(picture_HWC, side_px)
    height, width = small_HWC.shape[:2]
    # On strips of a few pixels the network reports faces of any size with full certainty; a border ends that.
    below, beside = max(0, _YUNET_LEAST_PX - height), max(0, _YUNET_LEAST_PX - width)
    padded = cv2.copyMakeBorder(small_HWC, 0, below, 0, beside, cv2.BORDER_CONSTANT)
    detector = _own("yunet", _make_yunet)
    detector.setInputSize((width + beside, height + below))
    _, rows = detector.detect(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))
    factor_x, factor_y = picture_HWC.shape[1] / width, picture_HWC.shape[0] / height
    return [_yunet_face(row).scaled(factor_x, factor_y) for row in ([] if rows is None else rows)]


def _yunet_face(row: NDArray[np.float32]) -> Face:
    """Read one row of the network's output: box, five points, score."""
    left, top, width, height = row[:4].tolist()
    box_px = (left, top, left + width, top + height)
    return Face(box_px=box_px, score=float(row[14]), landmarks_px=row[4:14].reshape(5, 2))


def _find_tiny(picture_HWC: Picture, side_px: int) -> list[Face]:
    small_HWC = _scaled_down(picture_HWC, side_px)
    height, width = small_HWC.shape[:2]
    rows, points = _own("tiny", _make_tiny)(small_HWC)
    factor_x, factor_y = picture_HWC.shape[1] / width, picture_HWC.shape[0] / height
    found = []
    for (left, top, right, bottom, score), points_52 in zip(rows.tolist(), points, strict=True):
        face = Face(box_px=(left, top, right, bottom), score=score, landmarks_px=points_52)
        found.append(face.scaled(factor_x, factor_y))
    return found


def _find_haar(picture_HWC: Picture, side_px: int) -> list[Face]:
    grey_HW = _even_grey(_scaled_down(picture_HWC, side_px))
    smallest = (_HAAR_SMALLEST_PX, _HAAR_SMALLEST_PX)
    cascade = _own("haarcascade_frontalface_alt2", _make_cascade)
    boxes, votes = cascade.detectMultiScale2(grey_HW, _HAAR_STEP, _HAAR_VOTES, minSize=smallest)
    factor_x, factor_y = picture_HWC.shape[1] / grey_HW.shape[1], picture_HWC.shape[0] / grey_HW.shape[0]
    faces = []
    for (left, top, width, height), vote in zip(boxes, votes, strict=True):
        box_px = (float(left), float(top), float(left + width), float(top + height))
        # More overlapping windows mean more certainty: 5 give 0.6, 20 give 0.9.
        face = Face(box_px=box_px, score=1 - 2 / int(vote)).scaled(factor_x, factor_y)
        faces.append(dataclasses.replace(face, landmarks_px=_find_haar_eyes(picture_HWC, face)))
    return faces


def _find_haar_eyes(picture_HWC: Picture, face: Face) -> NDArray[np.float32] | None:
    left, top, right, _ = (round(side) for side in face.box_px)
    upper_HWC = picture_HWC[top : top + round(0.6 * face.height_px), left:right]
    scale = _EYES_PATCH_PX / upper_HWC.shape[1]
    patch_HWC = pixels.resize(upper_HWC, _EYES_PATCH_PX, round(upper_HWC.shape[0] * scale))
    limits = {"minSize": (_EYES_PATCH_PX // 8,) * 2, "maxSize": (_EYES_PATCH_PX // 2,) * 2}
    boxes = _own("haarcascade_eye", _make_cascade).detectMultiScale(
        _even_grey(patch_HWC), _HAAR_STEP, _HAAR_VOTES, **limits
    )
    centres = [(x + width / 2, y + height / 2) for x, y, width, height in boxes]
    pair = min(itertools.permutations(centres, 2), key=_eyes_misfit, default=None)
    if pair is None or _eyes_misfit(pair) > _EYES_MISFIT * _EYES_PATCH_PX:
        return None
    return np.asarray(np.array(pair) / scale + (left, top), dtype=np.float32)


def _eyes_misfit(pair: tuple[tuple[float, float], ...]) -> float:
    """How far a pair of points in the patch is from level eyes at the usual distance, in pixels."""
    (left_x, left_y), (right_x, right_y) = pair
    usual_px = _EYES_DISTANCE * _EYES_PATCH_PX
    return abs(right_x - left_x - usual_px) + abs(right_y - left_y)


def _even_grey(picture_HWC: Picture) -> Picture:
    return np.asarray(cv2.equalizeHist(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2GRAY)), dtype=np.uint8)


def _own(name: str, make: Callable[[str], Any]) -> Any:
    """Return this thread's detector of that name."""
    if not hasattr(_detectors, name):
        setattr(_detectors, name, make(name))
    return getattr(_detectors, name)


def _make_yunet(name: str) -> Any:
    path = str(assets.require(name))
    return cv2.FaceDetectorYN.create(path, "", (32, 32), _YUNET_KEEP, _YUNET_OVERLAP)


def _make_tiny(name: str) -> shipped_faces.Network:
    return shipped_faces.load()


def _make_cascade(name: str) -> Any:
    return cv2.CascadeClassifier(str(pathlib.Path(cv2.data.haarcascades) / f"{name}.xml"))


_FINDERS: dict[Finder, Callable[[Picture, int], list[Face]]] = {
    "yunet": _find_yunet,
    "tiny": _find_tiny,
    "haar": _find_haar,
}
