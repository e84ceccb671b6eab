"""The actors that look at files and judge them, and the bucket that paces them all."""

import pathlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

from deepscan.allocator import keep_memory
from deepscan.detector import Detector
from deepscan.ensemble import Selection
from deepscan.errors import ResourceError
from deepscan.evidence import Analyzer
from deepscan.evidence.catalog import load_builtin as load_analyzers
from deepscan.models.catalog import load_plugin
from deepscan.scoring.judge import Eye, Lens, Look, judge, look
from deepscan.scoring.notes import MOST_ENDINGS, Notes
from deepscan.scoring.pace import Bucket
from deepscan.scoring.plan import Pools, Work
from deepscan.scoring.rows import SAID, to_table

NUMBERED = SAID.insert(0, pa.field("number", pa.int64()))
"""What comes from the actors: the row of the inbox, and what was said of the file."""


class _Gate:
    """Lets files begin at the rate that was asked for; each process has one, all have the same bucket."""

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    def wait(self) -> None:
        if self._bucket is not None:
            time.sleep(ray.get(self._bucket.take.remote()))


class SharedBucket:
    """A Bucket in an actor, by the clock of its machine."""

    def __init__(self, rate_hz: float) -> None:
        self._bucket = Bucket(rate_hz)

    def take(self) -> float:
        """Take a token; return how many seconds to wait for it."""
        return self._bucket.take(time.monotonic())


class Analyst:
    """Looks at files and judges them, one by one."""

    def __init__(self, chosen: Selection, pools: Pools, work: Work, bucket: Any) -> None:
        self._detectors = _load(chosen, pools, work.plugin)
        self._analyzers = _analyzers(work)
        self._policy, self._gate = chosen.policy, _Gate(bucket)

    def __call__(self, files: pa.Table) -> pa.Table:
        """Return what is said of each file of a piece, columns of ``NUMBERED``."""
        return self.judged(files)

    def judged(self, files: pa.Table) -> pa.Table:
        """Return the same; Ray calls what has a name."""
        rows: list[dict[str, Any]] = []
        for seen in _looks(files, self._detectors, self._analyzers, self._gate):
            rows.extend(judge([seen], self._detectors, self._policy))
        return to_table(rows, NUMBERED)


class Preparer:
    """Looks at files."""

    def __init__(self, chosen: Selection, work: Work, bucket: Any) -> None:
        _use(work.plugin)
        self._eyes, self._gate = [Lens.of(path) for path in chosen.bundles], _Gate(bucket)
        self._analyzers = _analyzers(work)

    def __call__(self, files: pa.Table) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield a Look of each file of a piece."""
        for seen in _looks(files, self._eyes, self._analyzers, self._gate):
            column = np.empty(1, object)
            column[0] = seen
            yield {"look": column}


class Judge:
    """Judges files that were looked at, several together."""

    def __init__(self, chosen: Selection, pools: Pools, plugin: pathlib.Path | None) -> None:
        self._detectors, self._policy = _load(chosen, pools, plugin), chosen.policy

    def __call__(self, batch: dict[str, NDArray[Any]]) -> pa.Table:
        """Return what is said of several files, columns of ``NUMBERED``."""
        return to_table(list(judge(list(batch["look"]), self._detectors, self._policy)), NUMBERED)


def _looks(
    files: pa.Table, eyes: Sequence[Eye], analyzers: Sequence[Analyzer], gate: _Gate
) -> Iterator[Look]:
    """Yield a Look of each file of a piece; whoever takes it is done with it when the next is asked for."""
    actor = str(ray.get_runtime_context().get_actor_id())
    notes = Notes(actor, pathlib.Path(tempfile.gettempdir()) / "deepscan-scoring")
    for file in files.to_pylist():
        gate.wait()
        if notes.may_begin(file["number"]):
            yield look(file["number"], file["path"], eyes, analyzers)
        else:
            msg = f"{MOST_ENDINGS} processes ended while they judged it; give them more memory, or repair it."
            yield Look(file["number"], ResourceError(msg), {}, 0.0)
    notes.rest()


def _analyzers(work: Work) -> tuple[Analyzer, ...]:
    return tuple(load_analyzers()) if work.evidence else ()


def _load(chosen: Selection, pools: Pools, plugin: pathlib.Path | None) -> list[Detector]:
    keep_memory()
    torch.set_num_threads(pools.threads)
    _use(plugin)
    return [Detector.load(path, pools.device) for path in chosen.bundles]


def _use(plugin: pathlib.Path | None) -> None:
    if plugin:
        load_plugin(plugin)
