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


def test_an_epoch_is_one_line_of_rounded_figures(lines):
    LogWatch().epoch({"epoch": 3.0, "val_auc": 0.987654321, "lr": 1e-5})
    assert lines() == ["epoch=3 val_auc=0.9877 lr=1e-05"]


@pytest.mark.parametrize("kind", [LogWatch, ConsoleWatch])
def test_every_watch_has_the_methods_of_the_protocol(kind):
    methods = {name for name in vars(Watch) if not name.startswith("_")}
    assert methods == {"stage", "advance", "epoch"}
    assert methods <= set(dir(kind))
