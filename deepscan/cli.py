"""The command line.

Exit codes: 0 done; 1 unexpected; 2 wrong usage or settings; 3 a file is no sound media; 4 an asset is
missing; 5 the data cannot be used; 6 a bundle or its format cannot be used; 7 the cluster is too
small; 8 training failed; 9 the service cannot answer; 130 interrupted.
"""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from deepscan import errors
from deepscan.errors import DeepscanError, MediaError

if TYPE_CHECKING:
    from deepscan.datasets.dataset import Origin

EXIT_CODES: dict[type[DeepscanError], int] = {
    DeepscanError: 1,
    errors.ConfigError: 2,
    errors.MediaError: 3,
    errors.AbstainError: 3,
    errors.AssetError: 4,
    errors.DataError: 5,
    errors.BundleError: 6,
    errors.FormatError: 6,
    errors.ResourceError: 7,
    errors.TrainingError: 8,
    errors.ServiceError: 9,
}
INTERRUPTED = 130

console = Console()
complaints = Console(stderr=True)


class Commands(TyperGroup):
    """Turns every error of deepscan, and an interrupt, into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DeepscanError as error:
            _complain(type(error).__name__, error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            _complain("Interrupted", "What was finished is kept; train goes on with --resume.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
assets_app = typer.Typer(no_args_is_help=True, help="List and fetch the model files of others.")
app.add_typer(assets_app, name="assets")

Data = Annotated[pathlib.Path, typer.Option(help="Folder, or a manifest (CSV, TSV, Parquet, JSONL).")]
Where = Annotated[list[str] | None, typer.Option(help="Keep rows with column=value; may be repeated.")]
SourcePattern = Annotated[str | None, typer.Option(help="Regular expression: source from the file name.")]
Store = Annotated[pathlib.Path | None, typer.Option(help="Root folder of prepared Examples.")]
Materialize = Annotated[bool, typer.Option(help="Keep prepared Examples; later epochs skip decoding.")]
MaxBad = Annotated[float, typer.Option(min=0, max=1, help="Largest share of corrupt files.")]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split where the data give none.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Setting, e.g. recipe.optimizer.lr=1e-4.")]
Plugin = Annotated[pathlib.Path | None, typer.Option(help="Python file that registers a model.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster; default RAY_ADDRESS or a private one.")]
Bundles = Annotated[list[pathlib.Path], typer.Option("--bundle", help="Bundle directory; may be repeated.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


@app.command()
def predict(
    files: Annotated[list[pathlib.Path], typer.Argument(help="Files to judge.")],
    bundle: Bundles,
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Judge files in this process and print their verdicts."""
    from deepscan.console import verdict_table
    from deepscan.detector import Detector
    from deepscan.media.source import Media
    from deepscan.pipeline import analyze
    from deepscan.verdict import Verdict, to_dict

    _load_plugin(plugin)
    detectors = [Detector.load(path, device) for path in bundle]
    verdicts: list[Verdict] = []
    failed: MediaError | None = None
    for path in files:
        try:
            verdicts.append(analyze(Media.from_path(path), detectors))
            line = to_dict(verdicts[-1])
        except MediaError as error:
            failed = error
            _complain(str(path), error)
            line = {"error": type(error).__name__, "message": str(error)}
        if as_json:
            _say(json.dumps({"file": str(path), **line}))
    if verdicts and not as_json:
        console.print(verdict_table(verdicts))
    if failed:
        raise typer.Exit(exit_code(failed))


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
    settings: Set = None,
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Look at every file of a data set, account for it, and keep its prepared Examples."""
    from deepscan.cluster import connected
    from deepscan.console import grid, watching
    from deepscan.datasets.dataset import account, open_dataset
    from deepscan.models.catalog import load_builtin
    from deepscan.training.run import LEDGER, settle

    _load_plugin(plugin)
    prep = settle(load_builtin().get(model), tuple(settings or ())).prep
    origin = _origin(data, where, source_pattern, store, max_bad)
    origin = dataclasses.replace(origin, keep=materialize, seed=split_seed)
    with watching(console) as watch, connected(address):
        dataset = open_dataset(origin, prep, out / LEDGER, 1.0, watch)
    console.print(grid(f"Ledger: {out / LEDGER}", ("status", "files"), account(dataset.ledger).items()))


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
        Literal["temperature", "isotonic", "none"] | None,
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

    origin = _origin(data, where, source_pattern, store, max_bad)
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

    _load_plugin(plugin)
    loaded = Bundle.read(bundle)
    origin = dataclasses.replace(_origin(data, where, source_pattern, store, max_bad), fractions=None)
    with watching(console) as watch, connected(address):
        dataset = open_dataset(origin, loaded.prep(), out / LEDGER, 1.0, watch)
        watch.stage(f"Measuring on the {split} split")
        outcome = assess(loaded, dataset, split, Judging(device=device, plugin=plugin))
    publish(outcome, out)
    show_outcome(console, outcome, out)


@app.command()
def score(
    data: Annotated[pathlib.Path, typer.Option(help="Folder; every file in it is judged.")],
    bundle: Bundles,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for verdicts (JSON lines).")],
    device: Device = "auto",
    plugin: Plugin = None,
    address: Address = None,
) -> None:
    """Judge a folder of any size on Ray Data."""
    from deepscan.bundle import Bundle
    from deepscan.cluster import connected
    from deepscan.console import grid, watching
    from deepscan.evaluation import Judging
    from deepscan.scoring import score_folder

    # The actors do this too, but what they raise arrives as an error of Ray.
    _load_plugin(plugin)
    for path in bundle:
        Bundle.read(path).module()
    with watching(console) as watch, connected(address):
        counts = score_folder(data, bundle, out, Judging(device=device, plugin=plugin), watch)
    console.print(grid(f"Verdicts: {out}", ("label", "files"), counts.items()))


@app.command()
def serve(
    bundle: Bundles,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    device: Device = "auto",
    plugin: Plugin = None,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Ray.")] = False,
) -> None:
    """Serve verdicts over HTTP until interrupted."""
    from deepscan.serving.config import ServeArgs

    args = ServeArgs(bundles=tuple(map(str, bundle)), device=device, plugins=(str(plugin),) if plugin else ())
    _say(f"Starting at http://{host}:{port} (Ctrl-C stops)")
    if local:
        from deepscan.serving.local import serve as run_local

        run_local(args, host, port)
        return
    from deepscan.cluster import connected
    from deepscan.serving.app import serve as run

    with connected():
        run(args, host, port)


@app.command()
def models() -> None:
    """List the registered models."""
    from deepscan.console import grid
    from deepscan.models.catalog import load_builtin

    rows = [(s.name, s.modality, "yes" if s.imagenet else "no", s.summary) for s in load_builtin()]
    console.print(grid("Models", ("name", "modality", "ImageNet weights", "summary"), rows))


@app.command()
def synthesize(
    out: Annotated[pathlib.Path, typer.Argument(help="Folder to write.")],
    count: Annotated[int, typer.Option(min=2, help="Pictures in all.")] = 400,
    size_px: Annotated[int, typer.Option(min=64, help="Side of a picture.")] = 192,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
) -> None:
    """Make a small data set of camera-like pictures and known manipulations, as a stand-in for yours."""
    from deepscan.console import watching
    from deepscan.datasets.synthesize import synthesize as make

    with watching(console) as watch:
        watch.stage("Synthesizing pictures")
        manifest = make(out, count, size_px, seed, watch.advance)
    _say(f"Manifest: {manifest}")


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
    _say(str(path))


def main() -> None:
    """Run the command line; without a terminal to draw on, the log tells how far it is."""
    _log(logging.WARNING if console.is_terminal else logging.INFO)
    app()


def run_job(command: str, arguments: Sequence[str]) -> None:
    """Run a command as a job: the same, with a log that can be read without a terminal."""
    _log(logging.INFO)
    app([command, *arguments])


def _log(level: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("deepscan").setLevel(level)


def exit_code(error: DeepscanError) -> int:
    """Return the exit code of an error: that of the nearest ancestor in ``EXIT_CODES``."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def _origin(
    data: pathlib.Path,
    where: list[str] | None,
    source_pattern: str | None,
    store: pathlib.Path | None,
    max_bad: float,
) -> "Origin":
    from deepscan.datasets.dataset import Origin
    from deepscan.media.assets import places

    return Origin(
        path=data,
        where=tuple(where or ()),
        source_pattern=source_pattern,
        store=store or places().prepared,
        max_bad=max_bad,
    )


def _say(text: str) -> None:
    """Print text as it is, for people and for programs that read it."""
    console.out(text, highlight=False)


def _complain(what: str, why: object) -> None:
    complaints.print(Text.assemble((f"{what}: ", "red"), str(why)), soft_wrap=True)


def _load_plugin(plugin: pathlib.Path | None) -> None:
    if plugin:
        from deepscan.models.catalog import load_plugin

        load_plugin(plugin)
