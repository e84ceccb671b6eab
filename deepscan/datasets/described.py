"""Reads Examples together with their statistics, for the gate of a bundle."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Reader
from deepscan.domain import traits
from deepscan.domain.gate import Gate
from deepscan.modalities import Example, Prep

TRAITS = "traits"
"""Column of batches: statistics of each Example, float64 [N, S], NaN = not told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Described(Reader):
    """A reader that adds statistics to what it reads.

    Attributes:
        statistics: Names of these, in the order of the column ``TRAITS``.
    """

    statistics: tuple[str, ...] = ()

    @classmethod
    def of(cls, reader: Reader, gate: Gate | None) -> Reader:
        """Return a reader that tells what a gate asks for; without one the reader as it is."""
        return cls.asked(reader, gate.statistics) if gate else reader

    @classmethod
    def asked(cls, reader: Reader, statistics: tuple[str, ...]) -> Self:
        """Return a reader that tells these statistics."""
        fields = {field.name: getattr(reader, field.name) for field in dataclasses.fields(Reader)}
        return cls(**fields, statistics=statistics)

    def labelled(self, chunks: Sequence[Chunk]) -> Example:
        """Return what ``Reader.labelled`` does, and the column ``TRAITS``."""
        examples = self.examples(chunks)
        return self.batched(examples, chunks) | {TRAITS: self.told(examples)}

    def told(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Return the statistics of Examples, float64 [N, S]."""
        told = [traits.of_example(example, self.names) for example in examples]
        return np.array([[each.get(name, np.nan) for name in self.statistics] for each in told], np.float64)


def statistics_of(prep: Prep) -> tuple[str, ...]:
    """Return the names of the statistics that the Examples of a Prep have."""
    columns = prep.columns
    nothing = {name: np.zeros(columns[name].shape, columns[name].dtype) for name in prep.needs}
    return tuple(traits.of_example(nothing, prep.needs))
