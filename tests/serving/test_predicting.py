"""What the judging routes ask the backend, and how its answers are told."""

import asyncio
import dataclasses

import httpx
import pytest

from deepscan.errors import CorruptMediaError, OverloadedError
from deepscan.media.source import Limits
from deepscan.modalities.catalog import load_builtin
from deepscan.serving.backend import Question, Settings
from deepscan.serving.forms import FIELDS
from tests.clips import clip
from tests.serving.standins import FakeBackend, api_of
from tests.serving.test_api import upload
from tests.sounds import speech, wav

EVERYTHING = ("image", "video", "audio", "av")


@pytest.fixture(scope="module")
def silent_clip():
    import numpy as np

    return clip([np.full((64, 80, 3), 20 * i, np.uint8) for i in range(6)])


def test_by_content_leaves_the_modality_to_the_detectors(call, picture):
    backend = FakeBackend()
    assert call(api_of(backend), "POST", "/api/predict", **upload(picture(0))).status_code == 200
    assert backend.asked[0].modality is None
    assert backend.asked[0].settings == Settings()


def test_fields_become_settings(call, picture):
    backend = FakeBackend()
    data = {"confidence_threshold": "0.25", "num_frames": "7", "explain": "TRUE", "ensemble": "false"}
    assert set(data) == set(FIELDS)
    assert call(api_of(backend), "POST", "/api/predict", data=data, **upload(picture(0))).status_code == 200
    assert backend.asked[0].settings == Settings(threshold=0.25, frames=7, explain=True, ensemble=False)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"confidence_threshold": "1"}, "'1', which is not a number above 0 and below 1"),
        ({"confidence_threshold": "nan"}, "'nan', which is not a number"),
        ({"num_frames": "0"}, "'0', which is not a whole number from 1"),
        ({"num_frames": "2.5"}, "not a whole number"),
        ({"explain": "maybe"}, "'maybe', which is not true or false"),
        ({"ensemble": ["true", "false"]}, "'true', 'false'"),
        ({"explian": "true"}, "Did you mean 'explain'"),
    ],
)
def test_a_value_that_is_none_is_named(call, picture, data, said):
    answer = call(api_of(FakeBackend()), "POST", "/api/predict", data=data, **upload(picture(0)))
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")
    assert said in answer.json()["error"]["message"]


def test_frames_are_a_field_of_those_that_sample_them(call, picture):
    documented = api_of(FakeBackend()).openapi()["paths"]
    for modality in load_builtin():
        form = documented[f"/api/predict/{modality.name}"]["post"]["requestBody"]["content"]
        fields = set(form["multipart/form-data"]["schema"]["properties"])
        samples = any(field.name == "sampling" for field in dataclasses.fields(modality.prep))
        assert fields == {"file", *FIELDS} - (set() if samples else {"num_frames"})
    answer = call(
        api_of(FakeBackend()), "POST", "/api/predict/image", data={"num_frames": "3"}, **upload(picture(0))
    )
    assert answer.status_code == 422
    assert "It means nothing to this route" in answer.json()["error"]["message"]


def test_a_picture_and_a_recording_are_one_case(call, picture):
    backend = FakeBackend()
    files = {"file": ("a.png", picture(0)), "sound": ("b.wav", wav(speech(0.3)))}
    answer = call(api_of(backend), "POST", "/api/predict/multimodal", files=files)
    assert answer.json()["media"]["name"] == "a.png + b.wav"
    assert [media.facts.kind for media in backend.asked[0].media] == ["image", "audio"]


def test_a_clip_and_its_sound_are_one_file(call, silent_clip):
    backend = FakeBackend()
    files = {"file": ("a.mp4", silent_clip), "sound": ("b.wav", wav(speech(0.3)))}
    assert call(api_of(backend), "POST", "/api/predict/multimodal", files=files).status_code == 200
    (media,) = backend.asked[0].media
    assert (media.facts.kind, media.facts.has_sound) == ("video", True)


def test_a_sound_without_sound_is_refused(call, picture):
    files = {"file": ("a.png", picture(0)), "sound": ("b.png", picture(1))}
    answer = call(api_of(FakeBackend()), "POST", "/api/predict/multimodal", files=files)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")
    assert "has no sound" in answer.json()["error"]["message"]


def test_a_case_needs_its_first_file(call):
    files = {"sound": ("b.wav", wav(speech(0.3)))}
    answer = call(api_of(FakeBackend()), "POST", "/api/predict/multimodal", files=files)
    assert answer.status_code == 422
    assert "one file in the field 'file'" in answer.json()["error"]["message"]


