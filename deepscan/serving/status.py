"""The routes that tell of the service itself: health, models, figures, and the truth that came in later."""

import dataclasses
import time
from typing import Any, Literal

import pydantic
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from deepscan.errors import ConfigError, ServiceError
from deepscan.experiment import Feedback
from deepscan.serving.answers import Health, as_json
from deepscan.serving.backend import Backend, ModelFacts
from deepscan.serving.books import Books, Form
from deepscan.serving.exposition import CONTENT_TYPE
from deepscan.serving.memory import Memory

MEDIA_TYPES: dict[Form, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
"""Of the exported history, by its form."""


class Truth(pydantic.BaseModel):
    """What a file really is, as somebody has found out; named by the request that judged it or by its digest.

    Complaints come where the service was wrong, so that labels from them make it look worse than it is:
    label a random part of the files too.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    label: Literal["real", "fake"]
    request_id: str | None = None
    sha256: str | None = None
    source: str = "api"


def add_status_routes(routes: APIRouter, backend: Backend, books: Books, memory: Memory) -> None:
    """Add health, models, statistics, their history and feedback."""

    @routes.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> JSONResponse:
        """Tell whether every bundle is loaded; 503 while one is not."""
        try:
            loaded = await backend.models()
        except ServiceError:
            return as_json(Health(status="loading", bundles=()), 503)
        return as_json(Health(status="ready", bundles=tuple(facts.id for facts in loaded)))

    @routes.get("/models")
    async def models() -> tuple[ModelFacts, ...]:
        """List the bundles that are loaded."""
        return await backend.models()

    @routes.get("/stats")
    async def stats() -> dict[str, Any]:
        """Tell what the service did, how busy the machine is, what drifts and which alerts fire."""
        figures = await books.stats()
        return figures | {"verdict_cache": dataclasses.asdict(await memory.facts())}

    @routes.get("/history", response_class=Response)
    async def history(form: Form = "json") -> Response:
        """Export the last minutes, as JSON or CSV."""
        return Response(await books.history(form), media_type=MEDIA_TYPES[form])

    @routes.post("/feedback", status_code=202)
    async def feedback(request: Request) -> dict[str, str]:
        """Take the truth about a file that was judged; `deepscan experiment` compares variants by it."""
        await books.feedback(_feedback(await request.body()))
        return {"status": "taken"}


def add_metrics_route(api: FastAPI, books: Books) -> None:
    """Add ``/metrics`` for Prometheus."""

    @api.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Tell the figures in the text format of Prometheus."""
        return Response(await books.metrics(), media_type=CONTENT_TYPE)


def _feedback(body: bytes) -> Feedback:
    try:
        truth = Truth.model_validate_json(body)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        known = ", ".join(Truth.model_fields)
        msg = f"The feedback is not understood: {where}: {problem['msg']}. Send JSON with {known}."
        raise ConfigError(msg) from error
    return Feedback(
        label=int(truth.label == "fake"),
        time_s=time.time(),
        source=truth.source,
        request_id=truth.request_id,
        sha256=truth.sha256,
    )
