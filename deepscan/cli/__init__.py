"""The command line.

Exit codes: 0 done; 1 unexpected; 2 wrong usage or settings; 3 a file is no sound media; 4 an asset is
missing; 5 the data cannot be used; 6 a bundle or its format cannot be used; 7 the cluster is too
small; 8 training failed; 9 the service cannot answer; 10 storage cannot be read or written; 11 a
bundle is wrong where the accepted one was right; 130 interrupted.
"""

import logging
from collections.abc import Sequence

import typer

from deepscan.cli import (
    auditing,
    benchmarking,
    cards,
    data,
    ensembles,
    evaluating,
    experimenting,
    feedback,
    gating,
    importing,
    judging,
    optimizing,
    quantizing,
    reporting,
    scoring,
    serving,
    shrinking,
    training,
    tuning,
)
from deepscan.cli.program import EXIT_CODES, INTERRUPTED, Commands, console, exit_code

__all__ = ["EXIT_CODES", "INTERRUPTED", "app", "exit_code", "main", "run_job"]

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(training.app)
app.add_typer(evaluating.app)
app.add_typer(tuning.app)
app.add_typer(judging.app)
app.add_typer(reporting.app)
app.add_typer(cards.app)
app.add_typer(scoring.app)
app.add_typer(optimizing.app)
app.add_typer(shrinking.app)
app.add_typer(gating.app)
app.add_typer(quantizing.app)
app.add_typer(serving.app)
app.add_typer(experimenting.app)
app.add_typer(ensembles.app, name="ensemble")
app.add_typer(feedback.app, name="feedback")
app.add_typer(data.app)
app.add_typer(importing.app)
app.add_typer(auditing.app)
app.add_typer(data.assets_app, name="assets")
app.add_typer(benchmarking.app, name="benchmark")


def main() -> None:
    """Run the command line; without a terminal to draw on, the log tells how far it is."""
    _log(logging.WARNING if console.is_terminal else logging.INFO)
    app()


def run_job(command: str, arguments: Sequence[str]) -> None:
    """Run a command as a job: the same, with a log that can be read without a terminal."""
    _log(logging.INFO)
    app([command, *arguments])


def _log(level: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("deepscan").setLevel(level)
