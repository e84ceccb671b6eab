"""Keys, rates and live streams on a real cluster, through the proxy of Serve; new bundles under load."""

import json
import pathlib
import struct
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as dial

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.serving.access import add_key, new_key
from deepscan.serving.config import ServeArgs
from tests.material import DrawnFace, draw, encoded
from tests.serving.test_ray_serve import free_port, predict

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

PER_MINUTE, BURST = 60, 40
FRAMES = {"frames": {"window_s": 4, "every_s": 1, "timed": True}}
TIMES_S = tuple(number / 5 for number in range(6))
PATIENCE_S = 60


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[pathlib.Path, dict[str, str]]:
    path, tokens = tmp_path_factory.mktemp("keys") / "keys", {}
    for name, rate in (("ann", None), ("bob", 6000.0)):
        tokens[name], key = new_key(name, rate)
        add_key(path, key)
    return path, tokens


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle("before"), make_bundle("after", seed=1)]


@pytest.fixture(scope="module")
def args(bundles, keys) -> ServeArgs:
    gate = {"keys_file": str(keys[0]), "requests_per_minute": PER_MINUTE, "burst": BURST}
    return ServeArgs(bundles=[str(bundles[0].path)], device="cpu", decoding={"processes": 0}, gate=gate)


@pytest.fixture(scope="module")
def url(ray_cluster, args) -> Iterator[str]:
    from ray import serve

    from deepscan.serving import app

    yield app.serve(args, port=free_port(), blocking=False)
    serve.shutdown()


def client_of(url: str, token: str = "") -> httpx.Client:
    headers = {"X-API-Key": token} if token else {}
    return httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S, headers=headers)


def stream(url: str, token: str = "") -> ClientConnection:
    headers = {"X-API-Key": token} if token else {}
    return dial(f"{url.replace('http', 'ws', 1)}/api/stream", additional_headers=headers, proxy=None)


def pictures() -> list[bytes]:
    faces = [DrawnFace(x_px=70 + 3 * number, y_px=60, radius_px=35) for number in range(len(TIMES_S))]
    return [encoded(draw(face, size_px=(160, 120)), "JPEG", quality=90) for face in faces]


def test_the_door_is_closed_to_who_has_no_key_and_open_for_health_and_the_page(url, keys, picture):
    with client_of(url) as nobody, client_of(url, keys[1]["bob"]) as bob:
        assert nobody.get("/api/health").status_code == 200
        assert "<title>" in nobody.get("/").text
        refused = predict(nobody, picture(0))
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "UnauthorizedError")
        assert predict(bob, picture(0)).status_code == 200


def test_a_live_stream_through_the_proxy_says_of_the_newest_frame_what_the_pipeline_says(url, keys, bundles):
    with stream(url, keys[1]["bob"]) as connection:
        connection.send(json.dumps(FRAMES))
        for time_s, data in zip(TIMES_S, pictures(), strict=True):
            connection.send(struct.pack("<d", time_s) + data)
        connection.send(json.dumps({"end": True}))
        answers = [json.loads(message) for message in connection]
        assert connection.close_code == 1000
    alone = pipeline.analyze(
        Media.from_bytes(pictures()[-1], "a.jpg"), [Detector.load(bundles[0].path, "cpu")]
    )
    assert answers[-1]["running"]["probability"] == pytest.approx(alone.probability, abs=1e-6)


def test_a_live_stream_without_a_key_is_closed_and_told_why(url):
    with stream(url) as connection:
        said = json.loads(connection.recv(timeout=PATIENCE_S))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=PATIENCE_S)
    assert said["error"]["type"] == "UnauthorizedError"


def test_a_rate_holds_for_a_key_and_leaves_the_others_alone(url, keys, picture):
    with client_of(url, keys[1]["ann"]) as ann, client_of(url, keys[1]["bob"]) as bob:
        answers = [ann.get("/api/models") for _ in range(BURST + 20)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[-1].headers["retry-after"]) >= 1
        assert predict(bob, picture(1)).status_code == 200


def test_another_bundle_takes_the_place_of_the_first_under_load_and_no_request_is_lost(
    url, keys, bundles, args, picture
):
    from ray import serve

    from deepscan.serving import app

    statuses: list[int] = []
    judged_by: list[str] = []
    over = threading.Event()

    def ask() -> None:
        with client_of(url, keys[1]["bob"]) as bob:
            while not over.is_set():
                answer = predict(bob, picture(len(statuses)))
                statuses.append(answer.status_code)
                judged_by.extend(answer.json().get("bundles", ()))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    changed = args.model_copy(update={"bundles": [str(bundles[1].path)]})
    serve.run(app.draw(changed.fitted(1, 2)), name=app.NAME)
    end_s = time.monotonic() + PATIENCE_S
    while judged_by[-1:] != [bundles[1].card.id] and time.monotonic() < end_s:
        time.sleep(0.1)
    time.sleep(1)
    over.set()
    for thread in asking:
        thread.join()
    assert set(statuses) == {200}
    assert judged_by[0] == bundles[0].card.id
    assert judged_by[-1] == bundles[1].card.id