def batch(*files: tuple[str, bytes]) -> dict[str, object]:
    return {"files": [("file", file) for file in files]}


def test_each_file_of_a_batch_has_its_own_result_in_its_place(call, picture):
    files = [("a.png", picture(0)), ("b.txt", b"text"), ("c.png", picture(1)), ("d.png", b"")]
    answer = call(api_of(FakeBackend()), "POST", "/api/batch-predict", **batch(*files))
    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [each["name"] for each in results] == [name for name, _ in files]
    assert [each["verdict"] and each["verdict"]["label"] for each in results] == [
        "inconclusive", None, "inconclusive", None,
    ]  # fmt: skip
    assert [each["error"] and each["error"]["type"] for each in results] == [
        None, "UnsupportedMediaError", None, "EmptyMediaError",
    ]  # fmt: skip


def test_one_file_of_a_batch_that_breaks_the_service_does_not_cost_the_others(call, picture, caplog):
    class Once(FakeBackend):
        async def judge(self, question: Question):
            if question.media[0].facts.name == "a.png":
                raise KeyError("secret")
            return await super().judge(question)

    files = [("a.png", picture(0)), ("b.png", picture(1))]
    answer = call(api_of(Once()), "POST", "/api/batch-predict", **batch(*files))
    first, second = answer.json()["results"]
    assert first["error"]["type"] == "InternalError"
    assert "secret" not in answer.text
    assert first["error"]["request_id"] in caplog.text
    assert second["verdict"]["label"] == "inconclusive"


def test_a_file_of_a_batch_over_the_limit_is_its_own_error(call, picture):
    limits = Limits(max_bytes=len(picture(0)))
    files = [("a.png", picture(0)), ("b.png", picture(0) + b"0")]
    answer = call(api_of(FakeBackend(), limits=limits), "POST", "/api/batch-predict", **batch(*files))
    assert [each["error"] and each["error"]["type"] for each in answer.json()["results"]] == [
        None, "MediaTooLargeError",
    ]  # fmt: skip


def test_a_batch_holds_no_more_files_than_may(call, picture):
    api = api_of(FakeBackend(), max_batch_files=2)
    answer = call(api, "POST", "/api/batch-predict", **batch(*[("a.png", picture(0))] * 3))
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")
    assert "at most 2 files" in answer.json()["error"]["message"]


def test_several_files_are_refused_where_there_may_be_one(call, picture):
    answer = call(api_of(FakeBackend()), "POST", "/api/predict", **batch(*[("a.png", picture(0))] * 2))
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ConfigError")


def test_a_job_is_taken_and_told(picture):
    async def follow() -> list[httpx.Response]:
        transport = httpx.ASGITransport(api_of(FakeBackend()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            taken = await client.post("/api/jobs", **upload(picture(0)))
            told = await client.get(taken.headers["location"])
            while told.json()["status"] in ("queued", "running"):
                await asyncio.sleep(0)
                told = await client.get(taken.headers["location"])
            return [taken, told, await client.get("/api/jobs/other")]

    taken, told, other = asyncio.run(follow())
    assert (taken.status_code, taken.json()["status"]) == (202, "queued")
    assert taken.json()["id"] == taken.headers["x-request-id"]
    assert (told.status_code, told.json()["status"]) == (200, "done")
    assert told.json()["verdict"]["label"] == "inconclusive"
    assert (other.status_code, other.json()["error"]["type"]) == (404, "UnknownNameError")


@pytest.mark.parametrize("failure", [None, CorruptMediaError("x"), OverloadedError("x"), KeyError("x")])
def test_every_answer_names_its_request(call, picture, failure):
    api = api_of(FakeBackend(failure))
    names = {
        call(api, "POST", "/api/predict", **upload(picture(0))).headers["x-request-id"] for _ in range(2)
    }
    assert len(names) == 2
    assert call(api, "GET", "/api/nothing").headers["x-request-id"]


def test_the_documented_examples_are_of_their_modality():
    documented = api_of(FakeBackend()).openapi()["paths"]
    for modality in load_builtin():
        responses = documented[f"/api/predict/{modality.name}"]["post"]["responses"]
        shown = responses["200"]["content"]["application/json"]["example"]
        facts = dataclasses.asdict(modality.example).items()
        assert shown["media"] == {name: value for name, value in facts if value not in (None, ())} | {
            "notes": []
        }
        assert shown["scores"][0]["modality"] == modality.name
        region = shown["scores"][0]["parts"][0]["region"]
        assert ("box" in region) == ("width_px" in shown["media"])
        assert ("start_s" in region) == ("duration_s" in shown["media"])
