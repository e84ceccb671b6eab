import asyncio
import pathlib
import threading
from types import SimpleNamespace

import pytest

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.ensemble import Ensemble, entry
from deepscan.errors import (
    BundleError,
    ConfigError,
    CorruptMediaError,
    OverloadedError,
    UnsupportedMediaError,
)
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.serving import app, local
from deepscan.serving.backend import ModelFacts, Question
from deepscan.serving.config import ServeArgs
from deepscan.serving.local import local_ensemble
from deepscan.serving.preparing import Workbench
from deepscan.verdict import to_dict
from tests.sounds import speech, wav


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle("whole"), make_bundle("faces", seed=1, region="face")]


@pytest.fixture(scope="module")
def detectors(bundles):
    return [Detector.load(bundle.path, "cpu") for bundle in bundles]


def ask(media, modality="image"):
    return Question(media=(media,), modality=modality)


def timeless(verdict):
    return to_dict(verdict) | {"elapsed_ms": None}


def test_the_verdict_is_that_of_the_pipeline(detectors, picture):
    media = Media.from_bytes(picture(0), "a.png")
    verdict = asyncio.run(local_ensemble(detectors).judge(ask(media))).verdict
    assert timeless(verdict) == timeless(pipeline.analyze(media, detectors))
    assert [score.detector for score in verdict.scores] == ["whole"]
    assert [abstention.reason for abstention in verdict.abstentions] == ["no-face"]


def test_what_nobody_looks_at_is_refused(detectors):
    sound = Media.from_bytes(wav(speech(0.3)), "a.wav")
    with pytest.raises(UnsupportedMediaError, match="no detector here looks at; GET /api/models"):
        asyncio.run(local_ensemble(detectors).judge(ask(sound, modality=None)))
    with pytest.raises(UnsupportedMediaError, match="no detector for image here looks at"):
        asyncio.run(local_ensemble(detectors).judge(ask(sound)))


def test_it_tells_what_is_loaded(detectors, bundles):
    backend = local_ensemble(detectors)
    assert backend.modalities == ("image",)
    told = asyncio.run(backend.models())
    assert set(map(str, told)) == {str(ModelFacts.of(bundle.card)) for bundle in bundles}


def test_a_file_that_does_not_decode_is_refused(detectors, picture):
    media = Media.from_bytes(picture(0)[:4000], "a.png")
    with pytest.raises(CorruptMediaError, match="truncated"):
        asyncio.run(local_ensemble(detectors).judge(ask(media)))


def test_the_loop_stays_free_and_a_full_bench_refuses(detectors, picture, monkeypatch):
    go_on = threading.Event()
    prepare = pipeline.prepare
    monkeypatch.setattr(pipeline, "prepare", lambda *given: go_on.wait(10) and prepare(*given))
    media = Media.from_bytes(picture(0), "a.png")

    async def crowd() -> None:
        backend = local_ensemble(detectors[:1], bench=Workbench(at_once=1, max_queued=1))
        waiting = [asyncio.create_task(backend.judge(ask(media))) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert len(await backend.models()) == 1
        with pytest.raises(OverloadedError, match="again later"):
            await backend.judge(ask(media))
        go_on.set()
        first, second = await asyncio.gather(*waiting)
        assert timeless(first.verdict) == timeless(second.verdict)

    asyncio.run(crowd())


def test_the_application_of_the_arguments_judges_and_keeps_limits(bundles, call, picture):
    args = ServeArgs(bundles=[str(bundle.path) for bundle in bundles], limits={"max_bytes": 30_000})
    api = local.build(args)
    media = Media.from_bytes(picture(0), "a.png")
    expected = pipeline.analyze(media, [Detector.load(bundle.path, "cpu") for bundle in bundles])
    answer = call(api, "POST", "/api/predict/image", files={"file": ("a.png", picture(0))})
    assert answer.json()["probability"] == expected.probability
    again = call(api, "POST", "/api/predict/image", files={"file": ("b.png", picture(0))})
    assert (again.headers["x-cache"], again.json()["media"]["name"]) == ("hit", "b.png")
    assert again.json()["probability"] == expected.probability
    assert call(api, "POST", "/api/predict/image", files={"file": b"0" * 30_001}).status_code == 413


@pytest.fixture
def ensemble(make_bundle, tmp_path):
    """A file of two bundles of one Prep that only the first has a say in."""
    members = [make_bundle("heard"), make_bundle("unheard", seed=3)]
    path = tmp_path / "e.json"
    policy = FusionPolicy(weights={"heard": 1.0, "unheard": 0.0})
    Ensemble(entries=tuple(entry(member, path) for member in members), policy=policy).save(path)
    return path


def test_an_ensemble_file_is_served_like_a_bundle(ensemble, call, picture):
    upload = {"file": ("a.png", picture(0))}
    answer = call(local.build(ServeArgs(bundles=str(ensemble))), "POST", "/api/predict/image", files=upload)
    scores = {score["detector"]: score["probability"] for score in answer.json()["scores"]}
    assert set(scores) == {"heard", "unheard"}
    assert answer.json()["probability"] == scores["heard"]
    strict = local.build(ServeArgs(bundles=str(ensemble), fusion="min_models=2"))
    assert call(strict, "POST", "/api/predict/image", files=upload).json()["probability"] is None


def test_the_graph_of_serve_fuses_by_the_ensemble(ensemble, monkeypatch):
    bound = []
    original = app._deployment

    def deployment(stage_class, stage, **options):
        if stage_class is app.Planner:
            return SimpleNamespace(bind=lambda *given: bound.append(given))
        return original(stage_class, stage, **options)

    monkeypatch.setattr(app, "_deployment", deployment)
    app.draw(ServeArgs(bundles=str(ensemble), fusion="threshold=0.75"))
    ((groups, panels, _),) = bound
    assert len(groups) == 1
    assert panels["main"].bundles == {facts.id for facts in groups[0].models}
    assert panels["main"].policy == FusionPolicy(weights={"heard": 1.0, "unheard": 0.0}, threshold=0.75)


def test_an_inconclusive_verdict_is_200_with_its_abstention(make_bundle, call, picture):
    api = local.build(ServeArgs(bundles=[str(make_bundle("lone", region="face").path)]))
    answer = call(api, "POST", "/api/predict/image", files={"file": ("a.png", picture(0))})
    assert answer.status_code == 200
    assert (answer.json()["label"], answer.json()["probability"]) == ("inconclusive", None)
    assert answer.json()["abstentions"][0]["reason"] == "no-face"


def test_a_missing_bundle_is_said_before_the_port_is_opened(monkeypatch):
    monkeypatch.setattr(local.uvicorn, "run", lambda *given, **named: pytest.fail("opened a port"))
    with pytest.raises(BundleError, match="nowhere"):
        local.serve(ServeArgs(bundles=["nowhere"]), port=0)


def test_a_plugin_is_loaded_first(tmp_path: pathlib.Path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text("raise ValueError('executed')")
    with pytest.raises(ConfigError, match="executed"):
        local.build(ServeArgs(bundles=["nowhere"], plugins=str(plugin)))


def test_serving_listens_where_it_was_told(bundles, monkeypatch):
    given = {}
    monkeypatch.setattr(local.uvicorn, "run", lambda api, **named: given.update(named))
    local.serve(ServeArgs(bundles=[str(bundles[0].path)]), "127.0.0.2", 0)
    assert (given["host"], given["port"]) == ("127.0.0.2", 0)
