import asyncio
import csv
import functools
import io
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from deepscan.errors import ConfigError
from deepscan.experiment import Circumstances, Entry, Feedback, Variant, entry_of
from deepscan.media.source import Media
from deepscan.monitor.records import Record
from deepscan.serving.backend import Question
from deepscan.serving.books import Bookkeeping, LocalBooks
from deepscan.serving.handles import RemoteBooks
from deepscan.serving.journal import Journal, read
from deepscan.serving.replica import Bookkeeper
from tests.serving.standins import FakeBackend


def record(**options: Any) -> Record:
    return Record(
        **{"time_s": time.time(), "route": "/api/predict", "status": 200, "elapsed_ms": 5.0} | options
    )


@pytest.fixture
def entry(picture) -> Entry:
    media = Media.from_bytes(picture(0), "a.png")
    verdict = asyncio.run(FakeBackend().judge(Question(media=(media,)))).verdict
    return entry_of(verdict, Variant(name="main"), Circumstances(time_s=time.time(), request_id="7"))


@pytest.fixture
def keeping(tmp_path) -> Bookkeeping:
    return Bookkeeping(journal=functools.partial(Journal, str(tmp_path / "log")))


def test_what_is_entered_is_in_all_figures():
    async def keep() -> None:
        books = LocalBooks(Bookkeeping())
        await books.enter([record(), record(status=503, error="OverloadedError")])
        stats = await books.stats()
        assert stats["windows"][-1]["requests"] == 2
        assert b'deepscan_errors_total{type="OverloadedError"} 1.0' in await books.metrics()
        (minute,) = csv.DictReader(io.StringIO(await books.history("csv")))
        assert (minute["requests"], minute["failed"]) == ("2", "1")
        assert json.loads(await books.history("json"))[0]["requests"] == 2
        books.close()

    asyncio.run(keep())


def test_the_log_holds_answers_and_what_was_found_out(keeping, entry, tmp_path):
    async def keep() -> None:
        books = LocalBooks(keeping)
        await books.enter([], [entry])
        await books.feedback(Feedback(label=1, time_s=time.time(), source="review", request_id="7"))
        books.close()

    asyncio.run(keep())
    log = read(str(tmp_path / "log"))
    assert (len(log.answers), len(log.feedback)) == (1, 1)


def test_feedback_without_a_log_is_refused():
    books = LocalBooks(Bookkeeping())
    truth = Feedback(label=1, time_s=0.0, source="review", request_id="7")
    with pytest.raises(ConfigError, match="keeps no log"):
        asyncio.run(books.feedback(truth))


def test_rules_are_looked_at_while_the_service_runs():
    async def keep() -> list[str]:
        books = LocalBooks(Bookkeeping(every_s=0.01))
        for _ in range(30):
            await books.enter([record(status=500, error="InternalError", time_s=time.time() - 1)])
        rules = {rule["name"] for rule in (await books.stats())["rules"]}
        assert "failing" in rules
        for _ in range(500):
            alerts = (await books.stats())["alerts"]
            if alerts:
                break
            await asyncio.sleep(0.01)
        books.close()
        return [alert["rule"] for alert in alerts]

    assert "failing" in asyncio.run(keep())


class Handle:
    """A handle of books in this process; the first call may fail."""

    def __init__(self, books: Any, dead: bool = False) -> None:
        self.books = books
        self.dead = dead
        self.calls: list[int] = []

    def __getattr__(self, name: str) -> Any:
        async def remote(*given: Any) -> Any:
            if self.dead:
                raise RayActorError
            if name == "enter":
                self.calls.append(len(given[0]))
            return await getattr(self.books, name)(*given)

        return SimpleNamespace(remote=remote)


def test_entries_go_to_remote_books_in_bundles(keeping, entry, tmp_path):
    async def keep() -> list[int]:
        keeper = Bookkeeper(keeping)
        handle = Handle(keeper)
        books = RemoteBooks(handle, every_s=0.01)
        for _ in range(3):
            await books.enter([record()], [entry])
        assert handle.calls == []
        await books._going
        await books.enter([record()])
        await books._going
        assert (await books.stats())["windows"][-1]["requests"] == 4
        assert (await books.metrics()).startswith(b"#")
        assert (await books.history("csv")).startswith("start_s")
        await books.feedback(Feedback(label=0, time_s=0.0, source="x", request_id="7"))
        keeper._books.close()
        return handle.calls

    assert asyncio.run(keep()) == [3, 1]
    assert len(read(str(tmp_path / "log")).answers) == 3


def test_a_refusal_keeps_its_type_on_the_way():
    books = RemoteBooks(Handle(Bookkeeper(Bookkeeping())))
    with pytest.raises(ConfigError, match="keeps no log"):
        asyncio.run(books.feedback(Feedback(label=0, time_s=0.0, source="x", request_id="7")))


def test_books_that_nobody_keeps_trouble_nobody(caplog):
    async def keep() -> None:
        books = RemoteBooks(Handle(None, dead=True), every_s=0.0)
        await books.enter([record()])
        await books._going

    asyncio.run(keep())
    assert "1 answers are in no statistics" in caplog.text
