"""The client, in a process of its own: reads a ``Load`` on its input and writes what became of it.

The requests are made beforehand and the answers go through a parser in C, so that the client takes little
of the machine that it shares with the service; the share that it took is part of what it writes.
"""

import asyncio
import dataclasses
import json
import random
import sys
import time
from collections.abc import Iterator

import httptools

from benchmarks.serving.loads import Load, Post, posts

CONNECT_FAILED, CUT_OFF, TIMED_OUT = -1, -2, -3
"""What stands in the place of a status when there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """What became of a request.

    Attributes:
        due_s: When it was due, in seconds after the beginning.
        late_s: How much later than that it was sent.
        latency_s: From when it was due until the whole answer was there.
        status: Of the answer, or one of the negative numbers above.
    """

    due_s: float
    late_s: float
    latency_s: float
    status: int


class Connection(asyncio.Protocol):
    """One kept-alive connection with one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None
        self.open = False

    async def ask(self, request: bytes, timeout_s: float) -> int:
        """Send a request and return the status of its answer, or why there is none."""
        self.body = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer
        except TimeoutError:
            self.transport.abort()
            self.open = False
            return TIMED_OUT

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Keep the transport."""
        self.transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that nothing will come."""
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(CUT_OFF)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the answer (called by the parser)."""
        self.body += body

    def on_message_complete(self) -> None:
        """Hand the answer over (called by the parser)."""
        self.open = self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if not self._answer.done():
            self._answer.set_result(status)
        if not self.open:
            self.transport.close()


class Client:
    """Sends a load and keeps the samples."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.samples: list[Sample] = []
        self.probabilities: dict[int, float | None] = {}
        self._posts: list[Post] = posts(load)
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(load.connections)
        self._sent, self._start_s = 0, 0.0
        # Numbers that no client before could have used, else a service that remembers would answer.
        self._first = time.time_ns() // 1000

    async def run(self) -> None:
        """Send everything and wait for the answers."""
        self._start_s = time.perf_counter()
        if self.load.rate_hz is None:
            await asyncio.gather(*(self._in_turn() for _ in range(self.load.connections)))
        else:
            await self._as_due(self.load.rate_hz)
        for connection in self._idle:
            connection.transport.close()

    async def _in_turn(self) -> None:
        while self._sent < self.load.count and (now_s := self._now_s()) < self.load.time_s:
            status = await self._send(now_s)
            if status < 0:
                await asyncio.sleep(0.05)  # a service that is down must not be hammered

    async def _as_due(self, rate_hz: float) -> None:
        async with asyncio.TaskGroup() as group:
            for due_s in arrivals(self.load, rate_hz):
                if (wait_s := due_s - self._now_s()) > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(self._send(due_s))

    async def _send(self, due_s: float) -> int:
        number = self._sent
        self._sent += 1
        post = self._posts[number % len(self._posts)]
        request = post.numbered(self._first + number if self.load.fresh else 0)
        async with self._room:
            connection = await self._connection()
            sent_s = self._now_s()
            status = CONNECT_FAILED
            if connection is not None:
                status = await connection.ask(request, self.load.timeout_s)
                self._keep(connection, number, status)
        self.samples.append(Sample(due_s, sent_s - due_s, self._now_s() - due_s, status))
        return status

    async def _connection(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(Connection, self.load.host, self.load.port)
        except OSError:
            return None
        return connection

    def _keep(self, connection: Connection, number: int, status: int) -> None:
        file = number % len(self._posts)
        if status == 200 and file not in self.probabilities:
            self.probabilities[file] = json.loads(connection.body)["probability"]
        if connection.open:
            self._idle.append(connection)

    def _now_s(self) -> float:
        return time.perf_counter() - self._start_s


def arrivals(load: Load, rate_hz: float) -> Iterator[float]:
    """Yield the times in seconds at which the requests of an open loop are due."""
    rng, due_s = random.Random(load.seed), 0.0
    for _ in range(load.count):
        due_s += rng.expovariate(rate_hz)
        if due_s >= load.time_s:
            return
        yield due_s


def main() -> None:
    """Read the load, send it, write the outcome."""
    client = Client(Load.from_json(sys.stdin.read()))
    cpu_s, start_s = time.process_time(), time.perf_counter()
    asyncio.run(client.run())
    outcome = {
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.perf_counter() - start_s,
        "probabilities": client.probabilities,
        "samples": [[round(value, 6) for value in dataclasses.astuple(each)] for each in client.samples],
    }
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
