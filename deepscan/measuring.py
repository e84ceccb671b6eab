"""`deepscan evaluate`: a bundle on a split that it has not seen, alone or against another."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.datasets import layout
from deepscan.datasets.dataset import DataSet, Origin, divide, open_dataset
from deepscan.datasets.judged import as_predictions, check_columns
from deepscan.datasets.seen import SPLITS, OnSeen, Overlap, overlap, refuse, united, unseen
from deepscan.errors import ConfigError, DataError
from deepscan.evaluation import Asked, Judging, Outcome, assess, judged_ones, predictions
from deepscan.metrics.costs import Verifier
from deepscan.metrics.paired import Against, compare
from deepscan.watch import Watch

LEDGER, LEDGER_AGAINST = "ledger.parquet", "ledger-against.parquet"
PREDICTIONS_AGAINST = "predictions-against.parquet"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measuring:
    """What is to be measured, on what.

    Attributes:
        bundle: The bundle's directory.
        origin: The data.
        out: Folder of the ledger.
        split: Name of the split; data without splits are all ``test``.
        against: Another bundle, to compare with; None = none.
        on_seen: What becomes of files that a bundle learnt from or was chosen on.
        asked: What is measured beyond the usual figures.
        judging: Device, actors and plug-in.
    """

    bundle: pathlib.Path
    origin: Origin
    out: pathlib.Path
    split: str = "test"
    against: pathlib.Path | None = None
    on_seen: OnSeen = "refuse"
    asked: Asked = Asked()
    judging: Judging = Judging()


def read_verifier(path: pathlib.Path) -> Verifier:
    """Read the error rates of a speaker verifier from a JSON file.

    Keys are the fields of ``deepscan.metrics.costs.Verifier``: ``miss``, ``false_alarm``,
    ``fake_false_alarm`` and, where they differ from those of ASVspoof, ``costs``.

    Raises:
        ConfigError: It does not read as such.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as JSON: {error}"
        raise ConfigError(msg) from error
    if not isinstance(values, dict):
        msg = f'{path} holds no object; give the rates by name, as {{"miss": 0.02, ...}}.'
        raise ConfigError(msg)
    try:
        return config.from_dict(Verifier, values)
    except ConfigError as error:
        msg = f"{path}, the error rates of a speaker verifier: {error}"
        raise ConfigError(msg) from error


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What is known before anything is judged.

    Attributes:
        bundles: The bundle, and the one to compare with where there is one.
        seen: Which of the files they have seen before.
    """

    bundles: tuple[Bundle, ...]
    seen: Overlap


def look(order: Measuring) -> Look:
    """Read the bundles and find the files that they have seen; needs no cluster.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The data have no such column, or both bundles are one.
        DataError: The data cannot be used, or nothing of them is left.
        SeenDataError: They hold files that a bundle learnt from or was chosen on.
    """
    bundles = tuple(Bundle.read(path) for path in (order.bundle, order.against) if path)
    if order.against and bundles[0].card.id == bundles[1].card.id:
        msg = f"{order.bundle} and {order.against} are the same bundle; name another one to compare with."
        raise ConfigError(msg)
    return Look(bundles=bundles, seen=_seen(order, bundles))


def measure(order: Measuring, found: Look, watch: Watch) -> Outcome:
    """Judge a split and measure what was said of it; a cluster is connected.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: A column to measure by makes too many groups.
        DataError: The data cannot be used.
    """
    bundles, seen = found.bundles, found.seen
    data = _opened(order, bundles[0], LEDGER, watch)
    watch.stage(f"Measuring on the {order.split} split")
    judged = _judged(order, bundles[0], data, seen)
    outcome = assess(bundles[0], data, order.split, judged, order.judging, order.asked)
    outcome = dataclasses.replace(outcome, seen=seen)
    if not order.against:
        return outcome
    watch.stage(f"Comparing with {bundles[1].card.id}")
    same = bundles[1].card.prep_digest == bundles[0].card.prep_digest
    theirs = data if same else _opened(order, bundles[1], LEDGER_AGAINST, watch)
    other = _judged(order, bundles[1], theirs, seen)
    pq.write_table(other, order.out / PREDICTIONS_AGAINST)
    return dataclasses.replace(outcome, against=against(bundles, judged, other, order.judging))


def against(bundles: Sequence[Bundle], judged: pa.Table, other: pa.Table, judging: Judging) -> Against:
    """Compare what two bundles said of the files that both judged; a file is its path.

    Raises:
        DataError: There is none.
    """
    scored = [judged_ones(table) for table in (judged, other)]
    paths = [table.column("path").to_pylist() for table in scored]
    both = sorted(set(paths[0]) & set(paths[1]))
    if not both:
        msg = "The two bundles judged no file in common; compare bundles that accept the same media."
        raise DataError(msg)
    first, second = (
        as_predictions(table.filter(pc.is_in(table.column("path"), pa.array(both))).sort_by("path"))
        for table in scored
    )
    thresholds = bundles[0].card.operating.threshold, bundles[1].card.operating.threshold
    rng = np.random.default_rng(judging.seed)
    return Against(
        bundle=bundles[1].card.id,
        only_first=len(paths[0]) - len(both),
        only_second=len(paths[1]) - len(both),
        comparison=compare(first, second, thresholds, rng, judging.replicates),
    )


def _seen(order: Measuring, bundles: Sequence[Bundle]) -> Overlap:
    """Return what any of the bundles has seen of the split, unless that is to be refused."""
    manifest = divide(order.origin)
    check_columns(manifest.column_names, order.asked.by)
    files, digest = manifest.filter(pc.field("split") == order.split), layout.digest(manifest)
    found = []
    for bundle in bundles:
        own = order.split in SPLITS and bundle.card.data.get("digest") == digest
        found.append(overlap(bundle.card.seen, files, own))
        if order.on_seen == "refuse":
            refuse(found[-1], bundle.card.id)
    whole = united(found, len(files))
    if order.on_seen != "leave-out":
        return whole
    left = len(files) - len(whole.files)
    if not left or (whole.same_data and not whole.files):
        msg = f"No file of the split {order.split} is left: all of them trained or chose the detector."
        raise DataError(msg)
    return dataclasses.replace(whole, left_out=True)


def _opened(order: Measuring, bundle: Bundle, ledger: str, watch: Watch) -> DataSet:
    return open_dataset(order.origin, bundle.prep(), order.out / ledger, 1.0, watch)


def _judged(order: Measuring, bundle: Bundle, data: DataSet, seen: Overlap) -> pa.Table:
    return unseen(predictions(bundle, data, (order.split,), order.judging), seen)
