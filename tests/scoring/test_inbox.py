"""What is to be scored, given as a folder, a manifest or a list."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepscan import storage
from deepscan.datasets import store
from deepscan.errors import ConfigError, DataError
from deepscan.scoring.inbox import INBOX, open_inbox

OUT = "/nowhere/out"
MANIFEST = "Filename,LABEL,source,user,method\na.png,fake,007,x,GAN\nin/b.png,real,7,,\n"


@pytest.fixture
def files(tmp_path):
    for name in ("a.png", "in/b.png", "in/c d.png", ".hidden"):
        storage.write(str(tmp_path / name), name.encode())
    return tmp_path


def paths(table):
    return table.column("path").to_pylist()


def test_a_folder_is_all_its_files_in_order_without_hidden_ones_and_scores(files):
    storage.write(str(files / "out" / "part-0.parquet"), b"")
    table = open_inbox(str(files), str(files / "out"))
    assert table.schema == INBOX
    assert paths(table) == [str(files / name) for name in ("a.png", "in/b.png", "in/c d.png")]
    assert table.column("size_bytes").to_pylist() == [5, 8, 10]
    assert table.column("given_label").null_count == 3
    assert len(open_inbox(str(files), OUT)) == 4


def test_an_id_changes_with_the_file_and_is_that_of_the_prepared_store(files):
    before = open_inbox(str(files), OUT).column("file_id").to_pylist()
    assert before == [store.file_id(path) for path in paths(open_inbox(str(files), OUT))]
    (files / "a.png").write_bytes(b"longer than it was")
    after = open_inbox(str(files), OUT).column("file_id").to_pylist()
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_manifest_brings_its_columns_along_as_text(files, kind):
    path = files / f"m.{kind}"
    text = MANIFEST.replace(",", "\t") if kind == "tsv" else MANIFEST
    if kind == "jsonl":
        text = '{"path": "a.png", "label": "fake", "source": "007", "method": "GAN"}\n'
        text += '{"path": "in/b.png", "label": "real", "source": "7"}\n'
    if kind == "parquet":
        columns = {"path": ["a.png", "in/b.png"], "label": ["fake", "real"]}
        pq.write_table(pa.table(columns | {"source": ["007", "7"], "generator": ["GAN", None]}), path)
    else:
        path.write_text(text, encoding="utf-8")
    table = open_inbox(str(path), OUT)
    assert paths(table) == [str(files / "a.png"), str(files / "in/b.png")]
    assert table.column("given_label").to_pylist() == ["fake", "real"]
    assert table.column("source").to_pylist() == ["007", "7"]
    assert table.column("generator").to_pylist()[0] == "GAN"
    assert table.column("split").null_count == 2


def test_a_list_names_a_path_or_uri_a_line_and_files_that_are_gone_stay_in(files):
    lines = ["in/c d.png", "", (files / "a.png").as_uri(), str(files / "gone.png"), "mock:///far.png"]
    (files / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    storage.write("mock:///far.png", b"123")
    table = open_inbox(str(files / "list.txt"), OUT)
    local = [str(files / name) for name in ("in/c d.png", "a.png", "gone.png")]
    assert paths(table) == [*local, "mock:///far.png"]
    assert table.column("size_bytes").to_pylist() == [10, 5, None, 3]


def test_a_manifest_on_another_file_system_names_files_beside_it(files):
    storage.write("mock:///set/m.csv", b"path,label\nin/x y.png,1\n")
    storage.write("mock:///set/in/x%20y.png", b"1234")
    table = open_inbox("mock:///set/m.csv", OUT)
    assert paths(table) == ["mock:///set/in/x%20y.png"]
    assert table.column("size_bytes").to_pylist() == [4]
    assert len(open_inbox("mock:///set", OUT)) == 2


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("m.csv", "label\nfake\n", "has no column for the path: it has label"),
        ("m.csv", "path,file\na.png,b\n", "has several columns for the path"),
        ("m.csv", "path,label\na.png\n", r"does not read as \.csv"),
        ("m.csv", "path\na.png\nin/../a.png\n", "names 1 files twice or more"),
        ("m.jsonl", "{", r"does not read as \.jsonl"),
        ("m.doc", "", "is no folder, and no manifest or list"),
        ("m.txt", "\n\n", "holds no files"),
    ],
)
def test_a_manifest_that_cannot_be_used(files, name, text, complaint):
    (files / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        open_inbox(str(files / name), OUT)


def test_an_empty_folder_and_an_unknown_scheme(tmp_path):
    with pytest.raises(DataError, match="holds no files; give a folder of media"):
        open_inbox(str(tmp_path), OUT)
    with pytest.raises(ConfigError, match="is no location"):
        open_inbox("zz://a/b", OUT)
