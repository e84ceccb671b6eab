"""Which Examples a training run reads, in which order: pure index arithmetic, no data.

An epoch is a permutation of chunks (Examples that lie together on disk), cut into *units* that a
stream task reads, shuffles and augments as one. Unit ``u`` goes to rank ``u % world``; all units of
a round have the same size, so every rank sees the same number of batches in every epoch, and a
resumed run can begin at any epoch with exactly the Examples that an uninterrupted one reads.
"""

import dataclasses
import functools
from collections.abc import Container

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import DataError

UNIT_BYTES = 16 * 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Examples that are read together: rows of one row group, or all parts of one raw file.

    Attributes:
        place: Name of the store's file, or path of the raw file.
        group: Row group in the store's file; -1 for a raw file.
        rows: Rows in the group, or parts of the raw file.
        files: Row of the manifest that each Example belongs to.
        labels: Label of each Example.
        pseudo: The Examples are pseudo-fakes made of the real ones that lie there. Their ``files`` are -1
            minus the rows of those, so that no file has both labels.
    """

    place: str
    group: int
    rows: tuple[int, ...]
    files: tuple[int, ...]
    labels: tuple[int, ...]
    pseudo: bool = dataclasses.field(default=False, kw_only=True)

    def forged(self) -> "Chunk":
        """Return the chunk of the pseudo-fakes of this one's real Examples."""
        real = self.only(0)
        files = tuple(-1 - file for file in real.files)
        return Chunk(self.place, self.group, real.rows, files, (1,) * len(files), pseudo=True)

    def only(self, label: int) -> "Chunk":
        """Return the chunk with the Examples of one label."""
        return self._at([i for i, given in enumerate(self.labels) if given == label])

    def without(self, files: Container[int]) -> "Chunk":
        """Return the chunk with the Examples of other files than those in these rows of the manifest."""
        return self._at([i for i, file in enumerate(self.files) if file not in files])

    def _at(self, kept: list[int]) -> "Chunk":
        columns = (tuple(values[i] for i in kept) for values in (self.rows, self.files, self.labels))
        return Chunk(self.place, self.group, *columns, pseudo=self.pseudo)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How an epoch is cut.

    Attributes:
        world: Number of workers.
        batch_size: Examples a step and worker.
        example_bytes: Size of one Example.
        even: Cut every epoch into units of one size, so that any number of workers can share them.
    """

    world: int
    batch_size: int
    example_bytes: int
    even: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How the batches of an epoch fall into units.

    Attributes:
        world: Number of workers, hence of units a round.
        steps: Batches an epoch and worker.
        unit_steps: Batches in a unit; the last round of an epoch may have fewer.
    """

    world: int
    steps: int
    unit_steps: int

    @property
    def units(self) -> int:
        """Units in an epoch."""
        return -(-self.steps // self.unit_steps) * self.world

    def shared_by(self, world: int) -> "Cut":
        """Return how the same units are shared by another number of workers; needs units of one size.

        What is left over when units are dealt out evenly counts to the next epoch.
        """
        if world == self.world:
            return self
        assert self.steps % self.unit_steps == 0
        return Cut(world=world, steps=self.units // world * self.unit_steps, unit_steps=self.unit_steps)

    def units_behind(self, batches: int) -> int:
        """Return how many units of a stream are used up when each rank has taken so many batches."""
        epochs, steps = divmod(batches, self.steps)
        return epochs * self.units + steps // self.unit_steps * self.world


class Plan:
    """The order of Examples in every epoch of a run."""

    def __init__(
        self, chunks: list[Chunk], shape: Shape, seed: int, weight_E: NDArray[np.float64] | None = None
    ) -> None:
        """Lay out the epochs.

        Args:
            chunks: The Examples.
            shape: How an epoch is cut.
            seed: Seed of the order.
            weight_E: How often each Example is seen beside the others, in the order of the chunks; None =
                each once an epoch.

        Raises:
            DataError: There are no Examples.
        """
        sizes = np.asarray([len(chunk.rows) for chunk in chunks], dtype=np.int64)
        if not sizes.sum():
            msg = "There are no usable Examples to train on; the ledger says what became of the files."
            raise DataError(msg)
        self.chunks, self.shape, self.seed, self.weight_E = chunks, shape, seed, weight_E
        self.chunk_of = np.repeat(np.arange(len(chunks)), sizes)
        self.starts = np.cumsum(sizes) - sizes
        step_rows = shape.world * shape.batch_size
        steps = max(1, round(len(self.chunk_of) / step_rows))
        unit_steps = int(np.clip(UNIT_BYTES // (shape.batch_size * shape.example_bytes), 1, steps))
        if shape.even:
            steps = max(1, round(steps / unit_steps)) * unit_steps
        self.cut = Cut(world=shape.world, steps=steps, unit_steps=unit_steps)

    @property
    def examples(self) -> int:
        """Number of Examples in the plan."""
        return len(self.chunk_of)

    @property
    def rows(self) -> int:
        """Number of Examples in the batches of an epoch."""
        return self.cut.steps * self.shape.batch_size * self.shape.world

    def unit(self, number: int) -> tuple[int, NDArray[np.int64]]:
        """Return the epoch of unit ``number`` (counted over the whole run) and its Examples in order."""
        epoch, index = divmod(number, self.cut.units)
        turn, rank = divmod(index, self.shape.world)
        first = turn * self.cut.unit_steps
        rows = min(self.cut.unit_steps, self.cut.steps - first) * self.shape.batch_size
        start = first * self.shape.batch_size * self.shape.world + rank * rows
        members = _order(self, epoch)[start : start + rows]
        return epoch, np.random.default_rng([self.seed, epoch, index]).permutation(members)

    def permuted(self, epoch: int) -> NDArray[np.int64]:
        """Return the Examples of an epoch, chunks in random order, cut or wrapped to whole steps."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.chunks))
        starts, sizes = self.starts[order], np.diff(np.append(self.starts, self.examples))[order]
        within = np.arange(self.examples) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        examples = np.repeat(starts, sizes) + within
        if self.weight_E is not None:
            examples = np.repeat(examples, self._times(epoch)[examples])
        return np.resize(examples, self.rows)

    def _times(self, epoch: int) -> NDArray[np.int64]:
        """Return how often each Example is seen in an epoch: as often as there are Examples, together.

        Systematic sampling: a number is never further than 1 from what the weights ask for, and over
        epochs it is so on average.
        """
        assert self.weight_E is not None
        rng = np.random.default_rng([self.seed, epoch, 2])
        order = rng.permutation(self.examples)
        wanted = self.weight_E[order] * (self.examples / self.weight_E.sum())
        ends = np.floor(np.cumsum(wanted) + rng.random()).astype(np.int64)
        times = np.empty(self.examples, np.int64)
        times[order] = np.diff(ends, prepend=0)
        return times

    def locate(self, example: int) -> tuple[Chunk, int]:
        """Return an Example's chunk and its position within it."""
        chunk = int(self.chunk_of[example])
        return self.chunks[chunk], example - int(self.starts[chunk])


@functools.lru_cache(maxsize=2)
def _order(plan: Plan, epoch: int) -> NDArray[np.int64]:
    return plan.permuted(epoch)
