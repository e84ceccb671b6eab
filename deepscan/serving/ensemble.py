"""The middle of the Serve graph: chooses who looks at a file, asks them together, fuses the answers."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deepscan import pipeline
from deepscan.errors import DeepscanError, OverloadedError, ServiceError
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.pipeline import Outcome
from deepscan.serving.api import ModelFacts
from deepscan.verdict import Verdict

T = TypeVar("T")

HEALTH_TIMEOUT_S = 2.0
"""How long a stage may take to say that it is there."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Detectors of one modality that share a Prep: a preparing stage and a judging stage.

    Attributes:
        modality: Name of the modality.
        prepare: Handle of the ``Prepare`` deployment.
        replica: Handle of the ``Replica`` deployment.
    """

    modality: str
    prepare: DeploymentHandle[Any]
    replica: DeploymentHandle[Any]


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


class Ensemble:
    """Turns probed media into a Verdict by the calls of ``pipeline.analyze``, spread over processes."""

    def __init__(self, groups: Sequence[Group], policy: FusionPolicy) -> None:
        """Take the groups in the order of their Prep digests, as ``pipeline.plan`` orders them."""
        self._groups = tuple(groups)
        self._policy = policy

    async def models(self) -> tuple[ModelFacts, ...] | ServiceError:
        """Tell what the replicas have loaded, once every stage answers."""
        loaded = asyncio.gather(*(ask(group.replica.models.remote) for group in self._groups))
        started = asyncio.gather(*(ask(group.prepare.ready.remote) for group in self._groups))
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await started
                return tuple(facts for each in await loaded for facts in each)
        except TimeoutError:
            return ServiceError(f"A model was not ready within {HEALTH_TIMEOUT_S:g} s; ask again later.")
        except ServiceError as error:
            return error

    async def predict(self, media: Media, modality: str) -> Verdict | DeepscanError:
        """Judge media; errors that the client is to see come back as values, with their type."""
        start_s = time.perf_counter()
        able = [group for group in self._groups if group.modality == modality]
        try:
            answers = await asyncio.gather(*(ask(partial(_judge, group, media)) for group in able))
            outcomes = [outcome for answer in answers for outcome in answer]
            return pipeline.conclude(media.facts, outcomes, self._policy, start_s)
        except DeepscanError as error:
            return error


async def _judge(group: Group, media: Media) -> list[Outcome]:
    # The unfinished response is handed on: the prepared arrays go from process to process, not here.
    answer: list[Outcome] = await group.replica.remote(group.prepare.remote(media))
    return answer


@dataclasses.dataclass(frozen=True, slots=True)
class EnsembleBackend:
    """The Backend of the routes: the Ensemble, and the modalities that its groups serve."""

    ensemble: DeploymentHandle[Any]
    modalities: tuple[str, ...]

    async def models(self) -> tuple[ModelFacts, ...]:
        """Tell what the replicas have loaded.

        Raises:
            ServiceError: A stage does not answer.
        """
        answer: tuple[ModelFacts, ...] | DeepscanError = await ask(self.ensemble.models.remote)
        return _or_raise(answer)

    async def predict(self, media: Media, modality: str) -> Verdict:
        """Let the Ensemble judge media.

        Raises:
            MediaError: The media does not decode.
            ServiceError: A queue is full, or processes died.
        """
        answer: Verdict | DeepscanError = await ask(partial(self.ensemble.predict.remote, media, modality))
        return _or_raise(answer)


def _or_raise(answer: T | DeepscanError) -> T:
    if isinstance(answer, DeepscanError):
        raise answer
    return answer
