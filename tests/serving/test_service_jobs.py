import asyncio
from typing import Any

import pytest

from deepscan.errors import CorruptMediaError, OverloadedError, UnknownNameError
from deepscan.media.source import Media
from deepscan.serving.backend import Question
from deepscan.serving.jobs import Job, Jobs
from tests.serving.standins import FakeBackend


@pytest.fixture
def question(picture):
    return Question(media=(Media.from_bytes(picture(0), "a.png"),))


class Held(FakeBackend):
    """Judges once it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go_on = asyncio.Event()
        self.came = asyncio.Event()

    async def steps(self, question: Question) -> Any:
        async for step in super().steps(question):
            yield step
            self.came.set()
            await self.go_on.wait()


async def ended(jobs: Jobs, job: Job) -> Job:
    while job.status in ("queued", "running"):
        await asyncio.sleep(0)
        job = await jobs.job(job.id)
    return job


def test_a_job_goes_from_queued_over_running_to_done(question):
    async def follow() -> list[Job]:
        backend = Held()
        jobs = Jobs(backend)
        first = await jobs.submit(question)
        await backend.came.wait()
        await asyncio.sleep(0)
        second = await jobs.job(first.id)
        backend.go_on.set()
        return [first, second, await ended(jobs, second)]

    queued, running, done = asyncio.run(follow())
    assert (queued.status, queued.total) == ("queued", 0)
    assert (running.status, running.done, running.total) == ("running", 1, 2)
    assert (done.status, done.verdict.label, done.error) == ("done", "inconclusive", None)
    assert queued.id == running.id == done.id


def test_the_id_is_that_of_the_request(question):
    async def submit() -> Job:
        return await Jobs(FakeBackend()).submit(Question(media=question.media, request_id="abc"))

    assert asyncio.run(submit()).id == "abc"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(CorruptMediaError("Half a file."), "CorruptMediaError"), (KeyError("x"), "InternalError")],
)
def test_a_job_that_fails_says_why(question, failure, kind):
    async def follow() -> Job:
        jobs = Jobs(FakeBackend(failure))
        return await ended(jobs, await jobs.submit(question))

    job = asyncio.run(follow())
    assert (job.status, job.error.type, job.verdict) == ("failed", kind, None)


def test_no_more_run_and_wait_than_may(question):
    async def crowd() -> None:
        backend = Held()
        jobs = Jobs(backend, max_running=1, max_waiting=1)
        first, second = [await jobs.submit(question) for _ in range(2)]
        await backend.came.wait()
        await asyncio.sleep(0)
        assert [(await jobs.job(job.id)).status for job in (first, second)] == ["running", "queued"]
        with pytest.raises(OverloadedError, match="2 jobs"):
            await jobs.submit(question)
        backend.go_on.set()
        assert [(await ended(jobs, job)).status for job in (first, second)] == ["done", "done"]
        assert (await jobs.submit(question)).status == "queued"

    asyncio.run(crowd())


def test_an_answer_is_kept_for_a_time(question):
    now_s = [0.0]

    async def wait() -> None:
        jobs = Jobs(FakeBackend(), keep_s=10, clock=lambda: now_s[0])
        job = await jobs.submit(question)
        await ended(jobs, job)
        now_s[0] = 9.0
        assert (await jobs.job(job.id)).status == "done"
        now_s[0] = 10.0
        with pytest.raises(UnknownNameError, match="kept for 10 s"):
            await jobs.job(job.id)

    asyncio.run(wait())
