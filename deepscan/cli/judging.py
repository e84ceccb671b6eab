"""Commands that judge files."""

import json
import pathlib
from typing import Annotated

import typer

from deepscan.cli.options import Address, Bundles, Device, Json, Plugin, use_plugin
from deepscan.cli.program import complain, console, exit_code, say
from deepscan.errors import MediaError

app = typer.Typer()


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

    use_plugin(plugin)
    detectors = [Detector.load(path, device) for path in bundle]
    verdicts: list[Verdict] = []
    failed: MediaError | None = None
    for path in files:
        try:
            verdicts.append(analyze(Media.from_path(path), detectors))
            line = to_dict(verdicts[-1])
        except MediaError as error:
            failed = error
            complain(str(path), error)
            line = {"error": type(error).__name__, "message": str(error)}
        if as_json:
            say(json.dumps({"file": str(path), **line}))
    if verdicts and not as_json:
        console.print(verdict_table(verdicts))
    if failed:
        raise typer.Exit(exit_code(failed))


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
    use_plugin(plugin)
    for path in bundle:
        Bundle.read(path).module()
    with watching(console) as watch, connected(address):
        counts = score_folder(data, bundle, out, Judging(device=device, plugin=plugin), watch)
    console.print(grid(f"Verdicts: {out}", ("label", "files"), counts.items()))
