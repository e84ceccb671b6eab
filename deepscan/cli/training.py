"""Commands that make and measure detectors."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    Data,
    Device,
    Materialize,
    MaxBad,
    Plugin,
    Set,
    SourcePattern,
    SplitSeed,
    Store,
    Where,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console

app = typer.Typer()


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Model; `deepscan models` lists them.")],
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the run.")],
    settings: Set = None,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 1,
    weights: Annotated[str, typer.Option(help="'imagenet' or a bundle to start from.")] = "",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    materialize: Materialize = False,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    calibration: Annotated[
        Literal["temperature", "logistic", "isotonic", "none"] | None,
        typer.Option(help="How logits become probabilities; default: as suits the model."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    name: Annotated[str, typer.Option(help="Name of the detector.")] = "",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Train, calibrate and measure a detector; the bundle is OUT/bundle, the report OUT/report.html."""
    from deepscan.console import show_outcome, watching
    from deepscan.training.run import Order
    from deepscan.training.run import train as run

    origin = origin_of(data, where, source_pattern, store, max_bad)
    order = Order(
        model=model,
        origin=dataclasses.replace(origin, keep=materialize, seed=split_seed),
        out=out,
        overrides=tuple(settings or ()),
        workers=workers,
        init=weights,
        plugin=plugin,
        calibration=calibration,
        resume=resume,
        name=name,
        address=address,
    )
    with watching(console) as watch:
        outcome = run(order, watch)
    show_outcome(console, outcome, out)


@app.command()
def evaluate(
    bundle: Annotated[pathlib.Path, typer.Option(help="Bundle directory.")],
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the report.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Split to measure on.")] = "test",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    device: Device = "auto",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Measure a bundle on a split of a data set; writes JSON, predictions and a report into OUT.

    Data without splits are all measured; the ledger.parquet of a run has the splits of that run.
    """
    from deepscan.bundle import Bundle
    from deepscan.cluster import connected
    from deepscan.console import show_outcome, watching
    from deepscan.datasets.dataset import open_dataset
    from deepscan.evaluation import Judging, assess, publish
    from deepscan.training.run import LEDGER

    use_plugin(plugin)
    loaded = Bundle.read(bundle)
    origin = dataclasses.replace(origin_of(data, where, source_pattern, store, max_bad), fractions=None)
    with watching(console) as watch, connected(address):
        dataset = open_dataset(origin, loaded.prep(), out / LEDGER, 1.0, watch)
        watch.stage(f"Measuring on the {split} split")
        outcome = assess(loaded, dataset, split, Judging(device=device, plugin=plugin))
    publish(outcome, out)
    show_outcome(console, outcome, out)


@app.command()
def models() -> None:
    """List the registered models."""
    from deepscan.console import grid
    from deepscan.models.catalog import load_builtin

    rows = [(s.name, s.modality, "yes" if s.imagenet else "no", s.summary) for s in load_builtin()]
    console.print(grid("Models", ("name", "modality", "ImageNet weights", "summary"), rows))


@app.command()
def demo(
    out: Annotated[pathlib.Path, typer.Option(help="Folder; replaced.")] = pathlib.Path("runs/demo"),
    files: Annotated[int, typer.Option(min=60, help="Pictures to make.")] = 600,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training split.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 2,
) -> None:
    """Go the whole way on a made-up data set: train, measure and serve a detector, and ask it."""
    from deepscan.console import answers_table, grid, show_outcome, watching
    from deepscan.demo import Demo, run

    with watching(console) as watch:
        result = run(Demo(out=out, files=files, epochs=epochs, workers=workers), watch)
    show_outcome(console, result.outcome, out)
    console.print(answers_table(result.answers))
    console.print(grid("Timings", ("stage", "seconds"), [(n, f"{s:.1f}") for n, s in result.seconds.items()]))
