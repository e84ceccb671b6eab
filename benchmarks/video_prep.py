"""Seconds to prepare a clip, stage by stage, beside what most people write, in one run.

    python benchmarks/video_prep.py --data FOLDER --finder yunet --clips 4 --repeats 3

Both give 16 aligned crops of one face from the same times of a clip. The baseline decodes every frame, turns
each into RGB, looks for faces in the sampled ones at full size, one after the other, and then cuts them out.
The stages are timed on their own (decode; faces; follow, steady and cut), and so is bare decoding by
FFmpeg's two threads, of everything and of the frames that others refer to: with less, no frame of these is
what it was. The whole, in which decoding and looking overlap, is timed again, and so is the processor time
that it takes: on a busy machine that is the figure to read. The least of the repeats counts. How far a crop
is at most from the centre of the slice of time that it stands for is printed, too.
"""

import argparse
import dataclasses
import io
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np

from deepscan.media.faces import LOOKS_PX, Finder, align_crop, find_faces
from deepscan.media.source import Media, Sampling
from deepscan.media.tracks import Glimpse, follow, look, steadied
from deepscan.modalities.video import VideoPrep

STAGES = ("everything", "references", "decode", "faces", "crops", "whole", "processors", "baseline")


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one clip: seconds by stage, and the largest distance of a crop from its time."""

    name: str
    facts: str
    seconds: dict[str, float]
    off_s: float
    ahead: float


def timed(
    repeats: int, work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    """Return the least time of several runs, in seconds, and what the last one gave."""
    least = float("inf")
    for _ in range(repeats):
        begin = clock()
        result = work()
        least = min(least, clock() - begin)
    return least, result


def cut(prep: VideoPrep, glimpses: list[Glimpse]) -> list[Any]:
    """Follow, steady and cut out the faces of a clip."""
    tracks = follow([each.time_s for each in glimpses], [each.faces for each in glimpses])
    return [
        glimpses[sight.frame].crop(sight.face, prep.size_px, prep.margin)
        for track in tracks[: prep.max_tracks]
        for sight in steadied(track).sights
    ]


def bare(data: bytes, skip: str) -> None:
    """Decode a clip and do nothing with it; ``skip`` says which frames are left out."""
    with av.open(io.BytesIO(data)) as container:
        track = container.streams.video[0]
        context: Any = track.codec_context
        context.thread_type, context.thread_count, context.skip_frame = "AUTO", 2, skip
        for _ in container.decode(track):
            pass


def baseline(prep: VideoPrep, finder: Finder, data: bytes, name: str) -> list[Any]:
    """Decode everything; look for faces at full size, one sampled frame after the other."""
    frames = list(Media.from_bytes(data, name).frames(Sampling(kind="every", step=1, count=10**9)))
    crops = []
    for at in np.linspace(0, len(frames) - 1, prep.sampling.count).round().astype(int):
        picture_HWC = frames[at].picture_HWC
        faces = find_faces(picture_HWC, finder=finder, looks_px=(max(picture_HWC.shape[:2]),))
        crops += [align_crop(picture_HWC, face, prep.size_px, prep.margin) for face in faces[:1]]
    return crops


def measure(path: pathlib.Path, finder: Finder, repeats: int) -> Figures:
    """Measure one clip, every stage and both sides."""
    data, prep, seconds = path.read_bytes(), VideoPrep(finder=finder), {}

    def glimpses(frames: Any) -> list[Glimpse]:
        return look(
            frames, finder=finder, min_score=prep.min_score, margin=prep.margin, looks_px=LOOKS_PX[:1]
        )

    def opened() -> Media:
        return Media.from_bytes(data, path.name)

    seconds["everything"], _ = timed(repeats, lambda: bare(data, "DEFAULT"))
    seconds["references"], _ = timed(repeats, lambda: bare(data, "NONREF"))
    seconds["decode"], frames = timed(repeats, lambda: list(opened().frames(prep.sampling)))
    seconds["faces"], seen = timed(repeats, lambda: glimpses(frames))
    seconds["crops"], _ = timed(repeats, lambda: cut(prep, seen))
    seconds["whole"], examples = timed(repeats, lambda: prep(opened()))
    seconds["processors"], _ = timed(repeats, lambda: prep(opened()), time.process_time)
    seconds["baseline"], _ = timed(1, lambda: baseline(prep, finder, data, path.name))
    facts = opened().facts
    assert facts.duration_s is not None, "a clip has a length"
    slices_s = (np.arange(prep.sampling.count) + 0.5) * facts.duration_s / prep.sampling.count
    times_s = examples[0]["time_s"][examples[0]["mask"] == 1]
    off_s = max(float(np.abs(slices_s - each).min()) for each in times_s)
    size = f"{facts.width_px} x {facts.height_px}, {facts.duration_s:.1f} s, {len(times_s)} crops"
    return Figures(
        f"{path.parent.name}/{path.name}", size, seconds, off_s, seconds["baseline"] / seconds["whole"]
    )


def main() -> None:
    """Measure some clips of a folder and print a row for each and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of clips, searched deeply")
    parser.add_argument("--finder", choices=("yunet", "haar"), default="yunet")
    parser.add_argument("--clips", type=int, default=4, help="so many clips, evenly over the folder")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    paths = sorted(given.data.rglob("*.mp4"))
    chosen = [paths[len(paths) * number // given.clips] for number in range(given.clips)]
    rows = [measure(path, given.finder, given.repeats) for path in chosen]
    for row in rows:
        stages = "  ".join(f"{name} {row.seconds[name]:.3f} s" for name in STAGES)
        print(f"{row.name} ({row.facts}): {stages}  {row.ahead:.1f} x  off by {row.off_s:.3f} s")
    medians = (f"{name} {statistics.median(row.seconds[name] for row in rows):.3f} s" for name in STAGES)
    print(f"median: {'  '.join(medians)}  {statistics.median(row.ahead for row in rows):.1f} x")


if __name__ == "__main__":
    main()
