import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.errors import (
    AbstainError,
    ConfigError,
    CorruptMediaError,
    FormatError,
    NoFaceError,
    OverloadedError,
    ResourceError,
    ServiceError,
    UnknownNameError,
)
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.serving import app, handles
from deepscan.serving.backend import MAIN, ModelFacts, Progress, Question, Settings
from deepscan.serving.config import ServeArgs
from deepscan.serving.ensemble import Ensemble, Panel, Preparation, Wish, best
from deepscan.serving.handles import RemoteDesk, RemoteEnsemble, RemoteGroup, RemoteMemory, ask
from deepscan.serving.ingress import Desk
from deepscan.serving.jobs import Jobs
from deepscan.serving.judging import run_together
from deepscan.serving.replica import Planner, Prepare, Replica
from deepscan.verdict import Evidence
from tests.serving.standins import FakeBackend

ARGS = ServeArgs(bundles=("a",), device="cpu", decoding={"processes": 0})
WAIT = app._wait_until_ready
FULL = BackPressureError(num_queued_requests=1, max_queued_requests=1)


class Handle:
    """Stands in for a deployment's handle: awaits arguments like Serve and calls the object itself."""

    def __init__(self, target: Any) -> None:
        for name in ("models", "ready", "judge", "recall", "keep", "submit", "job"):
            if hasattr(target, name):
                setattr(self, name, SimpleNamespace(remote=self._through(getattr(target, name))))
        if hasattr(target, "steps"):
            self.steps = SimpleNamespace(remote=target.steps)
        if callable(target):
            self.remote = self._through(target.__call__)

    def options(self, **_: Any) -> "Handle":
        return self

    def _through(self, method: Callable[..., Awaitable[Any]]) -> Any:
        async def remote(*given: Any) -> Any:
            return await method(*[await each if asyncio.iscoroutine(each) else each for each in given])

        return remote


class Dying:
    """Fails with each of the errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self, *_: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return []

    async def ready(self) -> None:
        await self()


def plain_replica(bundles: list[Any]) -> Replica:
    """A Replica whose batches are run without Serve's queue."""
    replica = Replica({bundle.card.id: str(bundle.path) for bundle in bundles}, ARGS)

    async def alone(asked: Any) -> Any:
        return run_together([asked])[0]

    replica._outputs = alone
    return replica


def stages(bundles: list[Any], prepare: Any, replica: Any) -> RemoteGroup:
    models = tuple(ModelFacts.of(bundle.card) for bundle in bundles)
    return RemoteGroup(models=models, samples_frames=False, prepare=Handle(prepare), replica=Handle(replica))


def group(bundles: list[Any]) -> RemoteGroup:
    return stages(bundles, Prepare(bundles[0].prep(), ARGS), plain_replica(bundles))


async def nothing(media: Media) -> tuple[Evidence, ...]:
    return ()


def ensemble_of(*groups: RemoteGroup, policy: FusionPolicy | None = None) -> Ensemble:
    ids = frozenset(facts.id for each in groups for facts in each.models)
    return Ensemble(groups, {MAIN: Panel(bundles=ids, policy=policy or FusionPolicy())}, nothing)


def faulty(*errors: Exception) -> Ensemble:
    facts = SimpleNamespace(id="faulty", modality="image", val_auc=0.0)
    failing = RemoteGroup(
        models=(facts,), samples_frames=False, prepare=Handle(Dying()), replica=Handle(Dying(*errors))
    )
    return ensemble_of(failing)


def verdict_of(backend: Any, media: Media, **settings: Any) -> Any:
    question = Question(media=(media,), settings=Settings(**settings))
    return asyncio.run(backend.judge(question)).verdict


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle("one"), make_bundle("two", seed=1), make_bundle("faces", region="face")]


@pytest.fixture(scope="module")
def media(picture):
    return Media.from_bytes(picture(0), "a.png")


def test_a_stage_that_dies_is_asked_once_more():
    assert asyncio.run(ask(Dying(RayActorError()))) == []
    assert asyncio.run(ask(Dying(RayServeException("an upstream actor died")))) == []


