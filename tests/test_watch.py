import logging

import pytest

from deepscan.console import ConsoleWatch
from deepscan.watch import LogWatch, Watch


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="deepscan.watch")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_stage_is_logged_by_its_title(lines):
    LogWatch().stage("Preparing 100 % of it")
    assert lines() == ["Preparing 100 % of it"]


def test_every_tenth_of_the_work_is_logged_once(lines):
    watch = LogWatch()
    watch.stage("Preparing")
    for done in range(1001):
        watch.advance(done, 1000)
    assert lines()[1:] == [f"Preparing: {done} of 1000" for done in range(0, 1001, 100)]


def test_skipped_tenths_and_standing_still_make_no_lines(lines):
    watch = LogWatch()
    for done in (0, 5, 95, 95, 99, 100, 100):
        watch.advance(done, 100)
    assert lines() == [": 0 of 100", ": 95 of 100", ": 100 of 100"]


def test_a_new_stage_counts_from_the_beginning(lines):
    watch = LogWatch()
    for title in ("One", "Two"):
        watch.stage(title)
        watch.advance(10, 10)
    assert lines() == ["One", "One: 10 of 10", "Two", "Two: 10 of 10"]


def test_a_stage_without_work_is_no_error(lines):
    LogWatch().advance(0, 0)
    assert lines() == [": 0 of 0"]


def test_lines_tell_the_pace_since_the_first_things_were_done_and_what_is_left(lines):
    now_s = iter((0.0, 0.0, 50.0, 100.0, 110.0))
    watch = LogWatch(lambda: next(now_s))
    watch.stage("Scoring")
    for done in (400, 700, 800, 1000):
        watch.advance(done, 1000)
    assert lines()[1:] == [
        "Scoring: 400 of 1000",
        "Scoring: 700 of 1000",
        "Scoring: 800 of 1000, 2 a second, 0:01:40 left",
        "Scoring: 1000 of 1000, 5 a second, 0:00:00 left",
    ]


def test_slow_work_makes_a_line_a_minute(lines):
    now_s = iter(range(0, 10_000, 20))
    watch = LogWatch(lambda: next(now_s))
    watch.stage("Slow")
    for done in range(10):
        watch.advance(done, 1_000_000)
    assert [line.split(",")[0] for line in lines()[1:]] == [
        f"Slow: {done} of 1000000" for done in (0, 3, 6, 9)
    ]


def test_an_epoch_is_one_line_of_rounded_figures(lines):
    LogWatch().epoch({"epoch": 3.0, "val_auc": 0.987654321, "lr": 1e-5})
    assert lines() == ["epoch=3 val_auc=0.9877 lr=1e-05"]


@pytest.mark.parametrize("kind", [LogWatch, ConsoleWatch])
def test_every_watch_has_the_methods_of_the_protocol(kind):
    methods = {name for name in vars(Watch) if not name.startswith("_")}
    assert methods == {"stage", "advance", "epoch"}
    assert methods <= set(dir(kind))
