"""Scoring on Ray Data: files go in pieces through pools of actors, and their rows come to one writer.

Where the models run on CPUs, each actor does all there is to do with a file. Where they run on GPUs, a pool
of CPUs reads and prepares the files, and what it made of them streams to the actors that hold the models.

Only the process that was started writes. So whatever is done twice, because an actor or its machine died,
is written once.
"""

import dataclasses
import gc
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.cluster import available
from deepscan.ensemble import Selection
from deepscan.errors import DeepscanError, ResourceError
from deepscan.scoring.actors import NUMBERED, Analyst, Judge, Preparer, SharedBucket
from deepscan.scoring.inbox import open_inbox
from deepscan.scoring.pace import part_due
from deepscan.scoring.parts import Parts, count
from deepscan.scoring.plan import ACTOR_CPUS, Pools, Work, plan_pools
from deepscan.scoring.rows import SCHEMA, said, to_table
from deepscan.watch import Watch

MAX_PIECE_FILES, MAX_PIECE_BYTES = 64, 8 * 2**20
"""What an actor is given at a time: a second's work, or one long clip. What is lost with it stays small."""

MAX_FAILED_PIECES = 100
"""So many errors that nobody foresaw may be met; their files are tried again alone. More are no accident."""

LOOKS_PER_BATCH = 16
MAX_BLOCK_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """An inbox that is to be scored, and how far that is.

    Attributes:
        chosen: The detectors, and how their votes become one answer.
        work: How files are scored.
        inbox: The files; columns as in ``inbox.INBOX``.
        done: Which of them have their row, bool [N].
        parts: The rows.
    """

    chosen: Selection
    work: Work
    inbox: pa.Table
    done: NDArray[np.bool_]
    parts: Parts

    @property
    def finished(self) -> bool:
        """Whether every file has its row."""
        return bool(self.done.all())


def open_task(data: str, out: str, chosen: Selection, work: Work, watch: Watch) -> Task:
    """List what is to be scored and look up what an earlier run has done of it. No cluster is needed yet.

    Args:
        data: A folder, a manifest or a list; see ``inbox.open_inbox``.
        out: Folder of the scores, a path or URI.
        chosen: The detectors, and how their votes become one answer.
        work: How they are scored; rows with and without evidence do not mix.
        watch: Follows the work.

    Raises:
        BundleError: A bundle cannot be used.
        DataError: There are no files, or ``out`` holds the scores of other judges.
        StorageError: Files cannot be listed, or ``out`` not be written.
    """
    watch.stage("Listing files")
    chosen = dataclasses.replace(chosen, bundles=tuple(path.resolve() for path in chosen.bundles))
    judges = [Bundle.read(path).card.id for path in chosen.bundles]
    asked = {"bundles": sorted(judges), "fusion": config.digest(chosen.policy), "evidence": work.evidence}
    parts = Parts(out, asked)
    parts.check()
    inbox = open_inbox(data, parts.out)
    return Task(chosen, work, inbox, parts.settle(inbox), parts)


def score(task: Task, watch: Watch) -> dict[str, int]:
    """Give every file its row; return how many there are of each label, ``abstained`` and ``error``.

    Args:
        task: The files, and how they are scored.
        watch: Follows the work.

    Raises:
        ResourceError: The cluster cannot hold what was asked of it, or some files fail whoever judges them.
        StorageError: Scores cannot be written; those that were are kept.
    """
    watch.stage("Scoring files")
    watch.advance(int(task.done.sum()), len(task.inbox))
    if not task.finished:
        collect(_rounds(task), task.inbox, task.parts, watch)
    return count(task.parts.out, task.inbox)


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
    start_s = last_s = time.monotonic()
    waiting: list[pa.Table] = []
    try:
        for rows, done in batches:
            waiting.append(_complete(rows, inbox))
            watch.advance(done, len(inbox))
            now_s = time.monotonic()
            if part_due(sum(map(len, waiting)), now_s - last_s, now_s - start_s):
                ready, waiting, last_s = waiting, [], now_s
                parts.write(pa.concat_tables(ready))
    finally:
        if waiting:
            parts.write(pa.concat_tables(waiting))


def _complete(rows: pa.Table, inbox: pa.Table) -> pa.Table:
    """Return rows with what the inbox knows of their files."""
    known = inbox.take(rows.column("number"))
    columns = [(known if name in known.column_names else rows).column(name) for name in SCHEMA.names]
    return pa.table(columns, schema=SCHEMA)


def _rounds(task: Task) -> Iterator[tuple[pa.Table, int]]:
    """Yield the rows of the files that are not done, and how many are done then.

    Where files are left, because one of them raised what nobody foresaw or a lost machine had actors that fit
    nowhere else, the rest begins anew, each file for itself and with more patience. The few that are
    still left are asked one after the other what is wrong with them.
    """
    for most_files, patience in ((_piece_files(task.work), 1), (1, 2)):
        _release_actors()
        pieces = _pieces(task.inbox, np.flatnonzero(~task.done), most_files)
        stream = _Stream(task.chosen, task.work, plan_pools(task.work, *available()))
        try:
            for rows in stream.judged(pieces, patience):
                yield _settled(rows, task)
        except ExecutionTimeoutError:
            continue
        except RayTaskError as error:
            raise _ours(error) from error
        if task.finished:
            return
    left = np.flatnonzero(~task.done)
    if len(left) <= MAX_FAILED_PIECES:
        _release_actors()
        for rows in stream.asked(_pieces(task.inbox, left, 1)):
            yield _settled(rows, task)
    if task.finished:
        return
    left = np.flatnonzero(~task.done)
    names = ", ".join(task.inbox.column("path").take(pa.array(left[:3])).to_pylist())
    msg = (
        f"{len(left)} files fail whoever judges them: {names}{', ...' if len(left) > 3 else ''}. All others "
        "are done; the log says more. Take these out, or try again."
    )
    raise ResourceError(msg)


