"""The one face that a clip shows longest, cut up for whoever measures faces: decoded and found once.

Faces are looked for in every third frame and followed from one to the next; between them the head moves
little, and its place is interpolated. Of each frame only the face is kept, and of that in the end only
what is measured: both eyes, the mouth, and the mean colours of the skin.
"""

import dataclasses
import math
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import AbstainError, MediaError, NoFaceError, TooShortError
from deepscan.media.faces import LOOKS_PX, Face, Finder, default_finder, find_faces
from deepscan.media.mouths import place_of_mouth
from deepscan.media.pixels import Picture, resize
from deepscan.media.source import Frame, Media, Sampling
from deepscan.media.tracks import Sight, Track, steadied
from deepscan.verdict import Box

RATE_HZ, SLOW_HZ = 25.0, 12.5
"""Frames looked at in a second of short and of long clips; a blink lasts 0.1 to 0.4 s."""

SHORT_S, LONGEST_S = 12.0, 24.0
"""Up to where a clip is short, and where looking ends."""

EVERY = 3
"""Faces are looked for in every so many frames."""

UNIT_PX = 64
"""Distance of the eyes from each other in what is cut out."""

EYE_PX, MOUTH_PX = (56, 40), 48
"""Width and height of the patch of an eye, side of that of the mouth."""

LEAST_EYES_PX, LEAST_FRAMES = 14.0, 8
"""Nearer eyes and shorter tracks are not measured: of such eyes the opening is one or two pixels high."""

SKIN = {"forehead": (-0.4, -0.7, 0.4, -0.45), "left": (-0.6, 0.4, -0.3, 0.8), "right": (0.3, 0.4, 0.6, 0.8)}
"""Where skin is looked at: left, top, right, bottom from between the eyes, in their distance."""

_KEPT_PX, _AROUND = 160, 0.45
_NEAR, _PATIENCE = 0.6, 3
_BLIND, _SPARSE = 6, 5

Floats = NDArray[np.float64]
Greys = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Portrait:
    """One face through a clip.

    Attributes:
        times_s_T: When each frame is shown, float64 [T].
        points_TL2: Landmarks in picture pixels, steadied, float64 [T, 5 or 2, 2]; the eyes first.
        eyes_TEHW: Both eyes, level, grey uint8 [T, 2, 40, 56], the left one of the picture first.
        mouth_THW: The mouth, level, grey uint8 [T, 48, 48].
        skin_TR3: Mean RGB of the places of ``SKIN``, float64 [T, 3, 3] in [0, 255].
        track: The face where it was looked for, as it was found.
        box: Where it is in the median, as fractions [0, 1] of the upright picture.
        size_px: Width and height of the picture.
    """

    times_s_T: Floats
    points_TL2: Floats
    eyes_TEHW: Greys
    mouth_THW: Greys
    skin_TR3: Floats
    track: Track
    box: Box
    size_px: tuple[int, int]

    @property
    def eyes_px(self) -> float:
        """Distance of the eyes from each other in the picture, the median."""
        return float(np.median(np.linalg.norm(self.points_TL2[:, 1] - self.points_TL2[:, 0], axis=1)))

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last, and one frame more."""
        return float(self.times_s_T[-1] - self.times_s_T[0] + np.median(np.diff(self.times_s_T)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Kept:
    """The square around the face in one frame: its left and top in the picture, and how much it shrank."""

    time_s: float
    pixels_HWC: Picture
    corner_px: NDArray[np.float64]
    scale: float


class _Entry:
    """What is known of one file, once and for all analyzers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[Finder, Portrait | AbstainError | MediaError] = {}


_ENTRIES: weakref.WeakKeyDictionary[Media, _Entry] = weakref.WeakKeyDictionary()


def shows_moving_pictures(media: Media) -> bool:
    """Tell whether there are moving pictures in which a face could be followed."""
    return media.facts.duration_s is not None and media.facts.width_px is not None


def portrait(media: Media) -> Portrait:
    """Return the face of a clip that is seen longest; kept for as long as the media is.

    Raises:
        NoPictureError: The media holds no moving pictures.
        NoFaceError: No face is seen, or its eyes are nearer to each other than ``LEAST_EYES_PX``.
        TooShortError: It is seen in fewer than ``LEAST_FRAMES`` frames.
        AssetError: The finder's weights are altered.
        MediaError: The media does not decode.
    """
    entry, finder = _ENTRIES.setdefault(media, _Entry()), default_finder()
    with entry.lock:
        if finder not in entry.known:
            try:
                entry.known[finder] = _take(media, finder)
            except (AbstainError, MediaError) as error:
                entry.known[finder] = error
        known = entry.known[finder]
    if isinstance(known, Portrait):
        return known
    # A new one, because the kept one would gather the traceback of each who raises it.
    raise type(known)(*known.args)


