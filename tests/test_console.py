import io
import types

import pytest
from rich.console import Console

from deepscan.calibration import OperatingPoint
from deepscan.console import (
    ConsoleWatch,
    answers_table,
    figures_table,
    grid,
    show_outcome,
    verdict_table,
    watching,
)
from deepscan.errors import DataError
from deepscan.metrics import Counts, Figure
from deepscan.verdict import Abstention, MediaFacts, Part, Region, Score, Uncertainty, Verdict
from deepscan.watch import LogWatch

MARKUP = "[/x] [bold]b :smile:"


def paper(terminal=False):
    """A console that draws into a string."""
    return Console(
        file=io.StringIO(), width=200, force_terminal=terminal, color_system="standard" if terminal else None
    )


def drawn(*things):
    console = paper()
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


def verdict(name="a.png", probability=0.75):
    facts = MediaFacts(name=name, kind="image", container="png", bytes=1, sha256="0")
    judge = {"detector": "d", "bundle": "d-0", "modality": "image"}
    if probability is None:
        gone = Abstention(**judge, reason="no-face", message="No face [/here].")
        label, uncertainty, scores, gone = "inconclusive", None, (), (gone,)
    else:
        part = Part(probability=probability, region=Region())
        score = Score(**judge, logit=1.0, probability=probability, label="fake", parts=(part, part))
        label, uncertainty, scores, gone = "fake", Uncertainty(low=0.5, high=0.915, files=9), (score,), ()
    return Verdict(
        label=label,
        probability=probability,
        uncertainty=uncertainty,
        scores=scores,
        abstentions=gone,
        evidence=(),
        media=facts,
        bundles=("d-0",),
        elapsed_ms=1.0,
    )


def test_a_verdict_is_a_row():
    text = drawn(verdict_table([verdict()]))
    for cell in ("a.png", "fake", "0.750", "0.50-0.92", "2"):
        assert f" {cell} " in text


def test_a_verdict_without_an_answer_says_why():
    text = drawn(verdict_table([verdict(probability=None)]))
    assert "inconclusive │ -  " in text
    assert "No face [/here]." in text


def test_labels_have_their_colours():
    console = paper(terminal=True)
    console.print(verdict_table([verdict()]))
    assert "\x1b[31mfake " in console.file.getvalue()


def test_brackets_and_colons_of_names_are_shown_as_they_are():
    assert drawn(verdict_table([verdict(MARKUP)]), grid(MARKUP, ("name",), [(MARKUP,)])).count(MARKUP) == 3


def test_figures_have_titles_and_intervals():
    figures = {
        "auc": Figure(value=0.9, low=0.85, high=0.9555),
        "eer": Figure(value=None, low=None, high=None),
        "f1": Figure(value=0.5, low=None, high=None),
    }
    rows = [line.split("│")[1:4] for line in drawn(figures_table("T", figures)).splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["AUC", "0.900", "0.850 to 0.956"],
        ["Equal error rate", "-", "-"],
        ["F1", "0.500", "-"],
    ]


def test_answers_of_a_service_are_rows():
    answers = {
        "a.png": {"label": "real", "probability": 0.1234, "elapsed_ms": 12.4},
        "b.png": {"label": "inconclusive", "probability": None, "elapsed_ms": 3.0},
    }
    lines = drawn(answers_table(answers)).splitlines()
    assert any(line.split() == ["│", "a.png", "│", "real", "│", "0.123", "│", "12", "│"] for line in lines)
    assert any(line.split() == ["│", "b.png", "│", "inconclusive", "│", "-", "│", "3", "│"] for line in lines)


@pytest.mark.parametrize("files", [8, 80])
def test_an_outcome_is_shown_with_its_account_figures_and_places(tmp_path, files):
    card = types.SimpleNamespace(id="tiny-0123", operating=OperatingPoint(real=files, fake=files))
    counts = Counts(files=7, sources=5, real=3, fake=4)
    evaluation = types.SimpleNamespace(counts=counts, overall={"auc": Figure(value=0.9, low=0.8, high=1.0)})
    bundle = types.SimpleNamespace(card=card, path=tmp_path / "[b]")
    outcome = types.SimpleNamespace(bundle=bundle, evaluation=evaluation, account={"used": 7, "no-face": 2})
    console = paper()
    show_outcome(console, outcome, tmp_path)
    text = console.file.getvalue()
    assert "tiny-0123 on 7 files of 5 sources" in text
    assert "no-face" in text
    assert ("No file is called fake or real: the 8 real and 8 fake" in text) == (files == 8)
    assert f"Bundle: {tmp_path}/[b]\nReport: {tmp_path}/report.html\n" in text


def test_work_is_logged_where_there_is_no_terminal_and_drawn_where_there_is_one():
    with watching(paper()) as watch:
        assert isinstance(watch, LogWatch)
    with watching(paper(terminal=True)) as watch:
        assert isinstance(watch, ConsoleWatch)


def test_stages_and_epochs_are_drawn():
    console = paper(terminal=True)
    metrics = {"epoch": 2, "train_loss": 0.5, "val_loss": 0.25, "val_auc": 0.875, "lr": 1e-3}
    with watching(console) as watch:
        watch.advance(1, 2)
        watch.stage(MARKUP)
        watch.advance(3, 7)
        watch.epoch(metrics | {"examples_per_s": 99.6, "waiting_share": 0.25})
        watch.stage("Second")
        first, second = watch.progress.tasks
        assert (first.completed, first.total, first.finished) == (7, 7, True)
        assert not second.finished
    assert second.finished
    text = console.file.getvalue()
    assert MARKUP in text
    for cell in ("epoch   2", "train loss 0.5000", "val AUC 0.8750", "lr 1.00e-03", "100/s", "data 25%"):
        assert cell in text


def test_a_stage_that_failed_is_not_drawn_as_finished():
    watch = ConsoleWatch(paper(terminal=True))

    def work():
        with watch:
            watch.stage("First")
            raise DataError("broken")

    with pytest.raises(DataError):
        work()
    assert not watch.progress.tasks[0].finished
    assert not watch.progress.live.is_started
