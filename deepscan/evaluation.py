"""Judging whole data sets on Ray Data, calibrating a bundle and measuring how good it is.

Calibration and the operating point come from the validation split only, the figures from the
test split only. Files that gave no Example are counted beside the figures, never imputed.
"""

import dataclasses
import os
import pathlib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
import torch
from numpy.typing import NDArray

from deepscan import config
from deepscan.allocator import keep_memory
from deepscan.bundle import Bundle
from deepscan.calibration import Kind, fit, fit_reliability
from deepscan.cluster import alone
from deepscan.datasets import stream
from deepscan.datasets.dataset import DataSet, account
from deepscan.datasets.described import TRAITS, Described
from deepscan.datasets.judged import as_predictions
from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Reader
from deepscan.datasets.seen import Overlap
from deepscan.detector import Detector, pick_device
from deepscan.domain import gate as gates
from deepscan.errors import DataError, OutOfDomainError
from deepscan.metrics import Evaluation, Slice, evaluate
from deepscan.metrics.costs import Verifier
from deepscan.metrics.examination import Examination, examine
from deepscan.metrics.paired import Against
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_plugin
from deepscan.monitor.drift import SCORE, SCORE_EDGES, Histogram, Reference
from deepscan.operating import operating_point
from deepscan.report import Page, render, to_json

BATCH = 32
FEW = 256
PREDICTIONS = "predictions.parquet"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """How files are judged.

    Attributes:
        device: Device of the model.
        cpus: Logical CPUs of each of the model's actors, and of each task that feeds them.
        actors: Most actors that hold the model at once.
        plugin: File that registers the model; None = built in.
        replicates: Bootstrap replicates behind each interval.
        seed: Seed of the bootstrap.
    """

    device: str = "auto"
    cpus: float = 0.5
    actors: int = 1
    plugin: pathlib.Path | None = None
    replicates: int = 1000
    seed: int = 0

    @property
    def gpus(self) -> int:
        """GPUs of each actor: one where the device is a GPU."""
        return int(pick_device(self.device).startswith("cuda"))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is measured beyond the usual figures.

    Attributes:
        by: The user's columns to measure by; empty = all that make a few groups.
        verifier: A speaker verifier that stands behind the detector, for tandem costs; None = none.
    """

    by: tuple[str, ...] = ()
    verifier: Verifier | None = None


USUAL = Asked()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What measuring a bundle came to.

    Attributes:
        bundle: The bundle.
        split: The split it was measured on.
        evaluation: The figures.
        judged: The split's rows of the ledger with ``logit`` and ``probability``.
        account: Number of files of the whole data set by status.
        validation: The same of the validation split, where the bundle was calibrated on it just now.
        history: Metrics of every epoch of training, where it was trained just now.
        examination: Figures that tell how far to trust the others, and for whom.
        seen: Which of the files the bundle had seen before; None = nobody looked.
        against: What sets it apart from another bundle; None = there is none.
    """

    bundle: Bundle
    split: str
    evaluation: Evaluation
    judged: pa.Table
    account: dict[str, int]
    validation: pa.Table | None = None
    history: tuple[dict[str, float], ...] = ()
    examination: Examination | None = None
    seen: Overlap | None = None
    against: Against | None = None

    @property
    def said(self) -> pa.Table:
        """Every row of the ledger that the bundle judged, of both splits."""
        return self.judged if self.validation is None else pa.concat_tables([self.validation, self.judged])


