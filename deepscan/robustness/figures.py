"""What deliveries do to a detector, in figures: AUC, calibration, and verdicts that flip."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deepscan.bundle import Bundle
from deepscan.calibration import decide
from deepscan.metrics import Figure, Predictions, auc, evaluate
from deepscan.report.robustness import Measured, Row
from deepscan.robustness.judging import ABSTAINED, FAILED, JUDGED
from deepscan.robustness.plan import CLEAN, Plan

Floats = NDArray[np.float64]

SINGLE, ENSEMBLE = "logit", "ensemble"
CELLS = 4_000_000
"""So many weights of files are held at a time."""


def measure(plan: Plan, said: Mapping[str, pa.Table]) -> list[Row]:
    """Return a row for the files as they are, and one for each delivery.

    Args:
        plan: Files and deliveries.
        said: What the detector says, columns of ``plan.SAID`` by name; ``CLEAN`` has to be there.
    """
    known = {each.name: each for each in plan.deliveries}
    rows = []
    for name, table in said.items():
        delivery = known.get(name)
        statuses = Counter(table.column("status").to_pylist())
        rows.append(
            Row(
                name=name,
                family=delivery.family if delivery else CLEAN,
                setting=delivery.setting if delivery else CLEAN,
                severity=delivery.severity if delivery else 0,
                files=len(table),
                judged=statuses[JUDGED],
                abstained=statuses[ABSTAINED],
                failed=statuses[FAILED],
                reasons=_reasons(table),
                single=_measured(plan, said[CLEAN], table, SINGLE),
                ensemble=_measured(plan, said[CLEAN], table, ENSEMBLE) if plan.mild else None,
            )
        )
    return rows


def _reasons(table: pa.Table) -> dict[str, int]:
    """Return how many files were not judged for each reason, the most frequent first."""
    return dict(Counter(reason for reason in table.column("reason").to_pylist() if reason).most_common())


def _measured(plan: Plan, clean: pa.Table, delivered: pa.Table, column: str) -> Measured:
    label, source = _facts(plan.files)
    before = _logits(clean, column, len(label))
    after = _logits(delivered, column, len(label))
    judged, paired = ~np.isnan(after), ~np.isnan(after) & ~np.isnan(before)
    rng = np.random.default_rng(plan.judging.seed)
    drawn = (rng, plan.judging.replicates)
    return Measured(
        auc=auc_interval(label[judged], after[None, judged], source[judged], *drawn),
        auc_change=auc_interval(
            label[paired], np.stack([after[paired], before[paired]]), source[paired], *drawn
        ),
        ece=_ece(plan.bundle, label[judged], after[judged]),
        pairs=int(paired.sum()),
        **_flips(plan.bundle, before[paired], after[paired]),
    )


def _facts(files: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    label = files.column("label").to_numpy().astype(np.int64)
    _, source = np.unique([str(each) for each in files.column("source").to_pylist()], return_inverse=True)
    return label, source


def _logits(table: pa.Table, column: str, files: int) -> Floats:
    """Return a logit for each file, float [N]; NaN where there is none."""
    logits = np.full(files, np.nan)
    logits[table.column("number").to_numpy()] = table.column(column).to_numpy(zero_copy_only=False)
    return logits


def _ece(bundle: Bundle, label: NDArray[np.int64], logit: Floats) -> float | None:
    if not len(label):
        return None
    nobody = np.full(len(label), "", dtype=str)
    files = Predictions(
        label=label,
        logit=logit,
        probability=bundle.card.calibration.apply(logit),
        source=nobody,
        generator=nobody,
    )
    threshold = bundle.card.operating.threshold
    return evaluate(files, threshold, np.random.default_rng(0), replicates=0).overall["ece"].value


def _flips(bundle: Bundle, before: Floats, after: Floats) -> dict[str, Any]:
    """Return how verdicts and probabilities of the same files change; None where there are no files."""
    if not len(before):
        return {"flipped": None, "changed": None, "crossed": None, "shift": None}
    point = bundle.card.operating
    probabilities = [bundle.card.calibration.apply(each) for each in (before, after)]
    said = [[decide(float(p), point) for p in each] for each in probabilities]
    forced = [each >= point.threshold for each in probabilities]
    pairs = list(zip(*said, strict=True))
    return {
        "flipped": sum({*pair} == {"real", "fake"} for pair in pairs) / len(pairs),
        "changed": sum(one != other for one, other in pairs) / len(pairs),
        "crossed": float((forced[0] != forced[1]).mean()),
        "shift": float(np.abs(probabilities[0] - probabilities[1]).mean()),
    }


def auc_interval(
    label: NDArray[np.int64],
    logit_MN: Floats,
    source: NDArray[np.int64],
    rng: np.random.Generator,
    replicates: int,
) -> Figure:
    """Return an AUC, or by how much one exceeds another, with the 95 % percentile interval over sources.

    Both are computed on the same draws of sources, so that what makes files hard in either cancels out
    (Efron & Tibshirani, 1993, chapter 13).

    Args:
        label: int [N], 1 = fake, 0 = real.
        logit_MN: float [1, N] for an AUC, [2, N] for the first AUC less the second.
        source: int [N], which files derive from the same source.
        rng: Draws the sources.
        replicates: Number of draws; 0 = no interval.

    Returns:
        Figure without a value where a class is missing, and without an interval for a single source.
    """
    values = [auc(label, logit) for logit in logit_MN]
    if any(value is None for value in values):
        return Figure(value=None, low=None, high=None)
    value = _difference(np.array(values, np.float64)[:, None])[0]
    sources, place = np.unique(source, return_inverse=True)
    if len(sources) < 2 or not replicates:
        return Figure(value=float(value), low=None, high=None)
    rows = max(1, CELLS // len(label))
    sizes = [min(rows, replicates - start) for start in range(0, replicates, rows)]
    share = np.full(len(sources), 1 / len(sources))
    found = []
    for size in sizes:
        weight_RN = rng.multinomial(len(sources), share, size=size)[:, place].astype(np.float64)
        found.append(_difference(np.stack([weighted_auc(label, logit, weight_RN) for logit in logit_MN])))
    drawn = np.concatenate(found)
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.percentile(drawn, (2.5, 97.5)).tolist() if len(drawn) else (None, None)
    return Figure(value=float(value), low=low, high=high)


def weighted_auc(label: NDArray[np.int64], logit: Floats, weight_RN: Floats) -> Floats:
    """Return the AUC for each weighting of the files, float [R]; NaN where a class has no weight.

    Args:
        label: int [N], 1 = fake, 0 = real.
        logit: float [N]; ties count half.
        weight_RN: float [R, N], how often each file counts.
    """
    order = np.argsort(logit, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(logit[order]) > 0))
    fake_RK = np.add.reduceat((weight_RN * label)[:, order], starts, axis=1)
    real_RK = np.add.reduceat((weight_RN * (1 - label))[:, order], starts, axis=1)
    below_RK = np.cumsum(real_RK, axis=1) - real_RK / 2
    total = fake_RK.sum(axis=1) * real_RK.sum(axis=1)
    won = (fake_RK * below_RK).sum(axis=1)
    return np.asarray(np.divide(won, total, out=np.full(len(total), np.nan), where=total > 0))


def _difference(value_MR: Floats) -> Floats:
    return np.asarray(value_MR[0] if len(value_MR) == 1 else value_MR[0] - value_MR[1])
