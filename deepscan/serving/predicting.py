"""The routes that judge: by modality, by content, several files as one case, batches and jobs."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deepscan.errors import ConfigError, UnknownNameError
from deepscan.media.source import Limits, Media
from deepscan.modalities import Modality
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.serving.answers import BatchAnswer, BatchResult, as_json, example, problem_of
from deepscan.serving.backend import Answer, Backend, Question
from deepscan.serving.forms import Form, Shape, Upload, fields_for, open_form
from deepscan.serving.jobs import Job
from deepscan.verdict import Verdict, to_dict

SOUND = "sound"
"""Field of a form that holds the sound of a clip, or a recording that belongs to the case."""

CALLER = "X-Caller-Key"
"""Header by which a caller is always answered by the same variant, such as the id of an account."""

AT_ONCE = 4
"""Files of one batch that are judged at the same time; the others wait on disk."""

Probe = Callable[[bytes, str, Limits], Awaitable[Media]]
"""Reads what a file is; raises MediaError where it is nothing that can be judged."""


class Desk(Protocol):
    """Takes jobs; see ``deepscan.serving.jobs.Jobs``."""

    async def submit(self, question: Question) -> Job:
        """Take a question."""

    async def job(self, job_id: str) -> Job:
        """Return a job as it is now."""


class Predicting:
    """What the judging routes share."""

    def __init__(
        self, backend: Backend, desk: Desk, probe: Probe, limits: Limits, max_batch_files: int
    ) -> None:
        """Answer from a backend.

        Args:
            backend: Gives the verdicts.
            desk: Takes jobs.
            probe: Reads what a file is.
            limits: What is refused before it is decoded.
            max_batch_files: Files that a batch may hold.
        """
        self._backend = backend
        self._desk = desk
        self._probe = probe
        self._limits = limits
        every = fields_for(None)
        self._any = Shape(settings=every, max_bytes=limits.max_bytes)
        self._case = dataclasses.replace(self._any, files=("file", SOUND))
        self._batch = dataclasses.replace(self._any, max_files=max_batch_files)

    def add_routes(self, routes: APIRouter) -> None:
        """Add every route that judges."""
        for modality in load_modalities():
            self._add_modality(routes, modality)
        shown = example(next(iter(load_modalities())))
        verdict = _Told(Verdict, to_dict(shown))
        batch = BatchAnswer(results=(BatchResult(name=shown.media.name, verdict=shown),))
        job = _Told(Job, dataclasses.asdict(Job(id="0" * 32)), status=202)
        _add(routes, "/predict", self.predict, self._any, verdict)
        _add(routes, "/predict/multimodal", self.predict_case, self._case, verdict)
        results = _Told(BatchAnswer, dataclasses.asdict(batch))
        _add(routes, "/batch-predict", self.predict_batch, self._batch, results)
        _add(routes, "/jobs", self.submit, self._case, job)
        routes.add_api_route("/jobs/{job_id}", self.job, methods=["GET"], response_model=Job)

    def _add_modality(self, routes: APIRouter, modality: Modality) -> None:
        shape = dataclasses.replace(self._any, settings=fields_for(modality))

        async def predict(request: Request) -> JSONResponse:
            if modality.name not in self._backend.modalities:
                served = ", ".join(self._backend.modalities) or "nothing"
                msg = f"No detector for {modality.name} is loaded here; this service looks at: {served}."
                raise UnknownNameError(msg)
            async with open_form(request, shape) as form:
                question = await self._question(request, form, modality.name)
            return _told(request, await self._backend.judge(question))

        told = _Told(Verdict, to_dict(example(modality)), summary=modality.summary)
        _add(routes, f"/predict/{modality.name}", predict, shape, told)

    async def predict(self, request: Request) -> JSONResponse:
        """Judge a file with every detector that looks at such content."""
        async with open_form(request, self._any) as form:
            question = await self._question(request, form)
        return _told(request, await self._backend.judge(question))

    async def predict_case(self, request: Request) -> JSONResponse:
        """Judge a file, and a sound that belongs to it, as one case with one verdict."""
        async with open_form(request, self._case) as form:
            question = await self._question(request, form)
        return _told(request, await self._backend.judge(question))

    async def predict_batch(self, request: Request) -> JSONResponse:
        """Judge several files, each with its own verdict or error, in their order."""
        turn = asyncio.Semaphore(AT_ONCE)
        async with open_form(request, self._batch) as form:
            judging = (self._one(request, form, upload, turn) for upload in form.uploads)
            answers = await asyncio.gather(*judging, return_exceptions=True)
        request_id = request.state.request_id
        request.state.answers = [answer for answer in answers if isinstance(answer, Answer)]
        results = (
            BatchResult(name=upload.name, error=problem_of(answer, request_id))
            if isinstance(answer, BaseException)
            else BatchResult(name=upload.name, verdict=answer.verdict)
            for upload, answer in zip(form.uploads, answers, strict=True)
        )
        return as_json(BatchAnswer(results=tuple(results)))

    async def submit(self, request: Request) -> JSONResponse:
        """Take a file that needs long: 202 at once, then ask for the job that is answered."""
        async with open_form(request, self._case) as form:
            question = await self._question(request, form)
        job = await self._desk.submit(question)
        return as_json(job, 202, {"Location": f"{request.url.path}/{job.id}"})

    async def job(self, job_id: str) -> JSONResponse:
        """Tell how far a job is, and its verdict once it is done."""
        return as_json(await self._desk.job(job_id))

    async def _one(self, request: Request, form: Form, upload: Upload, turn: asyncio.Semaphore) -> Answer:
        async with turn:
            question = await self._question(request, dataclasses.replace(form, uploads=(upload,)))
            return await self._backend.judge(question)

    async def _question(self, request: Request, form: Form, modality: str | None = None) -> Question:
        media = [await self._probe(await upload.read(), upload.name, self._limits) for upload in form.uploads]
        return Question(
            media=_case(media, form.uploads),
            modality=modality,
            settings=form.settings,
            request_id=request.state.request_id,
            caller=_caller(request),
        )


def _case(media: Sequence[Media], uploads: Sequence[Upload]) -> tuple[Media, ...]:
    """Return the files of one case; a clip and its sound are one file."""
    sounds = [each for each, upload in zip(media, uploads, strict=True) if upload.field == SOUND]
    others = [each for each, upload in zip(media, uploads, strict=True) if upload.field != SOUND]
    if not sounds:
        return tuple(others)
    (first,), (sound,) = others, sounds
    if not sound.facts.has_sound:
        msg = f"{sound.facts.name!r} in the field {SOUND!r} has no sound; leave it out, or send a recording."
        raise ConfigError(msg)
    if first.facts.duration_s is None or first.facts.width_px is None:
        return first, sound
    return (Media.joined(first, sound),)


def _caller(request: Request) -> str | None:
    """Return what tells callers apart: what they say themselves, else their API key."""
    return request.headers.get(CALLER) or request.headers.get("X-API-Key")


def _told(request: Request, answer: Answer) -> JSONResponse:
    request.state.answers = [answer]
    headers = {"X-Cache": "hit" if answer.cached else "miss"}
    return JSONResponse(to_dict(answer.verdict), headers=headers)


@dataclasses.dataclass(frozen=True, slots=True)
class _Told:
    """What a route answers: the class of its body, an example of it, its status and what it is about."""

    body: type[Any]
    example: dict[str, Any]
    status: int = 200
    summary: str | None = None


def _add(
    routes: APIRouter,
    path: str,
    endpoint: Callable[..., Awaitable[JSONResponse]],
    shape: Shape,
    told: _Told,
) -> None:
    routes.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        name=path.strip("/").replace("/", "_").replace("-", "_"),
        summary=told.summary,
        status_code=told.status,
        response_model=told.body,
        openapi_extra=shape.schema(),
        responses={told.status: {"content": {"application/json": {"example": told.example}}}},
    )
