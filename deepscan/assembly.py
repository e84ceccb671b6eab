"""Fitting an ensemble: judge a data set with each bundle, learn to fuse, measure on the test split.

Whatever is learnt comes from the validation split. A file that a bundle cannot judge is absent from
its figures and, as a vote, from the fusion of that file. How much a bundle is to be trusted is not told by
files that it learnt from: those are refused, unless the order says otherwise.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import logit

from deepscan import fitting
from deepscan.bundle import Bundle
from deepscan.datasets.dataset import Origin, divide, open_dataset
from deepscan.datasets.seen import SPLITS as SEEN
from deepscan.datasets.seen import OnSeen, Overlap, overlap, refuse, united, unseen
from deepscan.ensemble import Ensemble, entry
from deepscan.errors import ConfigError, DataError
from deepscan.evaluation import Judging, predictions, summary
from deepscan.fitting import Member, Panel
from deepscan.fusion import LIMIT, FusionPolicy
from deepscan.metrics import Evaluation, Predictions, evaluate
from deepscan.watch import Watch

SPLITS = ("val", "test")
"""What the fusion is learnt from, and what it is measured on."""

SPENT = {"val": SEEN[:1], "test": SEEN}
"""In which of its own splits no bundle may have had the files of each split.

Validation files may have chosen it: calibration and threshold come from such files, too.
"""

ENSEMBLE = "ensemble"
"""Under this name the fusion stands beside its members."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be assembled.

    Attributes:
        bundles: Directories of the bundles.
        origin: The data; their splits, or those that training with the same seed gave them, are kept.
        out: The ensemble file to write; ledgers are put beside it.
        policy: Method, limits and, perhaps, weights.
        max_error_rate: The stated rate of the band; see ``calibration.fit_operating_point``.
        judging: Device and plug-in of the bundles, bootstrap of the figures.
        known: What bundles said of some of the files before, by their ids: tables with ``path`` and
            ``logit``. They are not asked again.
        on_seen: What becomes of validation files that trained a bundle, and of test files that trained or
            chose one.
    """

    bundles: tuple[pathlib.Path, ...]
    origin: Origin
    out: pathlib.Path
    policy: FusionPolicy = FusionPolicy()
    max_error_rate: float = 0.05
    judging: Judging = Judging()
    known: Mapping[str, pa.Table] = dataclasses.field(default_factory=dict)
    on_seen: OnSeen = "refuse"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What several bundles said of one split.

    Attributes:
        panel: Their probabilities.
        generator_N: What made each file; ``""`` for real files.
        digest: Digest of the data set.
    """

    panel: Panel
    generator_N: Any
    digest: str

    def predictions(self, probability_N: Any) -> Predictions:
        """Return the files that have a probability, ready to be measured."""
        kept_N = ~np.isnan(probability_N)
        probability = probability_N[kept_N]
        return Predictions(
            label=self.panel.label_N[kept_N],
            logit=logit(np.clip(probability, LIMIT, 1 - LIMIT)),
            probability=probability,
            source=self.panel.source_N[kept_N],
            generator=self.generator_N[kept_N],
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Assembly:
    """An ensemble that was just fitted.

    Attributes:
        ensemble: The contents of its file.
        evaluations: Figures on the test split, of each bundle by its id and of the ``ensemble``, last.
        files: Files of the test split, judged or not.
        seen: Which files of both splits the bundles had seen; None = nobody looked.
    """

    ensemble: Ensemble
    evaluations: dict[str, Evaluation]
    files: int
    seen: Overlap | None = None


def assemble(order: Order, watch: Watch) -> Assembly:
    """Fit and measure an ensemble on the Ray cluster that is connected, and write its file.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: A bundle was named twice, or the policy does not suit.
        DataError: The splits do not hold what it takes.
        SeenDataError: They hold files that a bundle learnt from, or test files that chose it.
    """
    bundles = [Bundle.read(path) for path in order.bundles]
    ids = [bundle.card.id for bundle in bundles]
    if len(bundles) < 2 or len(set(ids)) < len(ids):
        msg = f"An ensemble needs two bundles or more that differ, not {', '.join(ids)}."
        raise ConfigError(msg)
    seen = _seen(bundles, order)
    validation, test = _judge(bundles, order, seen, watch)
    watch.stage("Learning to fuse on the validation split")
    rng = np.random.default_rng(order.judging.seed)
    policy = fitting.fit(validation.panel, order.policy, rng, order.max_error_rate)
    evaluations = measure(test, policy, order.judging)
    ensemble = Ensemble(
        entries=tuple(entry(bundle, order.out) for bundle in bundles),
        policy=policy,
        data=_data(validation, test, seen),
        metrics={name: summary(evaluation) for name, evaluation in evaluations.items()},
    )
    ensemble.save(order.out)
    return Assembly(ensemble=ensemble, evaluations=evaluations, files=len(test.panel.label_N), seen=seen)


def measure(judged: Judged, policy: FusionPolicy, judging: Judging) -> dict[str, Evaluation]:
    """Return the figures of each member on the files that it judged, and of the ensemble on its own.

    Raises:
        DataError: A member judged none of the files.
    """
    panel = judged.panel
    columns = {
        member.bundle: (member.point, panel.probability_NM[:, i]) for i, member in enumerate(panel.members)
    }
    assert policy.operating is not None
    columns[ENSEMBLE] = policy.operating, fitting.fused(panel, policy)
    evaluations = {}
    for name, (point, probability_N) in columns.items():
        if np.isnan(probability_N).all():
            msg = (
                f"None of the {len(probability_N)} test files could be judged by {name}; the ledger says why."
            )
            raise DataError(msg)
        threshold = policy.threshold if name == ENSEMBLE and policy.threshold else point.threshold
        rng = np.random.default_rng(judging.seed)
        evaluations[name] = evaluate(judged.predictions(probability_N), threshold, rng, judging.replicates)
    return evaluations


def align(bundles: Sequence[Bundle], tables: Sequence[pa.Table], digest: str) -> Judged:
    """Put what each bundle said beside the others', by file.

    Args:
        bundles: The bundles.
        tables: What ``evaluation.predictions`` returned for each: ``path``, ``label``, ``source``,
            ``generator`` and ``probability``, null where the bundle abstained. A file that is absent from
            one counts as an abstention.
        digest: Digest of the data set.
    """
    rows = {row["path"]: row for table in tables for row in table.to_pylist()}
    said = [
        dict(zip(t.column("path").to_pylist(), t.column("probability").to_pylist(), strict=True))
        for t in tables
    ]
    probability_NM = np.array([[one.get(path) for one in said] for path in rows], dtype=np.float64)
    members = (
        Member(bundle=bundle.card.id, detector=bundle.card.name, point=bundle.card.operating)
        for bundle in bundles
    )
    panel = Panel(
        members=tuple(members),
        probability_NM=probability_NM.reshape(len(rows), len(bundles)),
        label_N=np.array([row["label"] for row in rows.values()], dtype=np.int64),
        source_N=np.array([row["source"] for row in rows.values()], dtype=str),
    )
    generator_N = np.array([row["generator"] for row in rows.values()], dtype=str)
    return Judged(panel=panel, generator_N=generator_N, digest=digest)


def _seen(bundles: Sequence[Bundle], order: Order) -> Overlap:
    """Return which files the bundles have seen that they should not have, unless those are refused."""
    manifest = divide(order.origin)
    files = {split: manifest.filter(pc.field("split") == split) for split in SPLITS}
    found = []
    for bundle, (split, spent) in itertools.product(bundles, SPENT.items()):
        found.append(overlap(bundle.card.seen, files[split], same_data=False, splits=spent))
        if order.on_seen == "refuse":
            refuse(found[-1], bundle.card.id)
    seen = united(found, sum(map(len, files.values())))
    if order.on_seen != "leave-out":
        return seen
    for split, rows in files.items():
        if seen.files and not set(rows["path"].to_pylist()) - set(seen.files):
            msg = f"No file of the split {split} is left: all of them trained or chose one of the bundles."
            raise DataError(msg)
    return dataclasses.replace(seen, left_out=True)


def _judge(bundles: Sequence[Bundle], order: Order, seen: Overlap, watch: Watch) -> tuple[Judged, Judged]:
    """Judge validation and test split with every bundle."""
    tables: list[pa.Table] = []
    digest = ""
    for bundle in bundles:
        prep = bundle.prep()
        ledger = order.out.with_name(f"{order.out.stem}-{prep.digest}-ledger.parquet")
        data = open_dataset(order.origin, prep, ledger, 1.0, watch)
        digest = data.digest
        watch.stage(f"Judging with {bundle.card.id}")
        said = predictions(bundle, data, SPLITS, order.judging, _logits(order, bundle))
        tables.append(unseen(said, seen))
    parted = ([table.filter(pc.field("split") == split) for table in tables] for split in SPLITS)
    validation, test = (align(bundles, part, digest) for part in parted)
    return validation, test


def _logits(order: Order, bundle: Bundle) -> dict[str, float | None]:
    """Return what a bundle said before, by path."""
    said = order.known.get(bundle.card.id)
    return {} if said is None else dict(zip(*(said[n].to_pylist() for n in ("path", "logit")), strict=True))


def _data(validation: Judged, test: Judged, seen: Overlap) -> dict[str, Any]:
    """Return what an ensemble's file says of the data, with what is doubtful about them."""
    told = {
        "digest": validation.digest,
        "val": _counts(validation.panel),
        "test": _counts(test.panel),
    }
    return told | ({"warnings": list(seen.sentences)} if seen.sentences else {})


def _counts(panel: Panel) -> dict[str, int]:
    fake = int(panel.label_N.sum())
    return {"files": len(panel.label_N), "real": len(panel.label_N) - fake, "fake": fake}
