"""How a head is turned, whether its points are those of a head, and how smoothly it moves."""

import math

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoFaceError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.faces import default_finder, find_faces
from deepscan.media.landmarks import FIVE, Landmarker, Pose, landmarker, pose
from deepscan.media.portraits import LEAST_EYES_PX, Portrait, portrait
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence

MEASURES = (
    "yaw_deg",
    "pitch_deg",
    "roll_deg",
    "misfit_share",
    "pose_count",
    "yaw_range_deg",
    "pitch_range_deg",
    "jitter_deg",
)

FRONTAL_DEG = 35.0
"""Of heads turned farther the points are found less well."""

MISFIT_SHARE = 0.12
"""Farther than this from those of a mean head, in distances of the eyes, lie the points of about 1 in 100
frontal faces of FFHQ."""

LIMITS = (
    "Five points tell the pose of a mean head to within some 5 to 10 degrees; faces differ from the mean, "
    "and who makes a face wholly anew makes its points fit. A difference between the pose of the inner and "
    "of the outer face (Yang, Li and Lyu, 2019) needs more points, which an optional finder gives."
)


def testify(media: Media) -> Evidence:
    """Measure the pose of the largest face of a picture, or of the face that a clip shows longest.

    Angles are medians; ``jitter_deg`` is the part of their changes from search to search that a steady
    movement does not explain. Of a picture, ranges and jitter are 0.

    Raises:
        NoFaceError: No face is seen, too small a one, or its points are not known.
        TooShortError: A clip shows it too shortly.
        MediaError: The media does not decode.
    """
    if media.facts.duration_s is None:
        poses, facts = _of_picture(media)
        return _evidence(poses, facts, ())
    seen = portrait(media)
    times_s_N, poses = _of_clip(seen)
    if not poses:
        raise NoFaceError(_unknown(media))
    shown = tuple(_curve(name, times_s_N, poses) for name in ("yaw", "pitch", "roll"))
    return _evidence(poses, {}, shown)


def _of_picture(media: Media) -> tuple[list[Pose], dict[str, str]]:
    picture_HWC = media.picture_HWC
    faces = find_faces(picture_HWC, finder=default_finder())
    if not faces:
        msg = f"No face was found in {media.facts.name!r}; give a picture of one from the front."
        raise NoFaceError(msg)
    face, found = faces[0], landmarker()
    if face.eyes_px is None or np.linalg.norm(face.eyes_px[1] - face.eyes_px[0]) < LEAST_EYES_PX:
        msg = f"The eyes in {media.facts.name!r} were not found, or are nearer than {LEAST_EYES_PX:g} px."
        raise NoFaceError(msg)
    points_L2 = found.find(picture_HWC, face)
    size_px = (picture_HWC.shape[1], picture_HWC.shape[0])
    one = None if points_L2 is None else pose(points_L2, found.head_L3, size_px)
    if points_L2 is None or one is None:
        raise NoFaceError(_unknown(media))
    return [one], _inner_and_outer(points_L2, found, size_px)


def _of_clip(seen: Portrait) -> tuple[list[float], list[Pose]]:
    """The poses where the face was looked for; pictures are not kept, so that five points must do."""
    points = [(sight.time_s, sight.face.landmarks_px) for sight in seen.track.sights]
    five = [(time_s, each) for time_s, each in points if each is not None and len(each) == len(FIVE.head_L3)]
    poses = [(time_s, pose(each, FIVE.head_L3, seen.size_px)) for time_s, each in five]
    known = [(time_s, each) for time_s, each in poses if each is not None]
    return [time_s for time_s, _ in known], [each for _, each in known]


def _inner_and_outer(
    points_L2: NDArray[np.floating], found: Landmarker, size_px: tuple[int, int]
) -> dict[str, str]:
    """How far the poses of the inner and of the outer face part, where there are points enough."""
    if min(len(found.inner), len(found.outer)) < 4:
        return {}
    parts = [list(part) for part in (found.inner, found.outer)]
    both = [pose(points_L2[part], found.head_L3[part], size_px) for part in parts]
    inner, outer = both
    if inner is None or outer is None:
        return {}
    apart_deg = math.hypot(inner.yaw_deg - outer.yaw_deg, inner.pitch_deg - outer.pitch_deg)
    return {"inner and outer face": f"their poses differ by {apart_deg:.1f} degrees"}


def _evidence(poses: list[Pose], facts: dict[str, str], shown: tuple[Curve, ...]) -> Evidence:
    angles_N3 = np.array([(each.yaw_deg, each.pitch_deg, each.roll_deg) for each in poses])
    yaw, pitch, roll = np.median(angles_N3, axis=0).tolist()
    misfit = float(np.median([each.misfit_share for each in poses]))
    ranges_3 = np.subtract(*np.percentile(angles_N3, [95, 5], axis=0))
    figures = (yaw, pitch, roll, misfit, len(poses), ranges_3[0], ranges_3[1], _jitter(angles_N3))
    measured = {name: float(value) for name, value in zip(MEASURES, figures, strict=True)}
    odd = misfit > MISFIT_SHARE and abs(yaw) < FRONTAL_DEG
    return Evidence(
        analyzer="pose",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        finding="unusual" if odd else "ordinary",
        facts=facts,
        curves=shown,
    )


def _jitter(angles_N3: NDArray[np.float64]) -> float:
    """Deviation of what straight lines through the neighbours do not explain, in the median, in degrees."""
    if len(angles_N3) < 3:
        return 0.0
    left = angles_N3[1:-1] - (angles_N3[2:] + angles_N3[:-2]) / 2
    return float(np.median(np.linalg.norm(left[:, :2], axis=1)))


def _curve(name: str, times_s: list[float], poses: list[Pose]) -> Curve:
    values_N = np.array([getattr(each, f"{name}_deg") for each in poses])
    ways = {"yaw": "to the right of the picture", "pitch": "downward", "roll": "clockwise"}
    caption = f"How far the head is turned {ways[name]}."
    return curve(name, caption, np.array(times_s), values_N, ("s", "deg"))


def _in_words(measured: dict[str, float]) -> str:
    across = "right" if measured["yaw_deg"] >= 0 else "left"
    upright = "downward" if measured["pitch_deg"] >= 0 else "upward"
    still = (
        f"The head is turned by {abs(measured['yaw_deg']):.0f} degrees to the {across} of the picture and "
        f"{abs(measured['pitch_deg']):.0f} {upright}; its points lie {measured['misfit_share']:.2f} "
        "distances of the eyes from those of a mean head"
    )
    if measured["pose_count"] < 2:
        return f"{still}."
    over, jitter = measured["yaw_range_deg"], measured["jitter_deg"]
    return f"{still}; it moves over {over:.0f} degrees and jitters by {jitter:.1f}."


def _unknown(media: Media) -> str:
    return (
        f"Nose and mouth of the face in {media.facts.name!r} were not found, or fit no head, and its pose "
        "needs them; give a picture of the face from the front."
    )


ANALYZERS.register(
    "pose",
    Analyzer(
        name="pose",
        group="face",
        summary="How a head is turned, whether its points fit a head, and how smoothly it moves",
        measures=MEASURES,
        accepts=lambda media: media.facts.width_px is not None,
        testify=testify,
    ),
)
