"""The journal of a campaign, and the ranking of trials."""

import dataclasses

import pytest

from deepscan.tuning import journal
from deepscan.tuning.journal import Epoch, Trial


def epoch(auc, loss=0.5, number=1, **settings):
    return Epoch(settings=settings, metrics={"epoch": float(number), "val_auc": auc, "val_loss": loss})


def trial(name, *epochs, state="finished"):
    return Trial(id=name, state=state, epochs=dict(enumerate(epochs, 1)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.jsonl"


def put(path, name, number, auc, **settings):
    metrics = {"epoch": float(number), "val_auc": auc, "val_loss": 0.5}
    journal.append(path, name, settings=settings, metrics=metrics)


def test_what_is_written_is_read(path):
    journal.append(path, "a", state="begun")
    put(path, "a", 1, 0.6, lr=0.1)
    journal.append(path, "b", state="begun")
    put(path, "a", 2, 0.7, lr=0.2)
    journal.append(path, "a", state="finished")
    journal.append(path, "b", state="failed", why="ValueError: no")
    first, second = journal.read(path)
    assert (first.id, first.state, sorted(first.epochs)) == ("a", "finished", [1, 2])
    assert first.best.settings == {"lr": 0.2}
    assert (second.id, second.state, second.why, second.epochs) == ("b", "failed", "ValueError: no", {})


def test_no_journal_is_no_trials(path):
    assert journal.read(path) == []


def test_a_line_that_is_being_written_is_left_out(path):
    journal.append(path, "a", state="begun")
    with path.open("a") as file:
        file.write('{"trial": "b", "sta')
    assert [each.id for each in journal.read(path)] == ["a"]


def test_an_epoch_that_was_run_again_counts_as_it_came_out_last(path):
    put(path, "a", 1, 0.9)
    put(path, "a", 1, 0.6)
    assert journal.read(path)[0].best.metrics["val_auc"] == 0.6


def test_a_trial_that_goes_on_has_not_ended(path):
    for state in ("begun", "stopped", "begun"):
        journal.append(path, "a", state=state)
    assert not journal.read(path)[0].ended
    assert dataclasses.replace(journal.read(path)[0], state="stopped").ended


def test_trials_are_ranked_by_auc_then_by_loss_of_their_best_epoch():
    worse, better = trial("worse", epoch(0.8, 0.4), epoch(0.7, 0.1)), trial("better", epoch(0.8, 0.3))
    top = trial("top", epoch(0.1), epoch(0.9, 0.9), state="stopped")
    assert [each.id for each in journal.best_first([worse, better, top])] == ["top", "better", "worse"]


def test_a_failed_trial_and_one_without_an_epoch_do_not_rank():
    failed = trial("failed", epoch(1.0), state="failed")
    running = trial("running", epoch(0.5), state="begun")
    assert [each.id for each in journal.best_first([failed, running, trial("empty")])] == ["running"]


def test_a_trial_says_what_it_came_to():
    assert str(trial("a", epoch(0.5), epoch(0.75))) == "Trial a finished after 2 epoch(s), val AUC 0.7500"
    failed = Trial(id="b", state="failed", epochs={}, why="no data")
    assert str(failed) == "Trial b failed after 0 epoch(s): no data"