def test_a_stage_that_dies_twice_is_a_service_error():
    with pytest.raises(ServiceError, match="died") as caught:
        asyncio.run(ask(Dying(RayActorError(), RayActorError())))
    assert not isinstance(caught.value, OverloadedError)


def test_a_full_stage_is_not_asked_again():
    stage = Dying(FULL, FULL)
    with pytest.raises(OverloadedError, match="again later"):
        asyncio.run(ask(stage))
    assert stage.errors == [FULL]


def test_an_error_in_our_own_code_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask(Dying(ZeroDivisionError())))


def test_groups_together_give_the_verdict_of_the_pipeline(bundles, media):
    verdict = verdict_of(ensemble_of(group(bundles[:2]), group(bundles[2:])), media)
    expected = pipeline.analyze(media, [Detector.load(bundle.path, "cpu") for bundle in bundles])
    assert verdict.probability == pytest.approx(expected.probability, abs=1e-6)
    assert (verdict.label, verdict.bundles) == (expected.label, expected.bundles)
    assert verdict.abstentions == expected.abstentions
    assert {score.detector for score in verdict.scores} == {"one", "two"}
    assert 0 < verdict.elapsed_ms < 60_000


def test_the_work_is_timed_by_stage(bundles, media):
    question = Question(media=(media,), settings=Settings(explain=True))
    answer = asyncio.run(ensemble_of(group(bundles[:1])).judge(question))
    assert set(answer.stages_ms) == {"prepare", "model", "evidence"}
    assert all(elapsed_ms >= 0 for elapsed_ms in answer.stages_ms.values())


def test_a_corrupt_file_is_refused_with_its_type(bundles, picture):
    broken = Media.from_bytes(picture(0)[:4000], "broken.png")
    with pytest.raises(CorruptMediaError, match=r"broken\.png"):
        verdict_of(ensemble_of(group(bundles[:1])), broken)


@pytest.mark.parametrize(
    ("errors", "kind"), [((FULL,), OverloadedError), ((RayActorError(),) * 2, ServiceError)]
)
def test_trouble_of_a_stage_is_a_service_error(errors, kind, media):
    with pytest.raises(kind):
        verdict_of(faulty(*errors), media)
    with pytest.raises(kind):
        asyncio.run(faulty(*errors).models())


def test_models_of_all_groups_are_told(bundles):
    facts = asyncio.run(ensemble_of(group(bundles[:2]), group(bundles[2:])).models())
    assert facts == tuple(ModelFacts.of(bundle.card) for bundle in bundles)


def test_a_stage_that_does_not_answer_in_time_is_not_ready(bundles, monkeypatch):
    monkeypatch.setattr(handles, "HEALTH_TIMEOUT_S", 0.01)

    class Loading(Dying):
        async def ready(self) -> None:
            await asyncio.sleep(10)

    with pytest.raises(ServiceError, match=r"0\.01 s"):
        asyncio.run(ensemble_of(stages(bundles[:1], Loading(), Dying())).models())


class Breaking:
    def __call__(self, batch: Any) -> Any:
        msg = "no such operator here"
        raise FormatError(msg)


def test_a_member_that_fails_is_named_and_the_others_decide_without_it(bundles, media):
    replica = plain_replica(bundles[:2])
    replica._detectors[1] = dataclasses.replace(replica._detectors[1], runner=Breaking())
    half = ensemble_of(stages(bundles[:2], Prepare(bundles[0].prep(), ARGS), replica))
    verdict = verdict_of(half, media)
    assert [score.detector for score in verdict.scores] == ["one"]
    assert [(a.detector, a.reason) for a in verdict.abstentions] == [("two", "failed")]
    assert verdict.failed
    replica._detectors = replica._detectors[1:]
    with pytest.raises(FormatError):
        verdict_of(half, media)


def test_a_half_that_does_not_decode_silences_its_group_only(bundles, media):
    class Unreadable(Prepare):
        async def __call__(self, media: Media, frames: int | None = None) -> Any:
            return Preparation(
                prepared=CorruptMediaError("the sound is damaged"), facts=media.facts, elapsed_ms=0.0
            )

    unreadable = Unreadable(bundles[1].prep(), ARGS)
    broken = stages(bundles[1:2], unreadable, plain_replica(bundles[1:2]))
    verdict = verdict_of(ensemble_of(group(bundles[:1]), broken), media)
    assert [score.detector for score in verdict.scores] == ["one"]
    assert [(a.detector, a.message) for a in verdict.abstentions] == [("two", "the sound is damaged")]


