import asyncio
import dataclasses
from typing import Any

import pytest

from deepscan.errors import OverloadedError
from deepscan.media.source import Media
from deepscan.serving.backend import Answer, Question, Settings
from deepscan.serving.memory import LocalMemory, Remembering, fingerprint
from deepscan.verdict import FAILED
from tests.serving.standins import FakeBackend


@pytest.fixture
def media(picture):
    return Media.from_bytes(picture(0), "a.png")


def judged(backend: Any, *questions: Question) -> list[Answer]:
    async def ask() -> list[Answer]:
        return [await backend.judge(question) for question in questions]

    return asyncio.run(ask())


def remembering(backend: FakeBackend, max_bytes: int = 10**6) -> Remembering:
    return Remembering(backend, LocalMemory(max_bytes), "b")


def test_the_same_content_is_judged_once_and_keeps_its_own_name(media, picture):
    backend = FakeBackend()
    other = Media.from_bytes(picture(0), "b.png")
    first, second = judged(remembering(backend), Question(media=(media,)), Question(media=(other,)))
    assert len(backend.asked) == 1
    assert (first.cached, second.cached) == (False, True)
    assert second.verdict.media.name == "b.png"
    same = dataclasses.replace(second.verdict, media=first.verdict.media, elapsed_ms=1.0)
    assert same == first.verdict


@pytest.mark.parametrize(
    "change",
    [
        {"modality": "image"},
        {"variant": "b"},
        {"settings": Settings(threshold=0.4)},
        {"settings": Settings(frames=3)},
        {"settings": Settings(explain=True)},
        {"settings": Settings(ensemble=False)},
    ],
)
def test_whatever_else_was_asked_is_another_question(media, change):
    backend = FakeBackend()
    judged(remembering(backend), Question(media=(media,)), Question(media=(media,), **change))
    assert len(backend.asked) == 2


def test_other_content_and_other_bundles_are_another_question(media, picture):
    other = Media.from_bytes(picture(1), "a.png")
    question = Question(media=(media,), request_id="1")
    prints = {
        fingerprint(question, "b"),
        fingerprint(Question(media=(other,)), "b"),
        fingerprint(Question(media=(media, other)), "b"),
        fingerprint(question, "c"),
    }
    assert len(prints) == 4
    assert fingerprint(Question(media=(media,), request_id="2"), "b") in prints


def test_what_failed_is_not_remembered(media):
    backend = remembering(FakeBackend(OverloadedError("Full.")))
    for _ in range(2):
        with pytest.raises(OverloadedError):
            judged(backend, Question(media=(media,)))


def test_a_verdict_that_misses_a_detector_that_broke_is_not_remembered(media):
    class Breaking(FakeBackend):
        async def steps(self, question: Question) -> Any:
            async for step in super().steps(question):
                if isinstance(step, Answer):
                    broken = dataclasses.replace(step.verdict.abstentions[0], reason=FAILED)
                    verdict = dataclasses.replace(step.verdict, abstentions=(broken,))
                    yield Answer(verdict=verdict)

    backend = Breaking()
    judged(remembering(backend), *[Question(media=(media,))] * 2)
    assert len(backend.asked) == 2


def test_a_memory_of_nothing_remembers_nothing(media):
    backend = FakeBackend()
    judged(remembering(backend, max_bytes=0), *[Question(media=(media,))] * 2)
    assert len(backend.asked) == 2


def test_the_facts_tell_what_is_held(media):
    memory = LocalMemory(10**6)
    judged(Remembering(FakeBackend(), memory, ""), *[Question(media=(media,))] * 2)
    facts = asyncio.run(memory.facts())
    assert (facts.entries, facts.hits, facts.misses) == (1, 1, 1)
    assert facts.bytes > 100
