"""Items of several callers, worked on together: what queued while the last batch ran is the next one.

A model says more in a second when it looks at several Examples at once, and one thread that runs it
leaves the other cores to those who prepare. It works in the service of one process and in a replica of
Ray Serve alike, on the event loop of either.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from deepscan.errors import ConfigError, OverloadedError, ServiceError

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """How items come together.

    Attributes:
        size: Items of a batch, at most.
        wait_s: How long the first item of a batch waits for more, in seconds; 0 = take what has queued.
        lanes: Batches that run at the same time, each in a thread of its own.
        max_queued: Items that may wait beside the batches that run; more are refused.
    """

    size: int = 8
    wait_s: float = 0.0
    lanes: int = 1
    max_queued: int = 64

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        if min(self.size, self.lanes) < 1 or self.wait_s < 0 or self.max_queued < self.size:
            msg = (
                f"size={self.size}, wait_s={self.wait_s:g}, lanes={self.lanes}, max_queued={self.max_queued} "
                "make no sense: batches hold at least one item, run in at least one lane and wait 0 s or "
                "more, and the queue holds a batch."
            )
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Waiting(Generic[T, R]):
    """An item, where its caller waits for the result, and until when it waits for others."""

    item: T
    result: asyncio.Future[R]
    until_s: float


class Batched(Generic[T, R]):
    """Calls a blocking function on the items of several callers together.

    It belongs to the event loop on which it is called. The function runs in threads that are always the
    same, one for each lane: libraries such as torch keep a team of threads for each thread that calls them.

    Attributes:
        batching: How items come together from now on; how many lanes there are was settled at the start.
    """

    def __init__(self, run: Callable[[list[T]], Sequence[R | Exception]], batching: Batching) -> None:
        """Take the function; nothing is started.

        Args:
            run: Returns one result for each item, in their order. An exception among the results is raised
                in the caller of that item only; one that ``run`` raises, in all callers of its batch.
            batching: How items come together.
        """
        self._run = run
        self.batching = batching
        self._queue: list[_Waiting[T, R]] = []
        self._running: set[asyncio.Future[Sequence[R | Exception]]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="batches") for _ in range(batching.lanes)]
        # The one used last comes first: its caches, and those of its core, still hold the model.
        self._idle = list(self._lanes)

    async def __call__(self, item: T) -> R:
        """Return the result of one item; one whose caller is cancelled while it waits is not worked on.

        Raises:
            OverloadedError: ``max_queued`` items wait already.
            ServiceError: ``close`` was called before.
        """
        self._require_room()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.batching.wait_s
        waiting: _Waiting[T, R] = _Waiting(item, loop.create_future(), until_s)
        self._queue.append(waiting)
        self._proceed()
        return await waiting.result

    async def close(self) -> None:
        """Refuse new items, finish those that were accepted, and end the threads."""
        self._closed = True
        self._proceed()
        while self._running:
            await asyncio.wait(self._running)
        for lane in self._lanes:
            lane.shutdown()

    def _require_room(self) -> None:
        if self._closed:
            msg = "The service is stopping; ask again later."
            raise ServiceError(msg)
        self._forget_cancelled()
        if len(self._queue) >= self.batching.max_queued:
            msg = f"{self.batching.max_queued} files wait already, as many as may; ask again later."
            raise OverloadedError(msg)

    def _forget_cancelled(self) -> None:
        self._queue = [waiting for waiting in self._queue if not waiting.result.done()]

    def _proceed(self) -> None:
        """Start the batches that are due, and come back when the next one is."""
        self._forget_cancelled()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._queue and self._idle:
            full = len(self._queue) >= self.batching.size
            until_s = self._queue[0].until_s
            if not (full or self._closed or loop.time() >= until_s):
                self._timer = loop.call_at(until_s, self._proceed)
                return
            self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        size = self.batching.size
        members, self._queue = self._queue[:size], self._queue[size:]
        items = [member.item for member in members]
        lane = self._idle.pop()
        running = loop.run_in_executor(lane, self._run_checked, items)
        self._running.add(running)
        running.add_done_callback(lambda done: self._finish(members, lane, done))

    def _run_checked(self, items: list[T]) -> Sequence[R | Exception]:
        results = self._run(items)
        if len(results) != len(items):
            msg = f"A batch of {len(items)} items has {len(results)} results; there must be one for each."
            raise ValueError(msg)
        return results

    def _finish(
        self,
        members: list[_Waiting[T, R]],
        lane: ThreadPoolExecutor,
        done: asyncio.Future[Sequence[R | Exception]],
    ) -> None:
        self._running.remove(done)
        self._idle.append(lane)
        failure = done.exception()
        answers = [failure] * len(members) if failure is not None else done.result()
        for member, answer in zip(members, answers, strict=True):
            if not member.result.done():
                _answer(member.result, answer)
        self._proceed()


def _answer(waiting: asyncio.Future[R], answer: R | BaseException) -> None:
    if isinstance(answer, BaseException):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
