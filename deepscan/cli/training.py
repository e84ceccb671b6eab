"""Commands that make and measure detectors."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepscan.cli.options import (
    Address,
    AllowLeaks,
    CalibrationKind,
    Data,
    DryRun,
    Fusion,
    Materialize,
    MaxBad,
    MinWorkers,
    Plugin,
    Resume,
    Set,
    SourcePattern,
    SplitSeed,
    Storage,
    Store,
    Teacher,
    TrainingDevice,
    Weights,
    Where,
    Workers,
    origin_of,
    use_plugin,
)
from deepscan.cli.program import console, say
from deepscan.errors import ConfigError

if TYPE_CHECKING:
    from deepscan.training.run import Order

Scope = Annotated[
    Literal["one", "all"],
    typer.Argument(help="'all': several models and the ensemble over them.", show_default=False),
]
Models = Annotated[
    list[str] | None, typer.Option(help="Model; with 'all' may be repeated. `deepscan models` lists them.")
]
RecipeFile = Annotated[
    pathlib.Path | None, typer.Option(help="JSON file of settings, as best.json of `tune`; not with 'all'.")
]
Patience = Annotated[float, typer.Option(min=1, help="Seconds without progress that end the run.")]
Track = Annotated[list[str] | None, typer.Option(help="Tracker: jsonl, mlflow or wandb; may be repeated.")]

app = typer.Typer()


@app.command()
def train(
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the run.")],
    scope: Scope = "one",
    model: Models = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    workers: Workers = 1,
    device: TrainingDevice = "auto",
    min_workers: MinWorkers = None,
    weights: Weights = "",
    teacher: Teacher = None,
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    storage: Storage = "",
    materialize: Materialize = False,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    allow_leaks: AllowLeaks = False,
    calibration: CalibrationKind = None,
    resume: Resume = False,
    patience: Patience = 300.0,
    dry_run: DryRun = False,
    name: Annotated[str, typer.Option(help="Name of the detector; not with 'all'.")] = "",
    fusion: Fusion = None,
    track: Track = None,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Train, calibrate and measure a detector; the bundle is OUT/bundle, the report OUT/report.html.

    `train all` does so for several models, each in OUT/MODEL, and fits OUT/ensemble.json over them;
    `--set MODEL:recipe.epochs=5` is for one of them, and `--fusion` for the ensemble.
    """
    from deepscan.training.run import Order
    from deepscan.training.settings import read_recipe

    single = {"name": name, "weights": weights, "teacher": teacher, "recipe": recipe, "dry-run": dry_run}
    models = _models(scope, model, single, fusion)
    origin = origin_of(data, where, source_pattern, store, max_bad)
    order = Order(
        model=models[0] if models else "",
        origin=dataclasses.replace(origin, keep=materialize, seed=split_seed, allow_leaks=allow_leaks),
        out=out,
        storage=storage,
        overrides=(*(read_recipe(recipe) if recipe else ()), *(settings or ())),
        workers=workers,
        device=device,
        least=min_workers,
        init=weights,
        teachers=tuple(teacher or ()),
        plugin=plugin,
        calibration=calibration,
        resume=resume,
        name=name,
        address=address,
        track=tuple(track or ()),
        patience_s=patience,
    )
    if scope == "all":
        _train_all(order, models, fusion or [])
    else:
        (_preview if dry_run else _train_one)(order)


def _preview(order: "Order") -> None:
    from deepscan.console import grid
    from deepscan.training.preview import preview

    console.print(grid(f"{order.model} in {order.out}", ("", "would be"), preview(order).items()))


def _train_one(order: "Order") -> None:
    from deepscan.console import show_outcome, watching
    from deepscan.training.run import train as run
    from deepscan.training.tracking import places

    with watching(console) as watch:
        outcome = run(order, watch)
    show_outcome(console, outcome, order.out)
    for tracker, place in places(order.out).items():
        say(f"Tracked by {tracker}: {place}")


def _train_all(order: "Order", models: tuple[str, ...], fusion: list[str]) -> None:
    from deepscan import config
    from deepscan.console import show_series, watching
    from deepscan.fusion import FusionPolicy
    from deepscan.series import STANDARD, Series, train_all
    from deepscan.training.tracking import check, places

    use_plugin(order.plugin)
    check(order.track)
    policy = config.override(FusionPolicy(), fusion)
    with watching(console) as watch:
        result = train_all(Series(models=models or STANDARD, order=order, policy=policy), watch)
    show_series(console, result)
    for name in result.outcomes:
        for tracker, place in places(order.out / name).items():
            say(f"{name}, tracked by {tracker}: {place}")


def _models(
    scope: str, given: list[str] | None, single: Mapping[str, object], fusion: list[str] | None
) -> tuple[str, ...]:
    """Return the models to train; none = the standard ones. Refuse what does not go with the scope."""
    models = tuple(given or ())
    misplaced, whose = (single, "a single model") if scope == "all" else ({"fusion": fusion}, "train all")
    for option, value in misplaced.items():
        if value:
            msg = f"--{option} is for {whose}; leave it out."
            raise ConfigError(msg)
    if scope == "one" and len(models) != 1:
        msg = "Give one --model; several, or the standard ones, are trained by `deepscan train all`."
        raise ConfigError(msg)
    return models


@app.command()
def crossvalidate(
    model: Annotated[str, typer.Option(help="Model; `deepscan models` lists them.")],
    data: Data,
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the folds, the figures and the report.")],
    folds: Annotated[
        int, typer.Option(min=2, help="Number of folds; as many as sources leaves one out.")
    ] = 5,
    validation: Annotated[
        Literal["sources", "files"], typer.Option(help="What chooses the epoch inside a fold.")
    ] = "sources",
    validation_share: Annotated[float, typer.Option(help="Share of the other folds that does.")] = 0.2,
    settings: Set = None,
    workers: Workers = 1,
    storage: Storage = "",
    where: Where = None,
    source_pattern: SourcePattern = None,
    store: Store = None,
    materialize: Materialize = False,
    max_bad: MaxBad = 0.1,
    split_seed: SplitSeed = 0,
    resume: Resume = False,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Train once a fold, so that every file is judged by a detector that has seen nothing of its source."""
    from deepscan.console import show_folds, watching
    from deepscan.crossvalidation import Folds
    from deepscan.crossvalidation import cross_validate as run
    from deepscan.training.run import Order

    use_plugin(plugin)
    origin = origin_of(data, where, source_pattern, store, max_bad)
    order = Order(
        model=model,
        origin=dataclasses.replace(origin, keep=materialize, seed=split_seed),
        out=out,
        storage=storage,
        overrides=tuple(settings or ()),
        workers=workers,
        plugin=plugin,
        resume=resume,
        address=address,
    )
    given = Folds(order=order, count=folds, validation=validation, share=validation_share, seed=split_seed)
    with watching(console) as watch:
        result = run(given, watch)
    show_folds(console, result, out)


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
    workers: Workers = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
) -> None:
    """Go the whole way on made-up data of every kind: train, fuse, measure and serve detectors, and ask."""
    from deepscan.console import answers_table, grid, show_series, watching
    from deepscan.demo import Demo, run

    with watching(console) as watch:
        told = run(Demo(out=out, workers=workers, seed=seed), watch)
    show_series(console, told.result)
    console.print(answers_table(told.answers))
    console.print(grid("Timings", ("stage", "seconds"), [(n, f"{s:.1f}") for n, s in told.seconds.items()]))
