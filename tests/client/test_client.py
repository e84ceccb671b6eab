import asyncio
import email
import email.policy
import http.server
import inspect
import json
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deepscan import errors
from deepscan.client import AsyncClient, Client, Job, Problem, clients, flows
from deepscan.errors import (
    ConfigError,
    MediaError,
    OverloadedError,
    ServiceError,
    UnknownNameError,
    UnsupportedMediaError,
)
from deepscan.verdict import Abstention, MediaFacts, Verdict, to_dict

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
VERDICT = Verdict(
    label="inconclusive", probability=None, uncertainty=None, scores=(), evidence=(), elapsed_ms=1.5,
    abstentions=(Abstention(detector="faces", bundle="b", modality="image", reason="no-face", message="."),),
    media=MediaFacts(name="a.jpg", kind="image", container="jpeg", bytes=3, sha256="ab" * 32), bundles=("b",),
)  # fmt: skip
PLAIN = json.loads(json.dumps(to_dict(VERDICT)))
PROBLEM = {"type": "UnsupportedMediaError", "message": "It is no media.", "request_id": None}

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Service:
    """A stand-in: gives these answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status, body, *headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return httpx.Response(status, content=content, headers=headers[0] if headers else {})

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    @property
    def form(self) -> list[tuple[str, str | None, bytes]]:
        """Name, file name and content of each part of the last request."""
        request = self.requests[-1]
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + request.content, policy=email.policy.HTTP)
        return [
            (str(part.get_param("name", header="content-disposition")), part.get_filename(), body)
            for part in message.iter_parts()
            if isinstance(body := part.get_payload(decode=True), bytes)
        ]


class Sleeper:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept_s)

    def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)

    async def sleep_async(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)


@pytest.fixture
def sleeper(monkeypatch) -> Sleeper:
    sleeper = Sleeper()
    # The names in these modules, and not the functions themselves: other threads of the tests sleep too.
    monkeypatch.setattr(clients, "time", SimpleNamespace(sleep=sleeper.sleep))
    monkeypatch.setattr(flows, "time", SimpleNamespace(monotonic=sleeper.monotonic))
    monkeypatch.setattr(clients, "asyncio", SimpleNamespace(sleep=sleeper.sleep_async))
    return sleeper


Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request) -> Ask:
    """Returns ``ask(service, method, *arguments, of_client=None, **options)``, for each of the clients."""

    def at_once(service: Service, method: str, *given: Any, of_client: Any = None, **options: Any) -> Any:
        with Client(transport=httpx.MockTransport(service), **(of_client or {})) as client:
            return getattr(client, method)(*given, **options)

    def awaited(service: Service, method: str, *given: Any, of_client: Any = None, **options: Any) -> Any:
        async def run() -> Any:
            async with AsyncClient(transport=httpx.MockTransport(service), **(of_client or {})) as client:
                return await getattr(client, method)(*given, **options)

        return asyncio.run(run())

    return at_once if request.param == "sync" else awaited


def job(status: str, **fields: object) -> Answer:
    return 200, {"id": "j1", "status": status, "done": 1, "total": 4, "verdict": None, "error": None} | fields


def signatures(client: type) -> dict[str, list[str]]:
    public = {name: each for name, each in vars(client).items() if name[0] != "_"}
    return {name: list(inspect.signature(each).parameters) for name, each in public.items()}


def test_both_clients_have_the_same_methods():
    assert signatures(Client) == signatures(AsyncClient)
    assert len(signatures(Client)) == 11


def test_a_verdict_is_the_one_that_the_service_gave(ask, tmp_path):
    service = Service((200, PLAIN))
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\r\n--x")
    assert ask(service, "predict", tmp_path / "photo.jpg") == VERDICT
    assert service.asked == ["POST /api/predict"]
    assert service.form == [("file", "photo.jpg", b"\xff\xd8\r\n--x")]


def test_a_modality_has_a_route_of_its_own_and_bytes_need_no_file(ask):
    service = Service((200, PLAIN))
    ask(service, "predict", b"abc", modality="image")
    ask(service, "predict", b"abc", modality="a/../b")
    assert [request.url.raw_path for request in service.requests] == [
        b"/api/predict/image", b"/api/predict/a%2F..%2Fb",
    ]  # fmt: skip
    assert service.form == [("file", "upload", b"abc")]


@pytest.mark.parametrize("method", ["predict", "predict_multimodal", "submit"])
def test_options_travel_as_fields_of_the_form(ask, method):
    service = Service((200, PLAIN if method != "submit" else job("queued")[1]))
    ask(service, method, b"abc", confidence_threshold=0.25, num_frames=8, explain=True, ensemble=False)
    fields = {name: value for name, file_name, value in service.form if file_name is None}
    assert fields == {
        "confidence_threshold": b"0.25", "num_frames": b"8", "explain": b"true", "ensemble": b"false",
    }  # fmt: skip


def test_options_that_are_none_are_not_sent(ask):
    service = Service((200, PLAIN))
    ask(service, "predict", b"abc", modality=None, num_frames=None, explain=None)
    assert [name for name, _, _ in service.form] == ["file"]


def test_pictures_and_sound_may_be_two_files(ask, tmp_path):
    service = Service((200, PLAIN))
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert ask(service, "predict_multimodal", b"clip", str(tmp_path / "a.wav")) == VERDICT
    assert service.form == [("file", "upload", b"clip"), ("sound", "a.wav", b"RIFF")]
    ask(service, "predict_multimodal", b"clip")
    assert [name for name, _, _ in service.form] == ["file"]
    assert set(service.asked) == {"POST /api/predict/multimodal"}


def test_a_batch_has_a_verdict_or_a_problem_for_each_file(ask):
    results = [
        {"name": "upload", "verdict": PLAIN, "error": None},
        {"name": "upload", "verdict": None, "error": PROBLEM},
    ]
    service = Service((200, {"results": results}))
    assert ask(service, "predict_batch", [b"a", b"b"], num_frames=4) == [VERDICT, Problem(**PROBLEM)]
    assert service.asked == ["POST /api/batch-predict"]
    assert service.form == [("num_frames", None, b"4"), ("file", "upload", b"a"), ("file", "upload", b"b")]


def test_a_file_that_cannot_be_read_is_told_before_anything_is_sent(ask, tmp_path):
    service = Service((200, PLAIN))
    with pytest.raises(MediaError, match=r"absent\.jpg.*cannot be read"):
        ask(service, "predict", tmp_path / "absent.jpg")
    assert service.asked == []


def test_a_job_is_handed_over_and_looked_at(ask):
    service = Service((202, job("queued")[1]), job("running", done=3, total=7))
    assert ask(service, "submit", b"abc") == "j1"
    assert ask(service, "job", "j1") == Job(id="j1", status="running", done=3, total=7)
    assert service.asked == ["POST /api/jobs", "GET /api/jobs/j1"]


def test_a_job_is_waited_for_longer_each_time(ask, sleeper):
    service = Service(*[job("running")] * 8, job("done", verdict=PLAIN))
    assert ask(service, "wait", "j1") == VERDICT
    assert sleeper.slept_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0])


def test_a_job_that_failed_raises_what_it_failed_with(ask):
    with pytest.raises(UnsupportedMediaError, match="It is no media"):
        ask(Service(job("failed", error=PROBLEM)), "wait", "j1")
    with pytest.raises(ServiceError, match="is done but says nothing"):
        ask(Service(job("done")), "wait", "j1")


def test_a_job_is_not_waited_for_longer_than_asked(ask, sleeper):
    service = Service(job("running"))
    with pytest.raises(ServiceError, match=r"'j1' is running \(1 of 4 steps\) after 1 s"):
        ask(service, "wait", "j1", timeout_s=1)
    assert sum(sleeper.slept_s) <= 1


def test_what_is_loaded_and_counted_comes_as_it_is(ask):
    service = Service((200, [{"id": "b"}]), (200, {"requests": 3}))
    assert ask(service, "models") == [{"id": "b"}]
    assert ask(service, "stats") == {"requests": 3}
    assert service.asked == ["GET /api/models", "GET /api/stats"]


@pytest.mark.parametrize(("status", "word"), [(200, "ready"), (503, "loading")])
def test_health_is_an_answer_while_something_loads_too(ask, sleeper, status, word):
    answer = {"status": word, "bundles": []}
    service = Service((status, answer))
    assert ask(service, "health") == answer
    assert (len(service.asked), sleeper.slept_s) == (1, [])


def test_health_of_something_else_is_no_health(ask):
    with pytest.raises(ServiceError, match=r"answered 503: gone"):
        ask(Service((503, "gone")), "health")


def test_feedback_names_the_content_of_a_verdict_or_a_request(ask):
    service = Service((204, ""))
    ask(service, "feedback", VERDICT, "fake")
    ask(service, "feedback", "request-7", "real")
    assert [json.loads(request.content) for request in service.requests] == [
        {"sha256": "ab" * 32, "label": "fake"}, {"request_id": "request-7", "label": "real"},
    ]  # fmt: skip


def test_feedback_that_is_refused_is_an_error(ask):
    problem = {"type": "UnknownNameError", "message": "No such request.", "request_id": None}
    with pytest.raises(UnknownNameError, match="No such request"):
        ask(Service((404, {"error": problem})), "feedback", "request-7", "real")


def every_error() -> list[type[errors.DeepscanError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_the_class_that_it_was(kind):
    service = Service((422, {"error": {"type": kind.__name__, "message": "So it is.", "request_id": None}}))
    with (
        Client(transport=httpx.MockTransport(service)) as client,
        pytest.raises(errors.DeepscanError, match=r"^So it is\.$") as raised,
    ):
        client.predict(b"abc")
    assert type(raised.value) is kind


@pytest.mark.parametrize("name", ["InternalError", "HTTPException", "__doc__", "inspect"])
def test_an_error_of_no_known_class_is_one_of_the_service(ask, name):
    problem = {"type": name, "message": "See the log.", "request_id": "r7"}
    with pytest.raises(ServiceError, match=r"^See the log\. \(request r7\)$"):
        ask(Service((500, {"error": problem})), "models")


@pytest.mark.parametrize("body", ["busy", "", [], {"error": "no"}, {"error": {"type": "X"}}, {"detail": 1}])
def test_a_refusal_in_other_words_is_told_as_it_came(ask, body):
    with pytest.raises(ServiceError, match=r"http://127.0.0.1:8000/api/models answered 502: \S"):
        ask(Service((502, body)), "models")


@pytest.mark.parametrize("answer", ["<html>", [], {}, PLAIN | {"probability": "0.5"}, PLAIN | {"label": "?"}])
def test_an_answer_that_is_no_verdict_is_an_error_of_the_service(ask, answer):
    with pytest.raises(ServiceError, match="not what this client understands"):
        ask(Service((200, answer)), "predict", b"abc")


@pytest.mark.parametrize(
    ("method", "answer"), [("predict_batch", {"results": [{}]}), ("predict_batch", []), ("job", {"id": 1})]
)
def test_other_answers_are_read_as_strictly(ask, method, answer):
    with pytest.raises(ServiceError, match="not what this client understands"):
        ask(Service((200, answer)), method, "j1" if method == "job" else [b"a"])


FULL = {"error": {"type": "OverloadedError", "message": "Too many wait.", "request_id": None}}


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_service_is_asked_again_when_it_says(ask, sleeper, status):
    service = Service((status, FULL, {"Retry-After": "7"}), (status, "busy"), (200, PLAIN))
    assert ask(service, "predict", b"abc") == VERDICT
    assert sleeper.slept_s == [7, 1]
    assert [request.content.count(b"abc") for request in service.requests] == [1, 1, 1]


@pytest.mark.parametrize(("said", "waited_s"), [("3600", 30), ("-1", 0.5), ("soon", 0.5), ("", 0.5)])
def test_no_service_makes_a_client_wait_for_ever(ask, sleeper, said, waited_s):
    ask(Service((503, FULL, {"Retry-After": said}), (200, PLAIN)), "predict", b"abc")
    assert sleeper.slept_s == [waited_s]


@pytest.mark.parametrize("retries", [0, 3])
def test_a_service_that_stays_full_is_an_error_after_so_many_tries(ask, sleeper, retries):
    service = Service((503, FULL))
    with pytest.raises(OverloadedError, match="Too many wait"):
        ask(service, "predict", b"abc", of_client={"retries": retries})
    assert (len(service.asked), len(sleeper.slept_s)) == (retries + 1, retries)


def test_what_is_wrong_with_a_file_is_not_asked_twice(ask, sleeper):
    service = Service((415, {"error": PROBLEM}))
    with pytest.raises(UnsupportedMediaError):
        ask(service, "predict", b"abc")
    assert len(service.asked) == 1


@pytest.mark.parametrize("why", [httpx.ConnectError("refused"), httpx.ReadTimeout("")])
def test_a_service_that_cannot_be_reached_is_an_error_with_its_address(ask, why):
    def nobody(request: httpx.Request) -> httpx.Response:
        raise why

    name = str(why) or "ReadTimeout"
    with pytest.raises(ServiceError, match=rf"http://127\.0\.0\.1:8000/api/models \({name}\)"):
        ask(nobody, "models")


def test_a_key_is_sent_with_every_request_and_only_where_there_is_one(ask):
    service = Service((200, []))
    ask(service, "models", of_client={"api_key": "secret"})
    ask(service, "models")
    assert [request.headers.get("X-API-Key") for request in service.requests] == ["secret", None]


def test_the_service_may_be_elsewhere_and_below_a_path(ask):
    service = Service((200, []))
    ask(service, "models", of_client={"base_url": "https://example.org/deepscan/", "timeout_s": 3})
    (request,) = service.requests
    assert str(request.url) == "https://example.org/deepscan/api/models"
    assert request.extensions["timeout"]["read"] == 3


@pytest.mark.parametrize(
    ("host", "trusted"),
    [("127.0.0.1", False), ("[::1]", False), ("localhost", False), ("10.0.0.1", True), ("example.org", True)],
)
def test_proxies_of_the_environment_are_for_other_machines_only(host, trusted):
    settings = flows.Settings.of(f"http://{host}:8000", None, 60, 0)
    assert settings.of_httpx["trust_env"] is trusted


@pytest.mark.parametrize(
    "given",
    [{"base_url": "127.0.0.1:8000"}, {"base_url": "http://"}, {"base_url": "http://a:b"}, {"retries": -1},
     {"timeout_s": 0}, {"timeout_s": float("nan")}],
)  # fmt: skip
def test_a_client_is_made_with_sound_settings(given):
    for kind in (Client, AsyncClient):
        with pytest.raises(ConfigError, match=re.escape(flows.BASE_URL)):
            kind(**given)


@pytest.fixture
def port() -> Iterator[int]:
    """Of a real server, which answers as the documented service would."""
    done = job("done", verdict=PLAIN)[1]
    answers = {
        "/api/health": {"status": "ready", "bundles": ["b"]},
        "/api/predict/image": PLAIN,
        "/api/batch-predict": {"results": [{"name": "a", "verdict": None, "error": PROBLEM}]},
        "/api/jobs": job("queued")[1],
        "/api/jobs/j1": done,
        "/api/feedback": {},
    }

    class Documented(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *given: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Documented) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["ask.py", "ask_async.py"])
def test_the_documented_programs_run(port, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for file in ("photo.jpg", "notes.txt", "clip.mp4"):
        pathlib.Path(file).write_bytes(b"abc")
    (code,) = re.findall(rf"^```python\n(# {re.escape(name)}.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000" in code
    exec(compile(code.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), name, "exec"), {})
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "inconclusive None"
    assert ("UnsupportedMediaError: It is no media." in told) is (name == "ask.py")


def test_nobody_at_the_address_is_an_error_that_says_so():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        free = server.server_port
    with (
        Client(f"http://127.0.0.1:{free}") as client,
        pytest.raises(ServiceError, match=f":{free}/api/stats"),
    ):
        client.stats()
