"""Commands that measure this machine."""

import dataclasses
import json
import pathlib
from typing import Annotated

import typer

from deepscan.cli.options import (
    Address,
    Data,
    MaxBad,
    Plugin,
    Set,
    SourcePattern,
    SplitSeed,
    Store,
    Where,
    Workers,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console, say

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.callback()
def benchmark() -> None:
    """Measure this machine."""


@app.command()
def data(
    data: Data,
    model: Annotated[str, typer.Option(help="Model whose preparation and augmentation are used.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the ledger and data.json.")],
    workers: Workers = 2,
    epochs: Annotated[int, typer.Option(min=2, help="Epochs that are read; the first warms up.")] = 4,
    settings: Set = None,
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Measure how fast training Examples arrive, and say whether keeping them pays."""
    from deepscan import config
    from deepscan.cluster import connected
    from deepscan.console import grid, watching
    from deepscan.datasets.dataset import open_dataset
    from deepscan.datasets.held import held_if_they_fit
    from deepscan.datasets.plan import Shape
    from deepscan.datasets.throughput import HELD, KEPT, RAW, advice, measure, raw_chunks
    from deepscan.models.catalog import load_builtin
    from deepscan.training.run import LEDGER, training_stream
    from deepscan.training.settings import settle

    use_plugin(plugin)
    chosen = settle(load_builtin().get(model), tuple(settings or ()))
    origin = origin_of(data, where, source_pattern, store, max_bad)
    origin = dataclasses.replace(origin, keep=True, seed=split_seed)
    with watching(console) as watch, connected(address):
        opened = open_dataset(origin, chosen.prep, out / LEDGER, 1.0, watch)
        shape = Shape(world=1, batch_size=chosen.recipe.batch_size, example_bytes=opened.reader.example_bytes)
        kept = opened.chunks("train")
        held = held_if_they_fit(opened, kept, watch)
        sources = {KEPT: (opened, kept), HELD: (held, kept), RAW: (opened, raw_chunks(opened, "train"))}
        if held is opened:
            del sources[HELD]
        streams = {name: training_stream(chosen, *source, shape) for name, source in sources.items()}
        rates = measure(streams, workers, epochs, watch)
    rows = [
        (
            r.source,
            r.way,
            f"{r.start_s:.2f}",
            f"{r.examples_per_s:.0f}",
            f"{r.ratio:.2f}",
            f"{r.of_limit:.2f}",
        )
        for r in rates
    ]
    columns = ("Examples", "way", "first batch (s)", "a second", "of DataLoader", "of bare work")
    console.print(grid(f"{model} on {workers} processes", columns, rows))
    text = json.dumps({"model": model, "workers": workers, "rates": [config.to_dict(r) for r in rates]})
    (out / "data.json").write_text(text + "\n", encoding="utf-8")
    say(advice(rates))
