"""Every answer of the service as JSON, and which HTTP status an error has."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from deepscan.errors import (
    AbstainError,
    ConfigError,
    DeepscanError,
    MediaError,
    MediaTooLargeError,
    RateLimitedError,
    ResourceError,
    ServiceError,
    UnauthorizedError,
    UnknownNameError,
    UnsupportedMediaError,
)
from deepscan.modalities import Modality
from deepscan.verdict import Part, Region, Score, Uncertainty, Verdict

log = logging.getLogger(__name__)

HTTP_STATUS: dict[type[DeepscanError], int] = {
    DeepscanError: 500,
    ConfigError: 422,
    UnknownNameError: 404,
    MediaError: 422,
    UnsupportedMediaError: 415,
    MediaTooLargeError: 413,
    AbstainError: 422,
    ResourceError: 503,
    ServiceError: 503,
    RateLimitedError: 429,
    UnauthorizedError: 401,
}
"""Status of each error; a class that is not listed has the status of its nearest ancestor."""

REQUEST_ID = "X-Request-Id"
"""Header of every answer that names the request, as the log does."""

INTERNAL = "InternalError"
"""Type of a problem that is the service's own fault; nothing of it is told but where it is logged."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether verdicts can be given now: the status, and the ids of the bundles that are loaded."""

    status: Literal["ready", "loading"]
    bundles: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Class and message of an error; ``request_id`` finds an unexpected one in the server's log."""

    type: str
    message: str
    request_id: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ErrorAnswer:
    """Body of every answer that is no success."""

    error: Problem


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """What became of one file of a batch: its verdict, or why there is none."""

    name: str
    verdict: Verdict | None = None
    error: Problem | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchAnswer:
    """The results of a batch, in the order of its files."""

    results: tuple[BatchResult, ...]


def status_of(error: type[DeepscanError]) -> int:
    """Return the HTTP status of an error class: its own or its nearest ancestor's."""
    return next(HTTP_STATUS[ancestor] for ancestor in error.__mro__ if ancestor in HTTP_STATUS)


def problem_of(error: BaseException, request_id: str) -> Problem:
    """Return what a client is told of an error; one that is the service's fault goes to the log instead."""
    if isinstance(error, DeepscanError) and status_of(type(error)) != 500:
        return Problem(type=type(error).__name__, message=str(error))
    log.error("Request %s failed", request_id, exc_info=error)
    message = "An internal error; the server's log has the details under this request id."
    return Problem(type=INTERNAL, message=message, request_id=request_id)


def as_json(answer: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a dataclass as the body of an answer."""
    return JSONResponse(dataclasses.asdict(answer), status, headers)


def add_error_answers(api: FastAPI, retry_after_s: int) -> None:
    """Answer every error in one form.

    Args:
        api: The application.
        retry_after_s: What a client that met a full service is told to wait, in seconds.
    """

    @api.exception_handler(Exception)
    @api.exception_handler(DeepscanError)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        status = status_of(type(error)) if isinstance(error, DeepscanError) else 500
        headers = {REQUEST_ID: request.state.request_id}
        if isinstance(error, ServiceError):
            headers["Retry-After"] = str(retry_after_s)
        problem = problem_of(error, request.state.request_id)
        request.state.error = problem.type
        return as_json(ErrorAnswer(error=problem), status, headers)

    @api.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        return await failed(
            request, ConfigError(f"{where}: {found['msg']}. The page /docs shows what it takes.")
        )

    @api.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}. The page /docs lists the routes."
        problem = Problem(type="HTTPException", message=message)
        request.state.error = problem.type
        return as_json(ErrorAnswer(error=problem), error.status_code, error.headers)


def example(modality: Modality) -> Verdict:
    """Return a made-up verdict for the page that documents the routes."""
    bundle = f"{modality.name}-detector-0123456789ab"
    facts = modality.example
    region = Region(
        box=None if facts.width_px is None else (0.31, 0.12, 0.64, 0.58),
        start_s=None if facts.duration_s is None else 4.0,
        end_s=None if facts.duration_s is None else 8.0,
    )
    score = Score(
        detector=f"{modality.name}-detector",
        bundle=bundle,
        modality=modality.name,
        logit=2.1,
        probability=0.89,
        label="fake",
        parts=(Part(probability=0.89, region=region),),
    )
    return Verdict(
        label="fake",
        probability=0.89,
        uncertainty=Uncertainty(low=0.74, high=0.96, files=120, entropy=0.5),
        scores=(score,),
        abstentions=(),
        evidence=(),
        bundles=(bundle,),
        elapsed_ms=48.0,
        media=facts,
    )
