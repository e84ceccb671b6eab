import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from deepscan.errors import ConfigError, FormatError, OverloadedError, ServiceError
from deepscan.serving.batching import Batched, Batching

PATIENCE_S = 10.0
"""After this a test fails instead of hanging."""


class Work:
    """Notes its batches and squares the items; a batch with a held item waits until it is let go."""

    def __init__(self, held: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.held = held
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[Any]:
        self.batches.append(items)
        self.threads.add(threading.get_ident())
        if self.held in items:
            self.began.set()
            assert self.go_on.wait(PATIENCE_S)
        return [FormatError(f"odd {item}") if item == 13 else item * item for item in items]


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), PATIENCE_S))


async def settle() -> None:
    """Let every task that can run do so, up to where it waits for something outside of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)


async def held(batched: Batched[int, int], work: Work) -> asyncio.Task[int]:
    """Start a batch that runs until ``work.go_on`` is set."""
    task = asyncio.create_task(batched(work.held))
    await asyncio.to_thread(work.began.wait, PATIENCE_S)
    return task


async def queued(batched: Batched[int, int], *items: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batched(item)) for item in items]
    await settle()
    return tasks


def test_what_queued_while_a_batch_ran_is_the_next_one_up_to_its_size():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching(size=3))
        first = await held(batched, work)
        rest = await queued(batched, 2, 3, 4, 5)
        work.go_on.set()
        assert await asyncio.gather(first, *rest) == [1, 4, 9, 16, 25]
        await batched.close()

    run(story)
    assert work.batches == [[1], [2, 3, 4], [5]]
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_another_size_counts_from_the_next_batch_on():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching(size=1))
        first = await held(batched, work)
        rest = await queued(batched, 2, 3, 4)
        batched.batching = Batching(size=8)
        work.go_on.set()
        await asyncio.gather(first, *rest)
        await batched.close()

    run(story)
    assert work.batches == [[1], [2, 3, 4]]


def test_of_several_lanes_the_one_that_was_used_last_is_used_next():
    work = Work()

    async def story() -> None:
        batched = Batched(work, Batching(lanes=2))
        for item in range(4):
            await batched(item)
        await batched.close()

    run(story)
    assert len(work.threads) == 1


def test_nobody_waits_for_company_where_no_wait_is_allowed():
    work = Work()

    async def story() -> None:
        batched = Batched(work, Batching(size=8, wait_s=0))
        assert [await batched(item) for item in (2, 3)] == [4, 9]

    run(story)
    assert work.batches == [[2], [3]]


def test_a_full_batch_starts_before_its_time():
    work = Work()

    async def story() -> None:
        batched = Batched(work, Batching(size=2, wait_s=10 * PATIENCE_S))
        assert await asyncio.gather(batched(2), batched(3)) == [4, 9]

    run(story)
    assert work.batches == [[2, 3]]


def test_a_batch_starts_when_its_first_item_has_waited_long_enough():
    work = Work()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        batched = Batched(work, Batching(size=8, wait_s=0.001))
        start_s = loop.time()
        assert await asyncio.gather(batched(2), batched(3)) == [4, 9]
        assert loop.time() - start_s >= 0.001

    run(story)
    assert work.batches == [[2, 3]]


def test_the_time_that_a_batch_ran_counts_as_waiting():
    work = Work(held=1)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        batched = Batched(work, Batching(size=8, wait_s=0.001))
        first = await held(batched, work)
        (second,) = await queued(batched, 2)
        until_s = batched._queue[0].until_s
        while loop.time() < until_s:
            await asyncio.sleep(0)
        work.go_on.set()
        assert await asyncio.gather(first, second) == [1, 4]

    run(story)
    assert work.batches == [[1], [2]]


def test_a_full_queue_refuses_at_once_and_takes_the_next_when_there_is_room():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching(size=2, max_queued=2))
        first = await held(batched, work)
        waiting = await queued(batched, 2, 3)
        with pytest.raises(OverloadedError, match="2 files wait already"):
            await batched(4)
        work.go_on.set()
        assert await asyncio.gather(first, *waiting) == [1, 4, 9]
        assert await batched(4) == 16

    run(story)
    assert work.batches == [[1], [2, 3], [4]]


def test_an_error_among_the_results_reaches_its_own_caller_only():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching())
        first = await held(batched, work)
        rest = await queued(batched, 12, 13, 14)
        work.go_on.set()
        answers = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [answers[0], answers[1], answers[3]] == [1, 144, 196]
        assert isinstance(answers[2], FormatError)

    run(story)


def test_a_batch_that_fails_fails_all_of_its_callers_and_no_other():
    held_work = Work(held=1)

    def break_on_two(items: list[int]) -> list[Any]:
        if 2 in items:
            msg = "out of memory"
            raise FormatError(msg)
        return held_work(items)

    async def story() -> None:
        batched = Batched(break_on_two, Batching())
        first = await held(batched, held_work)
        pair = await queued(batched, 2, 3)
        held_work.go_on.set()
        assert await first == 1
        failed = await asyncio.gather(*pair, return_exceptions=True)
        assert [str(each) for each in failed] == ["out of memory"] * 2
        assert await batched(4) == 16

    run(story)


def test_a_function_that_loses_results_fails_instead_of_leaving_callers_waiting():
    async def story() -> None:
        batched: Batched[int, int] = Batched(lambda items: items[1:], Batching())
        with pytest.raises(ValueError, match="1 items has 0 results"):
            await batched(1)

    run(story)


def test_a_caller_that_leaves_while_it_waits_makes_room_and_is_not_worked_on():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching(size=2, max_queued=2))
        first = await held(batched, work)
        leaving, staying = await queued(batched, 2, 3)
        leaving.cancel()
        (newcomer,) = await queued(batched, 4)
        work.go_on.set()
        assert await asyncio.gather(first, staying, newcomer) == [1, 9, 16]
        assert leaving.cancelled()

    run(story)
    assert work.batches == [[1], [3, 4]]


def test_a_caller_that_leaves_while_its_batch_runs_disturbs_nobody():
    work = Work(held=2)

    async def story() -> None:
        batched = Batched(work, Batching(size=2, wait_s=10 * PATIENCE_S))
        leaving, staying = await queued(batched, 2, 3)
        await asyncio.to_thread(work.began.wait, PATIENCE_S)
        leaving.cancel()
        await settle()
        work.go_on.set()
        assert await staying == 9
        assert leaving.cancelled()

    run(story)


def test_when_all_who_waited_have_left_nothing_runs():
    work = Work()

    async def story() -> None:
        batched = Batched(work, Batching(size=2, wait_s=10 * PATIENCE_S))
        (leaving,) = await queued(batched, 2)
        leaving.cancel()
        await settle()
        await batched.close()

    run(story)
    assert work.batches == []


def test_closing_finishes_what_was_accepted_and_refuses_the_rest():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching(size=1))
        first = await held(batched, work)
        rest = await queued(batched, 2, 3)
        closing = asyncio.create_task(batched.close())
        await settle()
        assert not closing.done()
        with pytest.raises(ServiceError, match="stopping"):
            await batched(4)
        work.go_on.set()
        await closing
        assert await asyncio.gather(first, *rest) == [1, 4, 9]

    run(story)
    assert work.batches == [[1], [2], [3]]


def test_closing_does_not_wait_for_company():
    work = Work()

    async def story() -> None:
        batched = Batched(work, Batching(size=2, wait_s=10 * PATIENCE_S))
        (only,) = await queued(batched, 2)
        await batched.close()
        assert await only == 4

    run(story)


def test_a_second_lane_goes_on_while_the_first_is_busy():
    work = Work(held=1)

    async def story() -> None:
        batched = Batched(work, Batching(size=2, lanes=2))
        first = await held(batched, work)
        assert await batched(2) == 4
        assert await batched(3) == 9
        assert not first.done()
        work.go_on.set()
        assert await first == 1
        await batched.close()

    run(story)
    assert work.batches == [[1], [2], [3]]
    assert len(work.threads) == 2


@pytest.mark.parametrize("wrong", [{"size": 0}, {"wait_s": -0.1}, {"lanes": 0}, {"size": 8, "max_queued": 7}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="make no sense"):
        Batching(**wrong)
