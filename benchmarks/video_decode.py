"""What it costs to look at some frames of a clip, beside decoding all of it.

    python benchmarks/video_decode.py ../shared/media/video --count 16 --clips 6

Every reader gets each clip in turn, three times, and its best time counts. "every frame" readers decode all
of a clip to RGB, or BGR, and keep the sampled ones: what most scripts do. All use the same two threads.
"""

import argparse
import pathlib
import time
from collections.abc import Callable

import av
import cv2
import numpy as np

from deepscan.media.source import Media, Sampling

ROUNDS = 3


def ours(path: pathlib.Path, count: int) -> float:
    """Sample by deepscan, probing included; return the largest distance from a wanted time, in seconds."""
    media = Media.from_path(path)
    times_s = np.array([frame.time_s for frame in media.frames(Sampling(count=count))])
    wanted_s = (np.arange(count) + 0.5) / count * (media.facts.duration_s or 0)
    return float(np.abs(times_s - wanted_s).max())


def all_by_pyav(path: pathlib.Path, count: int) -> float:
    """Decode everything by PyAV with its threads on, which they are not by default."""
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        track.thread_type, track.codec_context.thread_count = "AUTO", 2
        for frame in container.decode(track):
            frame.to_ndarray(format="rgb24", threads=1)
    return 0.0


def all_by_opencv(path: pathlib.Path, count: int) -> float:
    """Decode everything by OpenCV."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 2])
    while capture.read()[0]:
        pass
    capture.release()
    return 0.0


READERS: dict[str, Callable[[pathlib.Path, int], float]] = {
    "deepscan, sampled": ours,
    "PyAV, every frame": all_by_pyav,
    "OpenCV, every frame": all_by_opencv,
}


def measure(paths: list[pathlib.Path], count: int) -> dict[str, tuple[float, float]]:
    """Return the seconds a clip and the largest distance from a wanted time, by reader."""
    best_s = {name: np.full(len(paths), np.inf) for name in READERS}
    furthest_s = dict.fromkeys(READERS, 0.0)
    for at, path in enumerate(paths):
        for _ in range(ROUNDS):
            for name, read in READERS.items():
                begin_s = time.perf_counter()
                furthest_s[name] = max(furthest_s[name], read(path, count))
                best_s[name][at] = min(best_s[name][at], time.perf_counter() - begin_s)
    return {name: (float(best_s[name].mean()), furthest_s[name]) for name in READERS}


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="clips (*.mp4) at any depth")
    parser.add_argument("--count", type=int, default=16, help="frames a clip")
    parser.add_argument("--clips", type=int, default=6, help="how many clips, evenly over the folder")
    given = parser.parse_args()
    paths = sorted(given.folder.rglob("*.mp4"))
    paths = paths[:: max(1, len(paths) // given.clips)][: given.clips]
    found = measure(paths, given.count)
    ours_s = found["deepscan, sampled"][0]
    lines = [f"{len(paths)} clips, {given.count} frames each", ""]
    lines += ["| reader | seconds a clip | times ours | furthest from a wanted time |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {seconds:.3f} | {seconds / ours_s:.1f} | {f'{1000 * far_s:.0f} ms' if far_s else '-'} |"
        for name, (seconds, far_s) in found.items()
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
