"""The log of an experiment on a disk and in PyArrow's file system in memory."""

import dataclasses
import logging
import threading

import pyarrow as pa
import pytest
from pyarrow import parquet
from scenes import divided, entry, shadowed

from deepscan import storage
from deepscan.errors import ConfigError, StorageError
from deepscan.experiment import Feedback
from deepscan.serving import journal
from deepscan.serving.journal import Journal, JournalLimits, read
from tests.full_disk import small_disk


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now_s = 1_000_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def timers(monkeypatch):
    """The waits that were begun, as (seconds, what is called then); none of them runs by itself."""
    begun = []

    class Waiting:
        def __init__(self, delay_s, call):
            self.delay_s, self.call, self.cancelled = delay_s, call, False
            begun.append(self)

        def cancel(self):
            self.cancelled = True

    monkeypatch.setattr(journal, "_later", Waiting)
    return begun


@pytest.fixture(params=["path", "mock"])
def folder(request, tmp_path):
    return f"mock:///{tmp_path.name}/log" if request.param == "mock" else str(tmp_path / "log")


def names(folder):
    return sorted(storage.name(each.location) for each in storage.files(storage.absolute(folder)))


def rows(table):
    maps = ("scores", "abstentions")
    return [
        {key: dict(value) if key in maps else value for key, value in row.items()}
        for row in table.to_pylist()
    ]


def test_what_is_written_is_read(folder):
    entries, feedback = shadowed(3)
    entries[1] = dataclasses.replace(
        entries[1], probability=None, label="inconclusive", scores={}, abstentions={"one": "no-face"}
    )
    entries[2] = dataclasses.replace(entries[2], key_hash="0123456789abcdef", cached=True)
    log = Journal(folder)
    for each in entries:
        log.append(each)
    for each in feedback:
        log.feedback(each)
    log.close()
    found = read(folder)
    assert rows(found.answers) == [dataclasses.asdict(each) for each in entries]
    assert rows(found.feedback) == [dataclasses.asdict(each) for each in feedback]
    assert (found.cut_s, found.broken) == (None, ())


def test_a_file_is_written_when_enough_rows_wait(folder, timers):
    log = Journal(folder, JournalLimits(rows_per_file=3))
    for number in range(7):
        log.append(entry(request_id=f"r-{number}"))
    assert read(folder).answers.num_rows == 6
    log.close()
    assert read(folder).answers.num_rows == 7
    assert len(names(folder)) == 3
    assert all(each.cancelled for each in timers[:3])


def test_a_file_is_written_when_the_first_row_has_waited_long_enough(folder, timers):
    log = Journal(folder, JournalLimits(seconds_per_file=5))
    log.append(entry())
    log.feedback(Feedback(label=1, time_s=0.0, request_id="r-0"))
    (timer,) = timers
    assert timer.delay_s == 5
    timer.call()
    assert (read(folder).answers.num_rows, read(folder).feedback.num_rows) == (1, 1)
    log.append(entry())
    assert len(timers) == 2, "the next row begins to wait anew"


def test_the_wait_is_that_of_a_clock(tmp_path):
    """The one test with a thread: it ends as soon as the file is there."""
    written = threading.Event()
    timer = journal._later(0.0, written.set)
    assert written.wait(30)
    timer.join()
    assert timer.daemon, "a service that ends does not wait for its log"


def test_nothing_is_written_where_nothing_happened(tmp_path):
    log = Journal(str(tmp_path / "log"))
    log.flush()
    log.close()
    assert not (tmp_path / "log").exists()


def test_a_closed_log_takes_nothing(tmp_path, caplog):
    log = Journal(str(tmp_path))
    log.close()
    log.append(entry())
    log.flush()
    assert names(tmp_path) == []
    assert "is closed" in caplog.text


def test_several_writers_share_a_folder_and_rows_come_by_time(folder, timers):
    clock = Clock()
    logs = [Journal(folder, JournalLimits(rows_per_file=2), clock) for _ in range(3)]
    for number in range(12):
        logs[number % 3].append(entry(time_s=float(number)))
    assert len(names(folder)) == 6, "also where all of them write in the same millisecond"
    assert read(folder).answers["time_s"].to_pylist() == list(range(12))


def test_threads_may_write_to_one_log(tmp_path):
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=7))

    def write():
        for _ in range(50):
            log.append(entry())

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert read(str(tmp_path)).answers.num_rows == 200


def test_the_oldest_files_go_when_there_are_too_many_bytes(folder, timers):
    clock = Clock()
    log = Journal(folder, JournalLimits(rows_per_file=1), clock)
    log.append(entry(time_s=clock.now_s))
    (first,) = storage.files(storage.absolute(folder))
    begin_s = clock.now_s
    limited = Journal(folder, JournalLimits(rows_per_file=1, max_bytes=int(3.5 * first.size_bytes)), clock)
    for _ in range(6):
        clock.now_s += 10
        limited.append(entry(time_s=clock.now_s))
    found = read(folder)
    assert found.answers["time_s"].to_pylist() == [begin_s + 40, begin_s + 50, begin_s + 60]
    assert found.cut_s == begin_s + 30
    assert sum(each.size_bytes for each in journal._files(folder)) <= 3.5 * first.size_bytes


