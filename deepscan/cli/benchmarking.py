"""Commands that measure this machine and the models on it."""

import dataclasses
import json
import pathlib
import shlex
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deepscan.cli.options import (
    Address,
    Data,
    Device,
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

MODEL = "model"


class ModelUnlessNamed(TyperGroup):
    """Takes what names no command for the arguments of ``model``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words behind the group's name."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [MODEL, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=ModelUnlessNamed, help="Measure this machine: models, unless it is told what.")


@app.command(MODEL)
def model(
    bundle: Annotated[
        list[pathlib.Path] | None, typer.Argument(help="Bundles; none: light models with fresh weights.")
    ] = None,
    against: Annotated[
        str, typer.Option(help="Bundle, or model with fresh weights and the same Prep, to compare with.")
    ] = "",
    media: Annotated[pathlib.Path | None, typer.Option(help="Folder of files, timed by stage.")] = None,
    device: Device = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="Most rounds of a comparison.")] = 10,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds for a comparison.")] = 30.0,
    json_file: Annotated[pathlib.Path | None, typer.Option("--json", help="File for all figures.")] = None,
    page: Annotated[pathlib.Path | None, typer.Option(help="Markdown page for people.")] = None,
    plugin: Plugin = None,
) -> None:
    """Measure how fast bundles are and what they take, in turn with others."""
    from deepscan.console import grid
    from deepscan.optimize import results
    from deepscan.optimize.benchmark import Plan, machine, run

    use_plugin(plugin)
    plan = Plan(
        bundles=tuple(bundle or ()),
        against=against,
        media=media,
        device=device,
        plugin=plugin,
        rounds=rounds,
        budget_s=seconds,
    )
    rows = run(plan)
    found = results.Results(
        command=shlex.join(["deepscan", *sys.argv[1:]]), machine=machine(device), rows=rows
    )
    for table in results.tables(rows):
        console.print(grid(table.title, table.columns, table.rows))
    if json_file:
        results.save(json_file, results.as_json(found))
        say(f"Figures: {json_file}")
    if page:
        results.save(page, results.as_page(found))
        say(f"Page: {page}")


def _command_line(words: list[str]) -> str:
    """Return the command that was given, with its full name, from the words behind ``benchmark``."""
    return shlex.join(["deepscan", "benchmark", MODEL, *(words[1:] if words[:1] == [MODEL] else words)])


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
