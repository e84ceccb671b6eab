"""The client and a live stream against the service itself, over real sockets."""

import json
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from websockets.sync.client import connect

from deepscan import pipeline
from deepscan.client import Client, Problem
from deepscan.detector import Detector
from deepscan.errors import ConfigError, UnauthorizedError, UnsupportedMediaError
from deepscan.media.source import Media
from deepscan.serving import local
from deepscan.serving.access import add_key, new_key
from deepscan.serving.config import ServeArgs
from deepscan.serving.gate import wrap
from tests.material import DrawnFace, draw, encoded


@pytest.fixture(scope="module")
def bundle(make_bundle):
    return make_bundle("served")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    token, key = new_key("ann", None)
    path = tmp_path_factory.mktemp("keys") / "keys"
    add_key(path, key)
    return token, str(path)


@pytest.fixture(scope="module")
def address(bundle, key, tmp_path_factory) -> Iterator[str]:
    log = str(tmp_path_factory.mktemp("log"))
    args = ServeArgs(
        bundles=[str(bundle.path)],
        device="cpu",
        decoding={"processes": 1},
        experiment={"log": log},
        gate={"keys_file": key[1]},
    )
    app = wrap(local.build(args), args.gate)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def client(address, key) -> Iterator[Client]:
    with Client(f"http://{address}", api_key=key[0]) as client:
        yield client


@pytest.fixture
def files(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "b.txt").write_bytes(b"text")
    return [tmp_path / "a.png", tmp_path / "b.txt"]


def test_a_verdict_comes_back_as_the_pipeline_gives_it(client, bundle, files):
    expected = pipeline.analyze(Media.from_path(files[0]), [Detector.load(bundle.path, "cpu")])
    for verdict in (client.predict(files[0]), client.predict(files[0], modality="image")):
        assert (verdict.scores, verdict.media, verdict.bundles) == (
            expected.scores,
            expected.media,
            expected.bundles,
        )
    assert client.predict(files[0], confidence_threshold=0.001).label == "fake"


def test_a_batch_a_job_and_a_case_give_the_same(client, files):
    probability = client.predict(files[0]).probability
    verdict, problem = client.predict_batch(files)
    assert verdict.probability == pytest.approx(probability, abs=1e-6)
    assert isinstance(problem, Problem)
    assert problem.type == "UnsupportedMediaError"
    assert client.wait(client.submit(files[0]), timeout_s=60).probability == pytest.approx(
        probability, abs=1e-6
    )
    assert client.predict_multimodal(files[0]).probability == pytest.approx(probability, abs=1e-6)


def test_refusals_keep_their_type(client, address, files):
    with pytest.raises(UnsupportedMediaError):
        client.predict(files[1])
    with pytest.raises(ConfigError, match="num_frames"):
        client.predict(files[0], modality="image", num_frames=3)
    with Client(f"http://{address}") as stranger, pytest.raises(UnauthorizedError):
        stranger.predict(files[0])


def test_the_service_tells_of_itself(client, bundle, files):
    verdict = client.predict(files[0])
    assert client.health()["status"] == "ready"
    assert [facts["id"] for facts in client.models()] == [bundle.card.id]
    client.feedback(verdict, "real")
    assert client.stats()["windows"][-1]["requests"] > 0


def test_frames_are_judged_as_they_come(address, key):
    frame = encoded(draw(DrawnFace()), "JPEG")
    headers = {"X-API-Key": key[0]}
    with connect(f"ws://{address}/api/stream", proxy=None, additional_headers=headers) as stream:
        stream.send(json.dumps({"frames": {"window_s": 4, "every_s": 1}}))
        for _ in range(3):
            stream.send(frame)
        stream.send(json.dumps({"end": True}))
        *_, last = [json.loads(message) for message in stream]
    assert last["running"]["basis"] == "frames"
    assert 0 < last["running"]["probability"] < 1
    assert last["verdict"]["scores"][0]["detector"] == "served"