def level(face_points_L2: NDArray[np.floating]) -> Floats:
    """Return the similarity [2, 3] from picture pixels to the eyes' own frame.

    Its origin is between the eyes, x runs through them, their distance is 1.
    """
    left, right = np.asarray(face_points_L2[:2], np.float64)
    dx, dy = (right - left) / max(float(np.sum((right - left) ** 2)), 1e-9)
    turn = np.array([[dx, dy], [-dy, dx]])
    return np.column_stack([turn, -turn @ ((left + right) / 2)])


def _take(media: Media, finder: Finder) -> Portrait:
    duration_s = min(media.facts.duration_s or 0.0, LONGEST_S)
    rate_hz = RATE_HZ if duration_s <= SHORT_S else SLOW_HZ
    frames = media.frames(Sampling(kind="rate", span_s=max(duration_s, 1 / rate_hz), rate_hz=rate_hz))
    name = media.facts.name
    runs = list(_runs(_ahead(_distinct(frames)), finder))
    if not runs:
        msg = f"No face is seen in {name!r}; give a clip that shows one from the front."
        raise NoFaceError(msg)
    sights, kept = max(runs, key=lambda run: len(run[1]))
    if len(kept) < LEAST_FRAMES:
        msg = f"The face in {name!r} is seen in {len(kept)} frames; at least {LEAST_FRAMES} are needed."
        raise TooShortError(msg)
    taken = _cut_up(Track(tuple(sights)), kept, (media.facts.width_px or 1, media.facts.height_px or 1))
    if taken.eyes_px < LEAST_EYES_PX:
        msg = (
            f"The eyes in {name!r} are {taken.eyes_px:.0f} px apart; at least {LEAST_EYES_PX:g} are needed. "
            "Give a larger picture."
        )
        raise NoFaceError(msg)
    return taken


def _distinct(frames: Iterable[Frame]) -> Iterator[Frame]:
    last_s = -math.inf
    for frame in frames:
        if frame.time_s > last_s:
            last_s = frame.time_s
            yield frame


