"""Files a second of scoring by differently divided clusters, in one run.

    python benchmarks/scoring_pools.py --data FOLDER --bundle runs/first/bundle --out benchmarks/results

The divisions are taken in turn, several rounds, in one local cluster; the time includes the start of the
actors. ``analyze`` is the same work file after file in one process, without Ray.
"""

import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time

import torch

from deepscan.cluster import connected
from deepscan.detector import Detector
from deepscan.ensemble import Selection, select
from deepscan.media.source import Media
from deepscan.pipeline import analyze
from deepscan.scoring.plan import Work
from deepscan.scoring.run import open_task, score
from deepscan.watch import LogWatch

DIVISIONS = {
    "two actors of one thread": Work(device="cpu", actors=2),
    "one actor of two threads": Work(device="cpu", actors=1),
    "one prepares, one judges": Work(device="cpu", actors=1, prepare_cpus=1),
}


def in_process(data: pathlib.Path, chosen: Selection) -> int:
    """Judge all files of a folder in this process; return how many there are."""
    torch.set_num_threads(os.cpu_count() or 1)
    detectors = [Detector.load(path, "cpu") for path in chosen.bundles]
    files = [path for path in data.rglob("*") if path.is_file()]
    for path in files:
        analyze(Media.from_path(path), detectors, chosen.policy)
    return len(files)


def main() -> None:
    """Take turns and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    chosen, speeds = select([given.bundle]), {name: [] for name in ("analyze", *DIVISIONS)}
    with connected():
        for _ in range(given.rounds):
            start_s = time.perf_counter()
            files = in_process(given.data, chosen)
            speeds["analyze"].append(files / (time.perf_counter() - start_s))
            for name, work in DIVISIONS.items():
                with tempfile.TemporaryDirectory() as out:
                    start_s = time.perf_counter()
                    score(open_task(str(given.data), out, chosen, work, LogWatch()), LogWatch())
                    speeds[name].append(files / (time.perf_counter() - start_s))
    medians = {name: round(statistics.median(each), 2) for name, each in speeds.items()}
    result = {"files": files, "cores": os.cpu_count(), "rounds": given.rounds, "files_per_s": medians}
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (given.out / "scoring_pools.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