class _Judge:
    """A detector in a process of its own, or in this one."""

    def __init__(self, bundle: str, judging: Judging) -> None:
        """Load the detector and take all the cores that nobody else is using."""
        keep_memory()
        torch.set_num_threads(os.cpu_count() or 1)
        if judging.plugin:
            load_plugin(judging.plugin)
        self.detector = Detector.load(pathlib.Path(bundle), judging.device)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the manifest row and the logit of every Example, and its statistics if the batch has any."""
        inputs = {name: np.array(batch[name]) for name in self.detector.prep.inputs}
        told = {name: batch[name] for name in ("file", TRAITS) if name in batch}
        return told | {"logit": self.detector.runner(inputs)["logit"]}


def file_logits(
    bundle: Bundle, reader: Reader, chunks: Sequence[Chunk], judging: Judging
) -> dict[int, float | None]:
    """Return the aggregated logit of every file in some chunks, by its row of the manifest.

    None stands for a file that the bundle's gate refuses.
    """
    if not chunks:
        return {}
    gate, judged = bundle.card.gate, _judged_here if _few(chunks, judging) else _judged_on_ray
    parts: dict[int, list[float]] = {}
    traits: dict[int, list[Any]] = {}
    for batch in judged(bundle, Described.of(reader, gate), chunks, judging):
        for number, (file, logit) in enumerate(
            zip(batch["file"].tolist(), batch["logit"].tolist(), strict=True)
        ):
            parts.setdefault(file, []).append(logit)
            if gate:
                traits.setdefault(file, []).append(batch[TRAITS][number])
    aggregate = load_modalities().get(bundle.card.modality).aggregate
    return {
        file: None
        if gate and gate.refusal(gates.median(traits[file]))
        else aggregate(np.asarray(parts[file], np.float32))
        for file in sorted(parts)
    }


def _few(chunks: Sequence[Chunk], judging: Judging) -> bool:
    """Whether processes for it would take longer to start than these Examples to judge, all being at hand."""
    prepared = all(chunk.group >= 0 for chunk in chunks)
    return prepared and sum(len(chunk.rows) for chunk in chunks) <= FEW and not judging.gpus and alone()


def _judged_here(
    bundle: Bundle, reader: Reader, chunks: Sequence[Chunk], judging: Judging
) -> Iterator[Mapping[str, NDArray[Any]]]:
    judge = _Judge(str(bundle.path), judging)
    for chunk in chunks:
        examples = reader.labelled([chunk])
        for start in range(0, len(chunk.rows), BATCH):
            yield judge({name: column[start : start + BATCH] for name, column in examples.items()})


def _judged_on_ray(
    bundle: Bundle, reader: Reader, chunks: Sequence[Chunk], judging: Judging
) -> Iterable[Mapping[str, NDArray[Any]]]:
    judged = stream.evaluation(chunks, reader, judging.cpus).map_batches(
        _Judge,
        fn_constructor_args=(str(bundle.path), judging),
        batch_size=BATCH,
        num_cpus=judging.cpus,
        num_gpus=judging.gpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=judging.actors),
    )
    batches: Iterable[Mapping[str, NDArray[Any]]] = judged.iter_batches(batch_format="numpy")
    return batches


def predictions(
    bundle: Bundle,
    data: DataSet,
    splits: Sequence[str],
    judging: Judging,
    known: Mapping[str, float | None] = types.MappingProxyType({}),
) -> pa.Table:
    """Judge splits; return their rows of the ledger with ``logit`` and ``probability`` (null = abstained).

    The status of files that the bundle's gate refuses is ``out-of-domain``.

    A split that gets pseudo-fakes has rows for them, too; see ``DataSet.held_out``. Such a row is that of the
    real file, but for the label and the generator, which tells the kind and is added to the path.

    Args:
        bundle: The bundle.
        data: The data set.
        splits: Names of the splits.
        judging: Device, actors and plug-in.
        known: Logits by path that the bundle gave before; these files are not judged again.
    """
    rows = [i for i, name in enumerate(data.ledger.column("split").to_pylist()) if name in splits]
    paths = data.ledger.column("path").to_pylist()
    told = {row: known[paths[row]] for row in rows if paths[row] in known}
    chunks = (chunk.without(told) for split in splits for chunk in data.held_out(split))
    fresh = file_logits(bundle, data.reader, [chunk for chunk in chunks if chunk.rows], judging)
    logits = told | fresh
    made = [row for row in logits if row < 0]
    values = pa.array([logits.get(row) for row in [*rows, *made]], pa.float64())
    ledger = pa.concat_tables([data.ledger.take(rows), data.pseudo_ledger(made)])
    gated = [row in fresh and fresh[row] is None for row in [*rows, *made]]
    return calibrated(bundle, with_gated(ledger, gated).append_column("logit", values))


def with_gated(ledger: pa.Table, gated: Sequence[bool]) -> pa.Table:
    """Return a ledger in which the status of some rows, one flag each, is that of files out of domain."""
    status = pc.if_else(pa.array(gated, pa.bool_()), OutOfDomainError.reason, ledger.column("status"))
    return ledger.set_column(ledger.column_names.index("status"), "status", status)


def calibrate(
    bundle: Bundle,
    judged: pa.Table,
    kind: Kind,
    seen: Reference = (),
    delivered: pa.Table | None = None,
) -> Bundle:
    """Fit calibration, operating point and reliability to the judged files of the validation split.

    How they scored is kept as the reference that served files are compared with.

    Args:
        bundle: The bundle.
        judged: What it said of the validation split.
        kind: Kind of the calibration.
        seen: The rest of that reference, from ``prep_reference``.
        delivered: The same files as they arrive, for the operating point; see ``operating_point``.

    Raises:
        DataError: They are not of both classes.
        ConfigError: They lack the column within which the recipe wants the error rate kept.
    """
    scored = judged.filter(pc.is_valid(judged.column("logit")))
    logit, label = scored.column("logit").to_numpy(), scored.column("label").to_numpy().astype(np.int64)
    calibration = fit(kind, logit, label)
    probability = calibration.apply(logit)
    return bundle.amend(
        calibration=calibration,
        operating=operating_point(bundle.card.recipe, calibration, scored, delivered),
        reliability=fit_reliability(probability, label),
        reference=(Histogram.of(SCORE, probability.tolist(), SCORE_EDGES), *seen),
    )


def calibrated(bundle: Bundle, judged: pa.Table) -> pa.Table:
    """Return judged files with the ``probability`` that the bundle's calibration makes of their ``logit``."""
    probability = bundle.card.calibration.apply(judged.column("logit").to_numpy())
    others = [name for name in judged.column_names if name != "probability"]
    return judged.select(others).append_column(
        "probability", pa.array(probability, pa.float64(), from_pandas=True)
    )


