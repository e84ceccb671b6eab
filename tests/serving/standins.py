"""Stand-ins for what the routes ask."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from deepscan.errors import ServiceError
from deepscan.media.source import Limits, Media, facts_together
from deepscan.serving.api import Rules, Service, build_api
from deepscan.serving.backend import Answer, ModelFacts, Progress, Question
from deepscan.serving.books import Bookkeeping, LocalBooks
from deepscan.serving.jobs import Jobs
from deepscan.serving.memory import LocalMemory
from deepscan.verdict import Abstention, Verdict

FACTS = ModelFacts(
    id="faces-1", name="faces", model="cnn", modality="image", prep="abc", operating={"high": 0.7},
    metrics={"validation": {"val_auc": 0.9}},
)  # fmt: skip


class FakeBackend:
    """Abstains from everything, or fails, and keeps what it was asked."""

    def __init__(
        self, failure: Exception | None = None, loaded: bool = True, modalities: tuple[str, ...] = ("image",)
    ) -> None:
        self.failure = failure
        self.loaded = loaded
        self.modalities = modalities
        self.asked: list[Question] = []

    async def models(self) -> tuple[ModelFacts, ...]:
        if not self.loaded:
            msg = "Still loading."
            raise ServiceError(msg)
        return (FACTS,)

    async def judge(self, question: Question) -> Answer:
        *_, answer = [step async for step in self.steps(question)]
        return answer

    async def steps(self, question: Question) -> AsyncIterator[Any]:
        self.asked.append(question)
        yield Progress(done=1, total=2)
        if self.failure:
            raise self.failure
        abstention = Abstention(
            detector="faces", bundle="faces-1", modality="image", reason="no-face", message="No face."
        )
        facts = facts_together([media.facts for media in question.media])
        verdict = Verdict(
            label="inconclusive", probability=None, uncertainty=None, scores=(), abstentions=(abstention,),
            evidence=(), media=facts, bundles=("faces-1",), elapsed_ms=1.0,
        )  # fmt: skip
        yield Answer(verdict=verdict)


async def probe(data: bytes, name: str, limits: Limits) -> Media:
    return Media.from_bytes(data, name, limits)


def api_of(backend: Any, books: Any = None, **rules: Any) -> FastAPI:
    """The routes over a backend, with jobs and books of their own."""
    service = Service(
        backend=backend,
        desk=Jobs(backend),
        books=books or LocalBooks(Bookkeeping()),
        memory=LocalMemory(0),
        probe=probe,
    )
    return build_api(service, Rules(**rules))
