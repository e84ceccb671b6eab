"""How fast training Examples arrive on this machine: Ray Data beside PyTorch's DataLoader and the bare work.

All ways do the same work, ``TrainingStream.unit``, for the same units in the same order, once with Examples
that are kept in the store and once from the raw files. What differs is who calls it: this process, the worker
processes of a DataLoader, or the tasks of Ray Data. These alone can read kept Examples that are held in the
memory of the cluster, which is what training does where there is room.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from deepscan.datasets import stream
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.plan import Chunk
from deepscan.datasets.stream import Supply, TrainingStream
from deepscan.watch import Watch

KEPT, HELD, RAW = "kept", "kept, held in memory", "raw"
BARE, LOADER, RAY = "bare work, times the processes", "DataLoader", "Ray Data"
WORTH_KEEPING = 1.2
"""Examples are kept where this is so many times faster than decoding them anew."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How fast one way is.

    Attributes:
        source: ``kept``, these ``held in memory``, or ``raw``.
        way: Who did the work.
        start_s: Seconds until the first batch.
        examples_per_s: Examples a second after the first epoch, when all processes have started.
        ratio: The rate beside that of the DataLoader from the same files.
        of_limit: The rate beside that of the bare work from the same files, times the processes.
    """

    source: str
    way: str
    start_s: float
    examples_per_s: float
    ratio: float
    of_limit: float


def measure(streams: dict[str, TrainingStream], processes: int, epochs: int, watch: Watch) -> list[Rate]:
    """Measure every way for every source.

    Args:
        streams: The training stream by source, each planned for one worker.
        processes: Worker processes of the DataLoader, and tasks of Ray Data.
        epochs: Epochs that are read, at least 2; the first warms up.
        watch: Follows the work.
    """
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for source, training in streams.items():
        for way, batches in _WAYS.items():
            if source == HELD and way != RAY:
                continue
            watch.stage(f"{source}: {way}")
            start_s, rate = _timed(batches(training, processes, epochs), training.plan.rows)
            found[source, way] = (start_s, rate * processes if way == BARE else rate)
    rates = []
    for (source, way), (start_s, rate) in found.items():
        files = KEPT if source == HELD else source
        rates.append(
            Rate(
                source=source,
                way=way,
                start_s=start_s,
                examples_per_s=rate,
                ratio=rate / found[files, LOADER][1],
                of_limit=rate / found[files, BARE][1],
            )
        )
    return rates


def advice(rates: list[Rate]) -> str:
    """Say which way of training suits the machine, with the figures it rests on."""
    streamed = {r.source: r.examples_per_s for r in rates if r.way == RAY}
    faster = max(rate for source, rate in streamed.items() if source != RAW) / streamed[RAW]
    if faster > WORTH_KEEPING:
        return f"Train with --materialize: kept Examples arrive {faster:.1f} times faster than raw files."
    return f"Train from raw files: keeping Examples would make them arrive {faster:.1f} times as fast."


def raw_chunks(data: DataSet, split: str) -> list[Chunk]:
    """Return the usable Examples of a split as parts of raw files, whether they are kept or not."""
    columns = ("path", "label", "split", "examples")
    rows = zip(*(data.ledger[name].to_pylist() for name in columns), strict=True)
    return [
        Chunk(path, -1, tuple(range(count)), (row,) * count, (label,) * count)
        for row, (path, label, name, count) in enumerate(rows)
        if name == split and count
    ]


class _Units(torch_data.Dataset[dict[str, torch.Tensor]]):
    """The units of a training stream, as a data set of PyTorch."""

    def __init__(self, training: TrainingStream, count: int) -> None:
        self.training, self.count = training, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values) for name, values in self.training.unit(number).items()}


def _bare(training: TrainingStream, processes: int, epochs: int) -> Iterator[Any]:
    for number in range(training.plan.cut.units * epochs):
        yield training.unit(number)


def _loaded(training: TrainingStream, processes: int, epochs: int) -> Iterable[Any]:
    units = _Units(training, training.plan.cut.units * epochs)
    # Forked processes of a program that holds threads may hang.
    return torch_data.DataLoader(
        units, batch_size=None, num_workers=processes, multiprocessing_context="forkserver"
    )


def _streamed(training: TrainingStream, processes: int, epochs: int) -> Iterable[Any]:
    cut, supply = training.plan.cut, Supply(cpus=1.0, tasks=processes)
    pace = stream.start_pace(cut, supply)
    examples = stream.training(training, range(epochs), supply, pace)
    batches = examples.iter_torch_batches(
        batch_size=training.plan.shape.batch_size, prefetch_batches=stream.PREFETCHED, drop_last=True
    )
    return stream.paced(batches, cut, pace)


_WAYS: dict[str, Callable[[TrainingStream, int, int], Iterable[Any]]] = {
    BARE: _bare,
    LOADER: _loaded,
    RAY: _streamed,
}


def _timed(batches: Iterable[Any], warm: int) -> tuple[float, float]:
    """Return the seconds until the first batch, and the Examples a second once so many have come."""
    begin_s = time.perf_counter()
    first_s = warm_s = 0.0
    seen = examples = 0
    for batch in batches:
        count = len(np.asarray(batch["label"]))
        first_s = first_s or time.perf_counter()
        if warm_s:
            examples += count
        seen += count
        if seen >= warm and not warm_s:
            warm_s = time.perf_counter()
    return first_s - begin_s, examples / (time.perf_counter() - warm_s)
