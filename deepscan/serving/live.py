"""Live streams over a WebSocket: a running verdict over a sliding window; knows nothing of Ray.

Of each stream one window is judged at a time. While one is, a newer window takes the place of the one that
waits, so that a slow model leaves windows out and never falls behind.
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from deepscan.errors import (
    ConfigError,
    DeepscanError,
    MediaError,
    MediaTooLargeError,
    OverloadedError,
    ServiceError,
    UnsupportedMediaError,
)
from deepscan.media.source import Limits, Media
from deepscan.serving.sliding import Sliding, StreamSettings, Window, opened
from deepscan.verdict import Label, Verdict, to_dict

Judge = Callable[[Media], Awaitable[Verdict]]
"""Judges media with all detectors that look at such; ``UnsupportedMediaError`` where none does."""

CLOSE_CODES: dict[type[DeepscanError], int] = {
    OverloadedError: 1013,
    MediaTooLargeError: 1009,
    ServiceError: 1001,
    DeepscanError: 1008,
}
"""With which code a stream is closed for an error; the first class that fits counts (RFC 6455, 7.4)."""

_REASON_BYTES = 123
"""What a closing frame of a WebSocket has room for."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What a stream looks like now.

    Attributes:
        basis: ``clip`` or ``sound``: the verdict is on the whole window, and this repeats it. ``frames``: no
            detector looks at clips, so that the newest frame of each window is judged alone, and this sums
            up those that lie within the window.
        probability: P(fake); of ``frames`` the mean of theirs. None = nothing could be judged.
        label: Of ``frames`` what more than half of those judged are called, else ``inconclusive``.
        judged: Verdicts with a probability that this is made of.
        abstained: Verdicts without one.
    """

    basis: Literal["clip", "sound", "frames"]
    probability: float | None
    label: Label
    judged: int
    abstained: int


def add_stream(
    routes: APIRouter,
    judge: Judge,
    limits: Limits,
    settings: StreamSettings | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Add the route of live streams, ``/stream``.

    Args:
        routes: Where to.
        judge: Gives the verdict on a window.
        limits: What of a frame or a window is refused before it is decoded.
        settings: What streams may take of the service; None = the defaults of ``StreamSettings``.
        clock: Seconds, by which frames without a time arrive.
    """
    allowed = settings or StreamSettings()
    streams: set[WebSocket] = set()

    @routes.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        try:
            _require_room(len(streams), allowed)
            streams.add(socket)
            sliding = opened(await _receive_text(socket, allowed), allowed, limits)
            await _Stream(socket, sliding, judge, limits).run(allowed, clock)
            await socket.close()
        except WebSocketDisconnect:
            return
        except DeepscanError as error:
            await _close(socket, error)
        finally:
            streams.discard(socket)


