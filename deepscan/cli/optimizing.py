"""Commands that make a bundle smaller or faster."""

import pathlib
from typing import Annotated

import typer

from deepscan.cli.options import Plugin, use_plugin
from deepscan.cli.program import console

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
