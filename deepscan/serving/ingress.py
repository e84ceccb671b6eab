"""The stages of the Serve graph that take questions: Ingress over HTTP, and the desk of the jobs."""

import dataclasses
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from deepscan.errors import DeepscanError
from deepscan.serving.admission import Admitting
from deepscan.serving.api import Service, build_api
from deepscan.serving.backend import Question
from deepscan.serving.config import ServeArgs
from deepscan.serving.gate import wrap
from deepscan.serving.handles import RemoteBooks, RemoteDesk, RemoteEnsemble, RemoteMemory
from deepscan.serving.jobs import Job, Jobs
from deepscan.serving.memory import Remembering
from deepscan.serving.observing import JOBS, Counted
from deepscan.serving.preparing import stage_bench
from deepscan.serving.trials import Trial, Trying


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Behind:
    """What stands behind every process of Ingress, and that of the jobs."""

    ensemble: RemoteEnsemble
    memory: RemoteMemory
    books: DeploymentHandle[Any]
    digest: str
    trial: Trial
    max_wait_s: float

    def backend(self, books: RemoteBooks) -> Trying:
        """Return what answers a question."""
        admitting = Admitting(self.ensemble, self.max_wait_s)
        return Trying(Remembering(admitting, self.memory, self.digest), self.trial, books)


@serve.ingress()
class Ingress:
    """Speaks HTTP: the routes, with the stages behind them."""

    def __init__(self, behind: Behind, desk: RemoteDesk, args: ServeArgs) -> None:
        """Keep what the routes need, and start what reads headers."""
        self._behind = behind
        self._desk = desk
        self._args = args
        self._bench = stage_bench(args)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build the routes on the replica, which spares the application from being pickled."""
        books = RemoteBooks(self._behind.books)
        service = Service(
            backend=self._behind.backend(books),
            desk=self._desk,
            books=books,
            memory=self._behind.memory,
            probe=self._bench.probe,
        )
        return wrap(build_api(service, self._args.rules()), self._args.gate)


class Desk:
    """The jobs of the service, of which there is one process: whoever asks for a job finds it here."""

    def __init__(self, behind: Behind) -> None:
        """Judge jobs as requests are judged."""
        books = RemoteBooks(behind.books)
        self._jobs = Jobs(Counted(behind.backend(books), books, JOBS))

    async def submit(self, question: Question) -> Job | DeepscanError:
        """Take a question."""
        try:
            return await self._jobs.submit(question)
        except DeepscanError as error:
            return error

    async def job(self, job_id: str) -> Job | DeepscanError:
        """Return a job as it is now."""
        try:
            return await self._jobs.job(job_id)
        except DeepscanError as error:
            return error
