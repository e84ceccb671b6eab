"""The command that finds what makes a data set dishonest."""

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.cli.options import Data, SourcePattern, Where
from deepscan.cli.program import console, say
from deepscan.errors import DataError

if TYPE_CHECKING:
    from deepscan.datasets.audit import Audit
    from deepscan.metrics import Figure

COLORS = {"error": "red", "warning": "yellow", "note": "blue"}
SHOWN_PROBES = 12

app = typer.Typer()


@app.command()
def audit(
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for audit.json.")] = pathlib.Path("runs/audit"),
    where: Where = None,
    source_pattern: SourcePattern = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the probes.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Fail (5) where an error is found.")] = False,
) -> None:
    """Find what makes data dishonest: content in two splits, classes that metadata tell apart."""
    import numpy as np

    from deepscan.console import watching
    from deepscan.datasets import audit as auditing
    from deepscan.datasets import layout
    from deepscan.datasets.examine import examine

    with watching(console) as watch:
        watch.stage("Scanning the data")
        manifest = layout.scan(data, where=tuple(where or ()), source_pattern=source_pattern)
        watch.stage("Looking at every file")
        seen = examine(manifest["path"].to_pylist(), advance=watch.advance)
        watch.stage("Probing and comparing")
        found = auditing.audit(manifest, seen, np.random.default_rng(seed))
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"data": str(data), **dataclasses.asdict(found)}, indent=1)
    (out / "audit.json").write_text(text + "\n", encoding="utf-8")
    _show(found)
    say(f"Audit: {out / 'audit.json'}")
    if strict and found.errors():
        msg = f"{found.errors()} of the findings are errors; deal with them, or leave out --strict."
        raise DataError(msg)


def _show(found: "Audit") -> None:
    from rich.text import Text

    from deepscan.console import grid

    counts = [(c.split or "-", c.label, c.generator or "-", c.files, c.sources) for c in found.counts]
    console.print(grid("Files", ("split", "label", "generator", "files", "sources"), counts))
    probes = [(p.kind, p.measure, *_figure(p.auc), p.real, p.fake) for p in found.probes[:SHOWN_PROBES]]
    probes += [
        (p.kind, f"{p.measure}, {name}", *_figure(auc), "", "")
        for p in found.probes
        for name, auc in p.by_generator.items()
    ]
    title = "The class told from metadata alone (0.5 = not at all)"
    console.print(grid(title, ("kind", "measure", "AUC", "95 % interval", "real", "fake"), probes))
    console.print(
        grid(
            f"Findings in {found.files} files",
            ("", "what", "what to do", "for example"),
            [
                (Text(f.severity, style=COLORS[f.severity]), f.what, f.advice, "\n".join(f.files))
                for f in found.findings
            ],
        )
    )


def _figure(auc: "Figure") -> tuple[str, str]:
    """Return an AUC and its interval as texts."""
    return f"{auc.value or 0:.3f}", f"{auc.low or 0:.3f} to {auc.high or 0:.3f}"
