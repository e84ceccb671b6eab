import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.errors import (
    AbstainError,
    CorruptMediaError,
    FormatError,
    NoFaceError,
    OverloadedError,
    ResourceError,
    ServiceError,
)
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.serving import app, ensemble
from deepscan.serving.api import ModelFacts
from deepscan.serving.config import ServeArgs
from deepscan.serving.ensemble import Ensemble, EnsembleBackend, Group, ask
from deepscan.serving.replica import Prepare, Replica
from deepscan.verdict import to_dict

WAIT = app._wait_until_ready
FULL = BackPressureError(num_queued_requests=1, max_queued_requests=1)


class Handle:
    """Stands in for a deployment's handle: awaits arguments like Serve and calls the object itself."""

    def __init__(self, target: Any) -> None:
        for name in ("models", "ready", "predict"):
            if hasattr(target, name):
                setattr(self, name, SimpleNamespace(remote=self._through(getattr(target, name))))
        if callable(target):
            self.remote = self._through(target.__call__)

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

    async def models(self) -> tuple[ModelFacts, ...]:
        await self()
        return ()

    async def ready(self) -> None:
        await asyncio.sleep(0)


def plain_replica(bundles: list[Any]) -> Replica:
    """A Replica whose batches are run without Serve's queue."""
    replica = Replica([str(bundle.path) for bundle in bundles], (), "cpu", cpus=1)

    async def alone(examples: list[Any]) -> Any:
        return replica._outputs_of([examples])[0]

    replica._outputs = alone
    return replica


def group(bundles: list[Any]) -> Group:
    prepare, replica = Prepare(bundles[0].prep()), plain_replica(bundles)
    return Group(modality="image", prepare=Handle(prepare), replica=Handle(replica))


def faulty(*errors: Exception) -> Ensemble:
    stage = Handle(Dying(*errors))
    return Ensemble([Group(modality="image", prepare=Handle(Dying()), replica=stage)], FusionPolicy())


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
    groups = [group(bundles[:2]), group(bundles[2:])]
    verdict = asyncio.run(Ensemble(groups, FusionPolicy()).predict(media, "image"))
    expected = pipeline.analyze(media, [Detector.load(bundle.path, "cpu") for bundle in bundles])
    assert verdict.probability == pytest.approx(expected.probability, abs=1e-6)
    assert (verdict.label, verdict.bundles) == (expected.label, expected.bundles)
    assert verdict.abstentions == expected.abstentions
    assert {score.detector for score in verdict.scores} == {"one", "two"}
    assert 0 < verdict.elapsed_ms < 60_000


def test_only_groups_of_the_modality_are_asked(media):
    refusing = faulty(AssertionError("asked"))
    verdict = asyncio.run(refusing.predict(media, "smell"))
    assert to_dict(verdict)["scores"] == ()


def test_a_corrupt_file_comes_back_as_a_value_with_its_type(bundles, picture):
    broken = Media.from_bytes(picture(0)[:4000], "broken.png")
    answer = asyncio.run(Ensemble([group(bundles[:1])], FusionPolicy()).predict(broken, "image"))
    assert type(answer) is CorruptMediaError
    assert "broken.png" in str(answer)


@pytest.mark.parametrize(
    ("errors", "kind"), [((FULL,), OverloadedError), ((RayActorError(),) * 2, ServiceError)]
)
def test_trouble_of_a_stage_comes_back_as_a_value(errors, kind, media):
    assert type(asyncio.run(faulty(*errors).predict(media, "image"))) is kind
    assert type(asyncio.run(faulty(*errors).models())) is kind


def test_models_of_all_groups_are_told(bundles):
    facts = asyncio.run(Ensemble([group(bundles[:2]), group(bundles[2:])], FusionPolicy()).models())
    assert facts == tuple(ModelFacts.of(bundle.card) for bundle in bundles)


def test_a_stage_that_does_not_answer_in_time_is_not_ready(monkeypatch):
    monkeypatch.setattr(ensemble, "HEALTH_TIMEOUT_S", 0.01)

    class Loading(Dying):
        async def ready(self) -> None:
            await asyncio.sleep(10)

    slow = Group(modality="image", prepare=Handle(Loading()), replica=Handle(Dying()))
    answer = asyncio.run(Ensemble([slow], FusionPolicy()).models())
    assert type(answer) is ServiceError
    assert "0.01 s" in str(answer)


def test_requests_of_one_batch_get_their_own_logits(bundles, picture):
    replica = plain_replica(bundles[:2])
    prep = bundles[0].prep()
    requests = [prep(Media.from_bytes(picture(seed), "a.png")) for seed in range(3)]
    requests[1] = requests[1] * 2
    together = replica._outputs_of(requests)
    for examples, outputs_D in zip(requests, together, strict=True):
        assert [len(outputs["logit"]) for outputs in outputs_D] == [len(examples)] * 2
        for outputs, alone in zip(outputs_D, replica._outputs_of([examples])[0], strict=True):
            np.testing.assert_allclose(outputs["logit"], alone["logit"], atol=1e-5)


class Breaking:
    def __call__(self, batch: Any) -> Any:
        msg = "no such operator here"
        raise FormatError(msg)


def test_a_member_that_fails_is_named_and_the_others_decide_without_it(bundles, media):
    replica = plain_replica(bundles[:2])
    replica._detectors[1] = dataclasses.replace(replica._detectors[1], runner=Breaking())
    stages = Group(modality="image", prepare=Handle(Prepare(bundles[0].prep())), replica=Handle(replica))
    verdict = asyncio.run(Ensemble([stages], FusionPolicy()).predict(media, "image"))
    assert [score.detector for score in verdict.scores] == ["one"]
    assert [(a.detector, a.reason) for a in verdict.abstentions] == [("two", "failed")]
    replica._detectors = replica._detectors[1:]
    assert type(asyncio.run(Ensemble([stages], FusionPolicy()).predict(media, "image"))) is FormatError


def test_a_half_that_does_not_decode_silences_its_group_only(bundles, media):
    class Unreadable(Prepare):
        async def __call__(self, media: Media) -> Any:
            return CorruptMediaError("the sound is damaged")

    broken = dataclasses.replace(group(bundles[1:2]), prepare=Handle(Unreadable(bundles[1].prep())))
    verdict = asyncio.run(Ensemble([group(bundles[:1]), broken], FusionPolicy()).predict(media, "image"))
    assert [score.detector for score in verdict.scores] == ["one"]
    assert [(a.detector, a.message) for a in verdict.abstentions] == [("two", "the sound is damaged")]


@pytest.mark.parametrize("reason", [AbstainError("Too short."), NoFaceError("No face.")])
def test_a_reason_to_abstain_becomes_an_abstention_of_every_member(bundles, reason):
    outcomes = asyncio.run(plain_replica(bundles[:2])(reason))
    assert [(each.detector, each.reason) for each in outcomes] == [
        ("one", reason.reason),
        ("two", reason.reason),
    ]


def test_the_backend_raises_what_the_ensemble_returns(media):
    backend = EnsembleBackend(Handle(faulty(FULL, FULL)), ("image",))
    with pytest.raises(OverloadedError):
        asyncio.run(backend.predict(media, "image"))
    with pytest.raises(OverloadedError):
        asyncio.run(backend.models())


def test_the_backend_gives_the_answers_of_the_ensemble(bundles, media):
    backend = EnsembleBackend(Handle(Ensemble([group(bundles[:1])], FusionPolicy())), ("image",))
    assert [facts.name for facts in asyncio.run(backend.models())] == ["one"]
    assert asyncio.run(backend.predict(media, "image")).media == media.facts


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
