import asyncio
import contextlib
import json
import pathlib
import re
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as dial

from deepscan.errors import DeepscanError, OverloadedError, UnsupportedMediaError
from deepscan.media.source import Limits, Media, Sampling
from deepscan.serving.live import CLOSE_CODES, Judge, add_stream
from deepscan.serving.sliding import StreamSettings
from deepscan.verdict import Verdict
from tests.material import encoded
from tests.sounds import speech

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
FRAMES = {"frames": {"window_s": 4, "every_s": 1, "timed": True}}
SOUND = {"sound": {"rate_hz": 16_000, "format": "s16le", "window_s": 2, "every_s": 1}}


def verdict(media: Media, probability: float | None = 0.9, label: str = "fake") -> Verdict:
    return Verdict(
        label=label, probability=probability, uncertainty=None, scores=(), abstentions=(), evidence=(),
        media=media.facts, bundles=("faces-1",), elapsed_ms=1.0,
    )  # fmt: skip


class StandIn:
    """Judges at once and keeps what it was asked; ``gate`` holds it up, ``failures`` come first."""

    def __init__(self, *failures: Exception) -> None:
        self.asked: list[Media] = []
        self.failures = list(failures)
        self.gate: asyncio.Event | None = None
        self.at_once = self.most_at_once = 0

    async def __call__(self, media: Media) -> Verdict:
        self.asked.append(media)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.gate:
            await self.gate.wait()
        self.at_once -= 1
        if self.failures:
            raise self.failures.pop(0)
        return verdict(media)


class PictureJudge(StandIn):
    """Looks at pictures only, and finds what their brightness says."""

    async def __call__(self, media: Media) -> Verdict:
        self.asked.append(media)
        if media.facts.duration_s is not None:
            raise UnsupportedMediaError("No detector looks at clips.")
        level = media.picture_HWC.mean() / 250
        if level > 0.95:
            return verdict(media, None, "inconclusive")
        return verdict(media, round(level, 1), "fake" if level > 0.7 else "real")


