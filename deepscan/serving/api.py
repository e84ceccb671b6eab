"""The HTTP interface over any Backend; it knows nothing of Ray.

All that can be refused without a model is refused here: an upload over the limit (while it is read),
unknown form fields, content that is no media. What is left for the backend is one question: what is
the verdict on this media?
"""

import dataclasses

from fastapi import APIRouter, FastAPI

from deepscan.media.source import Limits, Media
from deepscan.serving.answers import ErrorAnswer, add_error_answers
from deepscan.serving.backend import Backend, Question
from deepscan.serving.books import Books
from deepscan.serving.live import add_stream
from deepscan.serving.memory import Memory
from deepscan.serving.observing import STREAM, Counted, Observed
from deepscan.serving.page import add_page
from deepscan.serving.predicting import Desk, Predicting, Probe
from deepscan.serving.sliding import StreamSettings
from deepscan.serving.status import add_metrics_route, add_status_routes
from deepscan.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the routes allow and tell.

    Attributes:
        limits: What is refused before it is decoded.
        max_batch_files: Files that a batch may hold.
        stream: What live streams may take of the service.
        retry_after_s: What a client that met a full service is told to wait, in seconds.
    """

    limits: Limits = Limits()
    max_batch_files: int = 16
    stream: StreamSettings = StreamSettings()
    retry_after_s: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What stands behind the routes.

    Attributes:
        backend: Gives the verdicts.
        desk: Takes jobs.
        books: Keep count of all that is answered.
        memory: The verdicts that are remembered.
        probe: Reads what a file is.
    """

    backend: Backend
    desk: Desk
    books: Books
    memory: Memory
    probe: Probe


def build_api(service: Service, rules: Rules | None = None) -> FastAPI:
    """Build the application.

    Args:
        service: What stands behind it.
        rules: What is allowed; None = the defaults of ``Rules``.
    """
    rules = rules or Rules()
    api = FastAPI(
        title="deepscan",
        summary="Says how likely a file is a deepfake, and how sure that is.",
        responses={"default": {"model": ErrorAnswer, "description": "Refused or failed"}},
    )
    routes = APIRouter(prefix="/api")
    add_status_routes(routes, service.backend, service.books, service.memory)
    most_files = rules.max_batch_files
    Predicting(service.backend, service.desk, service.probe, rules.limits, most_files).add_routes(routes)

    streamed = Counted(service.backend, service.books, STREAM)

    async def judge(media: Media) -> Verdict:
        return (await streamed.judge(Question(media=(media,)))).verdict

    add_stream(routes, judge, rules.limits, rules.stream)
    api.include_router(routes)
    add_metrics_route(api, service.books)
    add_page(api)
    add_error_answers(api, rules.retry_after_s)
    api.add_middleware(Observed, books=service.books)
    return api
