"""Samples to figures, figures to tables and files."""

import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any, Self

REFUSED = (429, 503)
"""Statuses by which a service says that it is full."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a client process wrote.

    Attributes:
        samples: For each request when it was due, how late it was sent, its latency (all in seconds) and its
            status, where a negative one is a failed connection.
        cpu_s: CPU time of the client.
        wall_s: Time that the load took.
        probabilities: P(fake) by number of the file, of its first answer.
    """

    samples: list[tuple[float, float, float, int]]
    cpu_s: float
    wall_s: float
    probabilities: dict[str, float | None]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the output of the client process."""
        values = json.loads(text)
        samples = [
            (due_s, late_s, latency_s, int(status)) for due_s, late_s, latency_s, status in values["samples"]
        ]
        return cls(**values | {"samples": samples})

    def latencies_s(self, statuses: Sequence[int] = (200,)) -> list[float]:
        """Return the latencies of the answers with these statuses."""
        return [latency_s for _, _, latency_s, status in self.samples if status in statuses]

    def figures(self) -> dict[str, Any]:
        """Return what a table shows of a load; latencies in milliseconds, those of refusals apart."""
        accepted, refused = self.latencies_s(), self.latencies_s(REFUSED)
        others = [status for *_, status in self.samples if status != 200 and status not in REFUSED]
        shown = {
            "requests": len(self.samples),
            "refused": len(refused),
            "errors": len(others),
            "per_s": round(len(accepted) / self.wall_s, 2),
            "p50_ms": milliseconds(accepted, 50),
            "p95_ms": milliseconds(accepted, 95),
            "p99_ms": milliseconds(accepted, 99),
            "client_cpu": round(self.cpu_s / self.wall_s, 3),
            "late_p99_ms": milliseconds([late_s for _, late_s, _, _ in self.samples], 99),
        }
        if refused:
            shown |= {
                "refused_p50_ms": milliseconds(refused, 50),
                "refused_p99_ms": milliseconds(refused, 99),
            }
        if others:
            shown["statuses"] = {str(status): others.count(status) for status in sorted(set(others))}
        return shown


def milliseconds(values_s: Sequence[float], percent: float) -> float | None:
    """Return a percentile in milliseconds, the smallest value that so many do not exceed; None of nothing."""
    if not values_s:
        return None
    rank = max(1, math.ceil(len(values_s) * percent / 100))
    return round(sorted(values_s)[rank - 1] * 1000, 2)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text with a column for every key that a row has."""
    columns = list(dict.fromkeys(key for row in rows for key in row if not isinstance(row[key], dict | list)))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells
    )


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def goal(
    name: str, value: float | None, least: float | None = None, most: float | None = None
) -> dict[str, Any]:
    """Return a figure beside what it should be, and whether it is."""
    bound = {"at_least": least} if least is not None else {"at_most": most}
    met = value is not None and (least is None or value >= least) and (most is None or value <= most)
    return {"goal": name, "value": value, **bound, "met": met}


def ratio(value: float | None, base: float | None) -> float | None:
    """Return a quotient to three places, or None where it has no meaning."""
    return round(value / base, 3) if value is not None and base else None


def write(out: pathlib.Path, name: str, result: dict[str, Any]) -> pathlib.Path:
    """Write a step's result with what it was measured on; print its table and its goals."""
    told = {
        "step": name,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"serving-{name}.json"
    path.write_text(json.dumps(told | result, indent=1) + "\n", encoding="utf-8")
    print(table(result["rows"]))
    if result.get("goals"):
        print(table(result["goals"]))
    return path
