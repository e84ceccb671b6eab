"""Questions that take longer than a client waits: taken at once, judged in turn, answers kept for a time."""

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Literal

from deepscan.errors import OverloadedError, ServiceError, UnknownNameError
from deepscan.serving.answers import Problem, problem_of
from deepscan.serving.backend import Answer, Backend, Progress, Question
from deepscan.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A question that was taken, and what has become of it.

    Attributes:
        id: Names it; whoever knows it may read the answer.
        status: ``queued``, ``running``, ``done`` (there is a verdict) or ``failed`` (there is an error).
        done: Groups of detectors and analyzers that have answered.
        total: How many there are; 0 while it is queued.
        verdict: The answer.
        error: Why there is none.
    """

    id: str
    status: Literal["queued", "running", "done", "failed"] = "queued"
    done: int = 0
    total: int = 0
    verdict: Verdict | None = None
    error: Problem | None = None


class Jobs:
    """Jobs of one process; they end with it."""

    def __init__(
        self,
        backend: Backend,
        max_running: int = 2,
        max_waiting: int = 16,
        keep_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without jobs.

        Args:
            backend: Judges.
            max_running: Jobs that are judged at the same time.
            max_waiting: Jobs that may wait for that; more are refused.
            keep_s: How long an answer is kept, in seconds.
            clock: Tells the time in seconds.
        """
        self._backend = backend
        self._turn = asyncio.Semaphore(max_running)
        self._max_open = max_running + max_waiting
        self._keep_s = keep_s
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._ended_s: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, question: Question) -> Job:
        """Take a question.

        Raises:
            OverloadedError: Too many jobs wait already.
        """
        self._forget()
        if len(self._tasks) >= self._max_open:
            msg = f"{len(self._tasks)} jobs are running or waiting, as many as may; ask again later."
            raise OverloadedError(msg)
        job = Job(id=question.request_id or uuid.uuid4().hex)
        self._jobs[job.id] = job
        task = asyncio.create_task(self._work(job.id, question))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, job.id))
        return job

    async def job(self, job_id: str) -> Job:
        """Return a job as it is now.

        Raises:
            UnknownNameError: There is none of that id, or not any more.
        """
        self._forget()
        if job_id not in self._jobs:
            msg = (
                f"There is no job {job_id!r}: answers are kept for {self._keep_s:g} s, and jobs end when the "
                "service is restarted. POST /api/jobs takes the file again."
            )
            raise UnknownNameError(msg)
        return self._jobs[job_id]

    async def _work(self, job_id: str, question: Question) -> None:
        async with self._turn:
            self._change(job_id, status="running")
            async for step in self._backend.steps(question):
                self._note(job_id, step)

    def _end(self, job_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            gone = ServiceError("The service was stopped before it came to this job.")
            self._change(job_id, status="failed", error=problem_of(gone, job_id))
        elif error := task.exception():
            self._change(job_id, status="failed", error=problem_of(error, job_id))

    def _note(self, job_id: str, step: Progress | Answer) -> None:
        if isinstance(step, Answer):
            self._change(job_id, status="done", verdict=step.verdict)
        else:
            self._change(job_id, done=step.done, total=step.total)

    def _change(self, job_id: str, **values: object) -> None:
        job = self._jobs[job_id] = dataclasses.replace(self._jobs[job_id], **values)  # type: ignore[arg-type]
        if job.status in ("done", "failed"):
            self._ended_s[job_id] = self._clock()

    def _forget(self) -> None:
        end_s = self._clock() - self._keep_s
        for job_id in [job_id for job_id, ended_s in self._ended_s.items() if ended_s <= end_s]:
            del self._ended_s[job_id], self._jobs[job_id]
