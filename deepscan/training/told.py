"""What a bundle's card tells of the data that it learnt from, and of how it was tested."""

import collections
import time
from typing import Any

import pyarrow as pa

from deepscan.calibration import OperatingPoint, decide
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.split import SPLITS
from deepscan.recipe import Recipe

LABELS = ("real", "fake")
"""Names of the labels; the place of each is its number."""

LICENCES = ("license", "licence")
"""Columns of a manifest that may name the licence of each file, whatever their case."""


def composition(ledger: pa.Table, seed: int) -> dict[str, Any]:
    """Return of what a data set is made.

    Args:
        ledger: Columns ``label``, ``split``, ``source`` and ``generator``, and those of the user.
        seed: Seed of the division where the data give no splits.

    Returns:
        ``counts``: for each split its number of ``files``, ``sources``, ``real`` and ``fake`` ones, and
        ``generators`` with the fakes of each; ``split_seed``; ``licences`` with the files of each, where a
        column names them.
    """
    names = {name.casefold(): name for name in ledger.column_names}
    column = next((names[each] for each in LICENCES if each in names), None)
    counts = {split: _counted(ledger, split) for split in SPLITS}
    told: dict[str, Any] = {"counts": counts, "split_seed": seed}
    if column:
        values = (str(value or "").strip() for value in ledger[column].to_pylist())
        told["licences"] = dict(collections.Counter(values).most_common())
    return told


def pseudo_fakes_told(recipe: Recipe, data: DataSet) -> dict[str, Any]:
    """Say what was learnt from, and judged on, pseudo-fakes."""
    if data.reader.pseudo is None:
        return {}
    judged = [name for name in ("val", "test") if data.forges(name)]
    return {"pseudo_fakes": {"kind": recipe.pseudo.kind, "splits": ["train", *judged]}}


def verdicts(judged: pa.Table, point: OperatingPoint) -> dict[str, dict[str, int]]:
    """Count what a detector says of files at its operating point, for each label.

    Args:
        judged: Columns ``label`` and ``probability``; null = it could not judge the file.
        point: Where it decides.

    Returns:
        By ``real`` and ``fake``, what the files are: how many are called ``real``, ``fake`` and
        ``inconclusive``, and of how many it ``abstained``.
    """
    rows = zip(judged["label"].to_pylist(), judged["probability"].to_pylist(), strict=True)
    said: collections.Counter[tuple[int, str]] = collections.Counter(
        (label, "abstained" if p is None else decide(p, point)) for label, p in rows
    )
    answers = ("real", "fake", "inconclusive", "abstained")
    return {name: {each: said[label, each] for each in answers} for label, name in enumerate(LABELS)}


def course(start_s: float, workers: int, epochs: int, resumed: bool) -> dict[str, Any]:
    """Return how a run went.

    Args:
        start_s: When it began, a ``time.perf_counter`` reading.
        workers: Training processes.
        epochs: Epochs that it has behind it.
        resumed: Whether it went on with an earlier one, whose time nobody counted.
    """
    time_s = round(time.perf_counter() - start_s, 1)
    return {"time_s": time_s, "workers": workers, "epochs": epochs, "resumed": resumed}


def _counted(ledger: pa.Table, split: str) -> dict[str, Any]:
    rows = ledger.select(["label", "split", "source", "generator"]).to_pylist()
    mine = [row for row in rows if row["split"] == split]
    fakes = [row["generator"] for row in mine if row["label"]]
    return {
        "files": len(mine),
        "sources": len({row["source"] for row in mine}),
        "real": len(mine) - len(fakes),
        "fake": len(fakes),
        "generators": dict(collections.Counter(fakes).most_common()),
    }
