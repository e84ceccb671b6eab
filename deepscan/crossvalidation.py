"""Cross-validation: every file is judged once, by a detector that has seen nothing of its source.

Folds are groups of sources; with as many folds as sources this is leave-one-source-out. Every fold is an
ordinary training run. The figures of all folds together compare calibrated log odds of several detectors, so
the mean of the folds' own figures stands beside them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import logit

from deepscan.cluster import connected
from deepscan.datasets import layout
from deepscan.datasets.judged import as_predictions
from deepscan.errors import ConfigError, DataError
from deepscan.evaluation import PREDICTIONS, Judging, Outcome, part_summary, summary
from deepscan.fusion import LIMIT
from deepscan.metrics import Evaluation, evaluate
from deepscan.models.catalog import load_builtin
from deepscan.report import Page, render, to_json
from deepscan.training.run import Order, recall, train
from deepscan.training.settings import settle
from deepscan.watch import Numbered, Watch

Validation = Literal["sources", "files"]
REPORT, FIGURES, MANIFEST, JUDGED = (
    "report.html",
    "evaluation.json",
    "manifest.parquet",
    "predictions.parquet",
)
THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Folds:
    """What is to be cross-validated.

    Attributes:
        order: How each fold is trained. Its ``out`` and ``storage`` hold them all, in fold-1 and so on;
            ``resume`` goes on where it stopped. Splits that the data give are not used.
        count: Number of folds.
        validation: What chooses the epoch and calibrates inside a fold: whole ``sources``, or, where there
            are too few, ``files`` whose sources train too.
        share: Share of the other folds' files that does so.
        seed: Seed of the folds.
    """

    order: Order
    count: int = 5
    validation: Validation = "sources"
    share: float = 0.2
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What cross-validation came to: each fold's outcome, and the figures of all judged files together."""

    outcomes: tuple[Outcome, ...]
    evaluation: Evaluation
    judged: pa.Table

    @property
    def metrics(self) -> dict[str, Any]:
        """Counts and figures of each fold, of all together, and of each generator against all real files."""
        folds = {f"fold {n}": summary(each.evaluation) for n, each in enumerate(self.outcomes, 1)}
        kinds = {name: part_summary(part) for name, part in self.evaluation.by_generator.items()}
        return folds | {"all folds": summary(self.evaluation)} | kinds


def cross_validate(folds: Folds, watch: Watch) -> Result:
    """Train every fold in turn and measure them together; write report, figures and predictions.

    Raises:
        ConfigError: A setting is out of range, or the folder holds folds already.
        DataError: There are fewer sources than folds, or a fold lacks a class.
        ResourceError: The cluster is too small.
        TrainingError: A training failed; what was finished is kept for ``resume``.
    """
    order = folds.order
    settle(load_builtin().get(order.model), order.overrides)
    _check(folds)
    watch.stage("Scanning the data")
    origin = order.origin
    table = layout.scan(origin.path, where=origin.where, source_pattern=origin.source_pattern)
    fold_N = groups(table, folds.count, folds.seed)
    outcomes = []
    with connected(order.address):
        for number in range(folds.count):
            names = splits(table, fold_N, number, folds)
            numbered = Numbered(watch, f"{number + 1}/{folds.count}")
            outcomes.append(_outcome(_fold_order(folds, table, names, number), numbered))
    judged = pool([outcome.judged for outcome in outcomes])
    rng = np.random.default_rng(folds.seed)
    evaluation = evaluate(as_predictions(judged), THRESHOLD, rng, Judging().replicates)
    result = Result(outcomes=tuple(outcomes), evaluation=evaluation, judged=judged)
    _publish(result, order)
    order.place.send()
    return result


