"""Commands about ensembles: several bundles that answer together."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    Bundles,
    Data,
    Device,
    Fusion,
    MaxBad,
    Plugin,
    Seen,
    SourcePattern,
    SplitSeed,
    Store,
    Where,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console, say

Method = Literal["log-odds", "mean", "majority", "maximum", "minimum", "attention", "stack"]

app = typer.Typer(no_args_is_help=True, help="Fit and show ensembles of bundles.")


@app.command()
def fit(
    bundle: Bundles,
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Ensemble file to write, e.g. ensemble.json.")],
    method: Annotated[
        Method, typer.Option(help="How votes become one answer; docs/cli.md tells them apart.")
    ] = "log-odds",
    fusion: Fusion = None,
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=0.5, help="Largest share of each class that is decided wrongly.")
    ] = 0.05,
    seen: Seen = "refuse",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Learn on the validation split how bundles vote together; measure them on the test split.

    Validation files that trained a bundle are refused, and test files that trained or chose one; see --seen.
    """
    from deepscan import config
    from deepscan.assembly import Order, assemble
    from deepscan.bundle import Bundle
    from deepscan.cluster import connected
    from deepscan.console import show_ensemble, watching
    from deepscan.evaluation import Judging
    from deepscan.fusion import FusionPolicy

    use_plugin(plugin)
    for path in bundle:
        Bundle.read(path).module()
    origin = origin_of(data, where, source_pattern, store, max_bad)
    order = Order(
        bundles=tuple(bundle),
        origin=dataclasses.replace(origin, seed=split_seed),
        out=out,
        policy=config.override(FusionPolicy(method=method), fusion or ()),
        max_error_rate=max_error_rate,
        judging=Judging(device=device, plugin=plugin),
        on_seen=seen,
    )
    with watching(console) as watch, connected(address):
        assembly = assemble(order, watch)
    show_ensemble(console, assembly.ensemble)
    say(f"Ensemble: {out}")


@app.command()
def show(ensemble: Annotated[pathlib.Path, typer.Argument(help="Ensemble file.")]) -> None:
    """Show what an ensemble is made of, how it decides and how good it was on its test split."""
    from deepscan.console import show_ensemble
    from deepscan.ensemble import Ensemble

    show_ensemble(console, Ensemble.load(ensemble))
