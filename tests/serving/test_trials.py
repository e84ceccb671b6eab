import asyncio
import collections
import dataclasses
from typing import Any

import pytest

from deepscan.errors import OverloadedError
from deepscan.experiment import Variant
from deepscan.media.source import Media
from deepscan.serving import trials
from deepscan.serving.backend import Answer, Question
from deepscan.serving.trials import Trial, Trying
from tests.serving.standins import FACTS, FakeBackend

SALT = "salt"


class Books:
    """Keeps what was entered."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    async def enter(self, records: Any, entries: Any = ()) -> None:
        self.entries.extend(entries)


class Named(FakeBackend):
    """Answers in the name of the variant that is asked; some fail."""

    def __init__(self, failing: str = "") -> None:
        super().__init__()
        self.failing = failing

    async def steps(self, question: Question) -> Any:
        async for step in super().steps(question):
            if question.variant == self.failing:
                raise OverloadedError("Full.")
            yield dataclasses.replace(step, variant=question.variant) if isinstance(step, Answer) else step


@pytest.fixture
def media(picture):
    return Media.from_bytes(picture(0), "a.png")


def tried(backend: FakeBackend, trial: Trial, *questions: Question) -> tuple[list[str], list[Any]]:
    """Return the variants that answered, and the log."""
    books = Books()

    async def ask() -> list[str]:
        trying = Trying(backend, trial, books)
        answers = [(await trying.judge(question)).variant for question in questions]
        while trying._tasks:
            await asyncio.gather(*trying._tasks)
        return answers

    return asyncio.run(ask()), books.entries


def test_a_caller_stays_with_a_variant_and_callers_are_shared_by_weight(media):
    trial = Trial(variants=(Variant(name="main", weight=3), Variant(name="new")), salt=SALT)
    questions = [Question(media=(media,), caller=f"caller {i % 200}") for i in range(400)]
    answers, _ = tried(Named(), trial, *questions)
    assert answers[:200] == answers[200:]
    assert 30 <= collections.Counter(answers[:200])["new"] <= 70


def test_who_cannot_be_told_apart_is_answered_by_chance(media):
    trial = Trial(variants=(Variant(name="main"), Variant(name="new")), salt=SALT)
    answers, _ = tried(Named(), trial, *[Question(media=(media,))] * 200)
    assert 60 <= collections.Counter(answers)["new"] <= 140


def test_a_shadow_gets_a_copy_and_only_the_log_hears_it(media):
    trial = Trial(variants=(Variant(name="main"), Variant(name="dark", shadow=True)), salt=SALT, logged=True)
    backend = Named()
    answers, entries = tried(backend, trial, Question(media=(media,), request_id="7", caller="me"))
    assert answers == ["main"]
    assert [question.variant for question in backend.asked] == ["main", "dark"]
    assert [(each.variant, each.shadow, each.request_id) for each in entries] == [
        ("main", False, "7"),
        ("dark", True, "7"),
    ]
    assert entries[0].sha256 == media.facts.sha256
    assert entries[0].key_hash == entries[1].key_hash != "me"


def test_a_shadow_that_fails_costs_nobody_anything(media, caplog):
    trial = Trial(variants=(Variant(name="main"), Variant(name="dark", shadow=True)), salt=SALT, logged=True)
    answers, entries = tried(Named(failing="dark"), trial, Question(media=(media,)))
    assert answers == ["main"]
    assert [each.variant for each in entries] == ["main"]


def test_shadows_never_pile_up(media, monkeypatch):
    monkeypatch.setattr(trials, "SHADOWS_AT_ONCE", 2)
    trial = Trial(variants=(Variant(name="main"), Variant(name="dark", shadow=True)))
    go_on = asyncio.Event()

    class Slow(Named):
        async def judge(self, question: Question) -> Answer:
            await go_on.wait()
            return await super().judge(question)

    async def crowd() -> int:
        backend = Slow()
        trying = Trying(backend, trial, Books())
        for _ in range(5):
            await trying.judge(Question(media=(media,)))
        held = len(trying._tasks)
        go_on.set()
        await asyncio.gather(*trying._tasks)
        return held

    assert asyncio.run(crowd()) == 2


def test_nothing_is_logged_that_was_not_wished(media):
    trial = Trial(variants=(Variant(name="main"),))
    assert tried(Named(), trial, Question(media=(media,)))[1] == []


def test_without_a_salt_no_trace_of_the_caller_is_kept(media):
    trial = Trial(variants=(Variant(name="main"),), logged=True)
    (entry,) = tried(Named(), trial, Question(media=(media,), caller="me"))[1]
    assert entry.key_hash is None


def test_it_is_a_backend():
    trying = Trying(Named(), Trial(variants=(Variant(name="main"),)), Books())
    assert trying.modalities == ("image",)
    assert asyncio.run(trying.models()) == (FACTS,)
