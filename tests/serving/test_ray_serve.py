"""The graph on a real cluster; one deployment of it serves all tests of this file."""

import pathlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.serving.backend import ModelFacts
from deepscan.serving.config import ServeArgs

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle("one"), make_bundle("two", seed=1), make_bundle("faces", region="face")]


@pytest.fixture(scope="module")
def client(ray_cluster, bundles) -> Iterator[httpx.Client]:
    from ray import serve

    from deepscan.serving import app

    args = ServeArgs(bundles=[str(bundle.path) for bundle in bundles], device="cpu")
    url = app.serve(args, port=free_port(), blocking=False)
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client
    serve.shutdown()


@pytest.fixture(scope="module")
def detectors(bundles) -> list[Detector]:
    return [Detector.load(pathlib.Path(bundle.path), "cpu") for bundle in bundles]


def predict(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post("/api/predict/image", files={"file": ("a.png", data)})


def assert_same(answer: dict[str, Any], media: Media, detectors: list[Detector]) -> None:
    verdict = pipeline.analyze(media, detectors)
    assert answer["label"] == verdict.label
    assert answer["probability"] == pytest.approx(verdict.probability, abs=1e-6)
    assert answer["bundles"] == list(verdict.bundles)
    assert answer["media"]["sha256"] == verdict.media.sha256
    assert [score["detector"] for score in answer["scores"]] == [each.detector for each in verdict.scores]
    for given, expected in zip(answer["scores"], verdict.scores, strict=True):
        assert given["logit"] == pytest.approx(expected.logit, abs=1e-5)
        assert given["probability"] == pytest.approx(expected.probability, abs=1e-6)
        assert len(given["parts"]) == len(expected.parts)


def test_health_is_ready_with_every_bundle(client, bundles):
    answer = client.get("/api/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert sorted(answer.json()["bundles"]) == sorted(bundle.card.id for bundle in bundles)


def test_models_are_described_from_their_cards(client, bundles):
    told = {facts["id"]: facts for facts in client.get("/api/models").json()}
    for bundle in bundles:
        facts = ModelFacts.of(bundle.card)
        assert told[facts.id]["prep"] == facts.prep
        assert told[facts.id]["operating"] == facts.operating
        assert told[facts.id]["metrics"] == facts.metrics


def test_the_verdict_is_that_of_the_pipeline(client, picture, detectors):
    answer = predict(client, picture(0))
    assert answer.status_code == 200
    assert_same(answer.json(), Media.from_bytes(picture(0), "a.png"), detectors)


def test_requests_that_come_together_get_their_own_verdicts(client, picture, detectors):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda seed: predict(client, picture(seed)).json(), range(24)))
    for seed, answer in enumerate(answers):
        assert_same(answer, Media.from_bytes(picture(seed), "a.png"), detectors)
    assert len({answer["probability"] for answer in answers}) == 24


def test_a_detector_that_finds_no_face_abstains_beside_those_that_vote(client, picture):
    answer = predict(client, picture(0)).json()
    assert [(each["detector"], each["reason"]) for each in answer["abstentions"]] == [("faces", "no-face")]


def test_a_corrupt_file_is_422_by_its_own_type(client, picture):
    answer = predict(client, picture(0)[:4000])
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "CorruptMediaError")
    assert "a.png" in answer.json()["error"]["message"]


def test_a_file_that_is_no_media_is_415(client):
    answer = predict(client, b"text")
    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "UnsupportedMediaError")


def test_a_file_over_the_limit_is_413(client):
    answer = predict(client, b"0" * (64 * 2**20 + 1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "MediaTooLargeError")
    answer = predict(client, b"0" * (65 * 2**20))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "MediaTooLargeError")


def test_stages_that_share_a_preparation_share_their_processes(client, bundles):
    from ray import serve

    names = set(serve.status().applications["deepscan"].deployments)
    digests = {bundle.card.prep_digest[:8] for bundle in bundles}
    stages = {f"{stage}-image-{digest}" for stage in ("Prepare", "Replica") for digest in digests}
    assert len(digests) == 2
    assert names == {"Ingress", "Ensemble", "Memory", "Books", "Jobs", "Analyze"} | stages


def test_a_file_that_was_judged_is_answered_from_memory(client, picture):
    first, again = predict(client, picture(99)), predict(client, picture(99))
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("miss", "hit")
    assert again.json() | {"elapsed_ms": 0} == first.json() | {"elapsed_ms": 0}


def test_a_job_is_taken_and_told_by_whoever_is_asked(client, picture):
    answer = client.post("/api/jobs", files={"file": ("a.png", picture(7))}, data={"explain": "true"})
    assert answer.status_code == 202
    end_s = time.monotonic() + 60
    job = answer.json()
    while job["status"] not in ("done", "failed") and time.monotonic() < end_s:
        time.sleep(0.05)
        job = client.get(answer.headers["location"]).json()
    assert (job["status"], job["done"], job["total"]) == ("done", 3, 3)
    expected = predict(client, picture(7)).json()["probability"]
    assert job["verdict"]["probability"] == pytest.approx(expected, abs=1e-6)
    unknown = client.get("/api/jobs/none")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "UnknownNameError")


def test_a_batch_has_a_result_for_each_file(client, picture):
    files = [("file", ("a.png", picture(1))), ("file", ("b.txt", b"text")), ("file", ("c.png", picture(2)))]
    results = client.post("/api/batch-predict", files=files).json()["results"]
    assert [each["name"] for each in results] == ["a.png", "b.txt", "c.png"]
    assert results[1]["error"]["type"] == "UnsupportedMediaError"
    expected = predict(client, picture(2)).json()["probability"]
    assert results[2]["verdict"]["probability"] == pytest.approx(expected, abs=1e-6)


def test_the_best_detector_alone_answers_if_that_is_asked(client, picture, bundles):
    answer = client.post(
        "/api/predict", files={"file": ("a.png", picture(3))}, data={"ensemble": "false"}
    ).json()
    assert answer["bundles"] == [min(bundle.card.id for bundle in bundles)]


def test_what_was_answered_is_in_the_books(client, picture):
    predict(client, picture(4))
    predict(client, b"text")
    end_s = time.monotonic() + 30
    errors: dict[str, int] = {}
    while not errors and time.monotonic() < end_s:
        time.sleep(0.2)
        stats = client.get("/api/stats").json()
        errors = stats["windows"][-1]["errors"]
    assert errors["UnsupportedMediaError"] >= 1
    assert stats["verdict_cache"]["entries"] >= 1
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'deepscan_requests_total{route="/api/predict/image"' in metrics.text
    assert client.get("/api/history?form=csv").text.startswith("start_s")


def test_the_page_is_served(client):
    assert "<title>" in client.get("/").text