def measure(bundle: Bundle, judged: pa.Table, judging: Judging, by: Sequence[str] = ()) -> Evaluation:
    """Return the figures of judged files at the bundle's operating point.

    Raises:
        ConfigError: A column of ``by`` is not there, or makes too many groups.
        DataError: No file was judged.
    """
    rng = np.random.default_rng(judging.seed)
    files = as_predictions(judged_ones(judged), by)
    return evaluate(files, bundle.card.operating.threshold, rng, judging.replicates)


def judged_ones(judged: pa.Table) -> pa.Table:
    """Return the files that have a score.

    Raises:
        DataError: None has.
    """
    scored = judged.filter(pc.is_valid(judged.column("logit")))
    if not len(scored):
        msg = f"None of the {len(judged)} files of the split could be judged; the ledger says why."
        raise DataError(msg)
    return scored


def assess(
    bundle: Bundle,
    data: DataSet,
    split: str,
    judged: pa.Table,
    judging: Judging,
    asked: Asked = USUAL,
) -> Outcome:
    """Measure a bundle on what it said of a split.

    Raises:
        ConfigError: A column to measure by is not there, or makes too many groups.
        DataError: No file of the split could be judged.
    """
    evaluation = measure(bundle, judged, judging, asked.by)
    gated = set(judged.filter(pc.field("status") == OutOfDomainError.reason)["path"].to_pylist())
    ledger = with_gated(data.ledger, [path in gated for path in data.ledger["path"].to_pylist()])
    files, rng = as_predictions(judged_ones(judged), asked.by), np.random.default_rng(judging.seed)
    return Outcome(
        bundle=bundle,
        split=split,
        evaluation=evaluation,
        judged=judged,
        account=account(ledger),
        examination=examine(files, bundle.card.operating, rng, judging.replicates, asked.verifier),
    )


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return counts and figures as plain values, the form that cards and ensemble files keep."""
    return part_summary(Slice(counts=evaluation.counts, figures=evaluation.overall))


def part_summary(part: Slice) -> dict[str, Any]:
    """Return the same of some of the files."""
    return {
        "counts": config.to_dict(part.counts),
        "figures": {name: config.to_dict(figure) for name, figure in part.figures.items()},
    }


def publish(outcome: Outcome, out: pathlib.Path) -> pathlib.Path:
    """Write ``evaluation.json``, ``predictions.parquet`` and ``report.html``; return the last's path."""
    out.mkdir(parents=True, exist_ok=True)
    page = _page(outcome)
    (out / "evaluation.json").write_text(to_json(page), encoding="utf-8")
    pq.write_table(outcome.said, out / PREDICTIONS)
    path = out / "report.html"
    path.write_text(render(page), encoding="utf-8")
    return path


def _page(outcome: Outcome) -> Page:
    card = outcome.bundle.card
    shared = card.data.get("shared_sources", 0)
    return Page(
        title=f"{card.name} on the {outcome.split} split",
        facts={
            "bundle": card.id,
            "model": card.model,
            "modality": card.modality,
            "preparation": card.prep_digest,
            "calibration": card.calibration.kind,
            "training data": card.data.get("digest", ""),
            "derived from": card.parent or "scratch",
            **({"training sources in several splits": f"{shared}: figures are too good"} if shared else {}),
        },
        evaluation=outcome.evaluation,
        point=card.operating,
        ledger=outcome.account,
        history=outcome.history,
        examination=outcome.examination,
        against=outcome.against,
        seen=None if outcome.seen is None else config.to_dict(outcome.seen),
        warnings=outcome.seen.sentences if outcome.seen else (),
    )
