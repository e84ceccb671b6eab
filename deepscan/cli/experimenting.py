"""The command that says what the log of an experiment tells."""

import dataclasses
import datetime
import json
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.cli.program import complain, console, say
from deepscan.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from deepscan.experiment.answers import Answers
    from deepscan.experiment.compare import Comparison, Report, Summary
    from deepscan.metrics import Figure
    from deepscan.serving.journal import Log

SHOWN = {
    "agreement": "same label",
    "kappa": "kappa (1 = full agreement, 0 = chance)",
    "score_shift": "P(fake), difference of means",
    "fake": "share of fake, difference",
    "inconclusive": "share of inconclusive, difference",
    "p50_ratio": "median time, ratio",
    "p95_ratio": "95 % time, ratio",
    "accuracy": "accuracy, difference",
}
"""The figures of a comparison, in the order in which they are shown."""

SEED = 0
"""Of the bootstrap, so that one log always gives the same figures."""

app = typer.Typer()


@app.command()
def experiment(
    log: Annotated[str, typer.Argument(help="Folder of the log, a path or URI.")],
    baseline: Annotated[
        str | None, typer.Option(help="Variant to compare with; default: the one that answered most.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="False alarms of the test, over all looks together, in (0, 1).")
    ] = 0.05,
    since: Annotated[
        str | None, typer.Option(help="Leave out answers before, e.g. 2026-05-01 or 2026-05-01T12:00 (UTC).")
    ] = None,
    figures: Annotated[
        pathlib.Path | None, typer.Option("--json", help="File to write all figures to.")
    ] = None,
) -> None:
    """Compare the variants of a service by its log: agreement, scores, time, and accuracy where labelled."""
    import numpy as np

    from deepscan.experiment.compare import compare, main_variant
    from deepscan.serving.journal import columns, read

    since_s = _seconds(since)
    found = read(log)
    answers, truths = columns(found)
    answers = answers.take(answers.time_s >= since_s)
    if not len(answers):
        msg = f"The log {log} holds no answer{f' since {since}' if since else ''}; let the service run on."
        raise DataError(msg)
    chosen = _known(baseline, answers) if baseline else main_variant(answers)
    report = compare(answers, truths, chosen, alpha, np.random.default_rng(SEED))
    _show(report)
    _warn(found, since_s)
    if figures:
        figures.parent.mkdir(parents=True, exist_ok=True)
        head = {"log": log, "baseline": chosen, "alpha": alpha, "since": since, "cut_s": found.cut_s}
        text = json.dumps({**head, **dataclasses.asdict(report)}, indent=1)
        figures.write_text(text + "\n", encoding="utf-8")
        say(f"Figures: {figures}")


def _seconds(since: str | None) -> float:
    """Return a date, or a date with a time, in seconds since 1970; without a zone it is UTC."""
    if since is None:
        return 0.0
    try:
        given = datetime.datetime.fromisoformat(since)
    except ValueError as error:
        msg = f"--since {since!r} is no date; write 2026-05-01 or 2026-05-01T12:00+02:00."
        raise ConfigError(msg) from error
    return (given if given.tzinfo else given.replace(tzinfo=datetime.UTC)).timestamp()


def _known(name: str, answers: "Answers") -> str:
    from deepscan.registry import nearest

    names = sorted(set(answers.variant.tolist()))
    if name not in names:
        msg = f"The log has no variant {name!r}.{nearest(name, names)} It has: {', '.join(names)}."
        raise UnknownNameError(msg)
    return name


def _show(report: "Report") -> None:
    from deepscan.console import grid
    from deepscan.experiment.wording import sentences

    columns = (
        "variant",
        "answers",
        "contents",
        "fake",
        "inconclusive",
        "labelled",
        "accuracy",
        "wrong",
        "AUC",
    )
    rows = [_row(each) for each in report.summaries]
    console.print(grid("Variants", (*columns, "p50 (ms)", "p95 (ms)"), rows))
    for each in report.comparisons:
        console.print(_table(each))
        for sentence in sentences(each):
            say(sentence)
    if report.unmatched:
        say(f"{report.unmatched} labels are about requests that the log does not hold.")


def _row(each: "Summary") -> tuple[object, ...]:
    names = ("fake", "inconclusive", "accuracy", "wrong", "auc")
    fake, inconclusive, accuracy, wrong, auc = (_short(each.figures[name]) for name in names)
    name = f"{each.variant} (shadow)" if each.shadow else each.variant
    times = ("-" if ms is None else f"{ms:.0f}" for ms in (each.p50_ms, each.p95_ms))
    return name, each.answers, each.contents, fake, inconclusive, each.labelled, accuracy, wrong, auc, *times


def _table(each: "Comparison") -> object:
    from deepscan.console import grid

    kind = "pairs of answers to one content" if each.paired else "contents of two groups of callers"
    rows = [
        (words, _number(figure), _interval(figure))
        for name, words in SHOWN.items()
        if (figure := each.figures.get(name)) and figure.value is not None
    ]
    title = f"{each.other} beside {each.baseline}: {each.contents} {kind}"
    return grid(title, ("figure", "value", "95 % interval"), rows)


def _warn(found: "Log", since_s: float) -> None:
    """Say on the standard error output what is missing, where that matters."""
    for location in found.broken:
        complain("Left out", f"{location} is no file of a log, or broken.")
    if found.cut_s is not None and since_s < found.cut_s:
        first = datetime.datetime.fromtimestamp(found.cut_s, datetime.UTC).isoformat(timespec="milliseconds")
        complain(
            "Note",
            f"answers before {first} were deleted to keep to the limits of the log. The test that holds at "
            f"any look needs a fixed begin: give --since {first} or later, and the same every time.",
        )


def _number(figure: "Figure") -> str:
    return "-" if figure.value is None else f"{figure.value:.3f}"


def _interval(figure: "Figure") -> str:
    return "-" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"


def _short(figure: "Figure") -> str:
    known = figure.low is not None and figure.high is not None
    return _number(figure) + (f" ({figure.low:.2f}-{figure.high:.2f})" if known else "")
