"""From a clip to a verdict, as textbooks do it and as `deepscan predict` does it, stage by stage in one run.

    python -m benchmarks.textbook_video --clip CLIP --rounds 7 --encode

Both judge 16 faces of one clip by the same network (EfficientNet-B0, LSTM both ways, attention over moments,
fresh weights). The textbook reads every frame by OpenCV, keeps those that it wants, looks for faces in them
by the Haar cascade at 640 px, cuts the largest out, scales it and runs the network by PyTorch in float32.
Ours is `pipeline.analyze`: `eager` with that network, `ours` with its export to OpenVINO in float32, `bf16`
in bfloat16.

Rounds alternate, so that a machine whose speed drifts treats all alike. Medians are printed, and processor
time beside wall time: on a busy machine that is the figure to read. Our stages are timed on their own, too;
in the whole, decoding and looking for faces overlap. `--encode` first stores the clip as most clips are, as
H.264 with one colour sample for four pixels, where some of a collection keep all of them. Goals: 6 times, and
0.45 s on two cores.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import cv2
import cv2.data
import numpy as np

from deepscan.detector import Detector
from deepscan.formats import network_of
from deepscan.formats.batches import hardware
from deepscan.media.encode import encode_clip
from deepscan.media.faces import LOOKS_PX
from deepscan.media.source import Media, Sampling
from deepscan.media.tracks import look
from deepscan.modalities import batch
from deepscan.models.catalog import load_builtin
from deepscan.optimize.benchmark import fresh_bundle
from deepscan.optimize.export import export
from deepscan.pipeline import analyze

MODEL = "efficientnet-b0-bilstm"
GOAL_RATIO, GOAL_S = 6.0, 0.45
LOOK_PX, MARGIN = 640, 0.3
MOST_FRAMES, QUALITY = 450, 23

Stages = dict[str, float]


class Watch:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        """Begin now."""
        self.stages: Stages = {}
        self._begin_s = self._last_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def lap(self, stage: str) -> None:
        """Say that a stage has ended."""
        now_s = time.perf_counter()
        self.stages[stage] = now_s - self._last_s
        self._last_s = now_s

    def end(self) -> Stages:
        """Return the stages with the whole, and the processor time of all threads."""
        whole = {
            "whole": time.perf_counter() - self._begin_s,
            "processors": time.process_time() - self._cpu_s,
        }
        return self.stages | whole


def textbook(path: pathlib.Path, detector: Detector) -> Stages:
    """Judge a clip as textbooks do."""
    watch = Watch()
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    columns = detector.prep.inputs
    frames, size_px = columns["frames"].shape[0], columns["frames"].shape[1]
    wanted = set(np.linspace(0, count - 1, frames).round().astype(int).tolist())
    kept = []
    for number in range(count):
        there, frame = capture.read()
        if not there:
            break
        if number in wanted:
            kept.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    watch.lap("decode")
    cascade = cv2.CascadeClassifier(
        str(pathlib.Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml")
    )
    faces = [_largest(cascade, picture) for picture in kept]
    watch.lap("faces")
    crops = [_cut(picture, face, size_px) for picture, face in zip(kept, faces, strict=True) if face]
    inputs = {name: np.zeros((1, *column.shape), np.uint8) for name, column in columns.items()}
    inputs["frames"][0, : len(crops)], inputs["mask"][0, : len(crops)] = crops, 1
    watch.lap("crops")
    logit = detector.runner(inputs)["logit"]
    watch.lap("model")
    detector.bundle.card.calibration.apply(logit)
    watch.lap("verdict")
    return watch.end()


def _largest(cascade: Any, picture: Any) -> tuple[int, ...]:
    scale = LOOK_PX / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes = cascade.detectMultiScale(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 1.1, 3, minSize=(32, 32))
    found = [(np.array(box) / scale).astype(int).tolist() for box in boxes]
    return max(found, key=lambda box: box[2], default=())


def _cut(picture: Any, box: Any, size_px: int) -> Any:
    left, top, width, height = box
    beside, above = round(MARGIN * width), round(MARGIN * height)
    crop = picture[max(0, top - above) : top + height + above, max(0, left - beside) : left + width + beside]
    return cv2.resize(crop, (size_px, size_px))


def ours(path: pathlib.Path, detector: Detector) -> Stages:
    """Judge a clip as `deepscan predict` does."""
    watch = Watch()
    verdict = analyze(Media.from_path(path), [detector])
    assert verdict.scores, "the detector voted"
    return watch.end()


def stages(path: pathlib.Path, detector: Detector) -> Stages:
    """Do what ``ours`` does, one stage after the other."""
    prep: Any = detector.prep
    watch = Watch()
    media = Media.from_path(path)
    watch.lap("probe")
    frames = list(media.frames(prep.sampling))
    watch.lap("decode")
    look(frames, finder=prep.finder, min_score=prep.min_score, margin=prep.margin, looks_px=LOOKS_PX[:1])
    watch.lap("faces")
    examples = prep(media)
    watch.lap("whole preparation")
    inputs = batch(examples, prep)
    watch.lap("features")
    outputs = detector.runner(inputs)
    watch.lap("model")
    detector.judge(examples, outputs)
    watch.lap("verdict")
    return watch.stages


def fresh(folder: pathlib.Path) -> Detector:
    """Return a detector of fresh weights, in float32 by PyTorch."""
    spec = load_builtin().get(MODEL)
    return Detector.load(fresh_bundle(folder, spec, spec.prep.resolved()), "cpu")


def encoded(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Store a clip anew, H.264 in 4:2:0; return the new file."""
    frames = list(Media.from_path(path).frames(Sampling(kind="every", step=1, count=MOST_FRAMES)))
    rate_hz = round((len(frames) - 1) / (frames[-1].time_s - frames[0].time_s))
    out = folder / "clip.mp4"
    out.write_bytes(encode_clip((frame.picture_HWC for frame in frames), rate_hz, quality=QUALITY))
    return out


