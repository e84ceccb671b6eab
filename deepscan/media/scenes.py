"""Pictures made of pieces: faces of portraits pasted at any size and place, and where they went.

A face finder learns from them. Everything random comes from the generator that is passed in.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.media import backdrops, degrade, pixels
from deepscan.media.faces import Face
from deepscan.media.pixels import Picture
from deepscan.media.shipped_faces import iou

Matrix = NDArray[np.float64]
Box = tuple[float, float, float, float]

LEAST_PX = 9.0
"""Faces of a shorter side are neither demanded nor forbidden: the teacher does not see them either."""

VISIBLE, HIDDEN = 0.6, 0.1
"""Shares of a face's middle that can be seen, from which on it counts as one, and below which as none."""

_AS_IT_IS = 0.25
_WITHOUT = 0.2
_MOST_FACES = 5
_MATCH = 0.4
_MIRRORED = [1, 0, 2, 4, 3]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Portrait:
    """A picture and all the faces in it.

    Attributes:
        picture_HWC: RGB uint8 [H, W, 3].
        faces: Largest first, each with five landmarks.
    """

    picture_HWC: Picture
    faces: tuple[Face, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """A composed picture.

    Attributes:
        picture_HWC: RGB uint8 [H, W, 3].
        faces: The faces that can be seen.
        unsure: Boxes, in pixels, of what may or may not be taken for a face.
    """

    picture_HWC: Picture
    faces: tuple[Face, ...]
    unsure: tuple[Box, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Piece:
    """A part of a picture that is pasted: its pixels, how opaque they are, and the faces in it."""

    picture_HWC: Picture
    opaque_HW: NDArray[np.float32]
    faces: tuple[Face, ...] = ()


Draw = Callable[[np.random.Generator], Portrait]
"""Draws a portrait."""


def moved(face: Face, matrix: Matrix) -> Face:
    """Return a face in a picture that was turned, scaled, shifted or mirrored.

    The box becomes the one around the turned ellipse that the old one held; landmarks of a mirrored face are
    put in order again.

    Args:
        face: With five landmarks.
        matrix: A similarity [2, 3], of coordinates that count from the corner of the first pixel.
    """
    assert face.landmarks_px is not None
    left, top, right, bottom = face.box_px
    centre = matrix[:, :2] @ ((left + right) / 2, (top + bottom) / 2) + matrix[:, 2]
    half = np.sqrt((matrix[:, :2] ** 2) @ ((right - left) ** 2 / 4, (bottom - top) ** 2 / 4))
    points_52 = face.landmarks_px @ matrix[:, :2].T + matrix[:, 2]
    if np.linalg.det(matrix[:, :2]) < 0:
        points_52 = points_52[_MIRRORED]
    (x0, y0), (x1, y1) = (centre - half).tolist(), (centre + half).tolist()
    return Face(box_px=(x0, y0, x1, y1), score=face.score, landmarks_px=points_52.astype(np.float32))


def compose(draw: Draw, size_px: int, rng: np.random.Generator) -> Scene:
    """Compose a square picture: a portrait as it is, or up to five faces and other things over a backdrop.

    Args:
        draw: Draws what it is made of.
        size_px: Its side.
        rng: Source of all randomness.
    """
    if rng.random() < _AS_IT_IS:
        return _as_it_is(draw(rng), size_px, rng)
    rests = [faceless(draw(rng), rng) for _ in range(3)]
    canvas = _Canvas(backdrops.draw_backdrop(rests, size_px, rng))
    count = 0 if rng.random() < _WITHOUT / (1 - _AS_IT_IS) else int(rng.integers(1, _MOST_FACES + 1))
    pieces = [_face_piece(draw(rng), rng) for _ in range(count)]
    pieces += [_decoy(draw(rng), rng) for _ in range(int(rng.integers(0, 4)))]
    for number in rng.permutation(len(pieces)):
        canvas.paste(pieces[number], _placed(pieces[number], size_px, rng))
    return canvas.scene()


def settled(scene: Scene, seen: Sequence[Face]) -> Scene:
    """Take over what a teacher sees in a scene: its boxes where it sees a face that is there.

    What it alone sees is unsure, and so is a face that it does not see and that is tiny.

    Args:
        scene: As composed.
        seen: The faces that the teacher finds in it.
    """
    left, faces = list(seen), list[Face]()
    unsure = list(scene.unsure)
    for face in scene.faces:
        best = max(left, key=lambda each: _overlap(each.box_px, face.box_px), default=None)
        if best is not None and _overlap(best.box_px, face.box_px) >= _MATCH:
            left.remove(best)
            faces.append(best)
        elif min(face.width_px, face.height_px) >= LEAST_PX:
            faces.append(face)
        else:
            unsure.append(face.box_px)
    unsure += [face.box_px for face in left]
    return Scene(picture_HWC=scene.picture_HWC, faces=tuple(faces), unsure=tuple(unsure))


def worsen(picture_HWC: Picture, rng: np.random.Generator) -> Picture:
    """Make a picture worse in a few ways at once: light, colour, blur, scale, noise, JPEG."""
    if rng.random() < 0.6:
        picture_HWC = degrade.adjust_color(
            picture_HWC,
            brightness=float(rng.normal(0, 0.12)),
            contrast=float(rng.uniform(0.4, 1.5)),
            saturation=float(rng.choice([0, rng.uniform(0.3, 1.6)], p=[0.15, 0.85])),
            hue_deg=float(rng.normal(0, 8)),
        )
    if rng.random() < 0.3:
        gamma = float(np.exp(rng.normal(0, 0.5)))
        levels = 255 * (np.arange(256) / 255) ** gamma
        picture_HWC = np.asarray(levels, np.uint8)[picture_HWC]
    if rng.random() < 0.25:
        picture_HWC = degrade.blur(picture_HWC, float(rng.uniform(0.3, 1.8)))
    if rng.random() < 0.15:
        picture_HWC = degrade.rescale(picture_HWC, float(rng.uniform(0.4, 0.9)))
    if rng.random() < 0.25:
        picture_HWC = degrade.noise(picture_HWC, float(rng.uniform(1, 18)), rng)
    if rng.random() < 0.6:
        picture_HWC = degrade.jpeg(picture_HWC, int(rng.integers(25, 96)))
    return picture_HWC


def faceless(portrait: Portrait, rng: np.random.Generator) -> Picture:
    """Return a part of a portrait that shows no face: hair, neck, clothes or what is behind.

    The widest strips above, below and beside the faces are drawn from by their area; a picture that is all
    face gives its pixels in another order.
    """
    height, width = portrait.picture_HWC.shape[:2]
    if not portrait.faces:
        return portrait.picture_HWC
    boxes = np.array([face.box_px for face in portrait.faces])
    grown = 0.1 * (boxes[:, 2:] - boxes[:, :2]).max(axis=0)
    left, top = np.clip(boxes[:, :2].min(axis=0) - grown, 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(boxes[:, 2:].max(axis=0) + grown, 0, (width, height)).astype(int).tolist()
    strips = [(0, 0, width, top), (0, bottom, width, height), (0, 0, left, height), (right, 0, width, height)]
    strips = [each for each in strips if min(each[2] - each[0], each[3] - each[1]) >= 12]
    if not strips:
        return scrambled(portrait.picture_HWC, 6, rng)
    areas = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in strips], float)
    x0, y0, x1, y1 = strips[int(rng.choice(len(strips), p=areas / areas.sum()))]
    return portrait.picture_HWC[y0:y1, x0:x1]


def scrambled(picture_HWC: Picture, blocks: int, rng: np.random.Generator) -> Picture:
    """Cut a picture into ``blocks`` by ``blocks`` blocks; put them together in another order, turned."""
    side = max(2, min(picture_HWC.shape[:2]) // blocks)
    square = pixels.resize(picture_HWC, side * blocks, side * blocks)
    cells = square.reshape(blocks, side, blocks, side, 3).transpose(0, 2, 1, 3, 4)
    cells = cells.reshape(-1, side, side, 3)[rng.permutation(blocks * blocks)]
    turned = np.stack([np.rot90(cell, int(rng.integers(4))) for cell in cells])
    whole = turned.reshape(blocks, blocks, side, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(whole.reshape(side * blocks, side * blocks, 3))


class _Canvas:
    """A picture in the making, which remembers what was pasted where."""

    def __init__(self, picture_HWC: Picture) -> None:
        self.picture_HWC = picture_HWC.copy()
        height, width = picture_HWC.shape[:2]
        self._owner_HW: NDArray[np.int16] = np.zeros((height, width), np.int16)
        self._faces: list[tuple[Face, int]] = []
        self._pasted = 0

    def paste(self, piece: _Piece, matrix: Matrix) -> None:
        """Put a piece where ``matrix`` says, over whatever is there."""
        self._pasted += 1
        window = self._window(piece, matrix)
        if window is None:
            return
        x0, y0, x1, y1 = window
        source, opaque = piece.picture_HWC, piece.opaque_HW
        scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
        rows, columns = source.shape[:2]
        grown = np.eye(2)
        if scale < 0.5:
            # A warp reads four neighbours only: what shrinks more is averaged over areas first.
            small = (max(1, round(columns * scale)), max(1, round(rows * scale)))
            source = pixels.resize(source, *small)
            opaque = np.asarray(cv2.resize(opaque, small), np.float32)
            grown = np.diag([columns / small[0], rows / small[1]])
        onto = np.column_stack([matrix[:, :2] @ grown, matrix[:, 2] - (x0, y0)])
        onto[:, 2] += onto[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the first pixel's centre
        size = (x1 - x0, y1 - y0)
        warped = cv2.warpAffine(source, onto, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        weight = cv2.warpAffine(opaque, onto, size, flags=cv2.INTER_LINEAR)
        part, alpha = (slice(y0, y1), slice(x0, x1)), weight[..., None]
        mixed = alpha * warped + (1 - alpha) * self.picture_HWC[part]
        self.picture_HWC[part] = np.rint(mixed).astype(np.uint8)
        self._owner_HW[part][weight > 0.5] = self._pasted
        self._faces += [(moved(face, matrix), self._pasted) for face in piece.faces]

    def _window(self, piece: _Piece, matrix: Matrix) -> tuple[int, int, int, int] | None:
        """Return the part of the canvas that a piece reaches; None = it lies beside the canvas."""
        rows, columns = piece.picture_HWC.shape[:2]
        corners = (
            np.array([(0, 0), (columns, 0), (0, rows), (columns, rows)]) @ matrix[:, :2].T + matrix[:, 2]
        )
        height, width = self.picture_HWC.shape[:2]
        x0, y0 = np.clip(np.floor(corners.min(axis=0)) - 1, 0, (width, height)).astype(int).tolist()
        x1, y1 = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, (width, height)).astype(int).tolist()
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def scene(self) -> Scene:
        """Return the picture, its faces, and what is left of those that others cover."""
        faces, unsure = list[Face](), list[Box]()
        for face, owner in self._faces:
            share = self._visible(face, owner)
            tiny = min(face.width_px, face.height_px) < LEAST_PX
            if share >= VISIBLE and not tiny:
                faces.append(face)
            elif share >= HIDDEN:
                unsure.append(face.box_px)
        return Scene(picture_HWC=self.picture_HWC, faces=tuple(faces), unsure=tuple(unsure))

    def _visible(self, face: Face, owner: int) -> float:
        """Share of the face's middle that is on the picture and that nothing covers."""
        left, top, right, bottom = face.box_px
        x_px = left + (right - left) * np.linspace(0.2, 0.8, 9)
        y_px = top + (bottom - top) * np.linspace(0.2, 0.8, 9)
        height, width = self._owner_HW.shape
        columns, rows = np.floor(x_px).astype(int), np.floor(y_px).astype(int)
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
        owners = self._owner_HW[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)[None]]
        return float(np.mean(inside & (owners == owner)))


def _as_it_is(portrait: Portrait, size_px: int, rng: np.random.Generator) -> Scene:
    """Show a whole portrait, or a part of a larger one, scaled and in half of the cases turned."""
    height, width = portrait.picture_HWC.shape[:2]
    canvas = _Canvas(backdrops.plain(size_px, rng))
    piece = _Piece(
        picture_HWC=portrait.picture_HWC, opaque_HW=np.ones((height, width), np.float32), faces=portrait.faces
    )
    least = size_px / max(height, width)
    scale = least * float(np.exp(rng.uniform(-0.1, max(0.4, math.log(min(3.0, 0.8 / least))))))
    rest = np.array([size_px - scale * width, size_px - scale * height])
    corner = rest * rng.uniform(0, 1, 2)
    centre = corner + scale * np.array([width, height]) / 2
    angle = float(rng.normal(0, 14)) if rng.random() < 0.5 else 0.0
    canvas.paste(piece, _similarity(piece, scale, angle, centre, rng))
    return canvas.scene()


def _face_piece(portrait: Portrait, rng: np.random.Generator) -> _Piece:
    """Cut a face out, with more or less of what is around it and with a hard or a soft edge."""
    if not portrait.faces:
        return _decoy(portrait, rng)
    face = portrait.faces[int(rng.integers(len(portrait.faces)))]
    height, width = portrait.picture_HWC.shape[:2]
    around = rng.uniform(0.03, 0.9, 4) if rng.random() < 0.7 else np.full(4, 9.0)
    left, top, right, bottom = face.box_px
    w, h = face.width_px, face.height_px
    x0, y0 = max(0, int(left - around[0] * w)), max(0, int(top - around[1] * h))
    x1, y1 = min(width, math.ceil(right + around[2] * w)), min(height, math.ceil(bottom + around[3] * h))
    shift = np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0]])
    inside = [each for each in portrait.faces if _share_within(each.box_px, (x0, y0, x1, y1)) > 0.5]
    part = portrait.picture_HWC[y0:y1, x0:x1]
    return _Piece(
        picture_HWC=part,
        opaque_HW=backdrops.edge((y1 - y0, x1 - x0), rng),
        faces=tuple(moved(each, shift) for each in inside),
    )


