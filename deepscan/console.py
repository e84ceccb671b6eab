"""What the command line draws: progress and tables.

File names and messages are shown as they are: brackets in them are no markup, colons no emoji.
"""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from deepscan.evidence import ordered
from deepscan.metrics import Figure
from deepscan.verdict import Verdict
from deepscan.watch import LogWatch, Watch

if TYPE_CHECKING:
    from deepscan.crossvalidation import Result as Folded
    from deepscan.ensemble import Ensemble
    from deepscan.evaluation import Outcome
    from deepscan.fusion import FusionPolicy
    from deepscan.metrics.examination import Examination
    from deepscan.metrics.paired import Against
    from deepscan.series import Result
    from deepscan.tuning.run import Found

COMPARED = ("accuracy", "precision", "recall", "f1", "auc", "eer")
SHOWN_TRIALS = 10
SHOWN_SMALL = 3
INPUT_BOUND = 0.1
COLORS = {"fake": "red", "real": "green", "inconclusive": "yellow"}


@contextlib.contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Follow long work: drawn where there is a terminal, logged where there is none."""
    if not console.is_terminal:
        yield LogWatch()
        return
    with ConsoleWatch(console) as watch:
        yield watch


class PaceColumn(ProgressColumn):
    """How many things of a stage are done a second, of late."""

    def render(self, task: Task) -> Text:
        """Return the figure; nothing before there is one."""
        rate_hz = task.finished_speed or task.speed
        return Text(f"{rate_hz:.3g}/s" if rate_hz else "", style="progress.data.speed")


class ConsoleWatch:
    """Draws a progress bar for every stage and prints a line for every epoch."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``."""
        self.console = console
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            PaceColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "ConsoleWatch":
        """Begin to draw."""
        self.progress.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Finish the last stage, unless it failed, and stop drawing."""
        if error is None:
            self._finish()
        self.progress.stop()

    def stage(self, title: str) -> None:
        """Finish the stage before and begin a bar for the next."""
        self._finish()
        self._task = self.progress.add_task(title, total=None)

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self.progress.update(self._task, completed=done, total=total)

    def epoch(self, metrics: dict[str, float]) -> None:
        """Print the epoch's figures on one line."""
        self.progress.console.print(
            f"  epoch {metrics['epoch']:3.0f}  train loss {metrics['train_loss']:.4f}  "
            f"val loss {metrics['val_loss']:.4f}  [bold]val AUC {metrics['val_auc']:.4f}[/bold]  "
            f"lr {metrics['lr']:.2e}  {metrics['examples_per_s']:.0f}/s  "
            f"waited for data {metrics['waiting_share']:.0%}, device busy {metrics['device_share']:.0%}",
            highlight=False,
        )

    def _finish(self) -> None:
        if self._task is not None:
            task = self.progress.tasks[self._task]
            total = task.total or 1
            self.progress.update(self._task, completed=total, total=total)


def grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of texts; what a narrow terminal has no room for goes on in the next line."""
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return table


def _heading(figure: str) -> str:
    """Return what a figure is called in tables."""
    # Here and not above: who only prints verdicts need not wait for what writes pages.
    from deepscan.report import FIGURES

    return FIGURES[figure][0]


def figures_table(title: str, figures: Mapping[str, Figure]) -> Table:
    """Return the figures with their 95 % intervals."""
    rows = [(_heading(name), _number(f.value), _interval(f)) for name, f in figures.items()]
    return grid(title, ("figure", "value", "95 % interval"), rows)


def show_outcome(console: Console, outcome: "Outcome", out: pathlib.Path) -> None:
    """Print what measuring a bundle came to, and where its bundle and report (in ``out``) are."""
    counts = outcome.evaluation.counts
    console.print(grid("Ledger", ("status", "files"), outcome.account.items()))
    title = f"{outcome.bundle.card.id} on {counts.files} files of {counts.sources} sources"
    console.print(figures_table(title, outcome.evaluation.overall))
    show_trust(console, outcome)
    if outcome.bundle.card.operating.shortfall:
        console.print(Text(outcome.bundle.card.operating.shortfall, style="yellow"))
    console.print(input_bound(outcome.history), end="")
    console.out(f"Bundle: {outcome.bundle.path}\nReport: {out / 'report.html'}", highlight=False)


def show_trust(console: Console, outcome: "Outcome") -> None:
    """Print how far the figures can be trusted: costs, groups, another bundle, files seen before."""
    if outcome.examination:
        _show_examination(console, outcome.examination)
    if outcome.against:
        _show_against(console, outcome.against)
    for sentence in outcome.seen.sentences if outcome.seen else ():
        console.print(Text(sentence, style="yellow"))


def _show_examination(console: Console, examined: "Examination") -> None:
    from deepscan.report.trust import GAPS, TITLES

    found = examined.costs | examined.decisions
    rows = [
        (title, _number(found[name].value), _interval(found[name]))
        for name, (title, _) in TITLES.items()
        if name in found and name != "ece"
    ]
    console.print(grid("Costs and decisions", ("figure", "value", "95 % interval"), rows))
    for column, each in examined.disparities.items():
        gaps = {title: (each.gaps[name].difference, each.gaps[name].worst) for name, title in GAPS.items()}
        gaps["Equalised odds"] = (each.equalised_odds, "")
        told = [(title, _number(f.value), _interval(f), worst) for title, (f, worst) in gaps.items()]
        title = f"Largest differences by {column}"
        console.print(grid(title, ("figure", "difference", "95 % interval", "worst"), told))
        for name, why in list(each.too_small.items())[:SHOWN_SMALL]:
            console.print(Text(f"{column} {name!r}, {why}.", style="yellow"))
        if (more := len(each.too_small) - SHOWN_SMALL) > 0:
            console.print(
                Text(f"{more} more groups of {column} are too small; the report names them.", style="yellow")
            )


def _show_against(console: Console, against: "Against") -> None:
    from deepscan.report.trust import probable

    found = against.comparison
    differences = {"AUC": found.bootstrap, "AUC, DeLong": found.delong, "Accuracy": found.accuracy}
    rows = [(n, _number(d.figure.value), _interval(d.figure), probable(d)) for n, d in differences.items()]
    title = f"Less {against.bundle}, on the {found.counts.files} files that both judged"
    console.print(grid(title, ("difference", "value", "95 % interval", "if there were none"), rows))
    right = found.mcnemar
    told = f"Right here only: {right.only_first} files, there only: {right.only_second}"
    console.out(f"{told} (McNemar: p = {right.p:.3g})", highlight=False)


def input_bound(history: Sequence[Mapping[str, float]]) -> Text:
    """Say how much of the epochs after the first, which starts everything, went into waiting for data.

    While its process waits, a GPU may still work on the steps before: only when it is idle, time is lost.
    """
    if len(history) < 2:
        return Text("")
    waiting, busy = (
        sum(epoch[name] for epoch in history[1:]) / (len(history) - 1)
        for name in ("waiting_share", "device_share")
    )
    told = f"Training waited for data {waiting:.0%} of the time, and its device was busy {busy:.0%}: it is"
    if min(waiting, 1 - busy) > INPUT_BOUND:
        return Text(f"{told} bound by its input. Keep Examples (--materialize), or add CPUs.\n")
    return Text(f"{told} not bound by its input.\n")


def show_ensemble(console: Console, ensemble: "Ensemble") -> None:
    """Print what an ensemble is made of, how it decides, and the figures of its members and its own."""
    policy = ensemble.policy
    rows = [(each.bundle, each.path, _say_in(policy, each.bundle)) for each in ensemble.entries]
    console.print(grid(f"Members, fused by {policy.method}", ("bundle", "directory", "say"), rows))
    for sentence in ensemble.data.get("warnings", ()):
        console.print(Text(sentence, style="yellow"))
    if ensemble.metrics:
        console.print(comparison_table("On the test split", ensemble.metrics))
    point = policy.operating
    if point:
        console.out(
            f"Called fake from {point.high:.3f} on and real below {point.low:.3f}, so that at most "
            f"{point.max_error_rate:.2%} of either class is called wrong.",
            highlight=False,
        )
        console.print(Text(point.shortfall, style="yellow"), end="\n" if point.shortfall else "")


def show_series(console: Console, result: "Result") -> None:
    """Print what training several models came to: their figures, the ensemble's, and where they are."""
    for name, why in result.left_out.items():
        console.print(Text(f"{name} was left out: {why}", style="yellow"))
    if result.assembly:
        show_ensemble(console, result.assembly.ensemble)
    else:
        console.print(comparison_table("On the test split", result.metrics))
    for name, outcome in result.outcomes.items():
        console.out(f"{name}: {outcome.bundle.path}", highlight=False)


def show_folds(console: Console, result: "Folded", out: pathlib.Path) -> None:
    """Print what cross-validation came to, by fold, in all and by generator, and where its report is."""
    console.print(comparison_table("Cross-validation", result.metrics))
    console.out(f"Report: {out / 'report.html'}", highlight=False)


