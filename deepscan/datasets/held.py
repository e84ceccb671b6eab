"""Kept Examples in the memory of a cluster, where they fit: no epoch and no trial unpacks them anew."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from deepscan.cluster import available
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Shelf
from deepscan.modalities import Column, Example
from deepscan.watch import Watch

SHARE = 0.5
"""Of the free room in the object stores, the largest part that Examples are held in."""

Rows = dict[int, list[int]]
"""Rows by row group of a file of the store."""


class Held:
    """Reads some Examples of a store out of memory, in any process of a cluster; others as the store does."""

    def __init__(self, store: Shelf, rows: Mapping[str, Rows], files: Mapping[str, Any]) -> None:
        """Know what is held, and where.

        Args:
            store: Where the others lie.
            rows: Rows that are held, by file of the store.
            files: References to what ``_unpacked`` returned for them.
        """
        self.columns: dict[str, Column] = store.columns
        self._store, self._rows, self._files = store, rows, files
        self._arrays: dict[str, dict[int, dict[str, NDArray[Any]]]] = {}

    def read(self, file: str, group: int, rows: Sequence[int], names: Sequence[str]) -> list[Example]:
        """Read Examples as ``Store.read`` does."""
        held = self._rows.get(file, {}).get(group, [])
        if not set(rows) <= set(held):
            return self._store.read(file, group, rows, names)
        if file not in self._arrays:
            self._arrays[file] = ray.get(self._files[file])
        arrays = self._arrays[file][group]
        return [{name: arrays[name][held.index(row)] for name in names} for row in rows]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the arrays, which every process finds in its node's memory."""
        return self.__dict__ | {"_arrays": {}}


def held_if_they_fit(data: DataSet, chunks: Sequence[Chunk], watch: Watch) -> DataSet:
    """Return the data set, reading the kept among some Examples from memory if there is room for them."""
    kept = [chunk for chunk in chunks if chunk.group >= 0]
    count = sum(len(chunk.rows) for chunk in kept)
    needed_bytes = count * data.reader.example_bytes
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    if not kept or needed_bytes > SHARE * free.get("object_store_memory", 0.0):
        return data
    watch.stage(f"Unpacking {count} Examples into {needed_bytes / 2**20:.0f} MiB of memory")
    store = _held(data.reader.store, data.reader.names, kept, watch)
    return dataclasses.replace(data, reader=dataclasses.replace(data.reader, store=store))


def _held(store: Shelf, names: Sequence[str], chunks: Sequence[Chunk], watch: Watch) -> Held:
    rows: dict[str, Rows] = {}
    for chunk in chunks:
        rows.setdefault(chunk.place, {}).setdefault(chunk.group, []).extend(chunk.rows)
    # What is lost with a node is unpacked again, at a time when others hold all CPUs.
    unpack: Any = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_unpacked)
    files: dict[str, Any] = {}
    running: list[Any] = []
    for file, wanted in rows.items():
        if len(running) >= available()[0]:
            _, running = ray.wait(running, fetch_local=False)
        files[file] = unpack.remote(store, file, wanted, names)
        running.append(files[file])
        watch.advance(len(files) - len(running), len(rows))
    ray.wait(running, num_returns=len(running), fetch_local=False)
    watch.advance(len(rows), len(rows))
    return Held(store, rows, files)


def _unpacked(
    store: Shelf, file: str, rows: Rows, names: Sequence[str]
) -> dict[int, dict[str, NDArray[Any]]]:
    """Return the columns of some rows of a file, by row group."""
    groups = {group: store.read(file, group, wanted, names) for group, wanted in rows.items()}
    return {
        group: {name: np.stack([example[name] for example in examples]) for name in names}
        for group, examples in groups.items()
    }