def _decoy(portrait: Portrait, rng: np.random.Generator) -> _Piece:
    """Make something that is no face, cut out as faces are: one in pieces, hair or neck, something round."""
    kind = rng.choice(["scrambled", "rest", "round"], p=[0.45, 0.4, 0.15])
    if kind == "scrambled" and portrait.faces:
        left, top, right, bottom = (round(side) for side in portrait.faces[0].box_px)
        part = portrait.picture_HWC[max(0, top) : max(8, bottom), max(0, left) : max(8, right)]
        picture = scrambled(part, int(rng.integers(3, 8)), rng)
    elif kind == "round":
        picture = backdrops.shaded(96, rng)
    else:
        picture = faceless(portrait, rng)
    return _Piece(picture_HWC=picture, opaque_HW=backdrops.edge(picture.shape[:2], rng))


def _placed(piece: _Piece, size_px: int, rng: np.random.Generator) -> Matrix:
    """Draw where a piece goes: its face is 9 px to the whole picture high, small more often."""
    height, width = piece.picture_HWC.shape[:2]
    box = piece.faces[0].box_px if piece.faces else (0.0, 0.0, float(width), float(height))
    side = float(np.exp(rng.uniform(math.log(LEAST_PX), math.log(1.05 * size_px))))
    scale = side / max(box[2] - box[0], box[3] - box[1])
    angle = float(rng.uniform(-45, 45)) if rng.random() < 0.3 else float(rng.normal(0, 10))
    centre = rng.uniform(-0.1 * side, size_px + 0.1 * side, 2) if rng.random() < 0.2 else None
    if centre is None:
        low = min(side / 2, size_px / 2)
        centre = rng.uniform(low, max(low + 1e-3, size_px - low), 2)
    matrix = _similarity(piece, scale, angle, centre, rng)
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    matrix[:, 2] = centre - matrix[:, :2] @ middle
    return matrix


def _similarity(
    piece: _Piece, scale: float, angle_deg: float, centre: NDArray[np.float64], rng: np.random.Generator
) -> Matrix:
    """Scale and turn a piece, mirror every other one, and bring its middle to ``centre``."""
    height, width = piece.picture_HWC.shape[:2]
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    turn = scale * np.array([[cos, -sin], [sin, cos]])
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    return np.column_stack([turn, centre - turn @ (width / 2, height / 2)])


def _share_within(box: Box, frame: Box) -> float:
    """Share of a box that lies within a frame."""
    width = max(0.0, min(box[2], frame[2]) - max(box[0], frame[0]))
    height = max(0.0, min(box[3], frame[3]) - max(box[1], frame[1]))
    return width * height / max(1e-9, (box[2] - box[0]) * (box[3] - box[1]))


def _overlap(one: Box, other: Box) -> float:
    return float(iou(np.array(one), np.array(other)))
