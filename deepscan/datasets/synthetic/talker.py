"""A drawn face that moves, blinks and speaks, in front of a camera.

It is nobody, but finders of faces find it, and its eyes, nose and mouth are where they see them.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepscan.datasets.camera import GAMMA, Picture, Pose, add_body, draw_texture

Curve = NDArray[np.float64]

RATE_HZ = 25

_TEXTURE_PX = 256
_BLINK_S = (0.08, 0.14)
"""How long lids take to close and to open."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Talker:
    """A face.

    Attributes:
        skin: Colour, linear light, float32 [3]; so are ``hair``, ``lips`` and ``iris``.
        hair: Of hair and brows.
        lips: Of the lips.
        iris: Of the iris.
        width: Half the width of the head over half its height.
        eye_u: Distance of an eye from the middle, in half widths of the head.
        mouth_v: Height of the mouth below the middle, in half widths of the head.
        texture_HW: Of the skin, in [-0.2, 0.2], stretched over the face.
    """

    skin: Picture
    hair: Picture
    lips: Picture
    iris: Picture
    width: float
    eye_u: float
    mouth_v: float
    texture_HW: Picture


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Act:
    """What a face does, frame by frame at ``RATE_HZ``.

    Attributes:
        x_T: Middle of the face on a square picture whose sides are -1 and 1.
        y_T: The same, downward.
        radius_T: Half the width of the face.
        tilt_rad_T: Angle by which the face is turned clockwise.
        opening_T: How far the mouth is open, in [0, 1].
        closure_T: How far the eyes are closed, in [0, 1].
        blinks_s: Times at which the eyes are closed.
    """

    x_T: Curve
    y_T: Curve
    radius_T: Curve
    tilt_rad_T: Curve
    opening_T: Curve
    closure_T: Curve
    blinks_s: tuple[float, ...]


def draw_talker(rng: np.random.Generator) -> Talker:
    """Draw a face between pale and dark."""
    skin = _light(215, 170, 140) * rng.uniform(0.45, 1.15) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    return Talker(
        skin=skin,
        hair=skin * rng.uniform(0.04, 0.16),
        lips=skin * np.asarray((0.75, 0.32, 0.36), np.float32) * rng.uniform(0.8, 1.1),
        iris=_light(*rng.choice([(40, 25, 18), (45, 60, 75), (55, 60, 35)])),
        width=float(rng.uniform(0.7, 0.78)),
        eye_u=float(rng.uniform(0.35, 0.39)),
        mouth_v=float(rng.uniform(0.53, 0.6)),
        texture_HW=np.clip(0.04 * draw_texture(_TEXTURE_PX, rng), -0.2, 0.2),
    )


def act(opening_T: Curve, rng: np.random.Generator) -> Act:
    """Let a face speak, sway and blink.

    Args:
        opening_T: How far the mouth is open in each frame, in [0, 1].
        rng: Source of the rest.
    """
    frames = opening_T.size
    blinks_s = _draw_blinks(frames / RATE_HZ, rng)
    return Act(
        x_T=rng.uniform(-0.15, 0.15) + _sway(frames, 0.06, rng),
        y_T=rng.uniform(-0.05, 0.15) + _sway(frames, 0.04, rng),
        radius_T=rng.uniform(0.44, 0.52) * (1 + _sway(frames, 0.03, rng)),
        tilt_rad_T=rng.uniform(-0.06, 0.06) + _sway(frames, 0.05, rng),
        opening_T=opening_T,
        closure_T=_closure(frames, blinks_s),
        blinks_s=blinks_s,
    )


def pose_of(acting: Act, frame: int, size_px: int) -> Pose:
    """Return the coordinates of the face in a frame: middle 0, half its width 1, v downward."""
    y_HW, x_HW = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j].astype(np.float32)
    moved = Pose(u_HW=x_HW - acting.x_T[frame], v_HW=y_HW - acting.y_T[frame], pixel=2 / size_px)
    return moved.turned(acting.tilt_rad_T[frame]).part(0, 0, acting.radius_T[frame])


