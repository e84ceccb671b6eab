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
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from deepscan.metrics import Figure
from deepscan.report import FIGURES
from deepscan.verdict import Verdict
from deepscan.watch import LogWatch, Watch

if TYPE_CHECKING:
    from deepscan.evaluation import Outcome

COLORS = {"fake": "red", "real": "green", "inconclusive": "yellow"}


@contextlib.contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Follow long work: drawn where there is a terminal, logged where there is none."""
    if not console.is_terminal:
        yield LogWatch()
        return
    with ConsoleWatch(console) as watch:
        yield watch


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
            f"waited for data {metrics['waiting_share']:.0%}",
            highlight=False,
        )

    def _finish(self) -> None:
        if self._task is not None:
            task = self.progress.tasks[self._task]
            total = task.total or 1
            self.progress.update(self._task, completed=total, total=total)


def grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of texts."""
    table = Table(*columns, title=Text(title), title_justify="left", header_style="bold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return table


def figures_table(title: str, figures: Mapping[str, Figure]) -> Table:
    """Return the figures with their 95 % intervals."""
    rows = [(FIGURES[name][0], _number(f.value), _interval(f)) for name, f in figures.items()]
    return grid(title, ("figure", "value", "95 % interval"), rows)


def show_outcome(console: Console, outcome: "Outcome", out: pathlib.Path) -> None:
    """Print what measuring a bundle came to, and where its bundle and report (in ``out``) are."""
    counts = outcome.evaluation.counts
    console.print(grid("Ledger", ("status", "files"), outcome.account.items()))
    title = f"{outcome.bundle.card.id} on {counts.files} files of {counts.sources} sources"
    console.print(figures_table(title, outcome.evaluation.overall))
    if outcome.bundle.card.operating.shortfall:
        console.print(Text(outcome.bundle.card.operating.shortfall, style="yellow"))
    console.out(f"Bundle: {outcome.bundle.path}\nReport: {out / 'report.html'}", highlight=False)


def answers_table(answers: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return one row for each answer of a service, by file."""
    rows = [
        (path, a["label"], _number(a["probability"]), f"{a['elapsed_ms']:.0f}") for path, a in answers.items()
    ]
    return grid("Asked over HTTP", ("file", "verdict", "P(fake)", "ms"), rows)


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """Return one row a verdict."""
    return grid("Verdicts", ("file", "verdict", "P(fake)", "interval", "parts", "why"), map(_row, verdicts))


def _row(v: Verdict) -> tuple[object, ...]:
    label = Text(v.label, style=COLORS[v.label])
    interval = f"{v.uncertainty.low:.2f}-{v.uncertainty.high:.2f}" if v.uncertainty else ""
    parts = ", ".join(str(len(score.parts)) for score in v.scores)
    why = "; ".join(abstention.message for abstention in v.abstentions)
    return v.media.name, label, _number(v.probability), interval, parts, why


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(figure: Figure) -> str:
    return "-" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
