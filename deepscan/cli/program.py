"""How every command ends and speaks: exit codes, lines for people and programs, complaints."""

from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from deepscan import errors
from deepscan.errors import DeepscanError

EXIT_CODES: dict[type[DeepscanError], int] = {
    DeepscanError: 1,
    errors.ConfigError: 2,
    errors.MediaError: 3,
    errors.AbstainError: 3,
    errors.AssetError: 4,
    errors.DataError: 5,
    errors.BundleError: 6,
    errors.FormatError: 6,
    errors.ResourceError: 7,
    errors.TrainingError: 8,
    errors.ServiceError: 9,
    errors.StorageError: 10,
    errors.RegressionError: 11,
}
INTERRUPTED = 130

console = Console()
complaints = Console(stderr=True)


class Commands(TyperGroup):
    """Turns every error of deepscan, and an interrupt, into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DeepscanError as error:
            complain(type(error).__name__, error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            complain("Interrupted", "What was finished is kept; train goes on with --resume.")
            raise typer.Exit(INTERRUPTED) from None


def exit_code(error: DeepscanError) -> int:
    """Return the exit code of an error: that of the nearest ancestor in ``EXIT_CODES``."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def say(text: str) -> None:
    """Print text as it is, for people and for programs that read it."""
    console.out(text, highlight=False)


def complain(what: str, why: object) -> None:
    """Print one line on the standard error output, as it is; the first part in red."""
    complaints.print(Text.assemble((f"{what}: ", "red"), str(why)), soft_wrap=True)
