import asyncio
import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator

import pydantic
import pytest

from deepscan import errors
from deepscan.errors import DeepscanError, OverloadedError, ServiceError
from deepscan.media.source import Limits
from deepscan.modalities import MODALITIES
from deepscan.modalities.catalog import load_builtin
from deepscan.serving.answers import HTTP_STATUS, status_of
from deepscan.serving.forms import ENVELOPE_BYTES, PART_HEADER_BYTES
from deepscan.verdict import Verdict, to_dict
from tests.serving.standins import FACTS, FakeBackend, api_of

PREDICT = "/api/predict/image"


def tree(root: type[DeepscanError] = DeepscanError) -> list[type[DeepscanError]]:
    return [root, *(error for child in root.__subclasses__() for error in tree(child))]


def upload(data: bytes, name: str = "a.png", field: str = "file") -> dict[str, object]:
    return {"files": {field: (name, data)}}


def multipart(size_bytes: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head + b"0" * size_bytes + b"\r\n--x--\r\n"


class Stream:
    """A body in chunks that counts what was taken from it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.taken_bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1024):
            self.taken_bytes = min(start + 1024, len(self.body))
            yield self.body[start : start + 1024]


def test_health_is_ready_once_everything_has_loaded(call):
    answer = call(api_of(FakeBackend()), "GET", "/api/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "bundles": ["faces-1"]})


def test_health_is_503_while_something_loads(call):
    answer = call(api_of(FakeBackend(loaded=False)), "GET", "/api/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "loading", "bundles": []})


def test_models_are_listed_with_their_figures(call):
    answer = call(api_of(FakeBackend()), "GET", "/api/models")
    assert answer.status_code == 200
    assert answer.json() == [dataclasses.asdict(FACTS)]


def test_models_while_loading_is_an_error_that_says_when_to_ask_again(call):
    answer = call(api_of(FakeBackend(loaded=False), retry_after_s=7), "GET", "/api/models")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["type"] == "ServiceError"


def test_a_prediction_is_the_verdict_as_json(call, picture):
    backend = FakeBackend()
    answer = call(api_of(backend), "POST", PREDICT, **upload(picture(0), "photo.png"))
    (question,) = backend.asked
    (media,) = question.media
    assert question.modality == "image"
    assert media.data == picture(0)
    assert media.facts.name == "photo.png"
    assert answer.status_code == 200
    assert answer.headers["x-cache"] == "miss"
    verdict = asyncio.run(backend.judge(question)).verdict
    assert answer.json() == json.loads(json.dumps(to_dict(verdict)))


def test_an_abstention_is_an_answer_and_no_error(call, picture):
    answer = call(api_of(FakeBackend()), "POST", PREDICT, **upload(picture(0)))
    assert answer.status_code == 200
    assert (answer.json()["label"], answer.json()["probability"]) == ("inconclusive", None)
    assert answer.json()["abstentions"][0]["reason"] == "no-face"


def test_every_modality_has_a_route():
    paths = api_of(FakeBackend()).openapi()["paths"]
    assert {f"/api/predict/{name}" for name in load_builtin().names()} < set(paths)


def test_a_new_modality_needs_no_other_place_to_get_its_route(call, picture, monkeypatch):
    smell = dataclasses.replace(MODALITIES.get("image"), name="smell")
    monkeypatch.setattr(MODALITIES, "_items", {**MODALITIES._items, "smell": smell})
    api = api_of(FakeBackend())
    answer = call(api, "POST", "/api/predict/smell", **upload(picture(0)))
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        "No detector for smell is loaded here; this service looks at: image."
    )


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (b"just some text", 415, "UnsupportedMediaError"),
        (b"", 422, "EmptyMediaError"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 422, "CorruptMediaError"),
    ],
)
def test_what_is_no_media_is_refused_without_asking_the_backend(call, data, status, kind):
    backend = FakeBackend()
    answer = call(api_of(backend), "POST", PREDICT, **upload(data))
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert backend.asked == []


def test_pixel_limits_of_the_service_hold(call, picture):
    answer = call(api_of(FakeBackend(), limits=Limits(max_pixels=100)), "POST", PREDICT, **upload(picture(0)))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "MediaTooLargeError")


def test_a_file_of_exactly_the_limit_passes_and_one_byte_more_is_413(call, picture):
    size_bytes = len(picture(0))
    fits = call(
        api_of(FakeBackend(), limits=Limits(max_bytes=size_bytes)), "POST", PREDICT, **upload(picture(0))
    )
    over = call(api_of(FakeBackend(), limits=Limits(max_bytes=size_bytes - 1)), "POST", PREDICT,
                **upload(picture(0)))  # fmt: skip
    assert fits.status_code == 200
    assert (over.status_code, over.json()["error"]["type"]) == (413, "MediaTooLargeError")


def test_a_body_declared_too_long_is_not_read_at_all(call):
    stream = Stream(multipart(10**6))
    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(len(stream.body))}
    api = api_of(FakeBackend(), limits=Limits(max_bytes=1000))
    answer = call(api, "POST", PREDICT, content=stream.chunks(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "MediaTooLargeError")
    assert "1000 bytes" in answer.json()["error"]["message"]
    assert stream.taken_bytes == 0


@pytest.mark.parametrize("declared", [{}, {"content-length": "10"}])
def test_a_body_that_does_not_tell_its_length_is_read_to_the_limit_only(call, declared):
    stream = Stream(multipart(10**6))
    headers = {"content-type": "multipart/form-data; boundary=x", **declared}
    api = api_of(FakeBackend(), limits=Limits(max_bytes=1000))
    answer = call(api, "POST", PREDICT, content=stream.chunks(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "MediaTooLargeError")
    assert stream.taken_bytes <= 1000 + ENVELOPE_BYTES + PART_HEADER_BYTES + 1024


def test_an_unknown_field_is_named_with_the_known_ones(call, picture):
    answer = call(api_of(FakeBackend()), "POST", PREDICT, data={"fil": "x"}, **upload(picture(0)))
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == (
        "Unknown form field 'fil'. Did you mean 'file'? Known: file, confidence_threshold, explain, ensemble."
    )


def test_a_file_under_another_name_is_an_unknown_field(call, picture):
    answer = call(api_of(FakeBackend()), "POST", PREDICT, **upload(picture(0), field="picture"))
    assert answer.status_code == 422
    assert "'picture'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"json": {"file": "x"}}, "multipart/form-data"),
        ({}, "multipart/form-data"),
        ({"files": {"file": (None, "x")}}, "holds no file"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, "boundary"),
        ({"content": b"--y\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "form"),
        ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]}, "one file"),
    ],
)
def test_a_form_without_exactly_one_file_says_how_to_send_one(call, options, said):
    answer = call(api_of(FakeBackend()), "POST", PREDICT, **options)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("error", tree(), ids=lambda error: error.__name__)
def test_every_error_of_the_tree_becomes_its_status(call, picture, error):
    answer = call(api_of(FakeBackend(error("What happened."))), "POST", PREDICT, **upload(picture(0)))
    status = status_of(error)
    assert answer.status_code == status
    if status == 500:
        assert answer.json()["error"]["type"] == "InternalError"
    else:
        expected = {"type": error.__name__, "message": "What happened.", "request_id": None}
        assert answer.json() == {"error": expected}
    assert ("retry-after" in answer.headers) == issubclass(error, ServiceError)


def test_the_table_assigns_what_clients_rely_on():
    expected = {
        "UnsupportedMediaError": 415, "MediaTooLargeError": 413, "CorruptMediaError": 422,
        "EmptyMediaError": 422, "OverloadedError": 503, "ConfigError": 422, "UnknownNameError": 404,
        "BundleError": 500, "TrainingError": 500,
    }  # fmt: skip
    assert {name: status_of(getattr(errors, name)) for name in expected} == expected
    assert set(HTTP_STATUS) <= set(tree())


def test_a_full_service_says_when_to_come_back(call, picture):
    api = api_of(FakeBackend(OverloadedError("Full.")), retry_after_s=3)
    answer = call(api, "POST", PREDICT, **upload(picture(0)))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


def test_an_unexpected_error_is_logged_and_not_told(call, picture, caplog):
    with caplog.at_level(logging.ERROR, logger="deepscan.serving.answers"):
        answer = call(api_of(FakeBackend(RuntimeError("secret"))), "POST", PREDICT, **upload(picture(0)))
    problem = answer.json()["error"]
    assert (answer.status_code, problem["type"]) == (500, "InternalError")
    assert "secret" not in answer.text
    assert problem["request_id"] in caplog.text
    assert "RuntimeError: secret" in caplog.text


def test_an_unknown_path_answers_in_the_same_form(call):
    answer = call(api_of(FakeBackend()), "POST", "/api/predict/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "HTTPException"
    assert "/api/predict/nothing" in answer.json()["error"]["message"]


def test_a_wrong_method_answers_in_the_same_form(call):
    answer = call(api_of(FakeBackend()), "GET", PREDICT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["type"] == "HTTPException"


def test_the_documented_answer_is_a_verdict():
    operation = api_of(FakeBackend()).openapi()["paths"][PREDICT]["post"]
    content = operation["responses"]["200"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Verdict"}
    assert pydantic.TypeAdapter(Verdict).validate_python(content["example"]).label == "fake"
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["format"] == "binary"


def test_the_routes_need_neither_ray_nor_torch():
    code = "import sys, deepscan.serving.api; assert not {'ray', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
