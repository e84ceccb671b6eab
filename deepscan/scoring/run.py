"""Scoring on Ray Data: files go in pieces through pools of actors, and their rows come to one writer.

Where the models run on CPUs, each actor does all there is to do with a file. Where they run on GPUs, a pool
of CPUs reads and prepares the files, and what it made of them streams to the actors that hold the models.

Only the process that was started writes. So whatever is done twice, because an actor or its machine died,
is written once.
"""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayTaskError

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.cluster import available
from deepscan.ensemble import Selection
from deepscan.errors import DeepscanError, ResourceError
from deepscan.scoring.actors import Analyst, Judge, Preparer, SharedBucket
from deepscan.scoring.inbox import open_inbox
from deepscan.scoring.pace import part_due
from deepscan.scoring.parts import Parts, count
from deepscan.scoring.plan import ACTOR_CPUS, Pools, Work, plan_pools
from deepscan.scoring.rows import SCHEMA
from deepscan.watch import Watch

MAX_PIECE_FILES, MAX_PIECE_BYTES = 64, 32 * 2**20
"""A task judges so many files at most: what is lost with it, and has to be done again, stays small."""

LOOKS_PER_BATCH = 16
MAX_BLOCK_BYTES = 32 * 2**20


def score(data: str, out: str, chosen: Selection, work: Work, watch: Watch) -> dict[str, int]:
    """Give every file of an inbox its row, unless it has one; return how many there are of each label.

    Args:
        data: A folder, a manifest or a list; see ``inbox.open_inbox``.
        out: Folder of the scores, a path or URI.
        chosen: The detectors, and how their votes become one answer.
        work: How files are scored.
        watch: Follows the work.

    Returns:
        Number of files by label, ``abstained`` and ``error``.

    Raises:
        BundleError: A bundle cannot be used.
        DataError: There are no files, or ``out`` holds the scores of other judges.
        ResourceError: The cluster cannot hold what was asked of it, or does not get on.
        StorageError: Files cannot be listed, or scores not be written; those written are kept.
    """
    watch.stage("Listing files")
    judges = [Bundle.read(path).card.id for path in chosen.bundles]
    parts = Parts(out, {"bundles": sorted(judges), "fusion": config.digest(chosen.policy)})
    parts.check()
    inbox = open_inbox(data, parts.out)
    done = parts.settle(inbox)
    watch.stage("Scoring files")
    watch.advance(int(done.sum()), len(inbox))
    if not done.all():
        pools = plan_pools(work, *available())
        rows = _Scoring(chosen, work, pools)
        collect(rows.rounds(inbox, done), inbox, parts, watch)
    return count(parts.out, inbox)


def collect(batches: Iterator[tuple[pa.Table, int]], inbox: pa.Table, parts: Parts, watch: Watch) -> None:
    """Write rows as they come, a part from time to time; what has come is written whatever happens.

    Args:
        batches: Rows of ``NUMBERED``, and how many files are done with them.
        inbox: The files.
        parts: Where the rows go.
        watch: Is told how many files are done.

    Raises:
        StorageError: A part cannot be written.
    """
    start_s = first_s = time.monotonic()
    waiting: list[pa.Table] = []
    try:
        for rows, done in batches:
            first_s = first_s if waiting else time.monotonic()
            waiting.append(_complete(rows, inbox))
            watch.advance(done, len(inbox))
            now_s = time.monotonic()
            if part_due(sum(map(len, waiting)), now_s - first_s, now_s - start_s):
                ready, waiting = waiting, []
                parts.write(pa.concat_tables(ready))
    finally:
        if waiting:
            parts.write(pa.concat_tables(waiting))


def _complete(rows: pa.Table, inbox: pa.Table) -> pa.Table:
    """Return rows with what the inbox knows of their files."""
    known = inbox.take(rows.column("number"))
    columns = [(known if name in known.column_names else rows).column(name) for name in SCHEMA.names]
    return pa.table(columns, schema=SCHEMA)


