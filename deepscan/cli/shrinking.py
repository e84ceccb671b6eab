"""Commands that take something out of a bundle: weights, channels, norms."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    Data,
    Device,
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

if TYPE_CHECKING:
    from deepscan.optimize.figures import Figures

Out = Annotated[pathlib.Path, typer.Option(help="Folder of the new bundle.")]
First = Annotated[pathlib.Path, typer.Argument(help="Bundle directory.")]

app = typer.Typer()


@app.command()
def prune(
    bundle: First,
    data: Data,
    out: Out,
    method: Annotated[
        Literal["l1", "global", "channels"],
        typer.Option(help="Zero weights in each layer, in all together, or take out whole channels."),
    ] = "channels",
    amount: Annotated[float, typer.Option(help="Share that goes, between 0 and 1.")] = 0.3,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of fine-tuning; 0 = none.")] = 0,
    max_auc_loss: Annotated[
        float | None, typer.Option(help="Refuse it if the AUC falls by more; default: tell only.")
    ] = None,
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    device: Device = "auto",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Take weights or channels out of a bundle, fine-tune the rest, and compare both on the test split.

    The ledger.parquet of a run has the splits of that run; data without splits are all `test`.
    """
    from deepscan.console import grid
    from deepscan.evaluation import Judging
    from deepscan.optimize.prune import Pruning
    from deepscan.optimize.prune import prune as run

    use_plugin(plugin)
    pruning = Pruning(
        method=method,
        amount=amount,
        epochs=epochs,
        max_auc_loss=max_auc_loss,
        judging=Judging(device=device, plugin=plugin),
    )
    origin = dataclasses.replace(origin_of(data, where, source_pattern, store, max_bad), fractions=None)
    with opened(bundle, origin, address) as (dataset, watch):
        done = run(bundle, dataset, out, pruning, watch)
    seen = done.agreement
    rows = [
        *_rows(done.before, done.after),
        ("AUC", *("" if each is None else f"{each:.4f}" for each in (seen.auc_before, seen.auc))),
    ]
    console.print(grid(f"Pruned: {out}", (f"on {seen.files} files", "before", "after"), rows))


@app.command()
def fold(bundle: First, out: Out, plugin: Plugin = None) -> None:
    """Make batch norms part of the convolutions before them; the bundle says the same and runs faster."""
    from deepscan.console import grid
    from deepscan.optimize.fold import fold as run

    use_plugin(plugin)
    done = run(bundle, out)
    rows = [
        *_rows(done.before, done.after),
        ("norms folded", "", str(done.norms)),
        ("largest difference of P(fake)", "", f"{done.gap:.1e}"),
    ]
    console.print(grid(f"Folded: {out}", ("", "before", "after"), rows))


def _rows(before: "Figures", after: "Figures") -> list[tuple[str, str, str]]:
    """Return the rows that both tables have."""
    pairs = (before, after)
    texts = {
        "parameters": [f"{each.parameters:,}" for each in pairs],
        "FLOPs": [f"{each.flops:.3g}" for each in pairs],
        "size": [f"{each.bytes / 1e6:.2f} MB" for each in pairs],
        "weights that are not 0": [f"{each.nonzero:.1%}" for each in pairs],
    }
    return [(name, first, second) for name, (first, second) in texts.items()]
