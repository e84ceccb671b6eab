"""The stages of the Serve graph as seen from another process: their handles behind the plain interfaces.

Errors that a client is to see travel as values, so that they keep their type: Ray would wrap and log
them. What a handle cannot hold and which process died becomes an error of deepscan here.
"""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deepscan.cache import CacheFacts
from deepscan.errors import DeepscanError, OverloadedError, ServiceError
from deepscan.experiment import Entry, Feedback
from deepscan.media.source import Media
from deepscan.monitor.records import Record
from deepscan.serving.backend import Answer, ModelFacts, Progress, Question
from deepscan.serving.books import Form
from deepscan.serving.ensemble import Judgement, Wish
from deepscan.serving.jobs import Job
from deepscan.verdict import Evidence, Verdict

T = TypeVar("T")

_log = logging.getLogger(__name__)

HEALTH_TIMEOUT_S = 2.0
"""How long a stage may take to say that it is there."""


async def ask(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call of another stage, once more if the process that held it died.

    Judging the same file twice does no harm, so the second try is safe. Where a stage before the one
    that is called died, Ray names that by its general exception.

    Raises:
        OverloadedError: The stage's queue is full.
        ServiceError: The second process died too.
    """
    for _ in range(2):
        try:
            return await call()
        except BackPressureError as error:
            msg = "Too many files wait already; ask again later."
            raise OverloadedError(msg) from error
        except (RayActorError, RayServeException) as error:
            died = error
    msg = "The process that judged the file died, and so did the next; ask again later."
    raise ServiceError(msg) from died


def or_raise(answer: T | DeepscanError) -> T:
    """Raise an error that travelled as a value; return anything else."""
    if isinstance(answer, DeepscanError):
        raise answer
    return answer


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RemoteGroup:
    """A ``Group`` in a preparing stage and a judging stage.

    Attributes:
        models: What its bundles are.
        samples_frames: Whether its Prep looks at a number of frames that can be set.
        prepare: Handle of the ``Prepare`` deployment.
        replica: Handle of the ``Replica`` deployment.
        sleeps: Whether its processes end while nobody asks, which to ask for their health would undo.
        multiplexed: Whether a process of the second holds some of the bundles only.
    """

    models: tuple[ModelFacts, ...]
    samples_frames: bool
    prepare: DeploymentHandle[Any]
    replica: DeploymentHandle[Any]
    sleeps: bool = False
    multiplexed: bool = False

    async def ready(self) -> None:
        """See ``Group``."""
        if self.sleeps:
            return
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await asyncio.gather(ask(self.prepare.ready.remote), ask(self.replica.ready.remote))
        except TimeoutError as error:
            msg = f"A model was not ready within {HEALTH_TIMEOUT_S:g} s; ask again later."
            raise ServiceError(msg) from error

    async def judge(self, media: Media, wish: Wish) -> Judgement:
        """See ``Group``."""
        replica = self.replica
        if self.multiplexed and len(wish.bundles) == 1:
            # Serve prefers a process that holds the bundle already.
            replica = replica.options(multiplexed_model_id=min(wish.bundles))
        # The unfinished response is handed on: the prepared arrays go from process to process, not here.
        return await ask(lambda: replica.remote(self.prepare.remote(media, wish.frames), wish))


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteAnalyzers:
    """Asks the stage where analyzers testify."""

    handle: DeploymentHandle[Any]

    async def __call__(self, media: Media) -> tuple[Evidence, ...]:
        """Let them measure a file."""
        return await ask(partial(self.handle.remote, media))


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteEnsemble:
    """The Backend of the routes: an ``Ensemble`` in a stage of its own."""

    handle: DeploymentHandle[Any]
    modalities: tuple[str, ...]

    async def models(self) -> tuple[ModelFacts, ...]:
        """See ``Backend``."""
        models: tuple[ModelFacts, ...] | DeepscanError = await ask(self.handle.models.remote)
        return or_raise(models)

    async def judge(self, question: Question) -> Answer:
        """See ``Backend``."""
        answer: Answer | DeepscanError = await ask(partial(self.handle.judge.remote, question))
        return or_raise(answer)

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """See ``Backend``; where the process dies on the way, the question is not asked again."""
        stream: Any = self.handle.options(stream=True).steps.remote(question)
        try:
            async for step in stream:
                yield or_raise(step)
        except BackPressureError as error:
            msg = "Too many files wait already; ask again later."
            raise OverloadedError(msg) from error
        except (RayActorError, RayServeException) as error:
            msg = "The process that judged the file died; ask again later."
            raise ServiceError(msg) from error


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteMemory:
    """A ``Memory`` in a stage of its own, which all processes share.

    A memory that is full or dies is no reason to give no verdict: it knows nothing then.
    """

    handle: DeploymentHandle[Any]

    async def recall(self, key: str) -> Verdict | None:
        """See ``Memory``."""
        try:
            known: Verdict | None = await ask(partial(self.handle.recall.remote, key))
        except ServiceError:
            return None
        return known

    async def keep(self, key: str, verdict: Verdict) -> None:
        """See ``Memory``."""
        # Nobody waits for it: the answer is on its way meanwhile.
        self.handle.keep.remote(key, verdict)

    async def facts(self) -> CacheFacts:
        """See ``Memory``."""
        return await ask(self.handle.facts.remote)


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteDesk:
    """The jobs, in a stage of their own."""

    handle: DeploymentHandle[Any]

    async def submit(self, question: Question) -> Job:
        """See ``Jobs``."""
        job: Job | DeepscanError = await ask(partial(self.handle.submit.remote, question))
        return or_raise(job)

    async def job(self, job_id: str) -> Job:
        """See ``Jobs``."""
        job: Job | DeepscanError = await ask(partial(self.handle.job.remote, job_id))
        return or_raise(job)


class RemoteBooks:
    """Books in a stage of their own, which all processes share; entries go there in small bundles.

    Who answers a request does not wait for them, and what has not gone is lost with the process.
    """

    def __init__(self, handle: DeploymentHandle[Any], every_s: float = 0.5) -> None:
        """Write to a handle, at most every so many seconds."""
        self._handle = handle
        self._every_s = every_s
        self._records: list[Record] = []
        self._entries: list[Entry] = []
        self._going: asyncio.Task[None] | None = None

    async def enter(self, records: Sequence[Record], entries: Sequence[Entry] = ()) -> None:
        """See ``Books``."""
        self._records.extend(records)
        self._entries.extend(entries)
        if self._going is None or self._going.done():
            self._going = asyncio.create_task(self._go())

    async def stats(self) -> dict[str, Any]:
        """See ``Books``."""
        return await ask(self._handle.stats.remote)

    async def metrics(self) -> bytes:
        """See ``Books``."""
        return await ask(self._handle.metrics.remote)

    async def history(self, form: Form) -> str:
        """See ``Books``."""
        return await ask(partial(self._handle.history.remote, form))

    async def feedback(self, feedback: Feedback) -> None:
        """See ``Books``."""
        or_raise(await ask(partial(self._handle.feedback.remote, feedback)))

    async def _go(self) -> None:
        await asyncio.sleep(self._every_s)
        records, self._records = self._records, []
        entries, self._entries = self._entries, []
        try:
            await ask(partial(self._handle.enter.remote, records, entries))
        except ServiceError:
            _log.warning("%d answers are in no statistics: nobody keeps the books.", len(records))