@dataclasses.dataclass(frozen=True, slots=True)
class _Scoring:
    """The stream of rows that files become."""

    chosen: Selection
    work: Work
    pools: Pools

    def rounds(self, inbox: pa.Table, done: NDArray[np.bool_]) -> Iterator[tuple[pa.Table, int]]:
        """Yield the rows of the files that are not done, and how many are done then.

        Where no file gets on any more, because one of them ends every process that judges it or a lost
        machine had actors that fit nowhere else, the rest begins anew, each file for itself.
        """
        for most_files in (MAX_PIECE_FILES, 1):
            try:
                for rows in self._judged(_pieces(inbox, np.flatnonzero(~done), most_files)):
                    numbers = rows.column("number").to_numpy()
                    fresh = ~done[numbers]
                    done[numbers] = True
                    yield rows.filter(pa.array(fresh)), int(done.sum())
            except ExecutionTimeoutError:
                continue
            except RayTaskError as error:
                raise _ours(error) from error
            return
        left = np.flatnonzero(~done)
        msg = (
            f"{len(left)} files cannot be judged, among them {inbox.column('path')[int(left[0])]}: whoever "
            "tries ends or stands still. The others are done; take these out, or give it more memory."
        )
        raise ResourceError(msg)

    def _judged(self, pieces: list[pa.Table]) -> Iterator[pa.Table]:
        context = ray.data.DataContext.get_current().copy()
        context.execution_options.preserve_order = False
        context.target_max_block_size = MAX_BLOCK_BYTES
        with ray.data.DataContext.current(context):
            files = ray.data.from_arrow(pieces)
            stream = self._two_pools(files) if self.pools.preparers else self._one_pool(files)
            yield from stream.iter_batches(batch_size=None, batch_format="pyarrow")

    def _one_pool(self, files: Any) -> Any:
        analyst: Any = Analyst  # Ray takes the class and makes the object in the actor
        return files.map_batches(
            analyst,
            fn_constructor_args=(self._absolute(), self.pools, self.work.plugin, self._bucket()),
            **self._models(),
        )

    def _two_pools(self, files: Any) -> Any:
        preparer: Any = Preparer
        looked = files.map_batches(
            preparer,
            fn_constructor_args=(self._absolute(), self.work.plugin, self._bucket()),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=self.pools.preparers),
        )
        judge: Any = Judge
        return looked.map_batches(
            judge,
            fn_constructor_args=(self._absolute(), self.pools, self.work.plugin),
            **(self._models() | {"batch_size": LOOKS_PER_BATCH, "batch_format": "numpy"}),
        )

    def _models(self) -> dict[str, Any]:
        return {
            "batch_size": None,
            "batch_format": "pyarrow",
            "num_cpus": ACTOR_CPUS,
            "num_gpus": self.pools.gpus,
            "compute": ray.data.ActorPoolStrategy(size=self.pools.actors),
        }

    def _absolute(self) -> Selection:
        return dataclasses.replace(self.chosen, bundles=tuple(path.resolve() for path in self.chosen.bundles))

    def _bucket(self) -> Any:
        if self.work.rate_hz is None:
            return None
        as_actor: Any = ray.remote
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        return as_actor(**options)(SharedBucket).remote(self.work.rate_hz)


def _pieces(inbox: pa.Table, numbers: NDArray[np.int64], most_files: int) -> list[pa.Table]:
    """Cut files into pieces of few files and few bytes."""
    most = max(1, min(most_files, -(-len(numbers) // 8)))
    sizes = inbox.column("size_bytes").fill_null(0).to_numpy()
    paths = inbox.column("path")
    pieces: list[pa.Table] = []
    start = size_bytes = 0
    for end, number in enumerate(numbers):
        if end - start == most or (end > start and size_bytes + sizes[number] > MAX_PIECE_BYTES):
            pieces.append(_piece(paths, numbers[start:end]))
            start, size_bytes = end, 0
        size_bytes += int(sizes[number])
    return [*pieces, _piece(paths, numbers[start:])]


def _piece(paths: Any, numbers: NDArray[np.int64]) -> pa.Table:
    return pa.table({"number": numbers, "path": paths.take(pa.array(numbers))})


def _ours(error: RayTaskError) -> BaseException:
    """Return the error of deepscan that a task ended with, or what Ray made of another one."""
    cause: Any = error
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    return cause if isinstance(cause, DeepscanError) else error