@pytest.mark.parametrize("reason", [AbstainError("Too short."), NoFaceError("No face.")])
def test_a_reason_to_abstain_becomes_an_abstention_of_every_member(bundles, media, reason):
    wish = Wish(bundles=frozenset(bundle.card.id for bundle in bundles[:2]))
    preparation = Preparation(prepared=reason, facts=media.facts, elapsed_ms=1.0)
    judgement = asyncio.run(plain_replica(bundles[:2])(preparation, wish))
    assert [(each.detector, each.reason) for each in judgement.outcomes] == [
        ("one", reason.reason),
        ("two", reason.reason),
    ]


def test_a_threshold_decides_as_it_is_set(bundles, media):
    whole = ensemble_of(group(bundles[:2]))
    probability = verdict_of(whole, media).probability
    assert verdict_of(whole, media, threshold=probability / 2).label == "fake"
    assert verdict_of(whole, media, threshold=(1 + probability) / 2).label == "real"


def test_without_the_ensemble_the_best_of_each_modality_answers(bundles, media):
    verdict = verdict_of(ensemble_of(group(bundles[:2])), media, ensemble=False)
    assert verdict.bundles == (min(bundle.card.id for bundle in bundles[:2]),)


def test_the_best_is_best_on_validation_files(bundles):
    facts = [ModelFacts.of(bundle.card) for bundle in bundles[:2]]
    other = max(facts, key=lambda each: each.id)
    known = dataclasses.replace(other, metrics={"validation": {"val_auc": 0.8}})
    unknown = dataclasses.replace(
        min(facts, key=lambda each: each.id), metrics={"validation": {"val_auc": float("nan")}}
    )
    sound = dataclasses.replace(known, id="sound", modality="smell", metrics={})
    assert best([unknown, known, sound]) == {known.id, "sound"}


def test_frames_mean_nothing_to_detectors_of_pictures(bundles, media):
    with pytest.raises(ConfigError, match="several frames"):
        verdict_of(ensemble_of(group(bundles[:1])), media, frames=4)


def test_analyzers_are_asked_if_that_is_wished(bundles, media):
    found = Evidence(analyzer="nose", summary="It smells.", measurements={}, limits="All else.")

    async def testify(asked: Media) -> tuple[Evidence, ...]:
        return (found,)

    one = group(bundles[:1])
    panel = Panel(bundles=frozenset({one.models[0].id}))
    ensemble = Ensemble([one], {MAIN: panel}, testify)
    told = verdict_of(ensemble, media, explain=True).evidence
    assert told[-1] == found
    assert {each.group for each in told[:-1]} == {"model"}, "what the detector looked at"
    assert verdict_of(ensemble, media).evidence == ()


def test_files_of_one_case_get_one_verdict(bundles, picture):
    files = [Media.from_bytes(picture(seed), f"{seed}.png") for seed in range(2)]
    one = ensemble_of(group(bundles[:1]))
    verdict = asyncio.run(one.judge(Question(media=tuple(files)))).verdict
    assert verdict.media.name == "0.png + 1.png"
    assert [score.probability for score in verdict.scores] == [
        verdict_of(one, media).probability for media in files
    ]


def test_variants_ask_their_own_bundles(bundles, media):
    both = group(bundles[:2])
    panels = {facts.name: Panel(bundles=frozenset({facts.id})) for facts in both.models}
    ensemble = Ensemble([both], panels, nothing)
    for facts in both.models:
        answer = asyncio.run(ensemble.judge(Question(media=(media,), variant=facts.name)))
        assert answer.verdict.bundles == (facts.id,)


def test_progress_is_told_on_the_way_over_a_handle(bundles, media):
    planner = Planner([group(bundles[:2]), group(bundles[2:])], panels_of(bundles), nothing)

    async def steps() -> list[Any]:
        backend = RemoteEnsemble(Handle(planner), ("image",))
        return [step async for step in backend.steps(Question(media=(media,)))]

    *progress, answer = asyncio.run(steps())
    assert progress == [Progress(done=1, total=2), Progress(done=2, total=2)]
    assert answer.verdict.media == media.facts