class Peer:
    """The client's end of a stream: the messages of the server, without a network between."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, message: object) -> None:
        kind = "bytes" if isinstance(message, bytes) else "text"
        value = message if isinstance(message, bytes | str) else json.dumps(message)
        await self.inbox.put({"type": "websocket.receive", kind: value})

    async def answer(self) -> dict[str, Any]:
        event = await self.outbox.get()
        assert event["type"] == "websocket.send", event
        return json.loads(event["text"])

    async def closed(self) -> tuple[int, str]:
        event = await self.outbox.get()
        assert event["type"] == "websocket.close", event
        return event["code"], event["reason"]

    async def refused(self) -> tuple[str, int, str]:
        """Returns type of the error, code of the close, and its reason."""
        problem = (await self.answer())["error"]
        code, reason = await self.closed()
        assert problem["message"].encode().startswith(reason.encode())
        return problem["type"], code, reason


def build(judge: Judge, settings: StreamSettings | None = None, **options: Any) -> FastAPI:
    api, routes = FastAPI(), APIRouter(prefix="/api")
    add_stream(routes, judge, Limits(), settings, **options)
    api.include_router(routes)
    return api


@contextlib.asynccontextmanager
async def connected(api: FastAPI) -> AsyncIterator[Peer]:
    peer = Peer()
    scope = {
        "type": "websocket", "path": "/api/stream", "raw_path": b"/api/stream", "root_path": "",
        "query_string": b"", "headers": [], "subprotocols": [], "scheme": "ws", "app": api,
        "client": ("test", 1), "server": ("test", 80),
    }  # fmt: skip
    await peer.inbox.put({"type": "websocket.connect"})
    serving = asyncio.create_task(api(scope, peer.inbox.get, peer.outbox.put))
    assert (await peer.outbox.get())["type"] == "websocket.accept"
    try:
        yield peer
        await peer.inbox.put({"type": "websocket.disconnect", "code": 1000})
        await serving
    finally:
        serving.cancel()


def talk(api: FastAPI, story: Callable[[Peer], Awaitable[None]]) -> None:
    async def told() -> None:
        async with asyncio.timeout(20), connected(api) as peer:
            await story(peer)

    asyncio.run(told())


def picture(level: int = 100) -> bytes:
    return encoded(np.full((48, 64, 3), level, np.uint8), "JPEG", quality=95)


def frame(time_s: float, level: int = 100) -> bytes:
    return struct.pack("<d", time_s) + picture(level)


def test_frames_get_a_running_verdict_on_a_clip_of_the_window():
    judge = StandIn()

    async def story(peer: Peer) -> None:
        await peer.send(FRAMES)
        for number in range(6):
            await peer.send(frame(number / 5, 20 * number))
        answer = await peer.answer()
        assert (answer["time_s"], answer["window_s"], answer["skipped"], answer["dropped"]) == (1, 1, 0, 0)
        assert answer["running"] == {
            "basis": "clip", "probability": 0.9, "label": "fake", "judged": 1, "abstained": 0,
        }  # fmt: skip
        assert answer["verdict"]["bundles"] == ["faces-1"]

    talk(build(judge), story)
    (media,) = judge.asked
    levels = [round(each.picture_HWC.mean()) for each in media.frames(Sampling(count=100))]
    assert levels == pytest.approx([0, 20, 40, 60, 80, 100], abs=1)


def test_sound_gets_a_running_verdict_on_the_samples_of_the_window():
    judge = StandIn()
    samples = np.rint(speech(3.0) * 32767).astype("<i2")

    async def story(peer: Peer) -> None:
        await peer.send(SOUND)
        for second in range(3):
            await peer.send(samples[16_000 * second : 16_000 * (second + 1)].tobytes())
            answer = await peer.answer()
            assert (answer["time_s"], answer["window_s"]) == (second + 1, min(second + 1, 2))
            assert answer["running"]["basis"] == "sound"

    talk(build(judge), story)
    assert np.array_equal(judge.asked[2].sound_N, samples[16_000:].astype(np.float32) / 32768)


def test_frames_without_a_time_have_that_of_the_clock():
    now_s = iter([7.0, 7.5, 8.25])

    async def story(peer: Peer) -> None:
        await peer.send({"frames": {"window_s": 4, "every_s": 1}})
        for _ in range(3):
            await peer.send(picture())
        assert (await peer.answer())["time_s"] == 1.25

    talk(build(StandIn(), clock=lambda: next(now_s)), story)


def test_one_window_is_judged_at_a_time_and_the_newest_of_those_that_wait_is_next():
    judge = StandIn()

    async def story(peer: Peer) -> None:
        judge.gate = asyncio.Event()
        await peer.send(SOUND)
        await peer.send(bytes(2 * 16_000))
        while not judge.asked:
            await asyncio.sleep(0)
        for _ in range(5):
            await peer.send(bytes(2 * 16_000))
        while peer.inbox.qsize():
            await asyncio.sleep(0)
        judge.gate.set()
        answers = [await peer.answer(), await peer.answer()]
        assert [(each["time_s"], each["skipped"]) for each in answers] == [(1, 4), (6, 4)]

    talk(build(judge), story)
    assert (len(judge.asked), judge.most_at_once) == (2, 1)


def test_a_window_that_fails_does_not_end_the_stream():
    judge = StandIn(OverloadedError("64 files wait already."), UnsupportedMediaError("Not sound."))

    async def story(peer: Peer) -> None:
        await peer.send(SOUND)
        answers = []
        for _ in range(3):
            await peer.send(bytes(2 * 16_000))
            answers.append(await peer.answer())
        assert [each.get("error", {}).get("type") for each in answers] == [
            "OverloadedError", "UnsupportedMediaError", None,
        ]  # fmt: skip
        assert answers[0]["error"]["message"] == "64 files wait already."
        assert [each["time_s"] for each in answers] == [1, 2, 3]
        assert ("verdict" in answers[0], "verdict" in answers[2]) == (False, True)

    talk(build(judge), story)


def test_where_nothing_looks_at_clips_the_newest_frames_are_judged_alone_and_summed_up():
    judge = PictureJudge()
    levels = (200, 200, 50, 50, 50, 245)

    async def story(peer: Peer) -> None:
        await peer.send({"frames": {"window_s": 2, "every_s": 1, "timed": True}})
        await peer.send(frame(0.0))
        sums = []
        for second, level in enumerate(levels, 1):
            await peer.send(frame(second, level))
            answer = await peer.answer()
            assert answer["verdict"]["media"]["container"] == "jpeg"
            sums.append(answer["running"])
        told = [(each["probability"], each["label"], each["judged"], each["abstained"]) for each in sums]
        assert {each["basis"] for each in sums} == {"frames"}
        assert told == [
            (pytest.approx(0.8), "fake", 1, 0),
            (pytest.approx(0.8), "fake", 2, 0),
            (pytest.approx(0.6), "fake", 3, 0),
            (pytest.approx(0.4), "real", 3, 0),
            (pytest.approx(0.2), "real", 3, 0),
            (pytest.approx(0.2), "real", 2, 1),
        ]

    talk(build(judge), story)
    assert [media.facts.kind for media in judge.asked[:3]] == ["video", "image", "image"]
    assert [media.data for media in judge.asked[1:]] == [picture(level) for level in levels]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([200, 50], (pytest.approx(0.5), "inconclusive")), ([245, 245], (None, "inconclusive"))],
)
def test_a_tie_and_nothing_at_all_are_inconclusive(levels, expected):
    async def story(peer: Peer) -> None:
        await peer.send(FRAMES)
        await peer.send(frame(0.0))
        for second, level in enumerate(levels, 1):
            await peer.send(frame(second, level))
            running = (await peer.answer())["running"]
        assert (running["probability"], running["label"]) == expected

    talk(build(PictureJudge()), story)


def test_frames_that_nothing_looks_at_are_an_error_each_time():
    no_detector = [UnsupportedMediaError("Nothing looks at clips."), UnsupportedMediaError("Nor pictures.")]
    judge = StandIn(*no_detector)

    async def story(peer: Peer) -> None:
        await peer.send(FRAMES)
        for time_s in (0.0, 1.0):
            await peer.send(frame(time_s))
        assert (await peer.answer())["error"]["message"] == "Nor pictures."
        await peer.send(frame(2.0))
        assert (await peer.answer())["running"]["basis"] == "clip"

    talk(build(judge), story)


def test_a_bad_frame_is_told_and_the_stream_goes_on():
    async def story(peer: Peer) -> None:
        await peer.send(FRAMES)
        await peer.send(frame(0.0))
        await peer.send(struct.pack("<d", 0.5) + b"hello")
        answer = await peer.answer()
        assert (list(answer), answer["error"]["type"]) == (["error"], "UnsupportedMediaError")
        await peer.send(frame(1.0))
        assert "verdict" in await peer.answer()

    talk(build(StandIn()), story)


def test_the_end_of_a_stream_brings_the_verdict_on_what_is_left():
    async def story(peer: Peer) -> None:
        await peer.send(SOUND)
        await peer.send(bytes(2 * 8_000))
        await peer.send({"end": True})
        assert (await peer.answer())["time_s"] == 0.5
        assert await peer.closed() == (1000, "")

    talk(build(StandIn()), story)


def test_a_stream_of_nothing_ends_without_a_verdict():
    async def story(peer: Peer) -> None:
        await peer.send(SOUND)
        await peer.send({"end": True})
        assert await peer.closed() == (1000, "")

    talk(build(StandIn()), story)


@pytest.mark.parametrize(
    ("messages", "kind", "code"),
    [
        ([b"bytes first"], "ConfigError", 1008),
        (["no JSON"], "ConfigError", 1008),
        ([{"frames": {"windows_s": 4}}], "ConfigError", 1008),
        ([SOUND, b"odd"], "ConfigError", 1008),
        ([FRAMES, b"short"], "ConfigError", 1008),
        ([FRAMES, frame(2.0), frame(1.0)], "ConfigError", 1008),
        ([SOUND, "more text"], "ConfigError", 1008),
        ([SOUND, {"end": False}], "ConfigError", 1008),
        ([SOUND, "[" * 2000], "ConfigError", 1008),
        ([SOUND, bytes(5000)], "MediaTooLargeError", 1009),
        (["x" * 5000], "MediaTooLargeError", 1009),
    ],
)
def test_a_broken_protocol_ends_the_stream_with_the_reason(messages, kind, code):
    async def story(peer: Peer) -> None:
        for message in messages:
            await peer.send(message)
        given_kind, given_code, reason = await peer.refused()
        assert (given_kind, given_code) == (kind, code)
        assert 20 < len(reason.encode()) <= 123

    talk(build(StandIn(), StreamSettings(max_message_bytes=4096)), story)


@pytest.mark.parametrize("first", [[], [SOUND]])
def test_a_silent_client_is_sent_away(first):
    async def story(peer: Peer) -> None:
        for message in first:
            await peer.send(message)
        assert (await peer.refused())[:2] == ("ServiceError", 1001)

    talk(build(StandIn(), StreamSettings(idle_s=0.01)), story)


def test_a_process_serves_so_many_streams_and_has_room_again_when_one_ends():
    api = build(StandIn(), StreamSettings(max_connections=1))

    async def story(first: Peer) -> None:
        await first.send(SOUND)
        await first.send(bytes(2 * 16_000))
        await first.answer()
        async with connected(api) as second:
            assert (await second.refused())[:2] == ("OverloadedError", 1013)
        await first.send({"end": True})
        await first.closed()
        async with connected(api) as third:
            await third.send(SOUND)
            await third.send({"end": True})
            assert await third.closed() == (1000, "")

    talk(api, story)


def test_a_client_that_goes_away_ends_its_judgement():
    judge, ended = StandIn(), []

    async def slow(media: Media) -> Verdict:
        try:
            return await judge(media)
        except asyncio.CancelledError:
            ended.append(media)
            raise

    async def story(peer: Peer) -> None:
        judge.gate = asyncio.Event()
        await peer.send(SOUND)
        await peer.send(bytes(2 * 16_000))
        while not judge.asked:
            await asyncio.sleep(0)

    talk(build(slow), story)
    assert ended == judge.asked


def test_a_mistake_of_ours_ends_the_stream_and_reaches_the_log():
    judge = StandIn(ZeroDivisionError())

    async def story(peer: Peer) -> None:
        await peer.send(SOUND)
        await peer.send(bytes(2 * 16_000))
        while judge.failures:
            await asyncio.sleep(0)

    with pytest.raises(ZeroDivisionError):
        talk(build(judge), story)


def test_every_error_has_a_code_to_close_with():
    assert CLOSE_CODES[DeepscanError] == 1008
    documented = re.findall(r"^\| (\d{4}) \|", TEXT, flags=re.MULTILINE)
    assert sorted(map(int, documented)) == sorted([1000, *CLOSE_CODES.values()])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(build(StandIn()), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_the_documented_client_runs(port, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"^```python\n(# live\.py.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    for number in range(12):
        (tmp_path / f"frame-{number:03d}.jpg").write_bytes(picture(10 * number))
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), "live.py", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "2.2 s: fake 0.9"


def test_a_real_connection_is_closed_with_code_and_reason(port):
    with dial(f"ws://127.0.0.1:{port}/api/stream", proxy=None) as socket:
        socket.send("{}")
        assert json.loads(socket.recv())["error"]["type"] == "ConfigError"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert (closed.value.rcvd.code, "asks for 0" in closed.value.rcvd.reason) == (1008, True)


def test_a_real_message_may_be_as_large_as_the_settings_say(port):
    most_bytes = StreamSettings().max_message_bytes
    with dial(f"ws://127.0.0.1:{port}/api/stream", proxy=None, max_size=None) as socket:
        socket.send(json.dumps(SOUND))
        socket.send(bytes(most_bytes))
        socket.send('{"end": true}')
        answers = [json.loads(message) for message in socket]
    assert answers[-1]["time_s"] == pytest.approx(most_bytes / 2 / 16_000)
