"""Options that several commands share, and what is made of them."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from deepscan.datasets.dataset import DataSet, Origin
    from deepscan.evidence import Analyzer
    from deepscan.pipeline import Explain
    from deepscan.watch import Watch

Data = Annotated[pathlib.Path, typer.Option(help="Folder, or a manifest (CSV, TSV, Parquet, JSONL).")]
Where = Annotated[list[str] | None, typer.Option(help="Keep rows with column=value; may be repeated.")]
SourcePattern = Annotated[str | None, typer.Option(help="Regular expression: source from the file name.")]
Store = Annotated[pathlib.Path | None, typer.Option(help="Root folder of prepared Examples.")]
Materialize = Annotated[bool, typer.Option(help="Keep prepared Examples; later epochs skip decoding.")]
MaxBad = Annotated[float, typer.Option(min=0, max=1, help="Largest share of corrupt files.")]
AllowLeaks = Annotated[
    bool, typer.Option("--allow-leaks", help="Take given splits that share sources; figures: too good.")
]
Seen = Annotated[
    Literal["refuse", "leave-out", "count"],
    typer.Option(help="What becomes of files that trained or chose a bundle."),
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split where the data give none.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Setting, e.g. recipe.optimizer.lr=1e-4.")]
Storage = Annotated[
    str,
    typer.Option(
        callback=lambda given: _absolute(given),
        help="Path or URI of checkpoints and results, for all machines; default: --out.",
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Training processes.")]
TrainingDevice = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="auto: GPUs where every worker gets one; cuda: wait for them, or stop."),
]
MinWorkers = Annotated[
    int | None, typer.Option(min=1, help="Go on with as few when nodes are lost; default: all.")
]
Weights = Annotated[str, typer.Option(help="'imagenet' or a bundle to start from.")]
Teacher = Annotated[list[pathlib.Path] | None, typer.Option(help="Bundle to learn from; may be repeated.")]
CalibrationKind = Annotated[
    Literal["temperature", "logistic", "isotonic", "none"] | None,
    typer.Option(help="How logits become probabilities; default: as suits the model."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be taken and written; do nothing.")]
Plugin = Annotated[pathlib.Path | None, typer.Option(help="Python file that registers a model.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster; default RAY_ADDRESS or a private one.")]
Bundles = Annotated[list[pathlib.Path], typer.Option("--bundle", help="Bundle directory; may be repeated.")]
Judges = Annotated[
    list[pathlib.Path] | None,
    typer.Option(
        "--bundle",
        help="Bundle directory, may be repeated; or one ensemble file; default: those that deepscan ships.",
    ),
]
Fusion = Annotated[list[str] | None, typer.Option(help="Setting of the fusion, e.g. min_models=2.")]
Maps = Annotated[
    list[str] | None, typer.Option("--map", help="Draw such heat maps, e.g. occlusion; may be repeated.")
]
Camera = Annotated[
    pathlib.Path | None,
    typer.Option(help="Folder of pictures by one camera, whose sensor pattern is looked for."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]

SetDir = Annotated[
    pathlib.Path | None, typer.Option(help="Folder of the regression set; default: DEEPSCAN_REGRESSION.")
]


def _absolute(location: str) -> str:
    from deepscan.storage import absolute

    return absolute(location) if location else ""


def explain_by(maps: list[str] | None) -> "Explain":
    """Return what draws the heat maps that were named, or the quick ones that suit a detector.

    Raises:
        UnknownNameError: No heat map has such a name.
    """
    from deepscan import heatmaps

    if not maps:
        return heatmaps.explain_quickly
    known = heatmaps.load_builtin()
    return partial(heatmaps.explain, methods=[known.get(name).name for name in maps])


def analyzers_with(camera: pathlib.Path | None) -> "tuple[Analyzer, ...]":
    """Return every analyzer, and one of a camera's pictures where a folder of them is given.

    Raises:
        ConfigError: The folder holds no pictures, or pictures of several sizes.
        MediaError: One of them does not decode.
    """
    from deepscan.evidence.camera import known_camera
    from deepscan.evidence.catalog import load_builtin
    from deepscan.media.source import Media

    if camera is None:
        return tuple(load_builtin())
    paths = sorted(path for path in camera.rglob("*") if path.is_file())
    return (*load_builtin(), known_camera(Media.from_path(path) for path in paths))


def origin_of(
    data: pathlib.Path,
    where: list[str] | None,
    source_pattern: str | None,
    store: pathlib.Path | None,
    max_bad: float,
) -> "Origin":
    """Return where a data set comes from, as the options say."""
    from deepscan.datasets.dataset import Origin
    from deepscan.media.assets import places

    return Origin(
        path=data,
        where=tuple(where or ()),
        source_pattern=source_pattern,
        store=store or places().prepared,
        max_bad=max_bad,
    )


@contextlib.contextmanager
def opened(bundle: pathlib.Path, origin: "Origin", address: str | None) -> "Iterator[tuple[DataSet, Watch]]":
    """Prepare data as a bundle looks at them; a cluster is there inside the block, the ledger is not kept."""
    from deepscan.bundle import Bundle
    from deepscan.cli.program import console
    from deepscan.cluster import connected
    from deepscan.console import watching
    from deepscan.datasets.dataset import open_dataset

    prep = Bundle.read(bundle).prep()
    with tempfile.TemporaryDirectory() as folder, watching(console) as watch, connected(address):
        yield open_dataset(origin, prep, pathlib.Path(folder) / "ledger.parquet", 1.0, watch), watch


def use_plugin(plugin: pathlib.Path | None) -> None:
    """Run the file that registers a model, where one was given."""
    if plugin:
        from deepscan.models.catalog import load_plugin

        load_plugin(plugin)
