"""Commands that make a bundle smaller or faster."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    Data,
    MaxBad,
    Plugin,
    SourcePattern,
    SplitSeed,
    Store,
    Where,
    opened,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console

if TYPE_CHECKING:
    from deepscan.optimize.search import Found, Row

app = typer.Typer()


@app.command()
def export(
    bundle: Annotated[pathlib.Path, typer.Argument(help="Bundle directory.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the new bundle.")],
    weights_format: Annotated[
        str, typer.Option("--format", help="Weights format, such as onnx or openvino.")
    ] = "onnx",
    precision: Annotated[str, typer.Option(help="Numbers to compute in, such as bfloat16.")] = "float32",
    plugin: Plugin = None,
) -> None:
    """Write a bundle in another weights format, if it says the same then."""
    from deepscan.console import grid
    from deepscan.optimize.export import export as run

    use_plugin(plugin)
    made = run(bundle, weights_format, out, precision)
    size, before = (f"{each / 1e6:.1f} MB" for each in made.bytes)
    columns = ("bundle", "format", "precision", "size", "before", "largest difference of P(fake)")
    row = (made.bundle.card.id, weights_format, precision, size, before, f"{made.gap:.1e}")
    console.print(grid(f"Exported: {out}", columns, [row]))


@app.command()
def optimize(
    bundle: Annotated[pathlib.Path, typer.Argument(help="Bundle directory.")],
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the new bundle.")],
    target: Annotated[Literal["cpu", "gpu", "mobile"], typer.Option(help="Where it is to be fast.")] = "cpu",
    max_auc_loss: Annotated[float, typer.Option(min=0, max=1, help="By how much the AUC may fall.")] = 0.005,
    examples: Annotated[int, typer.Option(min=8, help="Held-out Examples to compare on.")] = 512,
    split: Annotated[Literal["val", "test"], typer.Option(help="Split to compare on.")] = "val",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Try the formats and precisions that this machine has; keep the fastest that is as good."""
    from deepscan.console import watching
    from deepscan.optimize.held_out import samples_of
    from deepscan.optimize.search import Order
    from deepscan.optimize.search import optimize as run
    from deepscan.optimize.sibling import require_free

    use_plugin(plugin)
    require_free(out)
    origin = origin_of(data, where, source_pattern, store, max_bad)
    origin = dataclasses.replace(origin, seed=split_seed)
    with opened(bundle, origin, address) as (dataset, _):
        calibration, held_out = samples_of(dataset, split, examples)
    order = Order(bundle=bundle, out=out, target=target, max_auc_loss=max_auc_loss, plugin=plugin)
    with watching(console) as watch:
        found = run(order, calibration, held_out, watch)
    _show(found, out)


def _show(found: "Found", out: pathlib.Path) -> None:
    """Print the table that was chosen from."""
    from deepscan.console import grid

    columns = ("as", "MB", "memory MB", "ms alone", "p95", "a second by 8", "AUC", "largest gap", "why not")
    rows = [_cells(row) for row in found.rows]
    console.print(grid(f"Chosen: {found.chosen}, {found.gain:.2f} times as fast", columns, rows))
    console.out(f"Bundle: {out}", highlight=False)


def _cells(row: "Row") -> tuple[str, ...]:
    alone, together, seen = row.alone, row.together, row.agreement
    return (
        row.name,
        _number(row.bytes / 1e6 if row.bytes else None, ".1f"),
        _number(row.memory_bytes / 1e6 if row.memory_bytes else None, ".0f"),
        _number(alone.p50_ms if alone else None, ".1f"),
        _number(alone.p95_ms if alone else None, ".1f"),
        _number(together.per_s if together else None, ".1f"),
        _number(seen.auc if seen else None, ".4f"),
        _number(seen.largest_gap if seen else None, ".2g"),
        row.refused,
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
