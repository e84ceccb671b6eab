"""Where the Examples of a data set lie, and how a stream task reads them.

The Examples come from the prepared store where they are kept, and from the raw files where not;
everything after the reader is the same for both.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepscan.datasets.plan import Chunk
from deepscan.datasets.pseudo import PseudoFakes
from deepscan.datasets.store import USED, file_id
from deepscan.media.source import Limits, Media
from deepscan.modalities import Column, Example, Prep, batch

LEDGER = {"status": pa.string(), "reason": pa.string(), "examples": pa.int32()}
"""Columns that tell what became of a file."""


class Shelf(Protocol):
    """Where kept Examples lie: a ``Store``, or the memory of a cluster."""

    columns: dict[str, Column]

    def read(self, file: str, group: int, rows: Sequence[int], names: Sequence[str]) -> list[Example]:
        """Read Examples of a row group, only the named columns."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Reads Examples by chunk, in any process.

    Attributes:
        store: Where Examples are kept.
        prep: The Prep, for Examples that are not kept.
        limits: Limits on raw files.
        names: The columns to read.
        pseudo: Makes the Examples of chunks of pseudo-fakes; None = there are no such chunks.
    """

    store: Shelf
    prep: Prep
    limits: Limits
    names: tuple[str, ...]
    pseudo: PseudoFakes | None = None

    @property
    def example_bytes(self) -> int:
        """Size of one Example's columns."""
        columns = [self.store.columns[name] for name in self.names]
        return sum(int(np.prod(c.shape)) * np.dtype(c.dtype).itemsize for c in columns)

    def read(self, chunk: Chunk, positions: Sequence[int]) -> list[Example]:
        """Return the Examples at the given positions of a chunk.

        Raises:
            MediaError: A raw file has changed since it was looked at and does not decode any more.
        """
        examples = self._read(chunk, positions)
        if not chunk.pseudo:
            return examples
        assert self.pseudo is not None, "chunks of pseudo-fakes come from a DataSet whose reader makes them"
        files = [-1 - chunk.files[position] for position in positions]
        return self.pseudo.held_out(examples, files)

    def labelled(self, chunks: Sequence[Chunk]) -> Example:
        """Return all Examples of some chunks as one batch: input columns, ``label``, ``file``.

        ``label`` is float32 [N], ``file`` int64 [N], the row of the manifest.

        Raises:
            MediaError: A raw file has changed since it was looked at and does not decode any more.
        """
        return self.batched(self.examples(chunks), chunks)

    def examples(self, chunks: Sequence[Chunk]) -> list[Example]:
        """Return all Examples of some chunks as they are kept.

        Raises:
            MediaError: A raw file has changed since it was looked at and does not decode any more.
        """
        return [each for chunk in chunks for each in self.read(chunk, range(len(chunk.rows)))]

    def batched(self, examples: list[Example], chunks: Sequence[Chunk]) -> Example:
        """Return Examples of some chunks as the batch that ``labelled`` describes."""
        return batch(examples, self.prep) | {
            "label": np.asarray([label for chunk in chunks for label in chunk.labels], np.float32),
            "file": np.asarray([file for chunk in chunks for file in chunk.files], np.int64),
        }

    def _read(self, chunk: Chunk, positions: Sequence[int]) -> list[Example]:
        rows = [chunk.rows[position] for position in positions]
        if chunk.group >= 0:
            return self.store.read(chunk.place, chunk.group, rows, self.names)
        examples = self.prep(Media.from_path(pathlib.Path(chunk.place), self.limits))
        return [{name: examples[row][name] for name in self.names} for row in rows]


def ledger(manifest: pa.Table, index: pa.Table) -> pa.Table:
    """Return the manifest with what became of each file: ``status``, ``reason`` and ``examples``.

    A file that was not looked at yet has status ``pending``. Where the manifest is the ledger of an earlier
    run, what became of its files then gives way.
    """
    manifest = manifest.drop_columns([name for name in LEDGER if name in manifest.column_names])
    found: dict[str, tuple[str, str, int]] = {}
    for key, status, reason in zip(
        *(index.column(n).to_pylist() for n in ("id", "status", "reason")), strict=True
    ):
        found[key] = (status, reason, found.get(key, ("", "", 0))[2] + (status == USED))
    rows = [found.get(file_id(path), ("pending", "", 0)) for path in manifest.column("path").to_pylist()]
    for number, (name, kind) in enumerate(LEDGER.items()):
        manifest = manifest.append_column(name, pa.array([row[number] for row in rows], kind))
    return manifest


def chunks(manifest: pa.Table, split: str, index: pa.Table) -> list[Chunk]:
    """Return the chunks of a split's usable Examples, in the order of the manifest.

    That order is the same whatever the store's files are called, whose names are drawn at random: a run that
    is made again from the same data sees them in the same order.

    Args:
        manifest: Columns ``path``, ``label`` and ``split`` at least.
        split: Name of the split.
        index: Rows of ``Store.index``, examples before ledger.
    """
    members = {
        file_id(path): (number, label)
        for number, (path, label, name) in enumerate(
            zip(*(manifest.column(n).to_pylist() for n in ("path", "label", "split")), strict=True)
        )
        if name == split
    }
    used = index.filter(pc.equal(index.column("status"), USED))
    places: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
    for row in used.select(["id", "path", "part", "file", "group", "row"]).to_pylist():
        if row["id"] not in members:
            continue
        kept = row["file"].startswith("examples-")
        key = (row["file"], row["group"]) if kept else (row["path"], -1)
        places.setdefault(key, []).append((row["row"] if kept else row["part"], *members[row["id"]]))
    found = [Chunk(place, group, *zip(*rows, strict=True)) for (place, group), rows in places.items()]
    return sorted(found, key=lambda chunk: min(chunk.files))