def panels_of(bundles: list[Any]) -> dict[str, Panel]:
    return {MAIN: Panel(bundles=frozenset(bundle.card.id for bundle in bundles))}


class Full:
    """A planner whose ensemble is full."""

    async def models(self) -> Any:
        return OverloadedError("Full.")

    async def judge(self, question: Question) -> Any:
        return OverloadedError("Full.")

    async def steps(self, question: Question) -> Any:
        yield OverloadedError("Full.")


def test_the_backend_raises_what_the_planner_returns(media):
    backend = RemoteEnsemble(Handle(Full()), ("image",))

    async def steps() -> list[Any]:
        return [step async for step in backend.steps(Question(media=(media,)))]

    for call in (backend.models(), backend.judge(Question(media=(media,))), steps()):
        with pytest.raises(OverloadedError):
            asyncio.run(call)


def test_the_planner_returns_what_the_ensemble_raises(bundles, picture):
    planner = Planner([group(bundles[:1])], panels_of(bundles[:1]), nothing)
    broken = Question(media=(Media.from_bytes(picture(0)[:4000], "broken.png"),))

    async def last() -> Any:
        return [step async for step in planner.steps(broken)][-1]

    assert type(asyncio.run(planner.judge(broken))) is CorruptMediaError
    assert type(asyncio.run(last())) is CorruptMediaError


def test_a_memory_that_died_knows_nothing(bundles, media):
    class Dead:
        async def recall(self, key: str) -> None:
            raise RayActorError

    assert asyncio.run(RemoteMemory(Handle(Dead())).recall("x")) is None


class DeskOf(Desk):
    def __init__(self, backend: Any) -> None:
        self._jobs = Jobs(backend)


def test_a_desk_keeps_the_type_of_errors(media):
    async def ask_twice() -> None:
        desk = RemoteDesk(Handle(DeskOf(FakeBackend())))
        job = await desk.submit(Question(media=(media,), request_id="7"))
        assert (job.id, job.status) == ("7", "queued")
        with pytest.raises(UnknownNameError, match="no job '8'"):
            await desk.job("8")

    asyncio.run(ask_twice())


def note(asked: list[str], call: str) -> Callable[..., None]:
    return lambda *_, **__: asked.append(call)


@pytest.fixture
def calls(monkeypatch):
    """What ``serve`` asks of Ray Serve, which does not run."""
    asked: list[str] = []
    monkeypatch.setattr(app.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(app, "available", lambda: (2.0, 0.0))
    for name in ("start", "run", "shutdown"):
        monkeypatch.setattr(app.ray_serve, name, note(asked, name))
    monkeypatch.setattr(app, "_wait_until_ready", lambda url: asked.append(url))
    return asked


def test_serving_returns_once_ready(calls, bundles):
    args = ServeArgs(bundles=[str(bundles[0].path)])
    assert app.serve(args, port=0, blocking=False) == "http://127.0.0.1:0"
    assert calls == ["start", "run", "http://127.0.0.1:0"]


def test_serving_stops_cleanly_when_interrupted(calls, bundles, monkeypatch):
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app.threading.Event, "wait", interrupt)
    app.serve(ServeArgs(bundles=[str(bundles[0].path)]), port=0)
    assert calls == ["start", "run", "http://127.0.0.1:0", "shutdown"]


def test_a_service_that_never_gets_ready_is_taken_down(calls, bundles, monkeypatch):

    monkeypatch.setattr(app, "READY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(app, "_wait_until_ready", WAIT)
    with pytest.raises(ServiceError, match="not ready"):
        app.serve(ServeArgs(bundles=[str(bundles[0].path)]), port=0, blocking=False)
    assert calls == ["start", "run", "shutdown"]


def test_serving_needs_a_cluster(bundles, monkeypatch):
    monkeypatch.setattr(app.ray, "is_initialized", lambda: False)
    with pytest.raises(ResourceError, match="connected"):
        app.serve(ServeArgs(bundles=[str(bundles[0].path)]))