def show_campaign(console: Console, found: "Found") -> None:
    """Print the best trials of a search with their settings, what the winner came to, and where it is."""
    out, names = found.campaign.order.out, list(found.space.ranges)
    rows = [
        (
            trial.id,
            _number(trial.best.metrics["val_auc"]),
            len(trial.epochs),
            trial.state,
            *(_setting(trial.best.settings[name]) for name in names),
        )
        for trial in found.ranked[:SHOWN_TRIALS]
    ]
    title = f"Best of {len(found.trials)} trials, by validation AUC"
    console.print(grid(title, ("trial", "AUC", "epochs", "state", *names), rows))
    for trial in found.trials:
        if trial.state == "failed":
            console.print(Text(f"Trial {trial.id} failed: {trial.why}", style="yellow"))
    show_outcome(console, found.outcome, out / "best")
    console.out(f"Settings: {out / 'best.json'}\nCampaign: {out / 'campaign.html'}", highlight=False)


def comparison_table(title: str, metrics: Mapping[str, Any]) -> Table:
    """Return the main figures with their 95 % intervals, a row for each name of an ensemble's ``metrics``."""
    columns = ("", "files", *map(_heading, COMPARED))
    rows = [
        (name, each["counts"]["files"], *(_short(Figure(**each["figures"][figure])) for figure in COMPARED))
        for name, each in metrics.items()
    ]
    return grid(title, columns, rows)


def answers_table(answers: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return one row for each answer of a service, by file."""
    rows = [
        (path, a["label"], _number(a["probability"]), f"{a['elapsed_ms']:.0f}") for path, a in answers.items()
    ]
    return grid("Asked over HTTP", ("file", "verdict", "P(fake)", "ms"), rows)


def show_verdicts(console: Console, verdicts: Sequence[Verdict], timeline: bool) -> None:
    """Print what signatures declare, verdicts, their suspicious moments if ``timeline``, and evidence."""
    for verdict in verdicts:
        for declaration in verdict.declarations:
            console.print(Text(f"{verdict.media.name}: {declaration}", style="bold"), soft_wrap=True)
    console.print(verdict_table(verdicts))
    for verdict in verdicts if timeline else ():
        console.print(timeline_table(verdict))
    for verdict in verdicts:
        for evidence in ordered(verdict.evidence):
            line = f"{verdict.media.name}, {evidence.analyzer}: {evidence.summary}"
            console.print(Text(line, style=FINDINGS[evidence.finding]), soft_wrap=True)


FINDINGS = {"telling": "bold", "unusual": "", "ordinary": "dim", "none": "dim"}
"""Style of a line of evidence."""


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """Return one row a verdict."""
    columns = ("file", "verdict", "P(fake)", "interval", "disagree", "parts", "abstained")
    return grid("Verdicts", columns, map(_row, verdicts))


def timeline_table(verdict: Verdict) -> Table:
    """Return the moments and windows of a file that look fake (P >= .5), in the order of their times."""
    timed = [
        (part.region.start_s, part.region.end_s, score.detector, part)
        for score in verdict.scores
        for part in score.parts
        if part.region.start_s is not None and part.region.end_s is not None
    ]
    suspicious = sorted((each for each in timed if each[3].probability >= 0.5), key=lambda each: each[:3])
    rows = [
        (f"{start_s:.2f}", f"{end_s:.2f}", detector, _number(part.probability), f"{part.weight:.2f}")
        for start_s, end_s, detector, part in suspicious
    ]
    title = f"{verdict.media.name}: {len(rows)} of {len(timed)} moments look fake"
    return grid(title, ("from (s)", "to (s)", "detector", "P(fake)", "weight"), rows)


def _row(v: Verdict) -> tuple[object, ...]:
    label = Text(v.label, style=COLORS[v.label])
    interval = f"{v.uncertainty.low:.2f}-{v.uncertainty.high:.2f}" if v.uncertainty else ""
    parts = ", ".join(str(len(score.parts)) for score in v.scores)
    spread = v.uncertainty.disagreement if v.uncertainty else None
    abstained = "; ".join(f"{a.detector} ({a.reason}): {a.message}" for a in v.abstentions)
    disagree = "" if spread is None else f"{spread:.2f}"
    return v.media.name, label, _number(v.probability), interval, disagree, parts, abstained


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _short(figure: Figure) -> str:
    known = figure.low is not None and figure.high is not None
    return _number(figure.value) + (f" ({figure.low:.2f}-{figure.high:.2f})" if known else "")


def _say_in(policy: "FusionPolicy", bundle: str) -> str:
    """Return how much a member counts, in the terms of the method."""
    if policy.attention:
        return f"score {policy.attention.scores[bundle]:+.2f}"
    sets = [dict(zip(line.members, line.weights, strict=True)) for line in policy.lines]
    widest = max(sets, key=len, default={})
    if sets:
        return f"weight {widest[bundle]:.2f}" if bundle in widest else "where others are absent"
    return f"weight {policy.weights.get(bundle, 1.0):.2f}"


def _interval(figure: Figure) -> str:
    return "-" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