class _Stream:
    """One connection after its first message: a reader and a judge, with one window between them."""

    def __init__(self, socket: WebSocket, sliding: Sliding, judge: Judge, limits: Limits) -> None:
        self._socket = socket
        self._sliding = sliding
        self._judge = judge
        self._limits = limits
        self._waiting = _Waiting()
        self._alone: collections.deque[tuple[float, Verdict]] = collections.deque()

    async def run(self, settings: StreamSettings, clock: Callable[[], float]) -> None:
        """Read and judge until the client ends the stream or breaks it.

        Raises:
            DeepscanError: The client broke the protocol or fell silent.
            WebSocketDisconnect: It went away.
        """
        tasks = [asyncio.create_task(each) for each in (self._answer_all(), self._read(settings, clock))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _read(self, settings: StreamSettings, clock: Callable[[], float]) -> None:
        while isinstance(message := await _receive(self._socket, settings), bytes):
            try:
                for window in self._sliding.add(message, clock()):
                    self._waiting.put(window)
            except MediaError as error:
                await self._socket.send_json({"error": _problem(error)})
        _require_end(message)
        self._waiting.end(self._sliding.rest())

    async def _answer_all(self) -> None:
        while window := await self._waiting.take():
            try:
                verdict, running = await self._judged(window)
                told = {"running": dataclasses.asdict(running), "verdict": to_dict(verdict)}
            except DeepscanError as error:
                told = {"error": _problem(error)}
            counts = {"skipped": self._waiting.skipped, "dropped": self._sliding.dropped}
            times = {"time_s": window.end_s, "window_s": window.length_s}
            await self._socket.send_json(times | counts | told)

    async def _judged(self, window: Window) -> tuple[Verdict, Running]:
        if not self._alone:
            try:
                verdict = await self._ask(window.media)
                return verdict, _repeated(window, verdict)
            except UnsupportedMediaError:
                if window.basis == "sound":
                    raise
        verdict = await self._ask(window.newest)
        self._alone.append((window.end_s, verdict))
        while self._alone[0][0] < window.end_s - window.length_s:
            self._alone.popleft()
        return verdict, _summed_up([each for _, each in self._alone])

    async def _ask(self, build: Callable[[Limits], Media | None]) -> Verdict:
        media = await asyncio.to_thread(build, self._limits)
        assert media is not None, "windows of frames have a newest one"
        return await self._judge(media)


class _Waiting:
    """Room for one window that waits for its judgement; a newer one takes the place of an older."""

    def __init__(self) -> None:
        self.skipped = 0
        self._window: Window | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, window: Window) -> None:
        self.skipped += self._window is not None
        self._window = window
        self._changed.set()

    def end(self, window: Window | None) -> None:
        """Put the last window, if there is one, after which ``take`` returns None."""
        if window:
            self.put(window)
        self._ended = True
        self._changed.set()

    async def take(self) -> Window | None:
        while self._window is None and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        window, self._window = self._window, None
        return window


def _repeated(window: Window, verdict: Verdict) -> Running:
    judged = int(verdict.probability is not None)
    return Running(
        basis="sound" if window.basis == "sound" else "clip",
        probability=verdict.probability,
        label=verdict.label,
        judged=judged,
        abstained=1 - judged,
    )


def _summed_up(verdicts: Sequence[Verdict]) -> Running:
    known = [each.probability for each in verdicts if each.probability is not None]
    labels = [each.label for each in verdicts if each.probability is not None]
    decided: tuple[Label, Label] = ("real", "fake")
    return Running(
        basis="frames",
        probability=sum(known) / len(known) if known else None,
        label=next((label for label in decided if 2 * labels.count(label) > len(labels)), "inconclusive"),
        judged=len(known),
        abstained=len(verdicts) - len(known),
    )


def _require_room(streams: int, settings: StreamSettings) -> None:
    if streams >= settings.max_connections:
        msg = f"{streams} streams are open here, as many as may be; try again later."
        raise OverloadedError(msg)


def _require_end(message: str) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        if json.loads(message) == {"end": True}:
            return
    msg = 'After the first message send frames or sound as binary messages, or {"end": true} to end.'
    raise ConfigError(msg)


async def _receive_text(socket: WebSocket, settings: StreamSettings) -> str:
    message = await _receive(socket, settings)
    if isinstance(message, bytes):
        msg = "A stream begins with a text message that says what follows; this one begins with bytes."
        raise ConfigError(msg)
    return message


async def _receive(socket: WebSocket, settings: StreamSettings) -> str | bytes:
    try:
        async with asyncio.timeout(settings.idle_s):
            event = await socket.receive()
    except TimeoutError as error:
        msg = f"Nothing came for {settings.idle_s:g} s; connect again when there is something to judge."
        raise ServiceError(msg) from error
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event["code"])
    message: str | bytes = event["text"] if event.get("text") is not None else event["bytes"]
    if len(message) > settings.max_message_bytes:
        most = settings.max_message_bytes
        msg = f"A message has {len(message)} bytes; at most {most} are taken. Send smaller ones."
        raise MediaTooLargeError(msg)
    return message


async def _close(socket: WebSocket, error: DeepscanError) -> None:
    code = next(code for kind, code in CLOSE_CODES.items() if isinstance(error, kind))
    reason = str(error).encode()[:_REASON_BYTES].decode(errors="ignore")
    # Who has gone away already needs no reason.
    with contextlib.suppress(WebSocketDisconnect):
        await socket.send_json({"error": _problem(error)})
        await socket.close(code, reason)


def _problem(error: DeepscanError) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": str(error)}