def paint(scene_HWC: Picture, talker: Talker, acting: Act, frame: int) -> Picture:
    """Return the scene with the face in it, linear light, float32 [H, W, 3] in [0, 1]."""
    scene, pose = scene_HWC.copy(), pose_of(acting, frame, scene_HWC.shape[0])
    place = _TEXTURE_PX / 2 * (1 + np.stack((pose.v_HW, pose.u_HW)) / 1.5)
    grain_HW = ndimage.map_coordinates(talker.texture_HW, place, order=1, mode="mirror")
    opening, width = acting.opening_T[frame], 1.15 * talker.width
    add_body(scene, pose.part(0, -0.25, 1.2 * width, 1.2), talker.hair, 4 * grain_HW)
    # The jaw goes down with the mouth.
    add_body(scene, pose.part(0, 0.03 * opening, width, 1.15 + 0.03 * opening), talker.skin, grain_HW)
    add_body(scene, pose.part(0, 0.2, 0.12, 0.14), 0.68 * talker.skin, grain_HW)
    for side in (-talker.eye_u, talker.eye_u):
        _add_eye(scene, pose.part(side, -0.2, 1), talker, acting.closure_T[frame], grain_HW)
    _add_mouth(scene, pose.part(0, talker.mouth_v, 1), talker, opening, grain_HW)
    bounded: Picture = np.clip(scene, 0.01, 1)
    return bounded


def face_mask(acting: Act, frame: int, size_px: int) -> Picture:
    """Return the weight of what a forger puts over a face: 1 in its middle, 0 outside, float32 [H, W]."""
    pose = pose_of(acting, frame, size_px)
    distance_HW = np.hypot(pose.u_HW / 0.8, (pose.v_HW - 0.15) / 0.95)
    return np.clip((1 - distance_HW) / 0.2, 0, 1).astype(np.float32)


def _light(red: float, green: float, blue: float) -> Picture:
    """Levels of a picture, in [0, 255], as linear light."""
    return np.asarray((np.array((red, green, blue)) / 255) ** GAMMA, np.float32)


def _sway(frames: int, size: float, rng: np.random.Generator) -> Curve:
    """A slow movement of this size about 0."""
    time_s = np.arange(frames) / RATE_HZ
    slow, fast = (
        np.sin(2 * np.pi * (rng.uniform(*range_hz) * time_s + rng.random()))
        for range_hz in ((0.15, 0.4), (0.5, 1))
    )
    return np.asarray(size / 1.3 * (slow + 0.3 * fast))


def _draw_blinks(duration_s: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Times of blinks, every 1 to 3.5 s, none of them cut off."""
    times, at = [], rng.uniform(0.3, 1.5)
    while at < duration_s - 0.2:
        times.append(round(float(at), 3))
        at += rng.uniform(1, 3.5)
    return tuple(times)


def _closure(frames: int, blinks_s: tuple[float, ...]) -> Curve:
    time_s = np.arange(frames) / RATE_HZ
    closure_T = np.zeros(frames)
    for blink_s in blinks_s:
        late_s = time_s - blink_s
        share = np.where(late_s < 0, -late_s / _BLINK_S[0], late_s / _BLINK_S[1])
        closure_T = np.maximum(closure_T, np.clip(1.25 - share, 0, 1))
    return closure_T


def _add_eye(scene: Picture, pose: Pose, talker: Talker, closure: float, grain_HW: Picture) -> None:
    flat_HW, open_ = np.zeros_like(grain_HW), 1 - closure
    add_body(scene, pose.part(0, -0.22, 0.24, 0.06), talker.hair, grain_HW)
    add_body(scene, pose.part(0, 0, 0.22, 0.13), 0.5 * talker.skin, grain_HW)
    if open_ > 0.15:
        add_body(scene, pose.part(0, 0, 0.17, 0.09 * open_), _light(235, 235, 235), flat_HW)
        add_body(scene, pose.part(0, 0, 0.09, 0.09 * open_), talker.iris, flat_HW)
        add_body(scene, pose.part(0, 0, 0.04, min(0.04, 0.08 * open_)), _light(10, 10, 10), flat_HW)
    else:
        add_body(scene, pose.part(0, 0.01, 0.2, 0.1), 0.8 * talker.skin, grain_HW)
        add_body(scene, pose.part(0, 0.08, 0.18, 0.02), talker.hair, grain_HW)


def _add_mouth(scene: Picture, pose: Pose, talker: Talker, opening: float, grain_HW: Picture) -> None:
    half_width = 0.32 - 0.04 * opening
    add_body(scene, pose.part(0, 0.04 * opening, half_width, 0.09 + 0.14 * opening), talker.lips, grain_HW)
    if opening * 0.17 > pose.pixel / 2:
        inside = pose.part(0, 0.04 * opening, 0.8 * half_width, 0.17 * opening)
        add_body(scene, inside, _light(45, 15, 15), np.zeros_like(grain_HW))
