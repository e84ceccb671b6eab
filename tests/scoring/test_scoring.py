"""A run of scoring from the inbox to the rows."""

import pathlib
import time

import numpy as np
import pyarrow as pa
import pytest

from deepscan.ensemble import select
from deepscan.errors import BundleError, DataError, StorageError
from deepscan.scoring import run
from deepscan.scoring.actors import NUMBERED
from deepscan.scoring.inbox import open_inbox
from deepscan.scoring.parts import Parts, read_scores
from deepscan.scoring.plan import Work
from deepscan.scoring.rows import to_table
from deepscan.scoring.run import collect, open_task, score
from deepscan.watch import LogWatch
from tests.full_disk import small_disk
from tests.tiny_bundles import PLUGIN, noise, tiny_bundle


class Counting(LogWatch):
    def __init__(self):
        super().__init__()
        self.seen = []

    def advance(self, done, total):
        self.seen.append((done, total))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    (folder / "inner").mkdir(parents=True)
    for i in range(5):
        (folder / ("inner" if i % 2 else "") / f"{i}.png").write_bytes(noise(i))
    (folder / "note.jpg").write_text("no picture", encoding="utf-8")
    return folder


def scored(inbox, out, bundle, watch=None, **work):
    watch = watch or LogWatch()
    task = open_task(str(inbox), str(out), select([bundle]), Work(device="cpu", plugin=PLUGIN, **work), watch)
    return score(task, watch)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("prepare_cpus", [0, 1])
def test_every_file_has_its_row_and_a_second_run_only_does_what_is_new_or_changed(
    ray_cluster, bundle, inbox, tmp_path, prepare_cpus
):
    out, watch, pools = tmp_path / "out", Counting(), {"actors": 1, "prepare_cpus": prepare_cpus}
    counts = scored(inbox, out, bundle, watch, **pools)
    assert (sum(counts.values()), counts["error"]) == (6, 1)
    assert (watch.seen[0], watch.seen[-1]) == ((0, 6), (6, 6))
    [error] = [row for row in read_scores(out) if row["status"] == "error"]
    assert (error["error"], pathlib.Path(error["path"]).name) == ("UnsupportedMediaError", "note.jpg")

    with pytest.raises(DataError, match="evidence"):
        scored(inbox, out, bundle, evidence=True, **pools)
    measured = tmp_path / "measured"
    scored(inbox, measured, bundle, evidence=True, **pools)
    told = {row["path"]: row["evidence"] for row in read_scores(measured) if row["status"] != "error"}
    assert all("metadata" in {each["analyzer"] for each in evidence} for evidence in told.values())
    assert all(not row["evidence"] for row in read_scores(out))

    (inbox / "new.png").write_bytes(noise(7))
    (inbox / "note.jpg").write_bytes(noise(8))
    again = Counting()
    counts = scored(inbox, out, bundle, again, **pools)
    assert (again.seen[0], again.seen[-1]) == ((5, 7), (7, 7))
    assert (sum(counts.values()), counts.get("error", 0)) == (7, 0)
    assert sorted(row["path"] for row in read_scores(out)) == sorted(map(str, inbox.rglob("*.*")))
    assert scored(inbox, out, bundle, nothing := Counting(), **pools) == counts
    assert nothing.seen == [(7, 7)], "no actor was asked"


