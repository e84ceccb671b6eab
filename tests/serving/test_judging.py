import asyncio
import dataclasses
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepscan import heatmaps, pipeline
from deepscan.detector import Detector
from deepscan.errors import ConfigError, CorruptMediaError, FormatError, OverloadedError
from deepscan.fusion import Vote
from deepscan.media.source import Media
from deepscan.pipeline import Failure
from deepscan.serving import replica
from deepscan.serving.batching import Batching
from deepscan.serving.config import ServeArgs
from deepscan.serving.ensemble import Preparation, Wish
from deepscan.serving.judging import Asked, Judges, run_together
from deepscan.verdict import Abstention, MediaFacts


class Stub:
    """A detector whose answers are its Examples' numbers, or that fails on some."""

    def __init__(self, name: str = "stub", failing: bool = False) -> None:
        self.bundle = SimpleNamespace(card=SimpleNamespace(id=name, gate=None))
        self.failing = failing
        self.began, self.go_on = threading.Event(), threading.Event()

    def run(self, examples: list[Any]) -> Any:
        self.began.set()
        assert self.go_on.wait(10)
        if self.failing:
            msg = "no such operator here"
            raise FormatError(msg)
        return {"logit": np.asarray([example["x"] for example in examples], dtype=np.float32)}

    def abstain(self, error: Exception) -> Any:
        return str(error)

    def judge(self, examples: list[Any], outputs: Any) -> Any:
        return outputs["logit"].tolist()


@pytest.fixture(scope="module")
def detectors(make_bundle):
    bundles = [make_bundle("judge-a"), make_bundle("judge-b", seed=1)]
    return [Detector.load(bundle.path, "cpu") for bundle in bundles]


FACTS = MediaFacts(name="a.png", kind="image", container="png", bytes=1, sha256="0" * 64)


def ready(prepared, facts=FACTS):
    return Preparation(prepared=prepared, facts=facts, elapsed_ms=1.5)


def all_of(*detectors):
    return Wish(bundles=frozenset(each.bundle.card.id for each in detectors))


def test_files_that_are_run_together_get_their_own_logits(detectors, picture):
    files = [detectors[0].prep(Media.from_bytes(picture(seed), "a.png")) for seed in range(3)]
    files[1] = files[1] * 2
    asked = [Asked(examples, tuple(detectors)) for examples in files]
    for examples, answers in zip(files, run_together(asked), strict=True):
        assert [len(outputs["logit"]) for outputs in answers] == [len(examples)] * 2
        for outputs, alone in zip(answers, run_together([Asked(examples, tuple(detectors))])[0], strict=True):
            np.testing.assert_allclose(outputs["logit"], alone["logit"], atol=1e-5)


def test_a_replica_runs_what_queued_while_its_last_batch_ran_as_one(make_bundle, picture, monkeypatch):
    """Ray Serve's own batches hold one request each where none may wait for company."""
    bundle = make_bundle("judge-a")
    together: list[int] = []
    began, go_on = threading.Event(), threading.Event()

    def counted(files: list[Asked]) -> list[Any]:
        together.append(len(files))
        began.set()
        assert go_on.wait(10)
        return run_together(files)

    monkeypatch.setattr(replica, "run_together", counted)
    args = ServeArgs(bundles=str(bundle.path), batch_size=4)
    prepared = pipeline.prepare(bundle.prep(), Media.from_bytes(picture(0), "a.png"))
    wish = Wish(bundles=frozenset({bundle.card.id}))

    async def story() -> list[Any]:
        judging = replica.Replica({bundle.card.id: str(bundle.path)}, args)
        judging.reconfigure({"batch_size": 3, "batch_wait_s": 0.0})
        asked = [asyncio.create_task(judging(ready(prepared), wish)) for _ in range(6)]
        await asyncio.to_thread(began.wait, 10)
        go_on.set()
        answers = await asyncio.gather(*asked)
        with pytest.raises(ConfigError, match="size=0"):
            judging.reconfigure({"batch_size": 0, "batch_wait_s": 0.0})
        return answers

    answers = asyncio.run(asyncio.wait_for(story(), 60))
    assert together == [1, 3, 2]
    assert all(isinstance(answer.outcomes[0], Vote) for answer in answers)