def groups(table: pa.Table, count: int, seed: int) -> NDArray[np.int64]:
    """Return the group in [0, count) of every file: whole sources, classes balanced where that can be.

    Raises:
        DataError: There are fewer sources than groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # scikit-learn takes a second to import

    label, source = table.column("label").to_numpy(), np.asarray(table.column("source").to_pylist())
    if (sources := len(np.unique(source))) < count:
        msg = f"{count} groups need as many sources, but the data have {sources}. Ask for fewer folds."
        raise DataError(msg)
    group_N = np.zeros(len(label), np.int64)
    divided = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(label, label, source)
    for number, (_, rows) in enumerate(divided):
        group_N[rows] = number
    return group_N


def splits(table: pa.Table, fold_N: NDArray[np.int64], judged: int, folds: Folds) -> list[str]:
    """Return the split of every file when one fold is the test."""
    rest = np.flatnonzero(fold_N != judged)
    parts = max(2, round(1 / folds.share))
    inner = table.take(rest)
    turn = groups(inner, parts, judged) if folds.validation == "sources" else _dealt(inner, parts)
    names = np.full(len(fold_N), "test", dtype=object)
    names[rest] = np.where(turn == 0, "val", "train")
    return list(names)


def pool(judged: Sequence[pa.Table]) -> pa.Table:
    """Join the judged files of several detectors; their ``logit`` becomes the calibrated log odds."""
    table = pa.concat_tables(judged, promote_options="permissive")
    table = table.filter(pc.is_valid(table.column("logit")))
    log_odds = logit(np.clip(table.column("probability").to_numpy(), LIMIT, 1 - LIMIT))
    return table.set_column(table.column_names.index("logit"), "logit", pa.array(log_odds))


def _dealt(table: pa.Table, parts: int) -> NDArray[np.int64]:
    """Deal the files of every class and generator out among the parts, in turn."""
    kinds = list(zip(*(table.column(name).to_pylist() for name in ("label", "generator")), strict=True))
    turn_N = np.zeros(len(kinds), np.int64)
    for kind in set(kinds):
        rows = [row for row, each in enumerate(kinds) if each == kind]
        turn_N[rows] = np.arange(len(rows)) % parts
    return turn_N


def _check(folds: Folds) -> None:
    if folds.count < 2 or not 0 < folds.share < 1:
        msg = f"Two folds or more and a share in (0, 1) are needed, not {folds.count} and {folds.share:g}."
        raise ConfigError(msg)
    places = [_below(folds.order, number).place for number in range(folds.count)]
    held = [place.shared for place in places if place.begun]
    if held and not folds.order.resume:
        msg = f"{held[0]} holds a training run. Add --resume to go on, or choose another place."
        raise ConfigError(msg)


def _below(order: Order, number: int) -> Order:
    return order.below(f"fold-{number + 1}")


def _fold_order(folds: Folds, table: pa.Table, names: list[str], number: int) -> Order:
    """Write a fold's manifest; return the order to train on it."""
    order = _below(folds.order, number)
    order.place.fetch()
    order.out.mkdir(parents=True, exist_ok=True)
    manifest = table.set_column(table.column_names.index("split"), "split", pa.array(names))
    pq.write_table(manifest, order.out / MANIFEST)
    origin = dataclasses.replace(
        folds.order.origin,
        path=order.out / MANIFEST,
        where=(),
        source_pattern=None,
        allow_leaks=folds.validation == "files",
    )
    return dataclasses.replace(order, origin=origin, resume=order.resume and order.place.begun)


def _outcome(order: Order, watch: Watch) -> Outcome:
    finished = recall(order.out) if order.resume else None
    return finished or train(order, watch)


def _publish(result: Result, order: Order) -> None:
    pq.write_table(result.judged, order.out / PREDICTIONS)
    facts = {"model": order.model, "folds": str(len(result.outcomes))}
    facts |= {
        f"fold {number}": f"{outcome.bundle.card.id}, AUC {_in_words(outcome)}"
        for number, outcome in enumerate(result.outcomes, 1)
    }
    title = f"{order.model} over {len(result.outcomes)} folds of sources"
    page = Page(title=title, facts=facts, evaluation=result.evaluation)
    (order.out / REPORT).write_text(render(page), encoding="utf-8")
    (order.out / FIGURES).write_text(to_json(page), encoding="utf-8")


def _in_words(outcome: Outcome) -> str:
    value = outcome.evaluation.overall["auc"].value
    return "-" if value is None else f"{value:.3f} on {outcome.evaluation.counts.files} files"
