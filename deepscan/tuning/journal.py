"""What became of every trial of a campaign: a file of JSON lines that one process writes.

It is the campaign's memory: the table, the report, the watch and a later warm start read it, and nothing in
it has to be unpickled.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from deepscan.tuning.space import Chosen

JOURNAL = "trials.jsonl"
State = Literal["begun", "stopped", "finished", "failed"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """An epoch of a trial: its metrics, and the settings in force, which a population changes."""

    settings: Chosen
    metrics: Mapping[str, float]

    @property
    def rank(self) -> tuple[float, float]:
        """What epochs are compared by: the validation AUC, then the validation loss."""
        return self.metrics["val_auc"], -self.metrics["val_loss"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A trial as far as it went.

    Attributes:
        id: Its name, also of its folder below ``ray/``.
        state: ``begun`` (interrupted, or running still), ``stopped`` early, ``finished`` or ``failed``.
        epochs: By number.
        why: Why it failed.
    """

    id: str
    state: State
    epochs: Mapping[int, Epoch]
    why: str = ""

    @property
    def best(self) -> Epoch:
        """Its best epoch; there has to be one."""
        return max(self.epochs.values(), key=lambda epoch: epoch.rank)

    def __str__(self) -> str:
        """Say what it came to."""
        auc = f", val AUC {self.best.metrics['val_auc']:.4f}" if self.epochs else ""
        why = f": {self.why}" if self.why else ""
        return f"Trial {self.id} {self.state} after {len(self.epochs)} epoch(s){auc}{why}"

    @property
    def ended(self) -> bool:
        """Whether it will not go on."""
        return self.state != "begun"


def append(path: pathlib.Path, trial: str, **facts: Any) -> None:
    """Write a line on a trial: its ``state``, or the ``settings`` and ``metrics`` of an epoch."""
    line = json.dumps({"at_s": round(time.time(), 3), "trial": trial, **facts})
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(path: pathlib.Path) -> list[Trial]:
    """Return the trials in the order in which they began; a line that is being written is left out.

    An epoch that was run again after an interruption counts as it came out last.
    """
    trials: dict[str, Trial] = {}
    for row in _rows(path):
        trial = trials.get(row["trial"], Trial(id=row["trial"], state="begun", epochs={}))
        trials[trial.id] = _with(trial, row)
    return list(trials.values())


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that finished an epoch and did not fail, the best one first."""
    judged = [trial for trial in trials if trial.epochs and trial.state != "failed"]
    return sorted(judged, key=lambda trial: trial.best.rank, reverse=True)


def _with(trial: Trial, row: dict[str, Any]) -> Trial:
    if "metrics" in row:
        epoch = Epoch(settings=row["settings"], metrics=row["metrics"])
        epochs = {**trial.epochs, int(row["metrics"]["epoch"]): epoch}
        return dataclasses.replace(trial, epochs=epochs)
    return dataclasses.replace(trial, state=row["state"], why=row.get("why", ""))


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