def test_judging_says_what_voting_one_by_one_says(detectors, picture):
    medias = [Media.from_bytes(picture(seed), "a.png") for seed in range(5)]
    preps = [pipeline.prepare(detectors[0].prep, media) for media in medias]

    async def together() -> list[Any]:
        judges = Judges(detectors, Batching(size=3))
        answers = await asyncio.gather(*(judges(ready(prepared), all_of(*detectors)) for prepared in preps))
        await judges.close()
        return answers

    for prepared, judgement in zip(preps, asyncio.run(together()), strict=True):
        assert judgement.stages_ms["prepare"] == 1.5
        assert judgement.stages_ms["model"] > 0
        outcomes = judgement.outcomes
        for outcome, detector in zip(outcomes, detectors, strict=True):
            alone = detector.vote(prepared)
            assert isinstance(outcome, Vote)
            assert outcome.score.detector == alone.score.detector
            assert outcome.score.probability == pytest.approx(alone.score.probability, abs=1e-6)


def test_detectors_show_what_they_looked_at_where_that_is_wished(detectors, picture):
    media = Media.from_bytes(picture(0), "a.png")
    given = ready(pipeline.prepare(detectors[0].prep, media), media.facts)
    wishes = [dataclasses.replace(all_of(*detectors), explain=explain) for explain in (True, False)]

    async def asked() -> list[Any]:
        judges = Judges(detectors, Batching())
        return [await judges(given, wish) for wish in wishes]

    told, silent = asyncio.run(asked())
    alone = [each for d in detectors for each in heatmaps.explain_quickly(d, media.facts, given.prepared)]
    assert alone
    assert [dataclasses.replace(each, elapsed_ms=0) for each in told.evidence] == [
        dataclasses.replace(each, elapsed_ms=0) for each in alone
    ]
    assert told.stages_ms["evidence"] > 0
    assert silent.evidence == ()
    assert "evidence" not in silent.stages_ms


def test_what_cannot_be_judged_does_not_wait_in_a_batch(make_bundle, picture):
    detector = Detector.load(make_bundle("judge-faces", region="face").path, "cpu")
    no_face = pipeline.prepare(detector.prep, Media.from_bytes(picture(0), "a.png"))

    async def asked() -> list[Any]:
        judges = Judges([detector], Batching(size=2, wait_s=100))
        given = [no_face, CorruptMediaError("half a file")]
        wish = dataclasses.replace(all_of(detector), explain=True)
        judgements = [await judges(ready(each), wish) for each in given]
        assert [judgement.evidence for judgement in judgements] == [(), ()]
        return [judgement.outcomes[0] for judgement in judgements]

    abstention, failure = asyncio.run(asked())
    assert isinstance(abstention, Abstention)
    assert abstention.reason == "no-face"
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, CorruptMediaError)


def test_a_model_that_fails_does_so_for_each_file_and_the_other_answers():
    sound, broken = Stub("sound"), Stub("broken", failing=True)
    sound.go_on.set()
    broken.go_on.set()

    async def asked() -> list[Any]:
        judges = Judges([sound, broken], Batching(size=2, wait_s=100))
        wish = all_of(sound, broken)
        files = [{"x": 1}], [{"x": 2}, {"x": 3}]
        return await asyncio.gather(*(judges(ready(file), wish) for file in files))

    first, second = (judgement.outcomes for judgement in asyncio.run(asked()))
    assert [first[0], second[0]] == [[1.0], [2.0, 3.0]]
    assert [type(each[1].error) for each in (first, second)] == [FormatError] * 2


def test_a_full_queue_refuses():
    stub = Stub()

    async def crowd() -> None:
        judges = Judges([stub], Batching(size=1, max_queued=1))
        first = asyncio.create_task(judges(ready([{"x": 1}]), all_of(stub)))
        await asyncio.to_thread(stub.began.wait, 10)
        second = asyncio.create_task(judges(ready([{"x": 2}]), all_of(stub)))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await judges(ready([{"x": 3}]), all_of(stub))
        stub.go_on.set()
        assert [each.outcomes for each in await asyncio.gather(first, second)] == [([1.0],), ([2.0],)]

    asyncio.run(crowd())


def test_only_those_that_are_wanted_run():
    one, other = Stub("one"), Stub("other")
    for stub in (one, other):
        stub.go_on.set()

    async def asked() -> Any:
        judges = Judges([one, other], Batching(size=2, wait_s=100))
        return await asyncio.gather(
            judges(ready([{"x": 1}]), all_of(other)), judges(ready([{"x": 2}]), all_of(one, other))
        )

    first, second = asyncio.run(asked())
    assert (first.outcomes, second.outcomes) == (([1.0],), ([2.0], [2.0]))


def test_nobody_who_is_not_wanted_is_troubled():
    one, other = Stub("one"), Stub("other")
    other.go_on.set()
    judges = Judges([one, other], Batching())
    assert asyncio.run(judges(ready([{"x": 1}]), all_of(other))).outcomes == ([1.0],)
    assert not one.began.is_set()
