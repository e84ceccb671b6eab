"""Seconds from the begin of a trial to the end of its first epoch: in a process that stays, and distributed.

    python benchmarks/trial_start.py --data FOLDER --model statistics --out benchmarks/results

Both search the same model on the same prepared data with one epoch a trial, so that starting is nearly all
that they do. A trial of one process takes over the process of the trial before it; one of several workers
starts a training run of Ray Train, which is the baseline here, as it is what a Tuner over a trainer does.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile

from deepscan.datasets.dataset import Origin
from deepscan.training.run import Order
from deepscan.tuning.campaign import Campaign
from deepscan.tuning.journal import JOURNAL
from deepscan.tuning.run import run_campaign
from deepscan.watch import LogWatch

TRIALS = {1: 8, 2: 3}
"""Trials by workers of a trial."""


def starts_s(path: pathlib.Path) -> list[float]:
    """Return what each trial of a journal took to its first epoch, in the order in which they began."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    begun = {row["trial"]: row["at_s"] for row in rows if row.get("state") == "begun"}
    first = {row["trial"]: row["at_s"] for row in reversed(rows) if "metrics" in row}
    return [first[trial] - at_s for trial, at_s in begun.items()]


def search(order: Order, workers: int, folder: pathlib.Path) -> list[float]:
    """Run a campaign; return the starts of its trials."""
    order = dataclasses.replace(order, out=folder / str(workers), workers=workers)
    run_campaign(Campaign(order=order, trials=TRIALS[workers], epochs=1, scheduler="none"), LogWatch())
    return starts_s(order.out / JOURNAL)


def main() -> None:
    """Measure both and print them with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--model", default="statistics")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        order = Order(model=given.model, origin=Origin(path=given.data, store=folder / "store"), out=folder)
        taken = {workers: search(order, workers, folder) for workers in TRIALS}
    # The first trials have to start their processes; every later one takes one over.
    reused_s = statistics.median(taken[1][len(taken[1]) // 2 :])
    distributed_s = statistics.median(taken[2])
    result = {
        "model": given.model,
        "first_s": round(taken[1][0], 2),
        "reused_s": round(reused_s, 3),
        "distributed_s": round(distributed_s, 2),
        "ratio": round(distributed_s / reused_s, 1),
        "each_s": {str(workers): [round(s, 3) for s in each] for workers, each in taken.items()},
    }
    text = json.dumps(result, indent=1)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "trial_start.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
