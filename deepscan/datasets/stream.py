"""Ray Data: preparing files, and streaming Examples to training and evaluation.

Files are prepared by tasks that each finish a piece of the store, so an interrupted run goes on
where it stopped and a second one does nothing. Training reads one long stream of all its epochs:
no start-up between epochs, and the order is a pure function of the seed.
"""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from deepscan.cluster import what_waits
from deepscan.datasets.plan import Chunk, Cut, Plan
from deepscan.datasets.pseudo import PseudoFakes
from deepscan.datasets.reader import Reader
from deepscan.datasets.store import Kind, Store, file_id, prepare_file
from deepscan.errors import TooManyBadFilesError
from deepscan.interrupt import ended_when_stalled
from deepscan.media.source import Limits
from deepscan.modalities import Modality, Prep, batch
from deepscan.recipe import Augment

Progress = Callable[[int, int], None]
"""Called with the number of things done and their total."""

CORRUPT = "corrupt"
ROUNDS_AHEAD = 3
PREFETCHED = 2
"""Batches that wait for a rank while it works on one."""

OVERLAP = 2
"""Tasks at a time for each that has a CPU: Ray Data may take .1 s to see that one has ended."""

B = TypeVar("B")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How files are prepared.

    Attributes:
        keep: Keep the Examples, or only the ledger.
        limits: Limits on each file.
        max_bad: Largest share of corrupt files, in [0, 1].
        files_per_task: Files that one task prepares and writes together.
        cpus: Logical CPUs of a task.
        patience_s: Seconds without any progress after which preparing ends with an error.
    """

    keep: bool = True
    limits: Limits = Limits()
    max_bad: float = 0.1
    files_per_task: int = 64
    cpus: float = 1.0
    patience_s: float = 300.0


def prepare(paths: Sequence[str], prep: Prep, store: Store, work: Work, progress: Progress) -> pa.Table:
    """Prepare every file that the store does not account for yet; return the store's index.

    Raises:
        StalledError: Nothing has moved for too long.
        TooManyBadFilesError: More than ``max_bad`` of the files are corrupt; what was done is kept.
    """
    kinds: tuple[Kind, ...] = ("examples",) if work.keep else ("examples", "ledger")
    index = store.index(*kinds)
    known = dict(zip(index.column("id").to_pylist(), index.column("status").to_pylist(), strict=True))
    statuses = {path: known.get(file_id(path)) for path in paths}
    pending = [path for path, status in statuses.items() if status is None]
    bad = sum(status == CORRUPT for status in statuses.values())
    _check_bad(bad, len(paths), work.max_bad)
    progress(len(paths) - len(pending), len(paths))
    if not pending:
        return index
    done = len(paths) - len(pending)
    waiting = functools.partial(what_waits, work.cpus)
    with ended_when_stalled(lambda: done, waiting, work.patience_s):
        for row in _prepared(pending, prep, store, work).iter_rows():
            done, bad = done + row["files"], bad + row["bad"]
            progress(done, len(paths))
            _check_bad(bad, len(paths), work.max_bad)
    return store.index(*kinds)


def _prepared(pending: list[str], prep: Prep, store: Store, work: Work) -> ray.data.Dataset:
    # An arbitrary but fixed order mixes the classes within the store's row groups.
    pending = [pending[i] for i in np.random.default_rng(0).permutation(len(pending))]
    size = max(1, min(work.files_per_task, -(-len(pending) // 8)))
    pieces = [{"paths": pending[start : start + size]} for start in range(0, len(pending), size)]

    def piece(row: dict[str, Any]) -> dict[str, int]:
        rows = [r for path in row["paths"] for r in prepare_file(path, prep, work.limits)]
        store.write(rows, "examples" if work.keep else "ledger")
        return {"files": len(row["paths"]), "bad": sum(r.status == CORRUPT for r in rows)}

    return ray.data.from_items(pieces, override_num_blocks=len(pieces)).map(piece, num_cpus=work.cpus)


def _check_bad(bad: int, files: int, max_bad: float) -> None:
    if bad > max_bad * files:
        msg = (
            f"{bad} of {files} files are corrupt, more than --max-bad {max_bad:g} allows. The ledger names "
            "them with the reason; remove or repair them, or raise --max-bad."
        )
        raise TooManyBadFilesError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStream:
    """Everything that a task needs to make a unit of training Examples."""

    plan: Plan
    reader: Reader
    modality: Modality
    augment: Augment
    pseudo: PseudoFakes | None = None

    def unit(self, number: int) -> dict[str, NDArray[Any]]:
        """Read, shuffle, forge and augment one unit.

        Returns:
            Input columns and ``label`` float32, [N, ...]; with pseudo-fakes that know where they were
            altered also ``alpha`` uint8 [N, H, W] and ``alpha_known`` float32 [N].
        """
        epoch, members = self.plan.unit(number)
        labels = [self._label(member) for member in members]
        pairs = self.pseudo.pairs(labels, self.plan.shape.batch_size, number) if self.pseudo else {}
        examples = self._read(members)
        if self.pseudo:
            # Those that give way are the others of those that stay: they lend parts to the fakes.
            others = [examples[fake] for fake in pairs]
            for fake, real in pairs.items():
                members[fake], labels[fake] = members[real], 1
                made = self.pseudo.pair(examples[real], others, epoch, int(members[real]))
                examples[real], examples[fake] = made
            examples = self.pseudo.with_alpha(examples)
        for i, member in enumerate(members):
            # Both of a pair are changed alike: neither class may be told by its augmentation.
            rng = np.random.default_rng([self.plan.seed, epoch, int(member), 1])
            examples[i] = self.modality.augment(examples[i], self.augment, rng)
        extra = self.pseudo.columns(examples, labels, pairs) if self.pseudo else {}
        return batch(examples, self.reader.prep) | extra | {"label": np.asarray(labels, np.float32)}

    def _label(self, member: int) -> int:
        chunk, position = self.plan.locate(member)
        return chunk.labels[position]

    def _read(self, members: NDArray[np.int64]) -> list[dict[str, NDArray[Any]]]:
        found: dict[int, dict[str, NDArray[Any]]] = {}
        wanted = np.unique(members)
        for chunk in np.unique(self.plan.chunk_of[wanted]):
            mine = wanted[self.plan.chunk_of[wanted] == chunk]
            positions = [int(m - self.plan.starts[chunk]) for m in mine]
            found.update(
                zip(mine.tolist(), self.reader.read(self.plan.chunks[chunk], positions), strict=True)
            )
        return [dict(found[int(member)]) for member in members]


class Pace:
    """Knows how far the training is, and keeps the tasks of its stream a fixed number of units ahead.

    Without it they fill the object store, and Ray Data's scheduler, which waits for tasks whose output
    it has no room for, keeps a core busy doing so.
    """

    def __init__(self, ahead: int) -> None:
        """Let tasks run up to ``ahead`` units in front."""
        self._ahead, self._used, self._beats = ahead, 0, 0
        self._epochs: list[Any] = []
        self._moved = asyncio.Condition()

    async def wait(self, unit: int) -> None:
        """Return once the unit is due."""
        async with self._moved:
            await self._moved.wait_for(lambda: unit < self._used + self._ahead)

    async def beat(self) -> None:
        """Tell that work goes on which uses up no units: validation."""
        self._beats += 1

    async def tell(self, epochs: list[Any]) -> None:
        """Tell what every epoch so far came to."""
        self._epochs = epochs

    async def epochs_after(self, epoch: int) -> list[Any]:
        """Return what the epochs after one came to, as far as it was told."""
        return self._epochs[epoch:]

    async def position(self) -> tuple[int, int, int]:
        """Return how many units were trained on, how often there was a beat, and the number of epochs."""
        return self._used, self._beats, len(self._epochs)

    async def advance(self, used: int) -> None:
        """Tell how many units of the stream have been trained on; a smaller number begins a new stream."""
        async with self._moved:
            self._used = used
            self._moved.notify_all()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """What a training stream may take of the cluster.

    Attributes:
        cpus: Logical CPUs of a task.
        tasks: Tasks that have a CPU at a time.
    """

    cpus: float
    tasks: int


def units_ahead(cut: Cut, supply: Supply) -> int:
    """Return how many units the tasks of a training stream may run in front of the training.

    A rank gets no batch before ``PREFETCHED`` more are there, so these have to be due as well.
    """
    rounds = ROUNDS_AHEAD + -(-PREFETCHED // cut.unit_steps)
    return supply.tasks * OVERLAP + rounds * cut.world


def start_pace(cut: Cut, supply: Supply) -> Any:
    """Start the Pace of a training stream; return its handle."""
    as_actor: Any = ray.remote
    # On another node it begins anew; whoever trains on tells it soon how far that is.
    return as_actor(num_cpus=0, max_concurrency=1000, max_restarts=-1, max_task_retries=-1)(Pace).remote(
        units_ahead(cut, supply)
    )


def training(stream: TrainingStream, epochs: range, supply: Supply, pace: Any) -> ray.data.Dataset:
    """Return the stream of all batches of some epochs, in order, at the pace of the training."""
    units = stream.plan.cut.units
    first, count = epochs.start * units, len(epochs) * units
    ray.get(pace.advance.remote(0))
    shared = ray.put(stream)

    def unit(rows: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
        number = int(rows["id"][0])
        ray.get(pace.wait.remote(number))
        source: TrainingStream = _fetched(shared)
        return source.unit(first + number)

    return each_of(count, unit, supply.cpus / OVERLAP, supply.tasks * OVERLAP)


def paced(batches: Iterable[B], cut: Cut, pace: Any) -> Iterator[B]:
    """Pass on a rank's batches of a training stream, telling the Pace how far the training is."""
    told = 0
    for number, taken in enumerate(batches):
        behind = cut.units_behind(number)
        if behind > told:
            told = behind
            pace.advance.remote(behind)
        yield taken


