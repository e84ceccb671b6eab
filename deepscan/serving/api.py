"""The HTTP interface over any Backend; it knows nothing of Ray.

All that can be refused without a model is refused here: an upload over the limit (while it is read),
unknown form fields, content that is no media. What is left for the backend is one question: what is
the verdict on this media?
"""

import dataclasses
import uuid

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepscan.errors import ServiceError
from deepscan.media.source import Limits
from deepscan.serving.answers import REQUEST_ID, ErrorAnswer, Health, add_error_answers, as_json
from deepscan.serving.backend import Backend, ModelFacts
from deepscan.serving.predicting import Desk, Predicting, Probe, probe_in_a_thread


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the routes allow and tell.

    Attributes:
        limits: What is refused before it is decoded.
        max_batch_files: Files that a batch may hold.
        retry_after_s: What a client that met a full service is told to wait, in seconds.
    """

    limits: Limits = Limits()
    max_batch_files: int = 16
    retry_after_s: int = 1


def build_api(
    backend: Backend, desk: Desk, rules: Rules | None = None, probe: Probe | None = None
) -> FastAPI:
    """Build the application.

    Args:
        backend: Gives the verdicts.
        desk: Takes jobs.
        rules: What is allowed; None = the defaults of ``Rules``.
        probe: Reads what a file is; None = beside the event loop.
    """
    rules = rules or Rules()
    api = FastAPI(
        title="deepscan",
        summary="Says how likely a file is a deepfake, and how sure that is.",
        responses={"default": {"model": ErrorAnswer, "description": "Refused or failed"}},
    )
    routes = APIRouter(prefix="/api")
    _add_status_routes(routes, backend)
    probe = probe or probe_in_a_thread(rules.limits)
    Predicting(backend, desk, probe, rules.limits, rules.max_batch_files).add_routes(routes)
    api.include_router(routes)
    add_error_answers(api, rules.retry_after_s)
    api.add_middleware(Named)
    return api


class Named:
    """Gives each request an id, which its answer has in the header ``REQUEST_ID``."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault(REQUEST_ID, request_id)
            await send(message)

        await self._app(scope, receive, named)


def _add_status_routes(routes: APIRouter, backend: Backend) -> None:
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
