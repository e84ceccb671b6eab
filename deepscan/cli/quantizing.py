"""The command that makes bundles of int8."""

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
    from deepscan.optimize.quantize import Quantized

Method = Annotated[
    Literal["static", "dynamic", "aware"],
    typer.Option(help="static: ranges measured on --data; dynamic: found while running; aware: training."),
]

app = typer.Typer()


@app.command()
def quantize(
    bundle: Annotated[pathlib.Path, typer.Argument(help="Bundle directory.")],
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the new bundle.")],
    method: Method = "static",
    weights_format: Annotated[
        Literal["onnx", "openvino"], typer.Option("--format", help="Weights format of the new bundle.")
    ] = "onnx",
    examples: Annotated[int, typer.Option(min=1, help="Most Examples to take of a split.")] = 256,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split that both bundles judge.")
    ] = "val",
    max_auc_loss: Annotated[float, typer.Option(min=0, max=1, help="Largest loss of AUC.")] = 0.02,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of 'aware' over its Examples.")] = 3,
    lr: Annotated[float, typer.Option(help="Peak learning rate of 'aware'.")] = 1e-4,
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Write a bundle in int8, if it judges held-out files about as well.

    Ranges are measured, and 'aware' learns, on the train split; data without splits are divided as by
    `train`.
    """
    from deepscan.datasets.seen import remember
    from deepscan.optimize.held_out import samples_of
    from deepscan.optimize.qat import Lesson
    from deepscan.optimize.quantize import quantize_aware, quantize_dynamic, quantize_static
    from deepscan.optimize.sibling import require_free

    use_plugin(plugin)
    require_free(out)
    origin = origin_of(data, where, source_pattern, store, max_bad)
    origin = dataclasses.replace(origin, seed=split_seed)
    with opened(bundle, origin, address) as (dataset, _):
        seen, sample = samples_of(dataset, split, examples, method == "aware")
    if method == "static":
        made = quantize_static(bundle, sample, out, weights_format, seen, max_auc_loss)
    elif method == "dynamic":
        made = quantize_dynamic(bundle, sample, out, weights_format, max_auc_loss)
    else:
        lesson = Lesson(sample=seen, epochs=epochs, lr=lr)
        made = quantize_aware(bundle, sample, out, weights_format, lesson, max_auc_loss)
        made.bundle.amend(seen=remember(dataset.ledger, made.bundle.card.seen))
    _show(made, out)


def _show(made: "Quantized", out: pathlib.Path) -> None:
    from deepscan.console import grid

    size, before = (f"{each / 1e6:.2f} MB" for each in made.bytes)
    seen, card = made.agreement, made.bundle.card
    rows = [
        ("bundle", card.parent, card.id),
        ("precision", "float32", card.precision),
        ("size", before, size),
        ("AUC", _auc(seen.auc_before), _auc(seen.auc)),
        ("largest difference of P(fake)", "", f"{seen.largest_gap:.4f}"),
        ("mean difference of P(fake)", "", f"{seen.mean_gap:.4f}"),
        ("files with the same label", f"{seen.files}", f"{seen.same_labels:.1%}"),
    ]
    console.print(grid(f"Quantised: {out}", ("", "before", "after"), rows))


def _auc(value: float | None) -> str:
    return "none: one class" if value is None else f"{value:.4f}"
