"""The command that compares variants by their log."""

import json
import re

import pytest
from scenes import divided, entry, shadowed
from typer.testing import CliRunner

from deepscan import cli
from deepscan.serving.journal import Journal, JournalLimits


def run(*arguments):
    return CliRunner().invoke(cli.app, ["experiment", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def write(tmp_path):
    """Returns ``write(entries, feedback, limits)``: the folder of a log."""

    def write(entries, feedback=(), limits=None):
        log = Journal(str(tmp_path / "log"), limits)
        for each in entries:
            log.append(each)
        for each in feedback:
            log.feedback(each)
        log.close()
        return tmp_path / "log"

    return write


def words(text):
    return " ".join(text.split())


def test_a_shadow_is_compared_and_decided(write):
    done = run(write(*shadowed(300, (0.6, 0.95))))
    assert done.exit_code == 0
    assert done.stderr == ""
    assert "next beside now: 300 pairs of answers to one content" in done.stdout
    assert re.search(r"│ next \(shadow\) +│ 300 +│ 300 ", done.stdout)
    assert re.search(r"│ same label +│ 0\.\d{3} +│ 0\.\d{3} to 0\.\d{3} ", done.stdout)
    assert "It is decided: next is more accurate." in done.stdout


def test_two_arms_are_compared(write):
    done = run(write(*divided()), "--baseline", "now")
    assert done.exit_code == 0
    assert "next beside now: 800 contents of two groups of callers" in done.stdout
    assert "kappa" not in done.stdout
    assert "It is decided: now is more accurate." in done.stdout


def test_nothing_labelled_is_no_failure(write):
    done = run(write(shadowed(20)[0]))
    assert done.exit_code == 0
    assert "No truth is known of these contents" in done.stdout
    assert "accuracy, difference" not in done.stdout


def test_all_figures_go_into_a_file_and_are_the_same_again(write, tmp_path):
    folder = write(*shadowed(50))
    outs = [tmp_path / "in" / name for name in ("a.json", "b.json")]
    for out in outs:
        assert f"Figures: {out}" in run(folder, "--alpha", 0.01, "--json", out).stdout
    assert outs[0].read_text() == outs[1].read_text()
    found = json.loads(outs[0].read_text())
    assert (found["baseline"], found["alpha"], found["since"], found["cut_s"]) == ("now", 0.01, None, None)
    assert [each["variant"] for each in found["summaries"]] == ["next", "now"]
    assert found["comparisons"][0]["test"]["alpha"] == 0.01
    assert set(found["comparisons"][0]["figures"]["agreement"]) == {"value", "low", "high"}


def test_another_baseline(write):
    done = run(write(shadowed(20)[0]), "--baseline", "next")
    assert "now beside next: 20 pairs" in done.stdout


@pytest.mark.parametrize(
    ("since", "left"),
    [
        ("1970-01-01", 20),
        ("1970-01-01T00:16:50", 10),
        ("1970-01-01T00:16:50+00:00", 10),
        ("1970-01-01T01:16:50+01:00", 10),
    ],
)
def test_answers_before_a_date_are_left_out(write, since, left):
    """The first of the 20 answers was given 1000 s after 1970 began, the others a second later each."""
    assert f"next beside now: {left} pairs" in run(write(shadowed(20)[0]), "--since", since).stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--baseline", "nwo"], 2, "has no variant 'nwo'. Did you mean 'now'? It has: next, now."),
        (["--alpha", "1"], 2, "rate of false alarms cannot be 1.0"),
        (["--since", "yesterday"], 2, "--since 'yesterday' is no date; write 2026-05-01"),
        (["--since", "2100-01-01"], 5, "holds no answer since 2100-01-01"),
    ],
)
def test_what_cannot_be_done_is_told(write, options, code, message):
    done = run(write(*shadowed(5)), *options)
    assert done.exit_code == code
    assert message in words(done.stderr)
    assert done.stdout == ""


def test_a_log_that_is_not_there_is_a_matter_of_storage(tmp_path):
    done = run(tmp_path / "gone")
    assert done.exit_code == 10
    assert "There is no folder" in done.stderr


def test_an_empty_log_and_a_single_variant_are_too_little(write, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no answer; let the service run on" in words(run(empty).stderr)
    done = run(write([entry()]))
    assert done.exit_code == 5
    assert "needs at least two" in words(done.stderr)


def test_a_broken_file_is_named_and_the_others_count(write):
    folder = write(shadowed(20)[0], limits=JournalLimits(rows_per_file=10))
    first = min(folder.glob("*.parquet"))
    first.write_bytes(b"PAR1")
    done = run(folder)
    assert done.exit_code == 0
    assert f"Left out: {first} is no file of a log, or broken." in words(done.stderr)
    assert "15 pairs" in done.stdout


def test_strangers_among_the_labels_are_counted(write):
    entries, feedback = shadowed(20)
    assert (
        "5 labels are about requests that the log does not hold." in run(write(entries[10:], feedback)).stdout
    )


def test_a_log_that_was_cut_says_from_when_on_it_is_whole(write):
    folder = write(shadowed(20)[0])
    (folder / "cut.txt").write_text("1500")
    done = run(folder)
    assert "answers before 1970-01-01T00:00:01.500+00:00 were deleted" in words(done.stderr)
    assert run(folder, "--since", "1970-01-01T00:00:01.500").stderr == ""
