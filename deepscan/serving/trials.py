"""Variants of a service under trial: who answers a caller, and who answers only for the log."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator

import numpy as np

from deepscan.errors import DeepscanError
from deepscan.experiment import Circumstances, Entry, Variant, assign, entry_of, hash_key
from deepscan.serving.backend import Answer, Around, Backend, Progress, Question
from deepscan.serving.books import Books

_log = logging.getLogger(__name__)

SHADOWS_AT_ONCE = 8
"""So many shadows judge at the same time, at most: they must never take the place of those who wait."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What is tried.

    Attributes:
        variants: Those that share the callers, and shadows.
        salt: Makes assignments and the hashes of keys this trial's own; empty = keys are not kept at all.
        logged: Whether answers are kept in the log.
    """

    variants: tuple[Variant, ...]
    salt: str = ""
    logged: bool = False

    @property
    def shadows(self) -> tuple[Variant, ...]:
        """Those that get copies and never answer."""
        return tuple(variant for variant in self.variants if variant.shadow)


class Trying(Around):
    """A Backend that has each question answered by the variant of its caller."""

    def __init__(self, backend: Backend, trial: Trial, books: Books) -> None:
        """Put a trial before a backend."""
        super().__init__(backend)
        self._trial = trial
        self._books = books
        self._rng = np.random.default_rng()
        self._tasks: set[asyncio.Task[None]] = set()

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """See ``Backend``."""
        chosen = assign(self._trial.variants, question.caller, self._trial.salt, self._rng)
        asked = dataclasses.replace(question, variant=chosen.name)
        async for step in self._backend.steps(asked):
            if isinstance(step, Answer):
                await self._keep(question, chosen, step)
                self._ask_shadows(question)
            yield step

    async def _keep(self, question: Question, variant: Variant, answer: Answer) -> None:
        if self._trial.logged:
            await self._books.enter((), (self._entry(question, variant, answer),))

    def _entry(self, question: Question, variant: Variant, answer: Answer) -> Entry:
        told = Circumstances(
            time_s=time.time(),
            request_id=question.request_id,
            cached=answer.cached,
            key_hash=hash_key(question.caller, self._trial.salt) if self._trial.salt else None,
        )
        return entry_of(answer.verdict, variant, told)

    def _ask_shadows(self, question: Question) -> None:
        for shadow in self._trial.shadows:
            if len(self._tasks) >= SHADOWS_AT_ONCE:
                _log.info("Shadow %s missed a request: %d are at work already.", shadow.name, SHADOWS_AT_ONCE)
                return
            task = asyncio.create_task(self._shadow(question, shadow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shadow(self, question: Question, shadow: Variant) -> None:
        try:
            answer = await self._backend.judge(dataclasses.replace(question, variant=shadow.name))
        except DeepscanError as error:
            _log.info("Shadow %s gave no answer: %s", shadow.name, type(error).__name__)
            return
        await self._keep(question, shadow, answer)
