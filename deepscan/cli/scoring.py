"""The command that judges files by the million."""

import contextlib
from typing import Annotated

import typer

from deepscan.cli.options import Address, Device, Fusion, Judges, Plugin, use_plugin
from deepscan.cli.program import console

app = typer.Typer()


@app.command()
def score(
    data: Annotated[
        str, typer.Argument(help="Folder, manifest (CSV, TSV, Parquet, JSONL) or list (TXT); path or URI.")
    ],
    out: Annotated[str, typer.Option(help="Folder of Parquet files with a row a file; path or URI.")],
    bundle: Judges = None,
    fusion: Fusion = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Most actors that hold the models; default: one a GPU or CPU.")
    ] = None,
    prepare_cpus: Annotated[
        int | None,
        typer.Option(min=0, help="CPUs that only read and prepare files; default: 0, all others with GPUs."),
    ] = None,
    limit_rate: Annotated[
        float | None, typer.Option(min=0.01, help="Most files a second, of all actors together.")
    ] = None,
    evidence: Annotated[bool, typer.Option("--evidence", help="Measure files too; it has no vote.")] = False,
    device: Device = "auto",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Judge files by the million on Ray Data; run again, it goes on where it stopped."""
    from deepscan.bundle import Bundle
    from deepscan.cluster import connected
    from deepscan.console import grid, watching
    from deepscan.ensemble import select
    from deepscan.scoring.plan import Work
    from deepscan.scoring.run import open_task
    from deepscan.scoring.run import score as run_score

    # The actors do this too, but what they raise arrives as an error of Ray.
    use_plugin(plugin)
    chosen = select(bundle or (), fusion or ())
    for path in chosen.bundles:
        found = Bundle.read(path)
        found.module()
        found.prep().resolved()
    work = Work(
        device=device,
        actors=actors,
        prepare_cpus=prepare_cpus,
        rate_hz=limit_rate,
        plugin=plugin,
        evidence=evidence,
    )
    with watching(console) as watch:
        task = open_task(data, out, chosen, work, watch)
        with contextlib.nullcontext() if task.finished else connected(address):
            counts = run_score(task, watch)
    console.print(grid(f"Scores: {out}", ("label", "files"), counts.items()))
