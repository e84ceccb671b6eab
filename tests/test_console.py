import dataclasses
import io
import re
import types

import numpy as np
import pytest
from rich.console import Console

from deepscan.calibration import OperatingPoint
from deepscan.console import (
    COMPARED,
    ConsoleWatch,
    answers_table,
    figures_table,
    grid,
    input_bound,
    show_ensemble,
    show_outcome,
    show_trust,
    show_verdicts,
    timeline_table,
    verdict_table,
    watching,
)
from deepscan.ensemble import Ensemble, Entry
from deepscan.errors import DataError
from deepscan.fusion import Attention, FusionPolicy, Line
from deepscan.metrics import Counts, Figure
from deepscan.metrics.examination import examine
from deepscan.verdict import Abstention, Evidence, MediaFacts, Part, Region, Score, Uncertainty, Verdict
from deepscan.watch import LogWatch
from tests.metrics.samples import judged, random

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


def test_who_abstained_is_named_also_beside_an_answer():
    gone = Abstention(detector="ear", bundle="e-0", modality="audio", reason="no-sound", message="Silence.")
    text = drawn(verdict_table([dataclasses.replace(verdict(), abstentions=(gone,))]))
    assert "ear (no-sound): Silence." in text


def test_disagreement_is_shown_where_several_voted():
    several = Uncertainty(low=0.5, high=0.9, files=9, disagreement=0.1234)
    assert " 0.12 " in drawn(verdict_table([dataclasses.replace(verdict(), uncertainty=several)]))


def test_the_timeline_tells_the_suspicious_moments_in_the_order_of_their_times():
    def part(probability, start_s, end_s):
        region = Region(start_s=start_s, end_s=end_s)
        return Part(probability=probability, region=region, weight=0.25)

    score = dataclasses.replace(
        verdict().scores[0],
        parts=(part(0.9, 4.0, 6.5), part(0.8, 1.0, 3.5), part(0.2, 0.0, 1.0), part(0.99, None, None)),
    )
    text = drawn(timeline_table(dataclasses.replace(verdict(), scores=(score,))))
    assert "a.png: 2 of 3 moments look fake" in text
    rows = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1.00", "3.50", "d", "0.800", "0.25"],
        ["4.00", "6.50", "d", "0.900", "0.25"],
    ]


def test_evidence_is_a_line_below_the_tables():
    said = Evidence(analyzer="eye", summary="Seen [/here]. " + "very " * 60, measurements={}, limits="")
    console = paper()
    verdicts = [verdict("a.png"), dataclasses.replace(verdict("b.png"), evidence=(said, said))]
    show_verdicts(console, verdicts, timeline=True)
    text = console.file.getvalue()
    assert [line.strip() for line in text.splitlines()[-2:]] == [f"b.png, eye: {said.summary}".strip()] * 2
    assert text.index("a.png: 0 of 0 moments look fake") < text.index("b.png, eye: ")


STACK = FusionPolicy(
    method="stack",
    lines=(
        Line(members=("a-0",), weights=(1.5,), offset=0.0),
        Line(members=("a-0", "b-0"), weights=(0.75, 0.25), offset=0.0),
        Line(members=("c-0",), weights=(0.5,), offset=0.0),
    ),
    operating=OperatingPoint(threshold=0.4, low=0.25, high=0.875, real=8, fake=80),
)
ATTENTION = FusionPolicy(
    method="attention", attention=Attention(scores={"a-0": 0.5, "b-0": -0.25, "c-0": 0}, decidedness=1)
)


@pytest.mark.parametrize(
    ("policy", "say"),
    [
        (FusionPolicy(weights={"a-0": 2.0}), ["weight 2.00", "weight 1.00", "weight 1.00"]),
        (ATTENTION, ["score +0.50", "score -0.25", "score +0.00"]),
        (STACK, ["weight 0.75", "weight 0.25", "where others are absent"]),
    ],
)
def test_an_ensemble_is_shown_with_what_its_members_have_to_say(policy, say):
    members = tuple(Entry(path=f"../{name}", bundle=f"{name}-0") for name in "abc")
    figures = {name: {"value": 0.5, "low": 0.25, "high": 0.75} for name in COMPARED}
    figures["eer"] = {"value": None, "low": None, "high": None}
    metrics = {"ensemble": {"counts": {"files": 77}, "figures": figures}}
    console = paper()
    show_ensemble(console, Ensemble(entries=members, policy=policy, metrics=metrics))
    text = console.file.getvalue()
    for name, said in zip("abc", say, strict=True):
        assert re.search(rf"{name}-0 +│ \.\./{name} +│ {re.escape(said)} ", text)
    assert re.search(r"ensemble +│ 77 +│ 0\.500 \(0\.25-0\.75\) .*│ - +│\n", text)
    assert ("Called fake from 0.875 on and real below 0.250" in text) == (policy is STACK)
    assert ("No file is called fake: the 8 real" in text) == (policy is STACK)


