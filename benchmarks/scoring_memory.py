"""Peak memory of scoring many files over that of scoring few, in one run.

    python benchmarks/scoring_memory.py --bundle runs/first/bundle --out benchmarks/results

Scores folders of 500 and of 5,000 pictures (hard links to 50 contents) with ``deepscan score``, each in a
cluster of its own, and samples the memory of all processes of the run: PSS, in which what several share is
counted once. A list of all files is held in memory, and nothing else that grows with their number.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

COMMAND = "from deepscan.cli import main; main()"
CONTENTS = 50


def make_inbox(folder: pathlib.Path, files: int, size_px: int) -> pathlib.Path:
    """Write so many pictures."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(files):
        path = folder / f"{i:06}.jpg"
        if i < CONTENTS:
            coarse = rng.integers(0, 256, (size_px // 8, size_px // 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((size_px, size_px)).save(path, quality=90)
        else:
            os.link(folder / f"{i % CONTENTS:06}.jpg", path)
    return folder


def family(root: int) -> set[int]:
    """Return the ids of a process and of all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, pending = set(), [root]
    while pending:
        found.add(pid := pending.pop())
        pending.extend(children.get(pid, ()))
    return found


def pss_bytes(pids: set[int]) -> int:
    """Return the memory of some processes; what several share counts once."""
    total = 0
    for pid in pids:
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024


def peak_bytes(words: list[str]) -> tuple[int, float]:
    """Run ``deepscan score``; return the peak of its memory and how many seconds it took."""
    start_s, peak = time.perf_counter(), 0
    run = subprocess.Popen([sys.executable, "-c", COMMAND, "score", *words], stdout=subprocess.DEVNULL)
    while run.poll() is None:
        peak = max(peak, pss_bytes(family(run.pid)))
        time.sleep(0.2)
    if run.returncode:
        sys.exit(f"deepscan score {' '.join(words)} ended with {run.returncode}.")
    return peak, time.perf_counter() - start_s


def main() -> None:
    """Score both folders and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--files", type=int, nargs=2, default=(500, 5000))
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    parser.add_argument("more", nargs="*", help="further options of deepscan score, after --")
    given = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for files in given.files:
            inbox = make_inbox(pathlib.Path(folder) / str(files), files, given.size_px)
            out = pathlib.Path(folder) / f"scores-{files}.parquet"
            words = [inbox, "--bundle", given.bundle, "--out", out, "--device", "cpu", *given.more]
            peak, seconds = peak_bytes([str(word) for word in words])
            runs.append({"files": files, "peak_mib": round(peak / 2**20, 1), "seconds": round(seconds, 1)})
    few, many = (run["peak_mib"] for run in runs)
    result = {"size_px": given.size_px, "cores": os.cpu_count(), "runs": runs, "ratio": many / few}
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (given.out / "scoring_memory.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
