"""A bundle remembers what it learnt from by content, and finds it again under any name."""

import pathlib

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from deepscan.datasets import seen
from deepscan.errors import SeenDataError

BLOCK = seen.BLOCK_BYTES


def ledger(folder, files):
    """A ledger of (name, content, split, source); the files are written."""
    rows = []
    for name, content, split, source in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append({"path": str(path), "split": split, "source": source})
    return pa.Table.from_pylist(rows)


@pytest.fixture
def trained(tmp_path):
    return ledger(
        tmp_path / "own",
        [
            ("a/1.png", b"one", "train", "ann"),
            ("b/1.png", b"two", "train", "bob"),
            ("2.png", b"three", "val", "cid"),
            ("3.png", b"four", "test", "dan"),
        ],
    )


def found(trained, files, same=False):
    return seen.overlap(seen.remember(trained), files, same)


def test_copies_are_found_under_other_names_and_others_are_not(trained, tmp_path):
    new = ledger(
        tmp_path / "new",
        [
            ("x.jpg", b"one", "test", "x"),
            ("y.jpg", b"three", "test", "y"),
            ("a/1.png", b"other", "test", "z"),
            ("w.jpg", b"four", "test", "w"),
        ],
    )
    told = found(trained, new)
    assert {pathlib.Path(path).name: split for path, split in told.files.items()} == {
        "x.jpg": "train",
        "y.jpg": "val",
    }
    assert (told.total, told.told, told.sources) == (4, True, {})
    assert told.sentences == (
        "2 of 4 files are among those that trained or chose the detector (1 of train, 1 of val): figures are "
        "too good.",
    )


def test_sources_are_found_by_name_where_their_files_are_new(trained, tmp_path):
    new = ledger(tmp_path / "new", [("x.jpg", b"new", "test", "ann"), ("y.jpg", b"three", "test", "cid")])
    told = found(trained, new)
    assert told.sources == {"ann": "train"}
    assert "1 sources have names of sources that trained or chose the detector (ann)" in told.sentences[1]


def test_the_test_split_of_its_own_data_is_new_to_it(trained):
    own = trained.filter(pc.field("split") == "test")
    told = found(trained, own)
    assert (told.files, told.sources, told.sentences) == ({}, {}, ())
    seen.refuse(told, "bundle")


def test_what_a_bundle_started_from_is_remembered_too(trained, tmp_path):
    later = ledger(tmp_path / "later", [("n.png", b"new", "train", "eve")])
    memory = seen.remember(later, seen.remember(trained))
    told = seen.overlap(memory, pa.concat_tables([trained, later]), False)
    assert len(told.files) == 4
    assert seen.remember(later, memory) == memory


@pytest.mark.parametrize("at", [0, 2 * BLOCK, 4 * BLOCK - 1])
def test_a_large_file_is_told_by_its_ends_its_middle_and_its_size(trained, tmp_path, at):
    whole = bytes(4 * BLOCK)
    changed = whole[:at] + b"x" + whole[at + 1 :]
    memory = seen.remember(ledger(tmp_path / "large", [("a.wav", whole, "train", "s")]))
    others = ledger(
        tmp_path / "others",
        [("same", whole, "", "1"), ("changed", changed, "", "2"), ("longer", whole + b"\0", "", "3")],
    )
    names = [pathlib.Path(path).name for path in seen.overlap(memory, others, False).files]
    assert names == ["same"]


def test_nothing_of_the_data_can_be_read_from_it(trained):
    memory = seen.remember(trained)
    assert set(memory) == {"train files", "train sources", "val files", "val sources"}
    assert len(memory["train files"]) == 2 * 8
    assert "ann" not in "".join(memory.values())


def test_a_file_that_is_gone_is_not_remembered_and_not_found(trained, tmp_path):
    gone = pa.table({"path": [str(tmp_path / "gone")], "split": ["train"], "source": ["s"]})
    memory = seen.remember(gone)
    assert memory["train files"] == ""
    assert seen.overlap(memory, gone, False).files == {}


def test_a_bundle_that_remembers_nothing_says_so(trained):
    told = seen.overlap({}, trained, False)
    assert (told.told, told.files) == (False, {})
    assert "does not say which files it learnt from" in told.sentences[0]


def test_seen_files_are_refused_with_what_to_do(trained):
    with pytest.raises(
        SeenDataError, match=r"3 of 4 files \(2 of train, 1 of val: .*1.png.*--seen leave-out"
    ):
        seen.refuse(found(trained, trained), "bundle-1")
    old = seen.overlap({}, trained, True)
    with pytest.raises(SeenDataError, match="This split trained bundle-1 or chose"):
        seen.refuse(old, "bundle-1")
    assert old.sentences[0] == "These files chose or trained the detector: figures are too good."
