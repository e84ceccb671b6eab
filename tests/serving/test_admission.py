import asyncio
from typing import Any

import pytest

from deepscan.errors import CorruptMediaError, OverloadedError
from deepscan.media.source import Media
from deepscan.serving.admission import Admitting
from deepscan.serving.backend import Question
from tests.serving.standins import FACTS, FakeBackend


@pytest.fixture
def question(picture):
    return Question(media=(Media.from_bytes(picture(0), "a.png"),))


class Queue(FakeBackend):
    """Judges when it is told to, in turn; a turn takes as long as the clock goes on."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__(failure)
        self.now_s = 0.0
        self.waiting: list[asyncio.Event] = []

    async def steps(self, question: Question) -> Any:
        turn = asyncio.Event()
        self.waiting.append(turn)
        await turn.wait()
        async for step in super().steps(question):
            yield step

    async def next(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.waiting.pop(0).set()
        for _ in range(5):
            await asyncio.sleep(0)


def door(backend: Queue, max_wait_s: float) -> Admitting:
    return Admitting(backend, max_wait_s, clock=lambda: backend.now_s)


async def enter(admitting: Admitting, question: Question, count: int) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(admitting.judge(question)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_as_many_wait_as_are_answered_in_the_time_allowed(question):
    async def crowd() -> tuple[int, int]:
        backend = Queue()
        admitting = door(backend, max_wait_s=2.0)
        first = await enter(admitting, question, 6)
        for _ in range(6):
            await backend.next(0.5)
        await asyncio.gather(*first)
        second = await enter(admitting, question, 10)
        refused = [task for task in second if task.done()]
        assert all(isinstance(task.exception(), OverloadedError) for task in refused)
        inside = len(backend.waiting)
        for _ in range(inside):
            await backend.next(0.5)
        await asyncio.gather(*second, return_exceptions=True)
        return inside, len(refused)

    # An answer comes every 0.5 s: four wait 2 s, and the fifth finds them there.
    assert asyncio.run(crowd()) == (5, 5)


def test_who_is_alone_is_let_in_however_long_it_takes(question):
    async def alone() -> list[str]:
        backend = Queue()
        admitting = door(backend, max_wait_s=0.1)
        labels = []
        for _ in range(3):
            (task,) = await enter(admitting, question, 1)
            await backend.next(5.0)
            labels.append((await task).verdict.label)
        return labels

    assert asyncio.run(alone()) == ["inconclusive"] * 3


def test_idle_time_is_not_taken_for_work(question):
    async def pause() -> int:
        backend = Queue()
        admitting = door(backend, max_wait_s=1.0)
        for _ in range(5):
            (task,) = await enter(admitting, question, 1)
            await backend.next(0.2)
            await task
            backend.now_s += 1000.0
        tasks = await enter(admitting, question, 4)
        inside = len(backend.waiting)
        for _ in range(inside):
            await backend.next(0.2)
        await asyncio.gather(*tasks)
        return inside

    assert asyncio.run(pause()) == 4


def test_a_file_that_fails_makes_room_too(question):
    async def fail() -> None:
        backend = Queue(CorruptMediaError("Half a file."))
        admitting = door(backend, max_wait_s=1.0)
        for _ in range(4):
            (task,) = await enter(admitting, question, 1)
            await backend.next(2.0)
            with pytest.raises(CorruptMediaError):
                await task

    asyncio.run(fail())


def test_nobody_is_refused_for_the_slow_answers_at_the_start(question):
    async def cold() -> int:
        backend = Queue()
        admitting = door(backend, max_wait_s=1.0)
        tasks = await enter(admitting, question, 2)
        await backend.next(30.0)
        tasks += await enter(admitting, question, 8)
        inside = len(backend.waiting)
        for _ in range(inside):
            await backend.next(0.1)
        await asyncio.gather(*tasks)
        return inside

    assert asyncio.run(cold()) == 9


def test_the_refusal_says_how_long_it_would_take(question):
    async def crowd() -> None:
        backend = Queue()
        admitting = door(backend, max_wait_s=0.5)
        tasks = await enter(admitting, question, 6)
        for _ in range(6):
            await backend.next(3.0)
        tasks += await enter(admitting, question, 1)
        with pytest.raises(OverloadedError, match=r"1 files .* about 3\.0 s, and 0\.5 s is the most"):
            await admitting.judge(question)
        await backend.next(3.0)
        await asyncio.gather(*tasks)

    asyncio.run(crowd())


def test_it_is_a_backend():
    admitting = Admitting(FakeBackend(), 1.0)
    assert admitting.modalities == ("image",)
    assert asyncio.run(admitting.models()) == (FACTS,)
