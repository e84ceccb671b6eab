"""Looking and judging apart give what ``pipeline.analyze`` gives, one file at a time or many together."""

import dataclasses
import pathlib
import pickle

import pytest

from deepscan import pipeline, storage
from deepscan.detector import Detector
from deepscan.errors import CorruptMediaError, FormatError, MediaError, StorageError
from deepscan.evidence.catalog import load_builtin as load_analyzers
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.pipeline import analyze
from deepscan.scoring.judge import Lens, judge, look
from deepscan.scoring.rows import ABSTAINED, ERROR, SCORED, TOLD, to_table
from deepscan.verdict import to_dict
from tests.sounds import speech, wav
from tests.tiny_bundles import FACES, noise, tiny_bundle

POLICY = FusionPolicy()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [
        tiny_bundle(folder / "a", 0, name="a").path,
        tiny_bundle(folder / "faces", 1, FACES, name="faces").path,
        tiny_bundle(folder / "b", 2, name="b").path,
    ]


@pytest.fixture(scope="module")
def detectors(bundles):
    return [Detector.load(path, "cpu") for path in bundles]


@pytest.fixture
def files(tmp_path):
    contents = {f"{i}.png": noise(i) for i in range(3)} | {"sound.wav": wav(speech())}
    contents |= {"half.png": noise(9)[:-900], "text.png": b"no picture"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / name) for name in (*contents, "gone.png")]


def rows_of(files, detectors, eyes=None, policy=POLICY):
    looks = [pickle.loads(pickle.dumps(look(i, path, eyes or detectors))) for i, path in enumerate(files)]
    return list(judge(looks, detectors, policy))


def test_a_row_is_the_verdict_of_the_pipeline_to_the_last_bit(files, bundles, detectors):
    lenses = [Lens.of(path) for path in bundles]
    for path, status in zip(files[:4], [SCORED] * 3 + [ABSTAINED], strict=True):
        expected = to_dict(analyze(Media.from_path(pathlib.Path(path)), detectors, POLICY))
        (row,) = to_table(rows_of([path], detectors, lenses)).to_pylist(maps_as_pydicts="strict")
        del expected["evidence"], expected["elapsed_ms"]
        assert {name: row[name] for name in expected} == _listed(expected)
        assert row["elapsed_ms"] > 0
        assert (row["status"], row["error"], row["message"]) == (status, None, None)


def test_what_analyzers_measured_stands_in_a_column_without_their_pictures(files, detectors):
    analyzers = tuple(load_analyzers())
    looks = [pickle.loads(pickle.dumps(look(i, files[i], detectors, analyzers))) for i in (0, 3)]
    rows = to_table(list(judge(looks, detectors, POLICY))).to_pylist(maps_as_pydicts="strict")
    for row, path in zip(rows, (files[0], files[3]), strict=True):
        expected = pipeline.testify(Media.from_path(pathlib.Path(path)), analyzers)
        assert [each["analyzer"] for each in row["evidence"]] == [each.analyzer for each in expected]
        assert [each["measurements"] for each in row["evidence"]] == [each.measurements for each in expected]
        assert [each["finding"] for each in row["evidence"]] == [each.finding for each in expected]
        assert list(row["evidence"][0]) == list(TOLD)


def test_whatever_is_wrong_with_a_file_is_its_row(files, detectors):
    rows = to_table(rows_of(files[4:], detectors)).to_pylist()
    assert [row["status"] for row in rows] == [ERROR] * 3
    assert [row["error"] for row in rows] == ["CorruptMediaError", "UnsupportedMediaError", "MediaError"]
    assert all(row["label"] is row["probability"] is row["media"] is None for row in rows)
    assert "text.png" in rows[1]["message"]


def _listed(value):
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value


def test_many_files_together_get_what_each_gets_alone(files, detectors):
    together = rows_of(files, detectors)
    alone = [row for path in files for row in rows_of([path], detectors)]
    assert [row["number"] for row in together] == list(range(len(files)))
    for one, other in zip(together, alone, strict=True):
        assert one["status"] == other["status"]
        if one["status"] == SCORED:
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
            assert [s["detector"] for s in one["scores"]] == [s["detector"] for s in other["scores"]]


def test_too_few_votes_are_an_abstention_with_its_reasons(files, detectors):
    (row,) = rows_of(files[:1], detectors, policy=FusionPolicy(min_models=3))
    assert (row["status"], row["label"], row["probability"]) == (ABSTAINED, "inconclusive", None)
    assert [each["reason"] for each in row["abstentions"]] == ["no-face"]


class Breaking:
    def __call__(self, batch):
        raise FormatError("no such operator here")


def test_a_detector_that_fails_is_named_and_where_all_fail_there_is_an_error(files, detectors):
    broken = dataclasses.replace(detectors[2], runner=Breaking())
    (row,) = rows_of(files[:1], [detectors[0], broken])
    assert [each["reason"] for each in row["abstentions"]] == ["failed"]
    (row,) = rows_of(files[:1], [broken])
    assert (row["status"], row["error"]) == (ERROR, "FormatError")


class Unreadable:
    digest = "0"

    def __call__(self, media):
        raise CorruptMediaError("the sound is damaged")


def test_one_eye_may_fail_where_others_see(files, detectors):
    blind = dataclasses.replace(detectors[2], prep=Unreadable())
    (row,) = rows_of(files[:1], [detectors[0], blind])
    assert row["status"] == SCORED
    assert [each["message"] for each in row["abstentions"]] == ["the sound is damaged"]


def test_a_file_on_another_file_system_is_the_same_file(detectors):
    storage.write("mock:///judge/0.png", noise(0))
    far = look(0, "mock:///judge/0.png", detectors)
    assert far.facts == Media.from_bytes(noise(0), "0.png").facts
    assert isinstance(look(0, "mock:///judge/1.png", detectors).facts, MediaError)


def test_a_storage_that_does_not_answer_is_told_apart_from_a_bad_file(detectors, monkeypatch):
    def silent(location):
        raise StorageError("not reached")

    storage.write("mock:///judge/0.png", noise(0))
    monkeypatch.setattr(storage, "read", silent)
    (row,) = rows_of(["mock:///judge/0.png"], detectors)
    assert (row["status"], row["error"]) == (ERROR, "StorageError")
