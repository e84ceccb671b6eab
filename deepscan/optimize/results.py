"""What a benchmark came to, for people and for programs."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from deepscan import config
from deepscan.errors import StorageError
from deepscan.optimize.benchmark import Row
from deepscan.optimize.profile import STAGES

ABSENT = "-"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What was measured, by what and on what.

    Attributes:
        command: The command line.
        machine: Processor, versions and load; see ``benchmark.machine``.
        rows: The figures.
    """

    command: str
    machine: dict[str, Any]
    rows: Sequence[Row]


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(rows: Sequence[Row]) -> list[Grid]:
    """Return the figures as tables; those that would be empty are left out."""
    sizes = [speed.batch_size for speed in rows[0].speeds]
    speed = Grid("Speed", ("model", "way", *_columns(sizes), "best batch", "Examples/s"), [])
    taken = Grid("What it takes", ("model", "way", "weights", "GFLOP", "on disk", "memory"), [])
    ahead = Grid("Times as fast", ("model", "way", *(f"batch {size}" for size in sizes)), [])
    stages = Grid("A file, in ms", ("model", "way", *STAGES), [])
    for row in rows:
        best = (str(row.best.batch_size), f"{row.best.per_s:.1f}") if row.best else (ABSENT, ABSENT)
        spent = (f"{value:.1f}" for each in row.speeds for value in (each.p50_ms, each.p95_ms))
        speed.rows.append((row.name, row.way, *spent, *best))
        taken.rows.append((row.name, row.way, *_taken(row)))
        if row.ratios:
            ahead.rows.append((row.name, row.way, *(f"{row.ratios[size]:.2f}" for size in sizes)))
        if row.stages:
            stages.rows.append((row.name, row.way, *(f"{row.stages[stage]:.1f}" for stage in STAGES)))
    return [table for table in (speed, ahead, taken, stages) if table.rows]


def as_json(results: Results) -> str:
    """Return the results as one JSON object, with every figure as it was measured."""
    rows = [config.to_dict(row) for row in results.rows]
    return json.dumps({"command": results.command, "machine": results.machine, "rows": rows}, indent=1) + "\n"


def as_page(results: Results) -> str:
    """Return the results as a page of Markdown."""
    facts = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        "# Results",
        "",
        "Made by a command, and made anew by it; figures belong to the machine that they were measured on.",
        "",
        "```sh",
        results.command,
        "```",
        "",
        f"{facts['date']}, {facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, "
        f"GPU: {facts['gpu'] or 'none'}, {facts['system']}, load {facts['load']}. {versions}.",
    ]
    for table in tables(results.rows):
        lines += ["", f"## {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line(row) for row in table.rows]
    lines += [
        "",
        "Times are milliseconds of one call, the median and the 95th percentile over rounds in which all "
        "ways took turns; a way is so many times as fast as the one in the row below it. Memory is what "
        "loading a bundle and a batch of 8 added to a fresh process; GFLOP are of one Example.",
    ]
    return "\n".join(lines) + "\n"


def save(path: pathlib.Path, text: str) -> None:
    """Write a text file.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be written ({error}); name another file, or make room."
        raise StorageError(msg) from error


def _columns(sizes: Sequence[int]) -> list[str]:
    return [f"batch {size}, {share} ms" for size in sizes for share in ("p50", "p95")]


def _taken(row: Row) -> tuple[str, str, str, str]:
    return (
        f"{row.parameters:,}" if row.parameters is not None else ABSENT,
        f"{row.flops / 1e9:.2f}" if row.flops is not None else ABSENT,
        f"{row.bytes / 1e6:.1f} MB",
        f"{row.peak_bytes / 1e6:.0f} MB" if row.peak_bytes is not None else ABSENT,
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
