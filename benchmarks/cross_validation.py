"""Figures of a model over folds of a small data set, each fold an ordinary training run.

    python benchmarks/cross_validation.py --data MANIFEST --where modality=video --model hybrid --folds 3
    python benchmarks/cross_validation.py --data MANIFEST --where modality=audio --model lfcc-lcnn --folds 5

Folds are groups of sources, so nobody is judged by a detector that has seen them; with as many folds as
sources this is leave-one-source-out. Inside a fold the other files train, but for a share that chooses the
epoch and calibrates: whole sources, or, where ``--val files`` says so because there are too few, files whose
sources train too. The pooled figures compare calibrated log odds of several detectors; the mean of the
folds' own AUC stands beside them. A majority of the classes is the baseline: AUC 0.5.
"""

import argparse
import dataclasses
import datetime
import json
import logging
import os
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from deepscan.cluster import connected
from deepscan.datasets import layout
from deepscan.datasets.dataset import Origin
from deepscan.evaluation import Outcome
from deepscan.metrics import Evaluation, Predictions, auc, evaluate
from deepscan.training.run import Order, train
from deepscan.watch import LogWatch

FIGURES = ("auc", "eer")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is trained, and how the folds are made."""

    data: pathlib.Path
    where: tuple[str, ...]
    model: str
    overrides: tuple[str, ...]
    folds: int
    val: str
    val_share: float
    workers: int
    runs: pathlib.Path


def groups(table: pa.Table, count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold int [N] of every file: whole sources, classes balanced where that can be."""
    label, source = table.column("label").to_numpy(), np.asarray(table.column("source").to_pylist())
    folds = np.zeros(len(label), np.int64)
    divided = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(label, label, source)
    for fold, (_, rows) in enumerate(divided):
        folds[rows] = fold
    return folds


def splits(table: pa.Table, fold: NDArray[np.int64], judged: int, settings: Settings) -> list[str]:
    """Return the split of every file when fold ``judged`` is the test."""
    rest = np.flatnonzero(fold != judged)
    parts = max(2, round(1 / settings.val_share))
    if settings.val == "files":
        label = table.column("label").to_numpy()[rest]
        generator = np.asarray(table.column("generator").to_pylist())[rest]
        turn = np.zeros(len(rest), np.int64)
        for kind in set(zip(label, generator, strict=True)):
            rows = np.flatnonzero((label == kind[0]) & (generator == kind[1]))
            turn[rows] = np.arange(len(rows)) % parts
    else:
        turn = groups(table.take(rest), parts, judged)
    names = np.full(len(fold), "test", dtype=object)
    names[rest] = np.where(turn == 0, "val", "train")
    return list(names)


def run_fold(table: pa.Table, names: list[str], fold: int, settings: Settings) -> Outcome:
    """Train on a fold's data and judge its test split."""
    folder = settings.runs / f"fold-{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    column = table.column_names.index("split")
    manifest = folder / "manifest.parquet"
    pq.write_table(table.set_column(column, "split", pa.array(names)), manifest)
    order = Order(
        model=settings.model,
        origin=Origin(path=manifest, store=settings.runs / "store", allow_leaks=settings.val == "files"),
        out=folder / "run",
        overrides=settings.overrides,
        workers=settings.workers,
        resume=(folder / "run").exists(),
    )
    return train(order, LogWatch())


def pool(judged: list[pa.Table]) -> Predictions:
    """Join the folds' judged files, ranked by calibrated log odds."""
    table = pa.concat_tables(judged, promote_options="permissive")
    table = table.filter(pc.is_valid(table.column("logit")))
    p = np.clip(table.column("probability").to_numpy(), 1e-6, 1 - 1e-6)
    return Predictions(
        label=table.column("label").to_numpy().astype(np.int64),
        logit=np.log(p / (1 - p)),
        probability=p,
        source=np.asarray(table.column("source").to_pylist()),
        generator=np.asarray([name or "" for name in table.column("generator").to_pylist()]),
    )


def told(evaluation: Evaluation) -> dict[str, Any]:
    """Return overall and per-generator figures with intervals and what they rest on."""
    parts = {"all": (evaluation.counts, evaluation.overall)} | {
        name: (part.counts, part.figures) for name, part in evaluation.by_generator.items()
    }
    return {
        name: {"files": [counts.real, counts.fake], "sources": counts.sources}
        | {key: dataclasses.astuple(figures[key]) for key in FIGURES}
        for name, (counts, figures) in parts.items()
    }


def main() -> None:
    """Train every fold in turn and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--where", action="append", default=[])
    parser.add_argument("--model", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--val", choices=("sources", "files"), default="sources")
    parser.add_argument("--val-share", type=float, default=0.2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="Folder of the runs; resumes there.")
    parser.add_argument("--name", default="", help="Name of the result; default the model's.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("deepscan").setLevel(logging.INFO)
    settings = Settings(
        given.data,
        tuple(given.where),
        given.model,
        tuple(given.overrides),
        given.folds,
        given.val,
        given.val_share,
        given.workers,
        given.runs,
    )
    table = layout.scan(settings.data, where=settings.where)
    fold = groups(table, settings.folds, 0)
    with connected(None):
        outcomes = [
            run_fold(table, splits(table, fold, k, settings), k, settings) for k in range(settings.folds)
        ]
    pooled = pool([outcome.judged for outcome in outcomes])
    own = [pool([outcome.judged]) for outcome in outcomes]
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "model": given.model,
        "overrides": given.overrides,
        "where": given.where,
        "folds": given.folds,
        "validation": given.val,
        "cores": os.cpu_count(),
        "auc_of_each_fold": [auc(part.label, part.logit) for part in own],
        "pooled": told(evaluate(pooled, 0.5, np.random.default_rng(0), 1000)),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (given.out / f"cross_validation-{given.name or given.model}.json").write_text(
        text + "\n", encoding="utf-8"
    )
    print(text)


if __name__ == "__main__":
    main()
