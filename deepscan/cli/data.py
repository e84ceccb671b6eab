"""Commands about data: preparing and making data sets, fetching the model files of others."""

import dataclasses
import pathlib
from typing import Annotated

import typer

from deepscan.cli.options import (
    Address,
    AllowLeaks,
    Data,
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
from deepscan.cli.program import console, say
from deepscan.errors import UnknownNameError

app = typer.Typer()
assets_app = typer.Typer(no_args_is_help=True, help="List and fetch the model files of others.")


@app.command()
def prepare(
    data: Data,
    model: Annotated[str, typer.Option(help="Model whose preparation is used.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the ledger.")],
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    materialize: Materialize = True,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    allow_leaks: AllowLeaks = False,
    settings: Set = None,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Look at every file of a data set, account for it, and keep its prepared Examples."""
    from deepscan.cluster import connected
    from deepscan.console import grid, watching
    from deepscan.datasets.dataset import account, open_dataset
    from deepscan.models.catalog import load_builtin
    from deepscan.training.run import LEDGER
    from deepscan.training.settings import settle

    use_plugin(plugin)
    prep = settle(load_builtin().get(model), tuple(settings or ())).prep
    origin = origin_of(data, where, source_pattern, store, max_bad)
    origin = dataclasses.replace(origin, keep=materialize, seed=split_seed, allow_leaks=allow_leaks)
    with watching(console) as watch, connected(address):
        dataset = open_dataset(origin, prep, out / LEDGER, 1.0, watch)
    console.print(grid(f"Ledger: {out / LEDGER}", ("status", "files"), account(dataset.ledger).items()))


@app.command()
def synthesize(
    out: Annotated[pathlib.Path, typer.Argument(help="Folder to write.")],
    kind: Annotated[
        str, typer.Option(help="image, video, audio or av; or copy: vocoder copies of --recordings.")
    ] = "",
    count: Annotated[int | None, typer.Option(min=2, help="Files in all; default: by kind.")] = None,
    size_px: Annotated[int | None, typer.Option(min=64, help="Side of a picture; default: 192.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
    recordings: Annotated[
        pathlib.Path | None, typer.Option(help="Real recordings to copy: a folder or a manifest.")
    ] = None,
) -> None:
    """Make a small data set of known forgeries, as a stand-in for yours; pictures unless --kind says else."""
    from deepscan.console import watching
    from deepscan.datasets.synthetic import KINDS, Order
    from deepscan.registry import nearest

    kind = kind or next(iter(KINDS))
    if kind not in KINDS:
        msg = f"No kind of set is named {kind!r}.{nearest(kind, KINDS)} Known: {', '.join(KINDS)}."
        raise UnknownNameError(msg)
    order = Order(out=out, count=count, size_px=size_px, seed=seed, recordings=recordings)
    with watching(console) as watch:
        watch.stage(f"Synthesizing ({kind})")
        manifest = KINDS[kind](order, watch.advance)
    say(f"Manifest: {manifest}")


@assets_app.command("list")
def list_assets() -> None:
    """List the assets and whether they are on this machine."""
    from deepscan.console import grid
    from deepscan.media.assets import ASSETS, locate

    rows = [(a.name, locate(a.name) or "not here", a.licence, a.sha256[:12], a.url) for a in ASSETS]
    console.print(grid("Assets", ("name", "file", "licence", "sha256", "address"), rows))


@assets_app.command("fetch")
def fetch_asset(name: Annotated[str, typer.Argument(help="Name of the asset.")]) -> None:
    """Fetch an asset from DEEPSCAN_ASSETS or its public address into the cache."""
    from deepscan.console import watching
    from deepscan.media.assets import fetch

    with watching(console) as watch:
        watch.stage(f"Fetching {name}")
        path = fetch(name, watch.advance)
    say(str(path))