@pytest.mark.ray
@pytest.mark.slow
def test_a_manifest_by_uri_comes_back_with_its_columns_and_the_rate_is_kept(
    ray_cluster, bundle, inbox, tmp_path
):
    lines = [f"{path.as_uri()},fake,s{i}" for i, path in enumerate(sorted(inbox.rglob("*.png")))]
    lines += [f"{(inbox / f'gone {i}.png').as_uri()},real,g" for i in range(25)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,source", *lines]), encoding="utf-8")
    out, start_s = (tmp_path / "scores").as_uri(), time.monotonic()
    counts = scored((tmp_path / "m.csv").as_uri(), out, bundle, actors=2, rate_hz=10.0)
    assert time.monotonic() - start_s >= 2, "30 files at 10 a second, 10 of which may begin at once"
    assert (sum(counts.values()), counts["error"]) == (30, 25)
    rows = [row for row in read_scores(tmp_path / "scores") if row["status"] != "error"]
    assert sorted(row["source"] for row in rows) == [f"s{i}" for i in range(5)]
    assert {row["given_label"] for row in rows} == {"fake"}


@pytest.mark.parametrize(
    ("spoil", "error", "complaint"),
    [
        (lambda inbox, out, bundle: bundle.joinpath("bundle.json").unlink(), BundleError, "is no bundle"),
        (lambda inbox, out, bundle: out.write_bytes(b""), StorageError, "cannot be written"),
        (lambda inbox, out, bundle: [path.unlink() for path in inbox.rglob("*.*")], DataError, "no files"),
    ],
)
def test_what_cannot_work_is_told_before_a_cluster_is_needed(inbox, tmp_path, spoil, error, complaint):
    own = tiny_bundle(tmp_path / "own").path
    spoil(inbox, tmp_path / "out", own)
    with pytest.raises(error, match=complaint):
        open_task(str(inbox), str(tmp_path / "out"), select([own]), Work(), LogWatch())


def test_a_slow_rate_makes_small_pieces():
    assert [run._piece_files(Work(rate_hz=hz)) for hz in (None, 100.0, 2.0, 0.01)] == [64, 64, 20, 1]


def test_a_disk_that_gets_full_keeps_what_was_written(monkeypatch, inbox, tmp_path):
    monkeypatch.setattr(run, "part_due", lambda *_: True)
    files, parts = open_inbox(str(inbox), str(tmp_path / "out")), Parts(str(tmp_path / "out"), {})

    def batches():
        yield to_table([{"number": i, "status": "scored", "label": "real"} for i in (0, 3)], NUMBERED), 2
        with small_disk(500):
            yield to_table([{"number": 1, "status": "scored", "label": "fake"}], NUMBERED), 3

    with pytest.raises(StorageError, match="free space"):
        collect(batches(), files, parts, LogWatch())
    assert parts.settle(files).tolist() == [True, False, False, True, False, False]
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".parquet"]


def test_what_comes_late_is_written_at_once_and_what_comes_often_together(monkeypatch, inbox, tmp_path):
    files, parts = open_inbox(str(inbox), str(tmp_path / "out")), Parts(str(tmp_path / "out"), {})
    now_s, written = iter((0.0, 5.0, 5.2, 5.9, 6.1, 6.2)), []
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now_s))
    monkeypatch.setattr(parts, "write", lambda rows: written.append(rows.column("path").to_pylist()))
    rows = [to_table([{"number": i, "status": "scored"}], NUMBERED) for i in range(5)]
    collect(((each, i + 1) for i, each in enumerate(rows)), files, parts, LogWatch(lambda: 0.0))
    names = files.column("path").to_pylist()
    assert written == [names[:1], names[1:4], names[4:5]]


def test_what_came_before_a_failure_is_written(inbox, tmp_path):
    files, parts = open_inbox(str(inbox), str(tmp_path / "out")), Parts(str(tmp_path / "out"), {})

    def batches():
        yield to_table([{"number": 2, "status": "scored", "label": "real"}], NUMBERED), 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(batches(), files, parts, LogWatch())
    assert parts.settle(files).tolist() == [False, False, True, False, False, False]


def test_pieces_are_of_few_files_and_few_bytes():
    sizes = [1] * 1000 + [5 * 2**20] * 5 + [None]
    table = pa.table({"path": [str(i) for i in range(1006)], "size_bytes": pa.array(sizes, pa.int64())})
    pieces = run._pieces(table, np.arange(1, 1006), 64)
    lengths = [len(piece) for piece in pieces]
    assert lengths == [64] * 15 + [40, 1, 1, 1, 2]
    assert [n for piece in pieces for n in piece.column("number").to_pylist()] == list(range(1, 1006))
    assert [len(piece) for piece in run._pieces(table, np.arange(12), 64)] == [2] * 6
