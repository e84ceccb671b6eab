"""The HTTP interface over any Backend; it knows nothing of Ray.

One route is made for each registered modality. All that can be refused without a model is refused
here: an upload over the limit (while it is read), unknown form fields, content that is no media or
that the modality does not look at. What is left for the backend is one question: what is the
verdict on this media?
"""

import dataclasses
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from deepscan import config
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
from deepscan.media.source import Limits, Media
from deepscan.modalities import Modality
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.registry import nearest
from deepscan.verdict import MediaFacts, Part, Region, Score, Uncertainty, Verdict, to_dict

if TYPE_CHECKING:
    from deepscan.bundle import Card

log = logging.getLogger(__name__)

FIELDS = ("file",)
"""The form fields of an upload."""

ENVELOPE_BYTES = 16 * 2**10
"""What boundaries and part headers may add to the file in a multipart body."""

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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What the service tells of one bundle that it has loaded.

    Attributes:
        id: Id of the bundle, as in verdicts.
        name: Name of the detector.
        model: Name of the model.
        modality: The way of looking at the media.
        prep: Digest of the preparation; bundles with the same one share the work.
        operating: Where real ends and fake begins.
        metrics: Figures by split, from the card.
    """

    id: str
    name: str
    model: str
    modality: str
    prep: str
    operating: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def of(cls, card: "Card") -> "ModelFacts":
        """Pick the facts from a bundle's card."""
        return cls(
            id=card.id,
            name=card.name,
            model=card.model,
            modality=card.modality,
            prep=card.prep_digest,
            operating=config.to_dict(card.operating),
            metrics=card.metrics,
        )


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


class Backend(Protocol):
    """Where verdicts come from."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that some detector serves."""

    async def models(self) -> tuple[ModelFacts, ...]:
        """Tell what is loaded.

        Raises:
            ServiceError: Something has not been loaded yet.
        """

    async def predict(self, media: Media, modality: str) -> Verdict:
        """Judge media that this modality accepts with all of its detectors.

        Raises:
            MediaError: The media does not decode.
            OverloadedError: Too many requests wait already.
        """


def status_of(error: type[DeepscanError]) -> int:
    """Return the HTTP status of an error class: its own or its nearest ancestor's."""
    return next(HTTP_STATUS[ancestor] for ancestor in error.__mro__ if ancestor in HTTP_STATUS)


def build_api(backend: Backend, limits: Limits | None = None, retry_after_s: int = 1) -> FastAPI:
    """Build the application.

    Args:
        backend: Gives the verdicts.
        limits: What is refused before it is decoded.
        retry_after_s: What a client that met a full service is told to wait, in seconds.
    """
    api = FastAPI(
        title="deepscan",
        summary="Says how likely a file is a deepfake, and how sure that is.",
        responses={"default": {"model": ErrorAnswer, "description": "Refused or failed"}},
    )
    routes = APIRouter(prefix="/api")
    _add_status_routes(routes, backend)
    for modality in load_modalities():
        _add_predict_route(routes, backend, modality, limits or Limits())
    api.include_router(routes)
    _add_error_answers(api, retry_after_s)
    return api


def _add_status_routes(routes: APIRouter, backend: Backend) -> None:
    @routes.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> JSONResponse:
        """Tell whether every bundle is loaded; 503 while one is not."""
        try:
            loaded = await backend.models()
        except ServiceError:
            return _json(Health(status="loading", bundles=()), 503)
        return _json(Health(status="ready", bundles=tuple(facts.id for facts in loaded)))

    @routes.get("/models")
    async def models() -> tuple[ModelFacts, ...]:
        """List the bundles that are loaded."""
        return await backend.models()


def _add_predict_route(routes: APIRouter, backend: Backend, modality: Modality, limits: Limits) -> None:
    async def predict(request: Request) -> JSONResponse:
        if modality.name not in backend.modalities:
            served = ", ".join(backend.modalities) or "nothing"
            msg = f"No detector for {modality.name} is loaded here; this service looks at: {served}."
            raise UnknownNameError(msg)
        data, name = await _read_upload(request, limits.max_bytes)
        media = await run_in_threadpool(Media.from_bytes, data, name, limits)
        if not modality.accepts(media):
            msg = (
                f"{name!r} holds {media.facts.kind} ({media.facts.container}), which detectors for "
                f"{modality.name} do not look at; GET /api/models lists what is loaded."
            )
            raise UnsupportedMediaError(msg)
        return JSONResponse(to_dict(await backend.predict(media, modality.name)))

    routes.add_api_route(
        f"/predict/{modality.name}",
        predict,
        methods=["POST"],
        name=f"predict_{modality.name}",
        summary=modality.summary,
        response_model=Verdict,
        openapi_extra=_UPLOAD_SCHEMA,
        responses={200: {"content": {"application/json": {"example": to_dict(_example(modality.name))}}}},
    )


