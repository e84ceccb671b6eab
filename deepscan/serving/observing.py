"""Gives every request an id, and enters every answer into the books."""

import dataclasses
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepscan.monitor.records import Record
from deepscan.serving.answers import INTERNAL, REQUEST_ID
from deepscan.serving.backend import Answer, Around, Backend, Progress, Question
from deepscan.serving.books import Books

ELSEWHERE = "other"
"""Route of requests that no route answers: paths are made up by clients."""

JOBS, STREAM = "/api/jobs", "/api/stream"
"""Routes whose verdicts are no answers of HTTP."""

WATCHED = "/api/"
"""Only these paths are counted: the page and its files say nothing of the detectors."""


class Observed:
    """Pure ASGI around the routes, which leave their answers in ``request.state``."""

    def __init__(self, app: ASGIApp, books: Books) -> None:
        """Wrap an application."""
        self._app = app
        self._books = books

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        request_id = uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).setdefault(REQUEST_ID, request_id)
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            if scope["type"] == "http" and scope["path"].startswith(WATCHED):
                elapsed_ms = (time.perf_counter() - start_s) * 1000
                route = getattr(scope.get("route"), "path", ELSEWHERE)
                record = Record(time_s=time.time(), route=route, status=status, elapsed_ms=elapsed_ms)
                await self._books.enter(_records(record, state))


def _records(record: Record, state: dict[str, object]) -> Sequence[Record]:
    """Return a record for each verdict that was given, or one for the request where there was none."""
    # What no handler of the routes took is the fault of the service; it is answered further out.
    error = state.get("error") or (INTERNAL if record.status == 500 else None)
    if isinstance(error, str):
        return [dataclasses.replace(record, error=error)]
    answers = state.get("answers")
    return [told(record, answer) for answer in answers] if isinstance(answers, list) and answers else [record]


def told(record: Record, answer: Answer) -> Record:
    """Return a record with what an answer says and how it came about."""
    return dataclasses.replace(
        record.telling(answer.verdict),
        stages_ms=answer.stages_ms,
        cached=answer.cached,
        variant=answer.variant,
        prep=answer.statistics,
    )


class Counted(Around):
    """A Backend whose answers are entered under a route: those that no answer of HTTP carries."""

    def __init__(self, backend: Backend, books: Books, route: str) -> None:
        """Wrap a backend."""
        super().__init__(backend)
        self._books = books
        self._route = route

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """See ``Backend``."""
        start_s = time.perf_counter()
        async for step in self._backend.steps(question):
            if isinstance(step, Answer):
                elapsed_ms = (time.perf_counter() - start_s) * 1000
                record = Record(time_s=time.time(), route=self._route, status=200, elapsed_ms=elapsed_ms)
                await self._books.enter([told(record, step)])
            yield step
