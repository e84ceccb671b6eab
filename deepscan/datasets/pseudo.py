"""Pseudo-fakes as a stage of the stream: which real Examples become pairs, and the pairs themselves.

Everything is a pure function of the seed, the epoch, the Example and those that it comes with, so that a
resumed run makes exactly the pseudo-fakes that an uninterrupted one does.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.modalities import ALPHA, ALPHA_KNOWN, Example, Forgery, Modality, Prep
from deepscan.recipe import Pseudo

_PAIR, _CHOICE, _HELD_OUT = 2, 3, 4
"""Last words of seeds; 1 is that of augmentation."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PseudoFakes:
    """A way of making pseudo-fakes, bound to the settings of a run.

    Attributes:
        forgery: Makes them.
        settings: The recipe's.
        prep: What made the Examples.
        seed: Seed of the run.
    """

    forgery: Forgery
    settings: Pseudo
    prep: Prep
    seed: int

    @classmethod
    def of(cls, modality: Modality, prep: Prep, settings: Pseudo, seed: int) -> "PseudoFakes | None":
        """Return what a recipe asks for; None = no pseudo-fakes.

        Raises:
            UnknownNameError: The modality has none of that name.
        """
        if not settings.is_on:
            return None
        return cls(forgery=modality.forgery(settings.kind), settings=settings, prep=prep, seed=seed)

    def pairs(self, labels: Sequence[int], batch_size: int, unit: int) -> dict[int, int]:
        """Return which rows of a unit give way to the pseudo-fakes of which others.

        Args:
            labels: Label of each row, whole batches.
            batch_size: Rows of a batch; both of a pair lie in one.
            unit: Number of the unit, counted over the whole run.
        """
        rng = self._rng(unit, 0, _CHOICE)
        both: list[tuple[int, int]] = []
        for start in range(0, len(labels), batch_size):
            real = [row for row in range(start, start + batch_size) if labels[row] == 0]
            both += zip(real[1::2], real[::2], strict=False)
        return {given: kept for given, kept in both if rng.random() < self.settings.share}

    def pair(
        self, example: Example, others: Sequence[Example], epoch: int, member: int
    ) -> tuple[Example, Example]:
        """Return the real one and the fake that a training Example gives in an epoch.

        Args:
            example: It.
            others: Real Examples of its unit, of which the fake may take parts.
            epoch: The epoch.
            member: Number of the Example.
        """
        return self.forgery.make(example, self.prep, self._rng(epoch, member, _PAIR), others)

    def held_out(self, examples: Sequence[Example], files: Sequence[int]) -> list[Example]:
        """Return the pseudo-fakes of Examples that are judged: always the same for a chunk.

        Args:
            examples: Real ones, each of which may lend parts to the others' fakes.
            files: Number of the file of each.
        """
        return [
            self.forgery.make(each, self.prep, self._rng(file, 0, _HELD_OUT), others)[1]
            for each, file in zip(examples, files, strict=True)
            for others in [[other for other in examples if other is not each]]
        ]

    def with_alpha(self, examples: Sequence[Example]) -> list[Example]:
        """Return Examples that all have the column ``ALPHA`` where this way of making fakes has it."""
        untouched = self.forgery.untouched
        return [e if untouched is None or ALPHA in e else {**e, ALPHA: untouched(e)} for e in examples]

    def columns(
        self, examples: Sequence[Example], labels: Sequence[int], chosen: Mapping[int, int]
    ) -> dict[str, NDArray[Any]]:
        """Return what training batches say besides: ``ALPHA`` and ``ALPHA_KNOWN``, or nothing."""
        if self.forgery.untouched is None:
            return {}
        known = [label == 0 or row in chosen for row, label in enumerate(labels)]
        return {
            ALPHA: np.stack([example[ALPHA] for example in examples]),
            ALPHA_KNOWN: np.asarray(known, np.float32),
        }

    def _rng(self, *words: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *words])
