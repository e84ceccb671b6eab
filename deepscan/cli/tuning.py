"""The command that searches the settings of a model."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    Calibration,
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
)
from deepscan.cli.program import console

app = typer.Typer()


@app.command()
def tune(
    data: Data,
    model: Annotated[str, typer.Option(help="Model; `deepscan models` lists them.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the campaign.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all.")] = 20,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs of a trial.")] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which the trials are stopped.")
    ] = None,
    search: Annotated[
        Literal["tpe", "random"] | None, typer.Option(help="Who proposes settings; default: tpe.")
    ] = None,
    scheduler: Annotated[
        Literal["asha", "median", "pbt", "none"],
        typer.Option(help="Who stops trials early, or changes them (pbt)."),
    ] = "asha",
    space: Annotated[
        pathlib.Path | None, typer.Option(help="JSON file that changes the model's search space.")
    ] = None,
    settings: Set = None,
    workers: Annotated[int, typer.Option(min=1, help="Training processes of a trial.")] = 1,
    trial_cpus: Annotated[float | None, typer.Option(min=0.1, help="CPUs of a trial.")] = None,
    trial_gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of a trial, or a part of one.")
    ] = None,
    warm_start: Annotated[
        pathlib.Path | None, typer.Option(help="Folder of an earlier campaign to learn from.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the proposals.")] = 0,
    weights: Annotated[str, typer.Option(help="'imagenet' or a bundle to start from.")] = "",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    materialize: Materialize = True,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    calibration: Calibration = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the campaign in --out.")] = False,
    name: Annotated[str, typer.Option(help="Name of the winner.")] = "",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Search the settings of a model, then train, calibrate and measure the winner.

    The winner's run is OUT/best, its settings are OUT/best.json, which `deepscan train --recipe` takes, and
    OUT/campaign.html draws the campaign.
    """
    from deepscan.console import show_campaign, watching
    from deepscan.training.run import Order
    from deepscan.tuning.campaign import Campaign, run_campaign

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
    campaign = Campaign(
        order=order,
        trials=trials,
        epochs=epochs,
        time_budget_s=time_budget,
        search=search,
        scheduler=scheduler,
        space=space,
        warm_start=warm_start,
        share=(trial_cpus, trial_gpus),
        seed=seed,
    )
    with watching(console) as watch:
        found = run_campaign(campaign, watch)
    show_campaign(console, found)
