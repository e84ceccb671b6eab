"""The command that fits the gate of a bundle anew, or takes it off."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    MaxBad,
    Plugin,
    SourcePattern,
    Store,
    Where,
    opened,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console
from deepscan.errors import ConfigError

if TYPE_CHECKING:
    from deepscan.domain.gate import Gate

app = typer.Typer()


@app.command()
def gate(
    bundle: Annotated[pathlib.Path, typer.Argument(help="Bundle directory.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the new bundle.")],
    data: Annotated[
        pathlib.Path | None, typer.Option(help="Folder, or a manifest (CSV, TSV, Parquet, JSONL).")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of such files that may be refused; 0 = no gate.")
    ] = 0.01,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split that the gate is fitted to.")
    ] = "val",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Give a bundle a gate that refuses files unlike those of DATA, or take it off with --rate 0.

    The ledger.parquet of a run has the splits of that run; data without splits are all `test`. The weights,
    the calibration and the threshold stay.
    """
    from deepscan.console import grid
    from deepscan.optimize.gating import Gating, fitted, with_gate

    use_plugin(plugin)
    fresh: Gate | None = None
    if rate:
        if data is None:
            msg = "A gate is fitted to files; name them with --data, or take the gate off with --rate 0."
            raise ConfigError(msg)
        origin = dataclasses.replace(origin_of(data, where, source_pattern, store, max_bad), fractions=None)
        with opened(bundle, origin, address) as (dataset, _):
            fresh = fitted(dataset, Gating(rate=rate, split=split))
    made = with_gate(bundle, fresh, out)
    rows = [("bundle", made.card.id)]
    if fresh:
        rows += [
            ("fitted to", f"{fresh.files} files"),
            ("statistics", str(len(fresh.statistics))),
            ("threshold", f"{fresh.threshold:.3g}"),
            ("refused, held out", f"{fresh.held_out:.2%}"),
        ]
    console.print(grid(f"Gate: {out}", ("", "" if fresh else "no gate"), rows))
