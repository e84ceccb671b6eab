"""The parts of a data set that need no cluster; tests/training/test_fit.py opens one on Ray."""

import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepscan.datasets import dataset
from deepscan.datasets.dataset import DataSet, Origin, account, open_dataset
from deepscan.datasets.layout import digest, scan
from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Reader
from deepscan.datasets.split import assign
from deepscan.datasets.store import Store
from deepscan.errors import DataError, TooManyBadFilesError
from deepscan.media.source import Limits
from deepscan.watch import LogWatch
from tests.tiny_bundles import WHOLE


@pytest.fixture
def folder(tmp_path):
    """Twelve empty files in real and fake, two of each source."""
    for label in ("real", "fake"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "data" / label / f"{label[0]}{i // 2}_{i}.png").touch()
    return tmp_path / "data"


def origin(folder, **changes):
    return Origin(path=folder, store=folder.parent / "store", **changes)


def splits(table):
    return dict(zip(table.column("path").to_pylist(), table.column("split").to_pylist(), strict=True))


def test_data_without_splits_aredivide_as_asked(folder):
    given = origin(folder, source_pattern="^[rf][0-9]", fractions=(0.4, 0.3, 0.3), seed=3)
    divided = dataset.divide(given)
    expected = assign(scan(folder, source_pattern="^[rf][0-9]"), (0.4, 0.3, 0.3), 3)
    assert splits(divided) == splits(expected)
    assert set(splits(divided).values()) == {"train", "val", "test"}


def test_sources_stay_together_by_their_pattern(folder):
    divided = dataset.divide(origin(folder, source_pattern="^[rf][0-9]")).to_pylist()
    by_source = {}
    for row in divided:
        by_source.setdefault(row["source"], set()).add(row["split"])
    assert len(by_source) == 6
    assert all(len(names) == 1 for names in by_source.values())


def test_without_fractions_everything_is_test(folder):
    assert set(splits(dataset.divide(origin(folder, fractions=None))).values()) == {"test"}


def test_without_fractions_given_splits_stay(folder):
    rows = [f"{p.relative_to(folder)},{p.parent.name}" for p in sorted(folder.rglob("*.png"))]
    names = ["train", "val", "test", ""] * 3
    lines = ["path,label,split", *(f"{row},{name}" for row, name in zip(rows, names, strict=True))]
    (folder / "manifest.csv").write_text("\n".join(lines))
    found = splits(dataset.divide(origin(folder, fractions=None)))
    expected = [name or "test" for name in names]
    assert found == dict(zip(sorted(found), expected, strict=True))


def test_conditions_leave_rows_out(folder):
    assert len(dataset.divide(origin(folder, where=("path=*/f*",), fractions=None))) == 6
    with pytest.raises(DataError, match="holds no files with label=nothing"):
        dataset.divide(origin(folder, where=("label=nothing",)))


def test_leaks_are_refused_unless_they_are_allowed(folder, caplog):
    lines = ["path,label,split,source"]
    for label in ("real", "fake"):
        lines += [
            f"{label}/{label[0]}{i // 2}_{i}.png,{label},{s},x"
            for i, s in enumerate(["train", "val", "test"])
        ]
    (folder / "manifest.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="source"):
        dataset.divide(origin(folder))
    with caplog.at_level(logging.WARNING):
        assert len(dataset.divide(origin(folder, allow_leaks=True))) == 6
    assert caplog.records


def test_files_are_accounted_for_most_frequent_first():
    statuses = ["used", "no-face", "used", "corrupt", "used", "no-face", "abstained"]
    counts = account(pa.table({"status": statuses}))
    assert list(counts.items()) == [("used", 3), ("no-face", 2), ("abstained", 1), ("corrupt", 1)]
    assert account(pa.table({"status": pa.array([], pa.string())})) == {}


def test_the_ledger_is_written_even_when_preparing_fails(folder, monkeypatch):
    def fail(*_):
        raise TooManyBadFilesError("12 of 12 are corrupt.")

    monkeypatch.setattr(dataset.stream, "prepare", fail)
    ledger = folder.parent / "run" / "ledger.parquet"
    with pytest.raises(TooManyBadFilesError):
        open_dataset(origin(folder), WHOLE, ledger, 1.0, LogWatch())
    assert pq.read_table(ledger).num_rows == 12


def test_a_data_set_counts_files_and_not_their_parts(monkeypatch, tmp_path):
    table = pa.table({"split": ["train"]})
    chunk = Chunk(place="x", group=0, rows=(0, 1, 2, 3), files=(0, 0, 1, 2), labels=(1, 1, 0, 1))
    monkeypatch.setattr(dataset, "chunks", lambda ledger, name, index: [chunk] if name == "train" else [])
    reader = Reader(Store(tmp_path, WHOLE), WHOLE, Limits(), WHOLE.needs)
    data = DataSet(ledger=table, index=table, reader=reader, digest="")
    assert data.counts("train") == (1, 2)
    assert data.counts("val") == (0, 0)


def test_the_digest_follows_the_division(folder):
    one = dataset.divide(origin(folder, seed=1))
    other = dataset.divide(origin(folder, seed=1))
    moved = dataset.divide(origin(folder, fractions=None))
    assert digest(one) == digest(other) != digest(moved)
