"""The folder of scores: whole parts, one row a file, by the same judges."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from deepscan.errors import DataError, StorageError
from deepscan.scoring.inbox import INBOX
from deepscan.scoring.parts import Parts, count, read_scores
from deepscan.scoring.rows import SCHEMA, VERSION, to_table
from tests.full_disk import small_disk

JUDGES = {"bundles": ["tiny-0"], "fusion": "00"}
REGION = {"box": [0, 0, 1, 1], "start_s": None, "end_s": None}
SCORE = {
    "detector": "d",
    "bundle": "tiny-0",
    "modality": "image",
    "logit": -1.5,
    "probability": 0.25,
    "label": "real",
    "parts": [
        {"probability": 0.25, "region": {"box": [0, 0, 1, 1], "start_s": None, "end_s": None}, "weight": 1}
    ],
    "measures": {"blinks_hz": 0.5},
}


@pytest.fixture(params=["path", "mock"])
def parts(request, tmp_path):
    return Parts(
        f"mock:///{tmp_path.name}" if request.param == "mock" else str(tmp_path / "s.parquet"), JUDGES
    )


def row(name, **columns):
    known = {"path": f"/in/{name}", "file_id": f"id-{name}", "status": "scored", "label": "real"}
    return {**known, "scores": [SCORE], **columns}


def rows(*each):
    return to_table(each, SCHEMA)


def inbox(*names, **ids):
    files = [{"path": f"/in/{name}", "file_id": ids.get(name, f"id-{name}")} for name in names]
    return pa.Table.from_pylist(files, schema=INBOX)


def paths(parts):
    return sorted(each["path"] for each in read_scores(parts.out))


def test_what_is_written_is_read_back(parts):
    assert list(read_scores(parts.out)) == []
    parts.write(rows(row("a", given_label="fake"), row("b")))
    parts.write(rows(row("c", status="error", label=None, error="MediaError", scores=None)))
    found = {each["path"]: each for each in read_scores(parts.out)}
    assert list(found["/in/a"]) == SCHEMA.names
    assert found["/in/a"]["scores"] == [SCORE]
    assert (found["/in/a"]["given_label"], found["/in/b"]["given_label"]) == ("fake", None)
    assert found["/in/c"]["error"] == "MediaError"


def test_others_read_the_folder_as_one_table(tmp_path):
    parts = Parts(str(tmp_path / "s.parquet"), JUDGES)
    for name in "abc":
        parts.write(rows(row(name)))
    (tmp_path / "s.parquet" / ".part-x.parquet.draft").write_bytes(b"half")
    assert sorted(pd.read_parquet(parts.out)["path"]) == ["/in/a", "/in/b", "/in/c"]
    table = pyarrow.dataset.dataset(parts.out, format="parquet").to_table()
    assert table.schema.equals(SCHEMA)
    assert len(table) == 3


def test_a_part_that_is_written_again_is_the_same_part(parts):
    for _ in range(2):
        parts.write(rows(row("a"), row("b")))
    assert paths(parts) == ["/in/a", "/in/b"]


def test_files_with_a_row_are_done_wherever_they_are_listed(parts):
    parts.write(rows(row("b"), row("x")))
    assert parts.settle(inbox("a", "b", "c")).tolist() == [False, True, False]
    assert paths(parts) == ["/in/b", "/in/x"], "rows of other inboxes stay"


def test_a_file_that_changed_loses_its_row(parts):
    parts.write(rows(row("a"), row("b")))
    parts.write(rows(row("c")))
    assert parts.settle(inbox("a", "b", "c", a="new", c="new")).tolist() == [False, True, False]
    assert paths(parts) == ["/in/b"]
    parts.check()


def test_what_storage_or_memory_stood_in_the_way_of_is_tried_again(parts):
    parts.write(
        rows(row("a", error="StorageError", status="error"), row("b", error="MediaError", status="error"))
    )
    assert parts.settle(inbox("a", "b", "c")).tolist() == [False, True, False]
    assert paths(parts) == ["/in/b"]


def test_files_are_counted_by_label_or_status(parts):
    said = {"a": {}, "b": {"label": "fake"}, "c": {"status": "abstained", "label": "inconclusive"}, "d": {}}
    parts.write(rows(*(row(name, **columns) for name, columns in said.items())))
    parts.write(rows(row("e", status="error", label=None)))
    assert count(parts.out, inbox("a", "b", "c", "e")) == {"real": 1, "fake": 1, "abstained": 1, "error": 1}


def test_scores_of_other_judges_are_not_mixed_in(parts):
    parts.write(rows(row("a")))
    Parts(parts.out, JUDGES).check()
    for other in ({"bundles": ["tiny-1"]}, {"fusion": "11"}):
        with pytest.raises(DataError, match=r"not those of .*another folder with --out"):
            Parts(parts.out, JUDGES | other).check()


def test_what_is_no_part_is_refused(tmp_path):
    parts = Parts(str(tmp_path), JUDGES)
    pq.write_table(rows(row("a")), tmp_path / "part-0.parquet")
    with pytest.raises(DataError, match=f"no scores of version {VERSION}"):
        parts.check()
    (tmp_path / "part-0.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match="is no part of a folder of scores"):
        parts.check()


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(StorageError, match="cannot be written"):
        Parts(str(tmp_path / "out"), JUDGES).check()


def test_a_full_disk_leaves_whole_parts_only(tmp_path):
    parts = Parts(str(tmp_path), JUDGES)
    parts.write(rows(row("a")))
    with small_disk(2000), pytest.raises(StorageError, match="free space"):
        parts.write(rows(*(row(f"{json.dumps(i)}-{i * 7919 % 104729}") for i in range(5000))))
    assert len(list(tmp_path.iterdir())) == 1
    assert paths(parts) == ["/in/a"]


def test_the_schema_is_what_it_was():
    """Whoever reads scores relies on it: a change needs another ``rows.VERSION``."""
    kinds = {field.name: str(field.type) for field in SCHEMA}
    assert list(kinds) == [
        *("path", "file_id", "given_label", "split", "source", "generator", "status", "label", "probability"),
        *("uncertainty", "scores", "abstentions", "evidence", "media", "bundles", "elapsed_ms"),
        *("error", "message"),
    ]
    numbers = "struct<low: double, high: double, files: int64, entropy: double, disagreement: double>"
    region = "struct<box: list<item: double>, start_s: double, end_s: double>"
    score = (
        "struct<detector: string, bundle: string, modality: string, logit: double, probability: double, "
        f"label: string, parts: list<item: struct<probability: double, region: {region}, weight: double>>, "
        "measures: map<string, double>>"
    )
    passed = "struct<detector: string, bundle: string, modality: string, reason: string, message: string>"
    facts = (
        "struct<name: string, kind: string, container: string, bytes: int64, sha256: string, "
        "width_px: int64, height_px: int64, duration_s: double, has_sound: bool, notes: list<item: string>>"
    )
    assert (kinds["uncertainty"], kinds["media"]) == (numbers, facts)
    assert (kinds["scores"], kinds["abstentions"]) == (f"list<item: {score}>", f"list<item: {passed}>")
    told = (
        "struct<analyzer: string, group: string, finding: string, reason: string, summary: string, "
        "measurements: map<string, double>, elapsed_ms: double>"
    )
    assert kinds["evidence"] == f"list<item: {told}>"
    plain = {"bundles": "list<item: string>", "probability": "double", "elapsed_ms": "double"}
    nested = {"uncertainty", "scores", "abstentions", "evidence", "media"}
    assert {name: kind for name, kind in kinds.items() if kind != "string" and name not in nested} == plain
