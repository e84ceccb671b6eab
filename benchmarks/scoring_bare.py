"""Pictures a second of ``deepscan score`` beside decoding, faces and model run bare in two processes.

    python benchmarks/scoring_bare.py --data FOLDER --bundle runs/first/bundle --out benchmarks/results

The bare processes read a file, decode it, find the face, cut it out and run the model, one file after the
other, and keep nothing but the logit: no verdict, no table, no recovery, no limits of time. Both sides judge
a short list and one four times as long, in turns; speeds are those of the difference, so that the start of
processes, which a campaign of millions does not notice, is on neither side.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time

import cv2
import torch

from deepscan.allocator import keep_memory
from deepscan.cluster import connected
from deepscan.detector import Detector
from deepscan.ensemble import select
from deepscan.errors import DeepscanError
from deepscan.media.source import Media
from deepscan.scoring.plan import Work
from deepscan.scoring.run import open_task, score
from deepscan.watch import LogWatch

PROCESSES = 2
LONGER = 4


def judge(bundle: pathlib.Path, files: list[pathlib.Path]) -> None:
    """Judge some files in a process of one thread."""
    keep_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = Detector.load(bundle, "cpu")
    for file in files:
        try:
            detector.run(detector.prep(Media.from_path(file)))
        except DeepscanError:
            continue


def bare_s(bundle: pathlib.Path, files: list[pathlib.Path]) -> float:
    """Return how long the bare processes take for some files, in seconds."""
    start_s = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    parts = [files[number::PROCESSES] for number in range(PROCESSES)]
    processes = [context.Process(target=judge, args=(bundle, part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("A bare process failed; its error is above.")
    return time.perf_counter() - start_s


def score_s(bundle: pathlib.Path, files: list[pathlib.Path]) -> float:
    """Return how long ``deepscan score`` takes for the same files, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        listing = pathlib.Path(folder) / "files.csv"
        listing.write_text("path\n" + "".join(f"{file}\n" for file in files), encoding="utf-8")
        start_s = time.perf_counter()
        work, out = Work(device="cpu"), str(pathlib.Path(folder) / "out")
        score(open_task(str(listing), out, select([bundle]), work, LogWatch()), LogWatch())
        return time.perf_counter() - start_s


def main() -> None:
    """Take turns and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=300, help="pictures of the short list")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    found = sorted(path.absolute() for path in given.data.rglob("*") if path.is_file())
    files = [found[number % len(found)] for number in range(LONGER * given.count)]
    with tempfile.TemporaryDirectory() as folder, connected():
        copies = [pathlib.Path(folder) / f"{n:06}{path.suffix}" for n, path in enumerate(files)]
        for copy, path in zip(copies, files, strict=True):
            copy.symlink_to(path)
        speeds: dict[str, list[float]] = {"bare": [], "score": []}
        for _ in range(given.rounds):
            for name, timed in (("bare", bare_s), ("score", score_s)):
                short_s, long_s = (timed(given.bundle, copies[:n]) for n in (given.count, len(copies)))
                speeds[name].append((len(copies) - given.count) / (long_s - short_s))
                print(f"{name}: {speeds[name][-1]:.1f} pictures/s", flush=True)
    medians = {name: round(statistics.median(each), 2) for name, each in speeds.items()}
    result = {
        "model": Detector.load(given.bundle, "cpu").bundle.card.model,
        "pictures": len(files),
        "cores": os.cpu_count(),
        "rounds": {name: [round(speed, 2) for speed in each] for name, each in speeds.items()},
        "pictures_per_s": medians,
        "ratio": round(medians["score"] / medians["bare"], 3),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (given.out / "scoring_bare.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