def _release_actors() -> None:
    """Give back the places of a stream that has ended; its actors hang on objects in reference cycles."""
    gc.collect()


def _settled(rows: pa.Table, task: Task) -> tuple[pa.Table, int]:
    """Return the rows whose files had none yet, and how many files have theirs now."""
    numbers = rows.column("number").to_numpy()
    fresh = ~task.done[numbers]
    task.done[numbers] = True
    return rows.filter(pa.array(fresh)), int(task.done.sum())


@dataclasses.dataclass(frozen=True, slots=True)
class _Stream:
    """The stream of rows that files become."""

    chosen: Selection
    work: Work
    pools: Pools

    def judged(self, pieces: list[pa.Table], patience: int) -> Iterator[pa.Table]:
        """Yield the rows of pieces as they come, in no order.

        Args:
            pieces: Files, with their ``number`` and ``path``.
            patience: How much longer than usual to wait for any piece to get on.
        """
        context = ray.data.DataContext.get_current().copy()
        context.execution_options.preserve_order = False
        context.target_max_block_size = MAX_BLOCK_BYTES
        context.max_errored_blocks = MAX_FAILED_PIECES
        context.execution_no_progress_timeout_s *= patience
        with ray.data.DataContext.current(context):
            files = ray.data.from_arrow(pieces)
            rows = self._two_pools(files) if self.pools.preparers else self._one_pool(files)
            yield from rows.iter_batches(batch_size=None, batch_format="pyarrow")

    def asked(self, pieces: list[pa.Table]) -> Iterator[pa.Table]:
        """Yield the row of each file, even if all it says is what was raised, until one gives no answer."""
        as_actor: Any = ray.remote
        # No CPU in Ray's books: it works alone, and is not to wait until the last stream's actors are gone.
        options = {"num_cpus": 0, "num_gpus": self.pools.gpus}
        actor = as_actor(**options)(Analyst).remote(self.chosen, self.pools, self.work, self._bucket())
        patience_s = ray.data.DataContext.get_current().execution_no_progress_timeout_s
        for piece in pieces:
            try:
                yield ray.get(actor.judged.remote(piece), timeout=patience_s)
            except RayTaskError as error:
                cause = _ours(error)
                if isinstance(cause, DeepscanError):
                    raise cause from error
                yield to_table([_unforeseen(piece, error)], NUMBERED)
            except (RayActorError, GetTimeoutError):
                return

    def _one_pool(self, files: Any) -> Any:
        analyst: Any = Analyst  # Ray takes the class and makes the object in the actor
        return files.map_batches(
            analyst,
            fn_constructor_args=(self.chosen, self.pools, self.work, self._bucket()),
            batch_size=None,
            batch_format="pyarrow",
            **self._models(),
        )

    def _two_pools(self, files: Any) -> Any:
        preparer: Any = Preparer
        looks = files.map_batches(
            preparer,
            fn_constructor_args=(self.chosen, self.work, self._bucket()),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=self.pools.preparers),
        )
        judge: Any = Judge
        return looks.map_batches(
            judge,
            fn_constructor_args=(self.chosen, self.pools, self.work.plugin),
            batch_size=LOOKS_PER_BATCH,
            batch_format="numpy",
            **self._models(),
        )

    def _models(self) -> dict[str, Any]:
        return {
            "num_cpus": ACTOR_CPUS,
            "num_gpus": self.pools.gpus,
            "compute": ray.data.ActorPoolStrategy(size=self.pools.actors),
        }

    def _bucket(self) -> Any:
        if self.work.rate_hz is None:
            return None
        as_actor: Any = ray.remote
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        return as_actor(**options)(SharedBucket).remote(self.work.rate_hz)


def _piece_files(work: Work) -> int:
    # A piece that waits for its tokens is not to look like one that stands still.
    return MAX_PIECE_FILES if work.rate_hz is None else max(1, min(MAX_PIECE_FILES, int(10 * work.rate_hz)))


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


def _unforeseen(piece: pa.Table, error: RayTaskError) -> dict[str, Any]:
    [words] = traceback.format_exception_only(error.cause)[-1:]
    told = DeepscanError(f"A defect: judging it raised {words.strip()}. Ray's log says where.")
    return {"number": piece.column("number")[0].as_py(), **said(told, 0.0)}


def _ours(error: RayTaskError) -> BaseException:
    """Return the error of deepscan that a task ended with, or what Ray made of another one."""
    cause: Any = error
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    return cause if isinstance(cause, DeepscanError) else error