async def _read_upload(request: Request, max_bytes: int) -> tuple[bytes, str]:
    """Return the bytes and the name of the one file in a multipart body."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes + ENVELOPE_BYTES:
        raise _too_large(max_bytes)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        msg = "Send the file as multipart/form-data in the field 'file': curl -F file=@PATH URL."
        raise ConfigError(msg)
    body = _limited(request.stream(), max_bytes)
    try:
        form = await MultiPartParser(request.headers, body, max_files=1, max_fields=len(FIELDS)).parse()
    except MultiPartException as error:
        msg = f"The form cannot be read: {error.message} Send one file in the field 'file'."
        raise ConfigError(msg) from error
    try:
        return await _only_file(form, max_bytes)
    finally:
        await form.close()


async def _only_file(form: FormData, max_bytes: int) -> tuple[bytes, str]:
    for field in form:
        if field not in FIELDS:
            msg = f"Unknown form field {field!r}.{nearest(field, FIELDS)} Known: {', '.join(FIELDS)}."
            raise ConfigError(msg)
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        msg = "The form holds no file; send one in the field 'file': curl -F file=@PATH URL."
        raise ConfigError(msg)
    # One byte more than allowed is enough for the probe to refuse the file.
    return await upload.read(max_bytes + 1), upload.filename or "upload"


async def _limited(chunks: AsyncGenerator[bytes, None], max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Pass a body on until it is longer than any allowed file can make it."""
    left = max_bytes + ENVELOPE_BYTES
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> MediaTooLargeError:
    return MediaTooLargeError(f"The file is larger than the {max_bytes} bytes that this service takes.")


def _add_error_answers(api: FastAPI, retry_after_s: int) -> None:
    @api.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        request_id = uuid.uuid4().hex
        log.error("%s %s failed, request %s", request.method, request.url.path, request_id, exc_info=error)
        message = "An internal error; the server's log has the details under this request id."
        return _error_answer("InternalError", message, 500, request_id=request_id)

    @api.exception_handler(DeepscanError)
    async def refused(request: Request, error: DeepscanError) -> JSONResponse:
        status = status_of(type(error))
        if status == 500:
            return await failed(request, error)
        headers = {"Retry-After": str(retry_after_s)} if isinstance(error, ServiceError) else None
        return _error_answer(type(error).__name__, str(error), status, headers)

    @api.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}. The page /docs lists the routes."
        return _error_answer("HTTPException", message, error.status_code, error.headers)


def _error_answer(
    kind: str,
    message: str,
    status: int,
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> JSONResponse:
    problem = Problem(type=kind, message=message, request_id=request_id)
    return _json(ErrorAnswer(error=problem), status, headers)


def _json(answer: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(dataclasses.asdict(answer), status, headers)


_UPLOAD_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": list(FIELDS),
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The file to judge"}
                    },
                }
            }
        },
    }
}


def _example(modality: str) -> Verdict:
    """Return a made-up verdict for the page that documents the routes."""
    bundle = "faces-0123456789ab"
    part = Part(probability=0.89, region=Region(box=(0.31, 0.12, 0.64, 0.58)))
    score = Score(
        detector="faces",
        bundle=bundle,
        modality=modality,
        logit=2.1,
        probability=0.89,
        label="fake",
        parts=(part,),
    )
    return Verdict(
        label="fake",
        probability=0.89,
        uncertainty=Uncertainty(low=0.74, high=0.96, files=120),
        scores=(score,),
        abstentions=(),
        evidence=(),
        bundles=(bundle,),
        elapsed_ms=48.0,
        media=MediaFacts(
            name="photo.jpg",
            kind=modality,
            container="jpeg",
            bytes=84213,
            sha256="0" * 64,
            width_px=640,
            height_px=480,
        ),
    )
