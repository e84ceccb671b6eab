"""The options of ``evaluate --regression``, and what it prints."""

import json
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.cli.program import complain, console, say
from deepscan.errors import ConfigError

if TYPE_CHECKING:
    from deepscan.feedback.regression import Checked, Report
    from deepscan.feedback.store import RegressionSet

Regression = Annotated[
    bool, typer.Option("--regression", help="Check the bundle on the files of `deepscan feedback`.")
]
Accept = Annotated[
    bool, typer.Option("--accept", help="With --regression: compare later bundles with this one.")
]

FILE = "regression.json"
ONLY = {"accept", "set_dir", "as_json"}
"""Parameters that go with ``--regression`` only."""

WITH = ONLY | {"regression", "bundle", "against", "out", "device", "plugin"}
"""Those that go with it at all."""


def set_at(folder: pathlib.Path | None) -> "RegressionSet":
    """Return the regression set in a folder; None = where it lies by default."""
    from deepscan.feedback.store import RegressionSet
    from deepscan.media.assets import places

    return RegressionSet(folder or places().regression)


def refuse_mixture(context: typer.Context, regression: bool) -> None:
    """Refuse options that do not go with what is asked for.

    Raises:
        ConfigError: One was given.
    """
    given = {name for name in context.params if _is_given(context, name)}
    wrong = sorted(given - WITH if regression else given & ONLY)
    if not wrong:
        return
    options = {each.name: each.opts[0] for each in context.command.params}
    option = options[wrong[0]]
    msg = f"{option} needs --regression; add that, or leave {option} out."
    if regression:
        msg = f"{option} does not go with --regression, which judges the regression set; leave it out."
    raise ConfigError(msg)


def check_regression(
    set_dir: pathlib.Path | None,
    bundles: tuple[pathlib.Path, pathlib.Path | None],
    accept: bool,
    out: pathlib.Path | None,
    as_json: bool,
    device: str,
) -> None:
    """Check a bundle on the regression set, against another one or the one accepted last; tell and refuse.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: A bundle is compared with itself.
        DataError: The set is empty or cannot be read.
        RegressionError: It is wrong where the other was right, and is not accepted.
        StorageError: Something cannot be written.
    """
    from deepscan import storage
    from deepscan.console import watching
    from deepscan.feedback import regression

    kept = set_at(set_dir)
    order = regression.Check(kept=kept, bundle=bundles[0], against=bundles[1], device=device)
    with watching(console) as watch:
        report, judge = regression.check(order, watch)
    text = json.dumps(report.plain(), indent=None if as_json else 1)
    if out:
        with storage.writing(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / FILE).write_text(text + "\n", encoding="utf-8")
    if as_json:
        say(text)
    else:
        _show(report)
    if not accept:
        regression.refuse(report)
        return
    path = regression.accept(report, judge, kept)
    complain("Accepted", f"later bundles are compared with {report.bundle} ({path}).")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _show(report: "Report") -> None:
    from rich.text import Text

    from deepscan.console import grid

    columns = ("file", "is", "outcome", "P(fake)", "before", "")
    console.print(grid(f"{report.bundle} on the regression set", columns, map(_row, report.files)))
    console.out(", ".join(f"{count} {name}" for name, count in report.counts.items()), highlight=False)
    for each in report.files:
        if each.now.why:
            console.print(Text(f"{_name(each)}: {each.now.why}", style="dim"), soft_wrap=True)
    for sentence in report.doubts:
        console.print(Text(sentence, style="yellow"), soft_wrap=True)
    console.print(Text(_compared(report)), soft_wrap=True)


def _row(each: "Checked") -> tuple[object, ...]:
    from rich.text import Text

    from deepscan.feedback.store import LABELS

    colors = {"right": "green", "wrong": "red", "abstained": "yellow", "failed": "red"}
    stated = "-" if each.now.probability is None else f"{each.now.probability:.3f}"
    before = each.before.outcome if each.before else "-"
    told: list[str] = [each.change] if each.change not in {"", "same"} else []
    told += [f"seen in {each.seen}"] if each.seen else []
    outcome = Text(each.now.outcome, style=colors[each.now.outcome])
    return _name(each), LABELS[each.case.label], outcome, stated, before, ", ".join(told)


def _name(each: "Checked") -> str:
    return f"{each.case.sha256[:12]} {each.case.name}".strip()


def _compared(report: "Report") -> str:
    if not report.against:
        return "No bundle of this kind was accepted before; --accept makes later ones be compared with this."
    since = f", accepted on {report.since}" if report.since else ""
    return f"Compared with {report.against}{since}: {len(report.regressions)} regressions."
