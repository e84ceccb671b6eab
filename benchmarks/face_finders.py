"""How the shipped face finder, YuNet and OpenCV's cascade compare, on sources that the shipped one never saw.

    python -m benchmarks.face_finders --media ../shared/media

Truth is what YuNet sees. Four kinds of pictures, all of test sources: pictures as they are, frames of clips
as they are, scenes composed of their faces and made worse, and scenes without any face. Of composed scenes
YuNet is asked before they are made worse, and as one of the finders after that, too. A face is found where
boxes overlap by half (intersection over union); what overlaps something that YuNet doubts is not false.
Portraits are turned by 15 degrees to either side, too: by how much of that the line between the eyes turns.
Times are of frames of 1280 x 720 looked at with 320 px, the scaling included, as CPU time and as time on the
clock, with one and with two threads of OpenCV: the least and the median of repeated runs in turns.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from deepscan.finder.gather import Gathered, gather
from deepscan.finder.scoring import Match, figures, landmark_error, match
from deepscan.media import scenes as composing
from deepscan.media.backdrops import draw_backdrop
from deepscan.media.faces import Face, Finder, find_faces
from deepscan.media.pixels import resize
from deepscan.media.scenes import Box, Portrait, Scene
from deepscan.media.shipped_faces import SHA256, weights_path

FINDERS: tuple[Finder, ...] = ("tiny", "yunet", "haar")
GOALS = {"recall": 0.95, "false_share_of_haar": 0.2, "ms": 5.0, "bytes": 400_000}
MIN_SCORE, UNSURE_SCORE = 0.6, 0.3
FRAME_PX = (1280, 720)
LOOK_PX = 320
TILT_DEG = 15.0
SEED = 20_241
RESULT = pathlib.Path("benchmarks/results/face_finders.json")
BANDS_PX = ((0, 16), (16, 32), (32, 64), (64, 128), (128, 10_000))


def look(picture: np.ndarray, finder: Finder, min_score: float = MIN_SCORE) -> list[Face]:
    """Find faces as the program does, with one look."""
    return find_faces(picture, finder=finder, min_score=min_score, looks_px=(LOOK_PX,))


def as_seen(picture: np.ndarray, known: Sequence[Box] = ()) -> Scene:
    """Return a picture with YuNet's faces; what it doubts, or should see and does not, is unsure."""
    seen = look(picture, "yunet", UNSURE_SCORE)
    doubted = [face.box_px for face in seen if face.score < MIN_SCORE]
    sure = tuple(face for face in seen if face.score >= MIN_SCORE)
    return Scene(picture_HWC=picture, faces=sure, unsure=(*doubted, *known))


def as_they_are(portraits: Sequence[Portrait]) -> list[Scene]:
    """Return pictures at the size of one look, with YuNet's faces of them."""
    made = []
    for portrait in portraits:
        height, width = portrait.picture_HWC.shape[:2]
        factor = min(1.0, LOOK_PX / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        made.append(as_seen(resize(portrait.picture_HWC, *size)))
    return made


def composed(found: Gathered, count: int) -> list[Scene]:
    """Return composed scenes of 320 px, made worse; their faces are those that YuNet saw before that."""
    rng = np.random.default_rng(SEED)
    portraits = [*found.stills, *found.frames]
    made = []
    for _ in range(count):
        scene = composing.compose(lambda rng: portraits[int(rng.integers(len(portraits)))], LOOK_PX, rng)
        truth = as_seen(scene.picture_HWC, [*scene.unsure, *(face.box_px for face in scene.faces)])
        made.append(dataclasses.replace(truth, picture_HWC=composing.worsen(scene.picture_HWC, rng)))
    return made


def empty(found: Gathered, count: int) -> list[Scene]:
    """Return backdrops, text, noise and rests of pictures, without faces, as they are and made worse."""
    rng = np.random.default_rng(SEED + 1)
    portraits = [*found.stills, *found.frames]
    made = []
    for number in range(count):
        chosen = [portraits[int(index)] for index in rng.integers(0, len(portraits), 3)]
        picture = draw_backdrop([composing.faceless(each, rng) for each in chosen], LOOK_PX, rng)
        made.append(Scene(picture_HWC=composing.worsen(picture, rng) if number % 2 else picture, faces=()))
    return made


def compared(scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return the figures of every finder on scenes."""
    told: dict[str, Any] = {}
    for finder in FINDERS:
        matches = [match(scene, look(scene.picture_HWC, finder)) for scene in scenes]
        told[finder] = figures(matches, MIN_SCORE).rounded()
        told[finder]["recall_by_side_px"] = by_side(scenes, matches)
    return told


def by_side(scenes: Sequence[Scene], matches: Sequence[Match]) -> dict[str, Any]:
    """Return faces and the share of them that is found, by the geometric mean of their sides."""
    sides = [[(face.width_px * face.height_px) ** 0.5 for face in scene.faces] for scene in scenes]
    told = {}
    for low, high in BANDS_PX:
        faces = sum(low <= side < high for each in sides for side in each)
        hits = sum(
            low <= each[index] < high
            for each, one in zip(sides, matches, strict=True)
            for index in one.sides.tolist()
        )
        told[f"{low}-{high}"] = {"faces": faces, "recall": round(hits / faces, 4) if faces else None}
    return told


def tilted(portraits: Sequence[Portrait]) -> dict[str, Any]:
    """Return how far landmarks are off in turned portraits, and what they tell of the turn."""
    told: dict[str, Any] = {}
    scenes = as_they_are(portraits)
    for finder in FINDERS[:2]:
        errors, seen = list[float](), list[float]()
        for scene in scenes:
            turned = [as_seen(turn(scene.picture_HWC, angle)) for angle in (-TILT_DEG, TILT_DEG)]
            faces = [surest(each.picture_HWC, finder) for each in turned]
            if len(scene.faces) != 1 or any(len(each.faces) != 1 for each in turned) or None in faces:
                continue
            errors += [landmark_error(face, each.faces[0]) for face, each in zip(faces, turned, strict=True)]
            seen.append((tilt_deg(faces[1]) - tilt_deg(faces[0])) / (2 * TILT_DEG))
        told[finder] = {
            "portraits": len(seen),
            "landmark_error": round(statistics.mean(errors), 4),
            "share_of_turn": round(statistics.median(seen), 4),
        }
    return told


def turn(picture: np.ndarray, angle_deg: float) -> np.ndarray:
    """Turn a picture clockwise about its middle; its border is repeated."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -angle_deg, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def surest(picture: np.ndarray, finder: Finder) -> Face | None:
    """Return the surest face of a picture."""
    return max(look(picture, finder), key=lambda face: face.score, default=None)


def tilt_deg(face: Face) -> float:
    """Return how far the line between the eyes is turned clockwise, in degrees."""
    right, left = face.landmarks_px[:2]
    return float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))