def _ahead(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Decode the next frame while the last one is searched."""
    with ThreadPoolExecutor(1, thread_name_prefix="frames") as pool:
        coming = pool.submit(next, frames, None)
        while (frame := coming.result()) is not None:
            coming = pool.submit(next, frames, None)
            yield frame


def _runs(frames: Iterable[Frame], finder: Finder) -> Iterator[tuple[list[Sight], list[_Kept]]]:
    """Yield each stretch through which one face is followed: where it was found, and its squares."""
    sights: list[Sight] = []
    kept: list[_Kept] = []
    waiting: list[Frame] = []
    searches = found_any = 0
    for number, frame in enumerate(frames):
        waiting.append(frame)
        every = EVERY if found_any or searches < _BLIND else EVERY * _SPARSE
        if number % every:
            continue
        searches += 1
        faces = [face for face in _search(frame, finder) if face.eyes_px is not None]
        found_any += bool(faces)
        face = _same(sights[-1].face if sights else None, faces)
        if face is None and sights and len(waiting) <= _PATIENCE * EVERY:
            continue
        if face is None:
            if sights:
                yield sights, kept
            sights, kept, face = [], [], faces[0] if faces else None
            waiting = waiting[-1:]
        if face is not None:
            kept += _squares(waiting, sights[-1].face if sights else face, face)
            sights.append(Sight(frame=number, time_s=frame.time_s, face=face))
        waiting = []
    if sights:
        yield sights, kept


def _search(frame: Frame, finder: Finder) -> list[Face]:
    return find_faces(frame.picture_HWC, finder=finder, looks_px=LOOKS_PX)


def _same(before: Face | None, faces: list[Face]) -> Face | None:
    """The face nearest to where one was, if it can be the same one."""
    if before is None or not faces:
        return None

    def moved(face: Face) -> float:
        centres = [np.add(each.box_px[:2], each.box_px[2:]) / 2 for each in (before, face)]
        grown = abs(math.log(face.width_px / before.width_px))
        return float(np.linalg.norm(centres[0] - centres[1]) / before.width_px + grown)

    nearest = min(faces, key=moved)
    return nearest if moved(nearest) < _NEAR else None


def _squares(frames: list[Frame], before: Face, after: Face) -> list[_Kept]:
    boxes = np.array([before.box_px, after.box_px])
    steps = len(frames)
    made = []
    for number, frame in enumerate(frames, start=1):
        box = boxes[0] + (boxes[1] - boxes[0]) * number / steps
        side = max(box[2] - box[0], box[3] - box[1], 1.0)
        made.append(_square(frame, (box[:2] + box[2:]) / 2, side))
    return made


def _square(frame: Frame, centre: NDArray[np.float64], side: float) -> _Kept:
    height, width = frame.picture_HWC.shape[:2]
    reach = side * (0.5 + _AROUND)
    left, top = (int(np.clip(c - reach, 0, s - 1)) for c, s in zip(centre, (width, height), strict=True))
    right = int(np.clip(centre[0] + reach, left + 1, width))
    bottom = int(np.clip(centre[1] + reach, top + 1, height))
    part_HWC = frame.picture_HWC[top:bottom, left:right]
    scale = min(1.0, _KEPT_PX / side)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    return _Kept(
        time_s=frame.time_s,
        pixels_HWC=resize(part_HWC, *size) if scale < 1 else part_HWC.copy(),
        corner_px=np.array([left, top], np.float64),
        scale=size[0] / (right - left),
    )


def _cut_up(track: Track, kept: list[_Kept], size_px: tuple[int, int]) -> Portrait:
    times_s_T = np.array([each.time_s for each in kept])
    steady = [sight.face for sight in steadied(track).sights]
    fewest = min(len(_points(face)) for face in steady)
    found_s = [sight.time_s for sight in track.sights]
    points_TL2 = _between(times_s_T, found_s, np.stack([_points(face)[:fewest] for face in steady]))
    mouths_N4 = np.stack([place_of_mouth(face) for face in steady])
    mouths_N4[:, 3] = np.unwrap(mouths_N4[:, 3])
    mouths_T4 = _between(times_s_T, found_s, mouths_N4)
    boxes_N4 = np.array([face.box_px for face in steady]) / (*size_px, *size_px)
    left, top, right, bottom = np.clip(np.median(boxes_N4, axis=0), 0, 1).tolist()
    levels = [level(points_L2) for points_L2 in points_TL2]
    return Portrait(
        times_s_T=times_s_T,
        points_TL2=points_TL2,
        eyes_TEHW=np.stack([_eyes(each, turn) for each, turn in zip(kept, levels, strict=True)]),
        mouth_THW=np.stack([_mouth(each, place_4) for each, place_4 in zip(kept, mouths_T4, strict=True)]),
        skin_TR3=np.stack([_skin(each, turn) for each, turn in zip(kept, levels, strict=True)]),
        track=track,
        box=(left, top, right, bottom),
        size_px=size_px,
    )


def _points(face: Face) -> NDArray[np.float32]:
    assert face.landmarks_px is not None, "faces without eyes are not followed"
    return face.landmarks_px


def _between(times_s_T: Floats, found_s: list[float], values: Floats) -> Floats:
    flat = values.reshape(len(found_s), -1)
    columns = [np.interp(times_s_T, found_s, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(times_s_T), *values.shape[1:])


def _warp(kept: _Kept, to_patch: Floats, size: tuple[int, int]) -> Picture:
    """Cut a patch out of a square; ``to_patch`` [2, 3] takes picture pixels to its pixels."""
    # A point p of the picture lies at (p - corner) * scale in the square, both counted from corners.
    turn = to_patch[:, :2] / kept.scale
    shift = to_patch[:, :2] @ kept.corner_px + to_patch[:, 2] + turn @ (0.5, 0.5) - 0.5
    matrix = np.column_stack([turn, shift])
    warped = cv2.warpAffine(
        kept.pixels_HWC, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)


def _eyes(kept: _Kept, turn: Floats) -> Greys:
    width, height = EYE_PX
    patches = []
    for x in (-0.5, 0.5):
        shift = np.array([width / 2 - x * UNIT_PX, height / 2])
        to_patch = UNIT_PX * turn + np.column_stack([np.zeros((2, 2)), shift])
        patches.append(cv2.cvtColor(_warp(kept, to_patch, EYE_PX), cv2.COLOR_RGB2GRAY))
    return np.stack(patches).astype(np.uint8)


def _mouth(kept: _Kept, place_4: Floats) -> Greys:
    x, y, side, turn_rad = place_4.tolist()
    cos, sin = (MOUTH_PX / side * each for each in (math.cos(turn_rad), math.sin(turn_rad)))
    turn = np.array([[cos, sin], [-sin, cos]])
    to_patch = np.column_stack([turn, MOUTH_PX / 2 - turn @ (x, y)])
    grey = cv2.cvtColor(_warp(kept, to_patch, (MOUTH_PX, MOUTH_PX)), cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.uint8)


def _skin(kept: _Kept, turn: Floats) -> Floats:
    means = []
    for left, top, right, bottom in SKIN.values():
        size = (round((right - left) * UNIT_PX), round((bottom - top) * UNIT_PX))
        shift = -UNIT_PX * np.array([left, top])
        to_patch = UNIT_PX * turn + np.column_stack([np.zeros((2, 2)), shift])
        means.append(_warp(kept, to_patch, size).reshape(-1, 3).mean(axis=0))
    return np.asarray(means, np.float64)
