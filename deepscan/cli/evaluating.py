"""The command that measures a bundle: on a data set, or on the regression set."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    Device,
    Json,
    MaxBad,
    Plugin,
    Seen,
    SetDir,
    SourcePattern,
    Store,
    Where,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console
from deepscan.cli.regression import Accept, Regression, check_regression, refuse_mixture
from deepscan.cli.robustness import Deliveries, Ensemble, Files, Robustness, asked_of, show
from deepscan.errors import ConfigError

if TYPE_CHECKING:
    from deepscan.measuring import Measuring
    from deepscan.robustness.plan import Asked

Bundle = Annotated[
    pathlib.Path, typer.Option(help="Bundle directory; with --regression also an ensemble file.")
]
Data = Annotated[pathlib.Path | None, typer.Option(help="Folder, or a manifest (CSV, TSV, Parquet, JSONL).")]
Out = Annotated[pathlib.Path | None, typer.Option(help="Folder for the report.")]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Split to measure on.")]
Against = Annotated[pathlib.Path | None, typer.Option(help="Bundle to compare with, on the same files.")]
By = Annotated[list[str] | None, typer.Option(help="Column of yours to measure by; may be repeated.")]
AsvRates = Annotated[
    pathlib.Path | None, typer.Option(help="JSON of a speaker verifier's error rates, for the t-DCF.")
]

app = typer.Typer()


@app.command()
def evaluate(
    context: typer.Context,
    bundle: Bundle,
    data: Data = None,
    out: Out = None,
    split: Split = "test",
    against: Against = None,
    by: By = None,
    seen: Seen = "refuse",
    asv_rates: AsvRates = None,
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    robustness: Robustness = False,
    deliveries: Deliveries = None,
    files: Files = None,
    ensemble: Ensemble = False,
    regression: Regression = False,
    accept: Accept = False,
    set_dir: SetDir = None,
    as_json: Json = False,
    device: Device = "auto",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Measure a bundle on a split of a data set; writes JSON, predictions and a report into OUT.

    Data without splits are all measured; the ledger.parquet of a run has the splits of that run. Files that
    the bundle learnt from, or that chose its epoch or threshold, are refused; see --seen.
    With --robustness the files are judged again after compression, scaling, noise and so on.
    With --regression the bundle is checked on the files of `deepscan feedback` instead.
    """
    refuse_mixture(context, regression)
    use_plugin(plugin)
    if regression:
        check_regression(set_dir, (bundle, against), accept, out, as_json, device)
        return
    from deepscan.evaluation import Asked, Judging
    from deepscan.measuring import Measuring, read_verifier

    folder, place = _needed(data, out)
    verifier = read_verifier(asv_rates) if asv_rates else None
    origin = origin_of(folder, where, source_pattern, store, max_bad)
    order = Measuring(
        bundle=bundle,
        origin=dataclasses.replace(origin, fractions=None),
        out=place,
        split=split,
        against=against,
        on_seen=seen,
        asked=Asked(by=tuple(by or ()), verifier=verifier),
        judging=Judging(device=device, plugin=plugin),
    )
    _measure(order, asked_of(robustness, deliveries, files, ensemble), address)


def _needed(data: pathlib.Path | None, out: pathlib.Path | None) -> tuple[pathlib.Path, pathlib.Path]:
    if data is None or out is None:
        msg = "Name the data with --data and a folder for the report with --out; or ask for --regression."
        raise ConfigError(msg)
    return data, out


def _measure(order: "Measuring", asked: "Asked | None", address: str | None) -> None:
    from deepscan.cluster import connected
    from deepscan.console import show_outcome, watching
    from deepscan.evaluation import publish
    from deepscan.measuring import look, measure
    from deepscan.robustness.assess import assess_robustness

    found = look(order)
    with watching(console) as watch, connected(address):
        outcome = measure(order, found, watch)
        publish(outcome, order.out)
        delivered = asked and assess_robustness(
            outcome.bundle, outcome.judged, asked, order.judging, order.out, watch
        )
    show_outcome(console, outcome, order.out)
    if delivered:
        show(delivered, order.out)
