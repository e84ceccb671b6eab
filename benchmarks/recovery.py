"""Seconds from the death of a training worker until training goes on.

    python benchmarks/recovery.py --data FOLDER --model cnn --set prep.size_px=64

A worker is killed (SIGKILL) after the second epoch. The time until the next epoch is finished, less the
time of an epoch before, is what recovery took; the time from the command to its first epoch, less an epoch,
stands beside it: recovery starts the same processes again.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import tempfile
import time

from deepscan.datasets.dataset import Origin
from deepscan.training.run import Order, train

EPOCHS, DEADLY = 6, 3


class Killer:
    """A Watch that notes when epochs end, and kills a worker after one of them."""

    def __init__(self) -> None:
        """Begin with no epoch."""
        self.stage_s, self.ends_s, self.killed_s = 0.0, [], 0.0

    def stage(self, title: str) -> None:
        """Note when training begins."""
        if title.startswith("Training"):
            self.stage_s = time.monotonic()

    def advance(self, done: int, total: int) -> None:
        """Do nothing."""

    def epoch(self, metrics: dict[str, float]) -> None:
        """Note the end of an epoch; kill once."""
        self.ends_s.append(time.monotonic())
        if metrics["epoch"] == DEADLY:
            os.kill(worker(), signal.SIGKILL)
            self.killed_s = time.monotonic()


def worker() -> int:
    """Return the process of a training worker on this machine."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        if path.read_bytes().startswith(b"ray::RayTrainWorker"):
            return int(path.parent.name)
    raise SystemExit("There is no training worker.")


def main() -> None:
    """Train, kill, and print what it cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    killer = Killer()
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        order = Order(
            model=given.model,
            origin=Origin(path=given.data, store=place / "store"),
            out=place / "run",
            overrides=(*given.overrides, f"recipe.epochs={EPOCHS}"),
            workers=given.workers,
        )
        train(order, killer)
    epoch_s = killer.ends_s[DEADLY - 1] - killer.ends_s[DEADLY - 2]
    start_s = killer.ends_s[0] - killer.stage_s - epoch_s
    recovery_s = killer.ends_s[DEADLY] - killer.killed_s - epoch_s
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "model": given.model,
        "workers": given.workers,
        "cores": os.cpu_count(),
        "epoch_s": round(epoch_s, 2),
        "start_s": round(start_s, 2),
        "recovery_s": round(recovery_s, 2),
        "recovery_of_start": round(recovery_s / start_s, 3),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "recovery.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