def medians(rows: list[Stages]) -> Stages:
    """Return the median of every stage."""
    return {stage: statistics.median(row[stage] for row in rows) for stage in rows[0]}


def measure(path: pathlib.Path, rounds: int) -> dict[str, Any]:
    """Return the median seconds of each way by stage, and the ratios of the same rounds."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        eager = fresh(root / "eager")
        assert network_of(eager.runner) is not None
        exported = {"ours": "float32", "bf16": "bfloat16"}
        for name, precision in exported.items():
            export(root / "eager", "openvino", root / name, precision)
        detectors = {name: Detector.load(root / name, "cpu") for name in exported}
        ways: dict[str, Callable[[], Stages]] = {
            "textbook": lambda: textbook(path, eager),
            "eager": lambda: ours(path, eager),
            "ours": lambda: ours(path, detectors["ours"]),
            "bf16": lambda: ours(path, detectors["bf16"]),
            "stages": lambda: stages(path, detectors["ours"]),
        }
        rows: dict[str, list[Stages]] = {name: [] for name in ways}
        for _ in range(rounds + 1):
            for name, way in ways.items():
                rows[name].append(way())
    kept = {name: each[1:] for name, each in rows.items()}
    found: dict[str, Any] = {name: medians(each) for name, each in kept.items()}
    for name in ("eager", "ours", "bf16"):
        for clock in ("whole", "processors"):
            pairs = zip(kept["textbook"], kept[name], strict=True)
            found[name][f"times less, {clock}"] = statistics.median(a[clock] / b[clock] for a, b in pairs)
    return found


def main() -> None:
    """Measure one clip, print the stages and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=pathlib.Path, required=True, help="10 to 15 s, 1280 x 720, a face")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--encode", action="store_true", help="store it anew first, in 4:2:0")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = encoded(given.clip, pathlib.Path(folder)) if given.encode else given.clip
        facts = Media.from_path(path).facts
        found = measure(path, given.rounds)
    clip = f"{facts.width_px} x {facts.height_px}, {facts.duration_s:.1f} s"
    for name, seconds in found.items():
        print(f"{name:9s} " + "  ".join(f"{stage} {value:.3f}" for stage, value in seconds.items()))
    ahead, whole_s = found["ours"]["times less, whole"], found["ours"]["whole"]
    print(f"{clip}: {ahead:.1f} times (goal {GOAL_RATIO}), {whole_s:.3f} s (goal {GOAL_S})")
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": hardware("cpu"),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "clip": clip,
        "rounds": given.rounds,
        "encoded": given.encode,
        "seconds": found,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "textbook_video.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
