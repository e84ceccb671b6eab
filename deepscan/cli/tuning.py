"""The command that searches the settings of a model."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepscan.cli.options import (
    Address,
    AllowLeaks,
    CalibrationKind,
    Data,
    Materialize,
    MaxBad,
    Plugin,
    Set,
    SourcePattern,
    SplitSeed,
    Storage,
    Store,
    Where,
    origin_of,
)
from deepscan.cli.program import console

if TYPE_CHECKING:
    from deepscan.training.run import Order

Trials = Annotated[int, typer.Option(min=1, help="Trials in all.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Most epochs of a trial.")]
Budget = Annotated[float | None, typer.Option(min=1, help="Seconds after which the trials are stopped.")]
Proposing = Annotated[
    Literal["tpe", "random"] | None, typer.Option(help="Who proposes settings; default: tpe.")
]
Stopping = Annotated[
    Literal["asha", "median", "pbt", "none"],
    typer.Option(help="Who stops trials early, or changes them (pbt)."),
]
SpaceFile = Annotated[
    pathlib.Path | None, typer.Option(help="JSON file that changes the model's search space.")
]
Workers = Annotated[int, typer.Option(min=1, help="Training processes of a trial.")]
Cpus = Annotated[float | None, typer.Option(min=0.1, help="CPUs of a trial.")]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs of a trial, or a part of one.")]
Earlier = Annotated[pathlib.Path | None, typer.Option(help="Folder of an earlier campaign to learn from.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the proposals.")]
Weights = Annotated[str, typer.Option(help="'imagenet' or a bundle to start from.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the campaign in --out.")]

app = typer.Typer()


@app.command()
def tune(
    data: Data,
    model: Annotated[str, typer.Option(help="Model; `deepscan models` lists them.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the campaign.")],
    trials: Trials = 20,
    epochs: Epochs = None,
    time_budget: Budget = None,
    search: Proposing = None,
    scheduler: Stopping = "asha",
    space: SpaceFile = None,
    settings: Set = None,
    workers: Workers = 1,
    trial_cpus: Cpus = None,
    trial_gpus: Gpus = None,
    warm_start: Earlier = None,
    seed: Seed = 0,
    weights: Weights = "",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    storage: Storage = "",
    materialize: Materialize = True,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    allow_leaks: AllowLeaks = False,
    calibration: CalibrationKind = None,
    resume: Resume = False,
    name: Annotated[str, typer.Option(help="Name of the winner.")] = "",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Search the settings of a model, then train, calibrate and measure the winner.

    The winner's run is OUT/best, its settings are OUT/best.json, which `deepscan train --recipe` takes, and
    OUT/campaign.html draws the campaign.
    """
    from deepscan.training.run import Order

    origin = origin_of(data, where, source_pattern, store, max_bad)
    order = Order(
        model=model,
        origin=dataclasses.replace(origin, keep=materialize, seed=split_seed, allow_leaks=allow_leaks),
        out=out,
        storage=storage,
        overrides=tuple(settings or ()),
        workers=workers,
        init=weights,
        plugin=plugin,
        calibration=calibration,
        resume=resume,
        name=name,
        address=address,
    )
    _run(
        order,
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


def _run(order: "Order", **asked: Any) -> None:
    from deepscan.console import show_campaign, watching
    from deepscan.tuning.campaign import Campaign
    from deepscan.tuning.run import run_campaign

    campaign = Campaign(order=order, **asked)
    with watching(console) as watch:
        found = run_campaign(campaign, watch)
    show_campaign(console, found)