def test_labels_have_their_colours():
    console = paper(terminal=True)
    console.print(verdict_table([verdict()]))
    assert "\x1b[31mfake " in console.file.getvalue()


def test_brackets_and_colons_of_names_are_shown_as_they_are():
    assert drawn(verdict_table([verdict(MARKUP)]), grid(MARKUP, ("name",), [(MARKUP,)])).count(MARKUP) == 3


def test_nothing_is_cut_off_where_there_is_little_room():
    narrow = Console(width=40, file=io.StringIO())
    narrow.print(
        grid("Exported", ("bundle", "format", "size"), [("a1b2c3d4e5f60718293a4b5c6d7e8f90", "onnx", "2 MB")])
    )
    cells = re.findall(r"│ (\S*) +│ \S* +│", narrow.file.getvalue())
    assert "".join(cells) == "a1b2c3d4e5f60718293a4b5c6d7e8f90"


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
    outcome.history = ()
    outcome.examination = outcome.against = outcome.seen = None
    console = paper()
    show_outcome(console, outcome, tmp_path)
    text = console.file.getvalue()
    assert "tiny-0123 on 7 files of 5 sources" in text
    assert "no-face" in text
    assert ("No file is called fake or real: the 8 real and 8 fake" in text) == (files == 8)
    assert f"Bundle: {tmp_path}/[b]\nReport: {tmp_path}/report.html\n" in text


def test_of_many_groups_that_are_too_small_three_are_named():
    files = random(60, 0)
    some = judged(files.label, files.logit, letter=np.array(list("abcdef"))[np.arange(60) % 6])
    examined = examine(some, OperatingPoint(), np.random.default_rng(0), 0)
    console = paper()
    show_trust(console, types.SimpleNamespace(examination=examined, against=None, seen=None))
    text = " ".join(console.file.getvalue().split())
    assert [f"letter '{name}', " in text for name in "abcdef"] == [True] * 3 + [False] * 3
    assert "3 more groups of letter are too small" in text


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
        watch.epoch(metrics | {"examples_per_s": 99.6, "waiting_share": 0.25, "device_share": 0.7})
        watch.stage("Second")
        first, second = watch.progress.tasks
        assert (first.completed, first.total, first.finished) == (7, 7, True)
        assert not second.finished
    assert second.finished
    text = console.file.getvalue()
    assert MARKUP in text
    cells = (
        "epoch   2",
        "train loss 0.5000",
        "val AUC 0.8750",
        "lr 1.00e-03",
        "100/s",
        "data 25%",
        "busy 70%",
    )
    for cell in cells:
        assert cell in text


def test_a_bar_tells_the_pace_and_when_it_ends():
    now_s = [0.0]
    console = Console(file=io.StringIO(), width=200, force_terminal=True, get_time=lambda: now_s[0])
    watch = ConsoleWatch(console)
    watch.stage("Scoring")
    for now_s[0], done in ((1.0, 100), (2.0, 400), (3.0, 700)):
        watch.advance(done, 1600)
    console.print(watch.progress.make_tasks_table(watch.progress.tasks))
    assert "300/s" in console.file.getvalue()
    assert "0:00:03" in console.file.getvalue()


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


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (
            [(0.9, 0.1), (0.02, 0.9), (0.04, 0.9)],
            "data 3% of the time, and its device was busy 90%: it is not",
        ),
        (
            [(0.9, 0.1), (0.3, 0.6), (0.5, 0.5)],
            "data 40% of the time, and its device was busy 55%: it is bound",
        ),
        ([(0.9, 0.1), (0.6, 0.98)], "it is not bound"),
        ([(0.9, 0.1)], ""),
        ([], ""),
    ],
)
def test_a_run_that_waits_for_its_data_is_told_so(shares, words):
    """The first epoch starts everything and does not count."""
    history = [{"waiting_share": waiting, "device_share": busy} for waiting, busy in shares]
    told = str(input_bound(history))
    assert words in told
    assert bool(words) == bool(told)
