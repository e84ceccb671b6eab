"""The options of ``evaluate --robustness``, and what it prints."""

import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.cli.program import console, say
from deepscan.errors import ConfigError

if TYPE_CHECKING:
    from deepscan.report.robustness import Measured, RobustnessPage, Row
    from deepscan.robustness.plan import Asked

Robustness = Annotated[
    bool, typer.Option("--robustness", help="Judge the split once more after each of many deliveries.")
]
Deliveries = Annotated[
    list[str] | None,
    typer.Option(help="With --robustness: 'all' (the default), 'quick' or a name; may be repeated."),
]
Files = Annotated[
    int | None,
    typer.Option(min=1, help="With --robustness: so many files at most, even over classes and sources."),
]
Ensemble = Annotated[
    bool, typer.Option("--ensemble", help="With --robustness: judge through mild deliveries, too.")
]


def asked_of(
    robustness: bool, deliveries: list[str] | None, files: int | None, ensemble: bool
) -> "Asked | None":
    """Return what the options ask for; None = nothing.

    Raises:
        ConfigError: An option is given that goes with ``--robustness`` only.
    """
    if robustness:
        from deepscan.robustness.plan import Asked

        return Asked(deliveries=tuple(deliveries or ["all"]), files=files, ensemble=ensemble)
    given = {"deliveries": deliveries, "files": files, "ensemble": ensemble}
    for name, value in given.items():
        if value:
            msg = f"--{name} goes with --robustness; add that, or leave it out."
            raise ConfigError(msg)
    return None


def show(page: "RobustnessPage", out: pathlib.Path) -> None:
    """Print the figures of every delivery, what could not be made or judged, and where the report is."""
    from deepscan.console import grid
    from deepscan.robustness.assess import REPORT

    ways = ("", "through mild deliveries") if page.rows[0].ensemble else ("",)
    for heading in ways:
        title = f"{page.title}{', ' if heading else ''}{heading}"
        rows = (_row(row, "ensemble" if heading else "single") for row in page.rows)
        table = grid(title, ("delivery", "files", "AUC, 95 %", "change", "ECE", "flip", "changed"), rows)
        table.columns[0].no_wrap = True
        console.print(table)
    for name, why in page.unavailable.items():
        say(f"{name} is not available: {why}")
    for row in page.rows:
        for reason, count in row.reasons.items():
            say(f"{row.name}: {count} not judged: {reason}")
    say(f"Robustness: {out / REPORT}")


def _row(row: "Row", who: str) -> tuple[object, ...]:
    measured: Measured = getattr(row, who)
    auc, change = measured.auc, measured.auc_change.value
    known = auc.low is not None and auc.high is not None
    interval = f" {_brief(auc.low)}-{_brief(auc.high)}" if known else ""
    told = (row.name, row.judged, _number(auc.value) + interval)
    if not row.severity:
        return *told, "", _number(measured.ece), "", ""
    changed = "-" if change is None else f"{change:+.3f}"
    return *told, changed, _number(measured.ece), _share(measured.flipped), _share(measured.changed)


def _brief(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".removeprefix("0")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