def times(frames: Sequence[np.ndarray], repeats: int) -> dict[str, Any]:
    """Time one look at frames, the finders in turns."""
    told: dict[str, Any] = {}
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        wall: dict[str, list[float]] = {finder: [] for finder in FINDERS}
        cpu: dict[str, list[float]] = {finder: [] for finder in FINDERS}
        for repeat in range(repeats + 1):
            for finder in FINDERS:
                for frame in frames:
                    begin, begin_cpu = time.perf_counter(), time.process_time()
                    look(frame, finder)
                    if repeat:  # the first one loads the finder
                        wall[finder].append(1e3 * (time.perf_counter() - begin))
                        cpu[finder].append(1e3 * (time.process_time() - begin_cpu))
        told[f"{threads}_threads"] = {
            finder: {
                "least_ms": round(min(wall[finder]), 2),
                "median_ms": round(statistics.median(wall[finder]), 2),
                "median_cpu_ms": round(statistics.median(cpu[finder]), 2),
            }
            for finder in FINDERS
        }
    return told


def summary(result: dict[str, Any]) -> list[str]:
    """Return the lines that are printed: ratios, beside the goals."""
    lines = []
    for kind, told in result["pictures"].items():
        tiny, haar = told["tiny"], told["haar"]
        share = tiny["false_per_picture"] / haar["false_per_picture"] if haar["false_per_picture"] else None
        ratio = "-" if share is None else f"{share:.2f}"
        lines.append(
            f"{kind}: {tiny['faces']} faces in {tiny['pictures']} pictures; found by tiny, yunet, haar: "
            f"{tiny['recall']:.3f}, {told['yunet']['recall']:.3f}, {haar['recall']:.3f}; false a picture: "
            f"{tiny['false_per_picture']}, {told['yunet']['false_per_picture']}, {haar['false_per_picture']} "
            f"(tiny over haar {ratio}); landmarks off by {tiny['landmark_error']} of the eye distance"
        )
    tilts = ", ".join(
        f"{finder} {told['share_of_turn']:.2f} of it (off by {told['landmark_error']} in {told['portraits']})"
        for finder, told in result["tilted"].items()
    )
    lines.append(f"tilted by {TILT_DEG:.0f} degrees: {tilts}")
    for threads, told in result["times"].items():
        tiny, yunet, haar = (told[finder]["median_cpu_ms"] for finder in FINDERS)
        lines.append(
            f"{threads}: {tiny} ms of CPU a frame, least {told['tiny']['least_ms']} ms on the clock; "
            f"{yunet / tiny:.1f} times YuNet's speed, {haar / tiny:.1f} times the cascade's"
        )
    return lines


def main() -> None:
    """Measure, print ratios, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="seed that the shipped finder was trained with")
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=pathlib.Path, default=RESULT)
    given = parser.parse_args()
    found = gather(given.media, "test", given.seed)
    frames = [resize(each.picture_HWC, *FRAME_PX) for each in found.frames[:12]]
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "finder_sha256": SHA256,
        "finder_bytes": weights_path().stat().st_size,
        "data_digest": found.digest,
        "goals": GOALS,
        "pictures": {
            "pictures": compared(as_they_are(found.stills)),
            "frames": compared(as_they_are(found.frames)),
            "composed": compared(composed(found, given.scenes)),
            "without_faces": compared(empty(found, given.scenes)),
        },
        "tilted": tilted(found.stills[:60]),
        "times": times(frames, given.repeats),
    }
    print("\n".join(summary(result)))
    given.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
