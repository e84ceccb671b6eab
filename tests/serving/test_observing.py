"""What the books are told of requests."""

import asyncio
from typing import Any

import pytest

from deepscan.errors import CorruptMediaError
from deepscan.media.source import Media
from deepscan.serving.backend import Question
from deepscan.serving.observing import Counted
from tests.serving.standins import FakeBackend, api_of
from tests.serving.test_api import upload


class Books:
    """Keeps what was entered."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.truths: list[Any] = []

    async def enter(self, records: Any, entries: Any = ()) -> None:
        self.records.extend(records)

    async def stats(self) -> dict[str, Any]:
        return {"windows": []}

    async def metrics(self) -> bytes:
        return b"# figures\n"

    async def history(self, form: str) -> str:
        return form

    async def feedback(self, feedback: Any) -> None:
        self.truths.append(feedback)


@pytest.fixture
def books():
    return Books()


def test_a_verdict_is_entered_with_its_route(call, picture, books):
    call(api_of(FakeBackend(), books), "POST", "/api/predict/image", **upload(picture(0)))
    (record,) = books.records
    assert (record.route, record.status, record.label) == ("/api/predict/image", 200, "inconclusive")
    assert record.abstentions == (("faces-1", "no-face"),)
    assert record.variant == "main"
    assert record.elapsed_ms > 0


def test_an_error_is_entered_by_its_type(call, picture, books):
    api = api_of(FakeBackend(CorruptMediaError("x")), books)
    call(api, "POST", "/api/predict", **upload(picture(0)))
    call(api_of(FakeBackend(KeyError("x")), books), "POST", "/api/predict", **upload(picture(0)))
    assert [(each.status, each.error) for each in books.records] == [
        (422, "CorruptMediaError"),
        (500, "InternalError"),
    ]


def test_each_verdict_of_a_batch_is_entered(call, picture, books):
    files = [("file", ("a.png", picture(0))), ("file", ("b.txt", b"x")), ("file", ("c.png", picture(1)))]
    call(api_of(FakeBackend(), books), "POST", "/api/batch-predict", files=files)
    assert [each.label for each in books.records] == ["inconclusive"] * 2


def test_paths_that_clients_make_up_become_one_route(call, books):
    api = api_of(FakeBackend(), books)
    call(api, "GET", "/api/../../etc/passwd")
    call(api, "GET", "/api/nothing")
    assert {each.route for each in books.records} == {"other"}


def test_a_job_is_one_route_whatever_its_id(call, books):
    call(api_of(FakeBackend(), books), "GET", "/api/jobs/7")
    assert [(each.route, each.status) for each in books.records] == [("/api/jobs/{job_id}", 404)]


def test_the_page_and_the_metrics_are_not_counted(call, books):
    api = api_of(FakeBackend(), books)
    assert call(api, "GET", "/").status_code == 200
    assert call(api, "GET", "/metrics").text == "# figures\n"
    assert books.records == []


def test_answers_that_no_request_carries_are_entered_too(picture, books):
    media = Media.from_bytes(picture(0), "a.png")
    counted = Counted(FakeBackend(), books, "/api/stream")
    asyncio.run(counted.judge(Question(media=(media,))))
    assert [(each.route, each.label) for each in books.records] == [("/api/stream", "inconclusive")]
    assert counted.modalities == ("image",)
    assert len(asyncio.run(counted.models())) == 1


def test_figures_are_told(call, books):
    answer = call(api_of(FakeBackend(), books), "GET", "/api/stats").json()
    assert answer["windows"] == []
    assert set(answer["verdict_cache"]) == {"entries", "bytes", "max_bytes", "hits", "misses"}


@pytest.mark.parametrize(
    ("query", "kind"), [("", "application/json"), ("?form=csv", "text/csv; charset=utf-8")]
)
def test_the_history_is_exported_in_two_forms(call, books, query, kind):
    answer = call(api_of(FakeBackend(), books), "GET", f"/api/history{query}")
    assert answer.headers["content-type"] == kind
    assert answer.text == (query.removeprefix("?form=") or "json")


def test_another_form_is_refused_in_our_form_of_errors(call, books):
    answer = call(api_of(FakeBackend(), books), "GET", "/api/history?form=xml")
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")
    assert "query.form" in answer.json()["error"]["message"]


def test_the_truth_is_taken(call, books):
    body = {"label": "fake", "request_id": "7", "source": "review"}
    answer = call(api_of(FakeBackend(), books), "POST", "/api/feedback", json=body)
    assert (answer.status_code, answer.json()) == (202, {"status": "taken"})
    (truth,) = books.truths
    assert (truth.label, truth.request_id, truth.source) == (1, "7", "review")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"label": "perhaps", "request_id": "7"}, "label"),
        ({"label": "real", "request": "7"}, "request: "),
        ({"label": "real"}, "request"),
        ([], "JSON"),
    ],
)
def test_feedback_that_is_none_is_refused(call, books, body, said):
    answer = call(api_of(FakeBackend(), books), "POST", "/api/feedback", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")
    assert said in answer.json()["error"]["message"]
    assert books.truths == []
