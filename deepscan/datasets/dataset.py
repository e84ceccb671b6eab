"""A data set that is ready to be read: scanned, split, prepared and accounted for."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from deepscan.datasets import layout, split, stream
from deepscan.datasets.judged import check_columns
from deepscan.datasets.plan import Chunk
from deepscan.datasets.pseudo import PseudoFakes
from deepscan.datasets.reader import Reader, chunks, ledger
from deepscan.datasets.store import Store
from deepscan.media.source import Limits
from deepscan.modalities import Prep
from deepscan.watch import Watch


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a data set comes from and how it is divided and prepared.

    Attributes:
        path: A folder of files, or a manifest.
        where: Conditions on columns of the manifest, e.g. ``generator=StyleGAN*``.
        source_pattern: Regular expression that finds the source in a file name.
        fractions: Shares of train, val and test where the data give no split; None = all of it is test.
        seed: Seed of that division.
        allow_leaks: Accept given splits that share sources.
        store: Root folder of the prepared stores.
        keep: Keep prepared Examples in the store, so that later epochs and runs skip decoding.
        limits: Limits on each file.
        max_bad: Largest share of corrupt files, in [0, 1].
        patience_s: Seconds without any progress after which preparing ends with an error.
        needs_fakes: Every split made here has to hold fakes; False where they are made of the real files.
        columns: Columns of the user that the data have to have.
    """

    path: pathlib.Path
    where: tuple[str, ...] = ()
    source_pattern: str | None = None
    fractions: tuple[float, float, float] | None = (0.7, 0.15, 0.15)
    seed: int = 0
    allow_leaks: bool = False
    store: pathlib.Path
    keep: bool = True
    limits: Limits = Limits()
    max_bad: float = 0.1
    patience_s: float = 300.0
    needs_fakes: bool = True
    columns: tuple[str, ...] = ()


def divide(origin: Origin) -> pa.Table:
    """Return the manifest of a data set, every file in a split.

    Raises:
        ConfigError: The shares of the splits are out of range, or a column is not there.
        DataError: The data cannot be used, or cannot be divided.
    """
    manifest = layout.scan(origin.path, where=origin.where, source_pattern=origin.source_pattern)
    check_columns(manifest.column_names, origin.columns)
    if origin.fractions is not None:
        return split.assign(
            manifest,
            origin.fractions,
            origin.seed,
            allow_leaks=origin.allow_leaks,
            needs_fakes=origin.needs_fakes,
        )
    names = [name or "test" for name in manifest.column("split").to_pylist()]
    return manifest.set_column(manifest.column_names.index("split"), "split", pa.array(names))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A manifest whose files are accounted for, and the way to read its Examples.

    Attributes:
        ledger: The manifest with ``status``, ``reason`` and ``examples`` of every file.
        index: Where the Examples lie.
        reader: Reads them.
        digest: Digest of the manifest.
    """

    ledger: pa.Table
    index: pa.Table
    reader: Reader
    digest: str

    def chunks(self, name: str) -> list[Chunk]:
        """Return the usable Examples of a split."""
        return chunks(self.ledger, name, self.index)

    def with_pseudo_fakes(self, pseudo: PseudoFakes) -> Self:
        """Return the data set with pseudo-fakes where it has no fakes to judge on."""
        return dataclasses.replace(self, reader=dataclasses.replace(self.reader, pseudo=pseudo))

    def held_out(self, name: str) -> list[Chunk]:
        """Return what is judged of a split: its Examples, and pseudo-fakes of them if it is to have some."""
        own = self.chunks(name)
        return own + [chunk.forged() for chunk in own] if self.forges(name) else own

    def forges(self, name: str) -> bool:
        """Tell whether a split has no fakes of its own, and gets pseudo-fakes."""
        return self.reader.pseudo is not None and self.counts(name)[1] == 0

    def pseudo_ledger(self, numbers: Sequence[int]) -> pa.Table:
        """Return rows of the ledger for pseudo-fakes, given as the ``files`` of their chunks."""
        rows = self.ledger.take(pa.array([-1 - number for number in numbers], pa.int64()))
        if self.reader.pseudo is None or not numbers:
            return rows
        kind = self.reader.pseudo.settings.kind
        changed = {
            "path": [f"{path}#{kind}" for path in rows["path"].to_pylist()],
            "label": [1] * len(numbers),
            "generator": [kind] * len(numbers),
        }
        for name, values in changed.items():
            at, field = rows.column_names.index(name), rows.schema.field(name)
            rows = rows.set_column(at, field, pa.array(values, field.type))
        return rows

    def counts(self, name: str) -> tuple[int, int]:
        """Return how many usable real and fake files a split has."""
        labels = {
            file: label
            for chunk in self.chunks(name)
            for file, label in zip(chunk.files, chunk.labels, strict=True)
        }
        fakes = sum(labels.values())
        return len(labels) - fakes, fakes


def account(table: pa.Table) -> dict[str, int]:
    """Return how many files of a ledger there are of each status, most frequent first."""
    counted = table.group_by("status").aggregate([("status", "count")]).to_pylist()
    counted.sort(key=lambda row: (-row["status_count"], row["status"]))
    return {row["status"]: row["status_count"] for row in counted}


def open_dataset(origin: Origin, prep: Prep, ledger_path: pathlib.Path, cpus: float, watch: Watch) -> DataSet:
    """Scan, divide and prepare a data set; what an earlier run prepared is not done again.

    Args:
        origin: Where it comes from.
        prep: How its files are prepared.
        ledger_path: Parquet file that accounts for every file, written even when preparing fails.
        cpus: Logical CPUs of a preparing task.
        watch: Follows the work.

    Raises:
        DataError: The data cannot be used, or too many files are corrupt.
    """
    watch.stage("Scanning and splitting the data")
    manifest = divide(origin)
    store = Store(origin.store, prep)
    watch.stage("Preparing Examples")
    work = stream.Work(
        keep=origin.keep,
        limits=origin.limits,
        max_bad=origin.max_bad,
        cpus=cpus,
        patience_s=origin.patience_s,
    )
    try:
        index = stream.prepare(manifest.column("path").to_pylist(), prep, store, work, watch.advance)
    finally:
        accounted = ledger(manifest, store.index("examples", "ledger"))
        ledger_path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(accounted, ledger_path)
    return DataSet(
        ledger=accounted,
        index=index,
        reader=Reader(store, prep, origin.limits, prep.needs),
        digest=layout.digest(manifest),
    )