def test_files_go_when_they_are_too_old(folder, timers):
    clock = Clock()
    log = Journal(folder, JournalLimits(rows_per_file=1, max_age_s=25), clock)
    for _ in range(5):
        clock.now_s += 10
        log.append(entry(time_s=clock.now_s))
    found = read(folder)
    assert found.answers["time_s"].to_pylist() == [clock.now_s - 20, clock.now_s - 10, clock.now_s]
    assert found.cut_s == clock.now_s - 30


def test_files_of_others_are_left_alone(tmp_path, timers):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "answers-1.parquet").write_text("mine too")
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=1, max_bytes=1))
    log.append(entry())
    assert names(tmp_path) == ["answers-1.parquet", "cut.txt", "notes.txt"], "even its own file is too large"
    found = read(str(tmp_path))
    assert (found.answers.num_rows, found.broken) == (0, ())


def test_a_broken_file_is_left_out_by_name(tmp_path, caplog, timers):
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=1))
    for _ in range(4):
        log.append(entry())
    torn, foreign, empty, good = sorted(tmp_path.glob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[:200])
    parquet.write_table(pa.table({"time_s": [1]}), foreign)
    empty.write_bytes(b"")
    found = read(str(tmp_path))
    assert found.answers.num_rows == 1
    assert set(found.broken) == {str(torn), str(foreign), str(empty)}
    assert all(str(each) in caplog.text for each in (torn, foreign, empty))
    assert str(good) not in caplog.text


def test_a_file_that_is_deleted_while_the_log_is_read_is_not_broken(tmp_path, monkeypatch, caplog, timers):
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=1))
    for _ in range(2):
        log.append(entry())
    listed = journal._files(str(tmp_path))
    storage.remove(listed[0].location)
    monkeypatch.setattr(journal, "_files", lambda _: listed)
    found = read(str(tmp_path))
    assert (found.answers.num_rows, found.broken, caplog.text) == (1, (), "")


def test_deleting_what_another_process_has_deleted_is_no_error(tmp_path, monkeypatch, caplog, timers):
    other = Journal(str(tmp_path), JournalLimits(rows_per_file=1))
    other.append(entry())
    listed = journal._files(str(tmp_path))
    storage.remove(listed[0].location)
    monkeypatch.setattr(journal, "_files", lambda _: listed)
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=1, max_bytes=1))
    log.append(entry())
    assert caplog.text == ""


def test_a_full_disk_costs_rows_and_no_answer(tmp_path, caplog):
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=2))
    with small_disk(100):
        log.append(entry())
        log.append(entry())
    assert "Rows of the log were dropped" in caplog.text
    assert names(tmp_path) == [], "nothing is left of the attempt"
    log.append(entry(request_id="later"))
    log.close()
    assert read(str(tmp_path)).answers["request_id"].to_pylist() == ["later"]


def test_who_closes_a_log_hears_that_the_disk_is_full(tmp_path):
    log = Journal(str(tmp_path))
    log.append(entry())
    with small_disk(100), pytest.raises(StorageError, match="cannot be written"):
        log.close()


def test_that_it_cannot_be_cut_is_told_and_no_error(tmp_path, monkeypatch, caplog):
    def fail(_):
        msg = "gone"
        raise StorageError(msg)

    log = Journal(str(tmp_path))
    log.append(entry())
    monkeypatch.setattr(journal, "_files", fail)
    with caplog.at_level(logging.WARNING):
        log.close()
    assert "was not cut to its limits this time: gone" in caplog.text


def test_a_log_is_read_while_it_is_written(tmp_path, timers):
    log = Journal(str(tmp_path), JournalLimits(rows_per_file=1))
    for count in range(1, 4):
        log.append(entry())
        assert read(str(tmp_path)).answers.num_rows == count


def test_columns_fill_what_is_absent(tmp_path):
    log = Journal(str(tmp_path))
    log.append(entry(probability=None))
    log.feedback(Feedback(label=1, time_s=1.0, request_id="r-0"))
    log.close()
    answers, truths = journal.columns(read(str(tmp_path)))
    assert answers.probability != answers.probability, "NaN"
    assert answers.caller.tolist() == truths.sha256.tolist() == [""]
    assert truths.request_id.tolist() == ["r-0"]
    assert answers.shadow.dtype == answers.cached.dtype == bool


def test_callers_and_times_survive(tmp_path):
    entries, feedback = divided(5)
    log = Journal(str(tmp_path))
    for each in entries:
        log.append(each)
    for each in feedback:
        log.feedback(each)
    log.close()
    answers, truths = journal.columns(read(str(tmp_path)))
    assert answers.caller.tolist() == [each.key_hash for each in entries]
    assert answers.time_s.tolist() == [each.time_s for each in entries]
    assert truths.sha256.tolist() == [each.sha256 for each in feedback]


def test_a_log_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match=r"There is no folder .*gone; give the folder"):
        read(str(tmp_path / "gone"))


def test_an_empty_folder_is_an_empty_log(tmp_path):
    found = read(str(tmp_path))
    assert (found.answers.num_rows, found.feedback.num_rows) == (0, 0)
    answers, truths = journal.columns(found)
    assert len(answers) == len(truths.label) == 0


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(JournalLimits)])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_above_0(name, value):
    with pytest.raises(ConfigError, match=f"'{name}' of the log cannot be {value}"):
        JournalLimits(**{name: value})
