"""What the prepared files of the validation split are like, to know later whether others are like them.

No model is asked: histograms for the monitor of the service, and the gate that tells files out of domain.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deepscan.cluster import alone
from deepscan.datasets import stream
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.described import TRAITS, Described, statistics_of
from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Reader
from deepscan.domain import gate as gates
from deepscan.domain.gate import Gate
from deepscan.evaluation import Judging
from deepscan.modalities import Example
from deepscan.monitor.drift import Histogram, Reference, example_statistics, merged

FEW_RAW = 32
REFERENCE_FILES = 500
GATE_FILES = 1000


def fit_gate(data: DataSet, judging: Judging, rate: float, split: str = "val") -> Gate | None:
    """Fit a gate to the files of a split, over ``GATE_FILES`` or so; see ``domain.gate.fit``.

    Pseudo-fakes are among them where the bundle is chosen on some: a fake like these is to be judged.

    Args:
        data: The data set.
        judging: CPUs of each task that prepares raw files.
        rate: Share of files like these that may be gated, in [0, 1); 0 = no gate.
        split: Its name.

    Raises:
        ConfigError: The rate is out of range.
    """
    statistics = statistics_of(data.reader.prep)
    describer = _Describer.asked(data.reader, statistics)
    told: dict[int, list[NDArray[np.float64]]] = {}
    for batch in _looked_at(describer, _some(data.held_out(split), GATE_FILES if rate else 0), judging):
        for file, traits_S in zip(batch["file"].tolist(), batch[TRAITS], strict=True):
            told.setdefault(file, []).append(traits_S)
    files = sorted(told)
    value_NS = np.array([gates.median(told[file]) for file in files]).reshape(len(files), len(statistics))
    by_name = dict(zip(statistics, value_NS.T.tolist(), strict=True))
    return gates.fit(by_name, _sources(data, files), rate)


def _sources(data: DataSet, files: Sequence[int]) -> list[str]:
    """Return the source of each file, its own path where none is known; a pseudo-fake has its real one's."""
    rows = data.ledger.take(pa.array([file if file >= 0 else -1 - file for file in files], pa.int64()))
    paths = rows["path"].to_pylist()
    known = rows["source"].to_pylist() if "source" in rows.column_names else paths
    return [source or path for source, path in zip(known, paths, strict=True)]


class _Describer(Described):
    """Tells the statistics that a gate is made of instead of handing out Examples."""

    __slots__ = ()

    def labelled(self, chunks: Sequence[Chunk]) -> Example:
        """Return the statistics of all Examples of some chunks, and their ``file``, int64 [N]."""
        files = np.asarray([file for chunk in chunks for file in chunk.files], np.int64)
        return {"file": files, TRAITS: self.told(self.examples(chunks))}


def prep_reference(data: DataSet, judging: Judging) -> Reference:
    """Return the statistics of the prepared files of the validation split, over ``REFERENCE_FILES`` or so.

    Pseudo-fakes are left out, since nobody sends such files.
    """
    onlooker = _Onlooker(*(getattr(data.reader, field.name) for field in dataclasses.fields(Reader)))
    parts: dict[int, list[dict[str, float]]] = {}
    for batch in _looked_at(onlooker, _some(data.chunks("val"), REFERENCE_FILES), judging):
        names = [name for name in batch if name != "file"]
        for file, *values in zip(*(batch[name].tolist() for name in ["file", *names]), strict=True):
            parts.setdefault(file, []).append(dict(zip(names, values, strict=True)))
    files = [merged(parts[file]) for file in sorted(parts)]
    return tuple(Histogram.spread(name, [file[name] for file in files]) for name in (files or [{}])[0])


class _Onlooker(Reader):
    """Tells the statistics of Examples instead of handing them out."""

    __slots__ = ()

    def labelled(self, chunks: Sequence[Chunk]) -> Example:
        """Return statistics of all Examples of some chunks, float64 [N], and their ``file``, int64 [N]."""
        told = [example_statistics(example, self.names) for example in self.examples(chunks)]
        files = np.asarray([file for chunk in chunks for file in chunk.files], np.int64)
        return {"file": files} | {name: np.asarray([each[name] for each in told]) for name in told[0]}


def _looked_at(
    onlooker: Reader, chunks: Sequence[Chunk], judging: Judging
) -> Iterable[Mapping[str, NDArray[Any]]]:
    """Read kept Examples and few raw files here, and prepare many on Ray."""
    if all(chunk.group >= 0 for chunk in chunks) or (len(chunks) <= FEW_RAW and alone()):
        return (onlooker.labelled([chunk]) for chunk in chunks)
    looked: Iterable[Mapping[str, NDArray[Any]]] = stream.evaluation(
        chunks, onlooker, judging.cpus
    ).iter_batches(batch_format="numpy")
    return looked


def _some(chunks: list[Chunk], most: int) -> list[Chunk]:
    """Return the chunks of so many files or a few more, all parts of each."""
    chosen = set[int]()
    for number in np.random.default_rng(0).permutation(len(chunks)):
        if len(chosen) < most:
            chosen.update(chunks[number].files)
    others = {file for chunk in chunks for file in chunk.files} - chosen
    return [kept for chunk in chunks if (kept := chunk.without(others)).rows]
