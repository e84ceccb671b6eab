import os
import pathlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from deepscan.datasets.reader import Reader, chunks, ledger
from deepscan.datasets.store import ROW_GROUP_EXAMPLES, Row, Store, file_id, prepare_file
from deepscan.errors import DataError
from deepscan.media.source import Limits
from deepscan.modalities.image import ImagePrep

PREP = ImagePrep(region="whole", size_px=16)


@pytest.fixture
def pictures(tmp_path):
    """Twenty pictures and a broken one."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(20):
        path = tmp_path / f"{i:02}.png"
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    return [*paths, str(tmp_path / "broken.jpg")]


def prepared(paths):
    return [row for path in paths for row in prepare_file(path, PREP, Limits())]


def manifest_of(paths, split="train"):
    return pa.table(
        {
            "path": paths,
            "label": pa.array([i % 2 for i in range(len(paths))], pa.int8()),
            "split": [split] * len(paths),
        }
    )


def test_examples_come_back_bit_exact(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    rows = prepared(pictures)
    store.write(rows, "examples")
    by_path = {row.path: row.example for row in rows}
    for place in store.index("examples").to_pylist():
        if place["status"] == "used":
            [example] = store.read(place["file"], place["group"], [place["row"]], ("pixels", "box"))
            expected = by_path[place["path"]]
            assert example["pixels"].dtype == np.uint8
            np.testing.assert_array_equal(example["pixels"], expected["pixels"])
            np.testing.assert_array_equal(example["box"], expected["box"])


def test_a_broken_file_is_a_row_with_its_reason_and_costs_no_other(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    store.write(prepared(pictures), "examples")
    accounted = ledger(manifest_of(pictures), store.index("examples")).to_pylist()
    assert [row["status"] for row in accounted] == ["used"] * 20 + ["corrupt"]
    assert "broken.jpg" in accounted[-1]["reason"]
    assert accounted[-1]["examples"] == 0
    with pytest.raises(DataError, match="without an Example"):
        store.read(*_place(store, pictures[-1]), ("pixels",))


def _place(store, path):
    [row] = [r for r in store.index("examples").to_pylist() if r["path"] == path]
    return row["file"], row["group"], [row["row"]]


def test_a_half_written_piece_is_not_seen(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    store.write(prepared(pictures[:3]), "examples")
    [whole] = store.path.glob("examples-*.parquet")
    whole.with_name("examples-0.draft").write_bytes(whole.read_bytes()[:100])
    assert len(store.index("examples")) == 3


def test_a_changed_file_counts_as_not_looked_at(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    store.write(prepared(pictures), "examples")
    os.utime(pictures[0], ns=(1, 1))
    accounted = ledger(manifest_of(pictures), store.index("examples")).to_pylist()
    assert accounted[0]["status"] == "pending"
    assert accounted[1]["status"] == "used"


def test_a_vanished_file_is_corrupt_and_has_an_id(tmp_path):
    missing = str(tmp_path / "gone.png")
    [row] = prepare_file(missing, PREP, Limits())
    assert row.status == "corrupt"
    assert len(file_id(missing)) == 32


def test_a_ledger_that_is_the_manifest_of_another_run_tells_what_became_of_its_files_then(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    waiting = ledger(manifest_of(pictures), store.index("examples"))
    assert set(waiting.column("status").to_pylist()) == {"pending"}
    store.write(prepared(pictures), "examples")
    again = ledger(waiting, store.index("examples"))
    assert again.column_names == waiting.column_names
    assert "pending" not in again.column("status").to_pylist()


def test_kept_examples_win_over_the_mere_ledger(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    rows = prepared(pictures[:2])
    store.write(rows, "ledger")
    store.write(rows, "examples")
    index = store.index("examples", "ledger")
    assert len(index) == 2
    assert {name.split("-")[0] for name in index.column("file").to_pylist()} == {"examples"}


def test_preps_do_not_share_a_store(tmp_path):
    other = ImagePrep(region="whole", size_px=17)
    assert Store(tmp_path, PREP).path != Store(tmp_path, other).path


@pytest.mark.parametrize("kind", ["examples", "ledger"])
def test_the_reader_gives_the_same_examples_from_the_store_and_from_raw_files(tmp_path, pictures, kind):
    store = Store(tmp_path / "store", PREP)
    store.write(prepared(pictures), kind)
    reader = Reader(store, PREP, Limits(), ("pixels",))
    manifest = manifest_of(pictures)
    found = chunks(manifest, "train", store.index("examples", "ledger"))
    assert chunks(manifest, "val", store.index("examples", "ledger")) == []
    seen = {}
    for chunk in found:
        assert len(chunk.rows) <= ROW_GROUP_EXAMPLES
        for file, label, example in zip(
            chunk.files, chunk.labels, reader.read(chunk, range(len(chunk.rows))), strict=True
        ):
            assert label == file % 2
            assert set(example) == {"pixels"}
            seen[file] = example["pixels"]
    assert sorted(seen) == list(range(20))
    for file, pixels in seen.items():
        expected = prepare_file(pictures[file], PREP, Limits())[0].example["pixels"]
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", ["examples", "ledger"])
def test_chunks_come_in_the_order_of_the_manifest_whatever_the_files_of_the_store_are_called(
    tmp_path, pictures, kind
):
    shuffled = [pictures[number] for number in np.random.default_rng(0).permutation(20)]
    orders = []
    for name in "ab":
        store = Store(tmp_path / name, PREP)
        for start in range(0, 20, 2):
            store.write(prepared(shuffled[start : start + 2]), kind)
        orders.append([chunk.files for chunk in chunks(manifest_of(pictures), "train", store.index(kind))])
    assert orders[0] == orders[1]
    assert [min(files) for files in orders[0]] == sorted(min(files) for files in orders[0])


def test_example_bytes_counts_the_columns_that_are_read(tmp_path):
    reader = Reader(Store(pathlib.Path(tmp_path), PREP), PREP, Limits(), ("pixels", "box"))
    assert reader.example_bytes == 16 * 16 * 3 + 16


def test_rows_of_several_parts_stay_with_their_file(tmp_path, pictures):
    store = Store(tmp_path / "store", PREP)
    example = prepared(pictures[:1])[0].example
    store.write([Row(pictures[0], part, "used", "", example) for part in range(3)], "examples")
    [row] = ledger(manifest_of(pictures[:1]), store.index("examples")).to_pylist()
    assert row["examples"] == 3
    [chunk] = chunks(manifest_of(pictures[:1]), "train", store.index("examples"))
    assert chunk.files == (0, 0, 0)