def beating(batches: Iterable[B], pace: Any) -> Iterator[B]:
    """Pass on batches, telling the Pace of each that work goes on."""
    for taken in batches:
        pace.beat.remote()
        yield taken


def evaluation(chunks: Sequence[Chunk], reader: Reader, cpus: float) -> ray.data.Dataset:
    """Return every Example once: input columns, ``label``, and ``file`` (row of the manifest)."""
    shared = ray.put((list(chunks), reader))
    size = max(1, -(-len(chunks) // 64))
    tasks = -(-len(chunks) // size)

    def piece(rows: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
        all_chunks, source = _fetched(shared)
        made: dict[str, NDArray[Any]] = source.labelled(all_chunks[int(rows["id"][0]) * size :][:size])
        return made

    return each_of(tasks, piece, cpus)


class Numbers(Datasource):
    """The numbers from 0 on, each in a task of its own, as the column ``id``.

    ``ray.data.range`` gives them, too, but its tasks want a whole CPU each, which may be on no node.
    """

    def __init__(self, count: int) -> None:
        """Hold so many numbers."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = count

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of the column in bytes."""
        return 8 * self.count

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Return a task for each number, whatever is asked for."""
        facts = BlockMetadata(num_rows=1, size_bytes=8, exec_stats=None, input_files=None)
        return [ReadTask(functools.partial(_number, n), facts) for n in range(self.count)]


def each_of(
    count: int, make: Callable[[Any], Any], cpus: float, tasks: int | None = None
) -> ray.data.Dataset:
    """Return what a function makes of the numbers from 0 on, each in a task of its own.

    Args:
        count: How many numbers.
        make: Makes a block of a number, given as the column ``id``.
        cpus: Logical CPUs of a task.
        tasks: Tasks at a time; None = as many as there is room for.
    """
    # Reading and making become one step, and share the CPUs, only where all of this is the same.
    alike: dict[str, Any] = {"num_cpus": cpus, "compute": ray.data.TaskPoolStrategy(size=tasks)}
    numbers = ray.data.read_datasource(Numbers(count), override_num_blocks=count, **alike)
    made: ray.data.Dataset = numbers.map_batches(make, batch_size=None, **alike)
    return made


def _number(number: int) -> list[pa.Table]:
    return [pa.table({"id": [number]})]


@functools.lru_cache(maxsize=4)
def _fetched(reference: Any) -> Any:
    return ray.get(reference)
