"""A service of many bundles that are rarely asked for: on a real cluster, with few of them in memory."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.serving.config import ServeArgs
from tests.serving.test_ray_serve import free_port, predict

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle(f"rare-{seed}", seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def client(ray_cluster, bundles) -> Iterator[httpx.Client]:
    from ray import serve

    from deepscan.serving import app

    paths = [str(bundle.path) for bundle in bundles]
    variant = {"name": "last", "bundles": paths[2:], "weight": 0}
    args = ServeArgs(
        bundles=paths[:2],
        device="cpu",
        decoding={"processes": 0},
        asleep="image",
        resident=1,
        experiment={"variants": [variant], "salt": "s"},
    )
    url = app.serve(args, port=free_port(), blocking=False)
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        yield client
    serve.shutdown()


def running(name: str) -> int:
    from ray import serve

    deployments = serve.status().applications["deepscan"].deployments
    (found,) = (each for key, each in deployments.items() if key.startswith(name))
    states: dict[Any, int] = found.replica_states
    return states.get("RUNNING", 0)


def test_nothing_runs_before_somebody_asks_and_all_is_answered_then(client, bundles, picture):
    assert client.get("/api/health").status_code == 200
    assert (running("Prepare"), running("Replica")) == (0, 0)
    media = Media.from_bytes(picture(0), "a.png")
    expected = pipeline.analyze(media, [Detector.load(bundle.path, "cpu") for bundle in bundles[:2]])
    answer = predict(client, picture(0))
    assert answer.status_code == 200
    assert answer.json()["probability"] == pytest.approx(expected.probability, abs=1e-6)
    assert len(answer.json()["scores"]) == 2
    end_s = time.monotonic() + 30
    while running("Replica") == 0 and time.monotonic() < end_s:
        time.sleep(0.2)
    assert running("Replica") == 1


def test_bundles_take_turns_in_a_process_that_holds_one(client, bundles, picture):
    alone = [
        client.post("/api/predict", files={"file": ("a.png", picture(seed))}, data={"ensemble": "false"})
        for seed in range(1, 3)
    ]
    both = [predict(client, picture(seed)) for seed in range(1, 3)]
    best = min(bundle.card.id for bundle in bundles[:2])
    for one, two in zip(alone, both, strict=True):
        scores = {score["bundle"]: score["probability"] for score in two.json()["scores"]}
        assert one.json()["bundles"] == [best]
        assert one.json()["probability"] == pytest.approx(scores[best], abs=1e-6)
