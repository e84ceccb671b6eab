"""Commands that judge files."""

import json
import pathlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.allocator import keep_memory
from deepscan.cli.options import (
    Camera,
    Device,
    Fusion,
    Json,
    Judges,
    Maps,
    Plugin,
    analyzers_with,
    explain_by,
    use_plugin,
)
from deepscan.cli.program import complain, console, exit_code, say
from deepscan.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from deepscan.detector import Detector
    from deepscan.ensemble import Selection
    from deepscan.media.source import Media, Probing

app = typer.Typer()

KEPT_BYTES = 64 * 2**20
"""What is kept of the files of one call, so that a copy of one is not decoded again."""


@app.command()
def predict(
    files: Annotated[list[pathlib.Path] | None, typer.Argument(help="Files to judge.")] = None,
    bundle: Judges = None,
    video: Annotated[pathlib.Path | None, typer.Option(help="Clip, whose sound is that of --audio.")] = None,
    audio: Annotated[pathlib.Path | None, typer.Option(help="Sound of the clip of --video.")] = None,
    fusion: Fusion = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip to look at.")] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Tell which seconds look fake.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Measure files and show what models looked at; it has no vote.")
    ] = False,
    maps: Maps = None,
    camera: Camera = None,
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Judge files in this process and print their verdicts; their content chooses the detectors."""
    from deepscan.console import show_verdicts
    from deepscan.ensemble import select
    from deepscan.pipeline import Kept, analyze
    from deepscan.verdict import Verdict, to_dict

    if timeline and as_json:
        msg = "With --json the parts of every score tell the seconds already; leave out --timeline."
        raise ConfigError(msg)
    kept = Kept(KEPT_BYTES)
    cases = cases_of(files or [], video, audio, kept.probe)
    use_plugin(plugin)
    chosen = select(bundle or (), fusion or ())
    detectors = load_all(chosen, device, frames)
    analyzers = analyzers_with(camera) if explain or camera else ()
    shown = explain_by(maps) if explain or maps else None
    verdicts: list[Verdict] = []
    failed: MediaError | None = None
    for name, read in cases.items():
        try:
            verdicts.append(analyze(read(), detectors, chosen.policy, analyzers, shown, kept))
            line = to_dict(verdicts[-1])
        except MediaError as error:
            failed = error
            complain(name, error)
            line = {"error": type(error).__name__, "message": str(error)}
        if as_json:
            say(json.dumps({"file": name, **line}))
    if verdicts and not as_json:
        show_verdicts(console, verdicts, timeline)
    if failed:
        raise typer.Exit(exit_code(failed))


def cases_of(
    files: list[pathlib.Path],
    video: pathlib.Path | None,
    audio: pathlib.Path | None,
    probing: "Probing | None" = None,
) -> "dict[str, Callable[[], Media]]":
    """Return how each file is read, by the name that it is printed under; ``probing`` tells what it is."""
    from deepscan.media.probe import probe
    from deepscan.media.source import Media

    if (video is None) != (audio is None):
        msg = "--video and --audio name the two halves of one clip; give both, or name a file without them."
        raise ConfigError(msg)
    if video is None and not files:
        msg = "There is nothing to judge; name a file, or --video with --audio."
        raise ConfigError(msg)
    read = partial(Media.from_path, probing=probing or probe)
    cases: dict[str, Callable[[], Media]] = {str(path): partial(read, path) for path in files}
    if video is not None and audio is not None:
        picture, sound = video, audio
        cases[f"{video} + {audio}"] = lambda: Media.joined(read(picture), read(sound))
    return cases


def load_all(chosen: "Selection", device: str, frames: int | None) -> "list[Detector]":
    """Load the bundles that were chosen, to look at ``frames`` frames of a clip where that is given."""
    from deepscan.detector import Detector
    from deepscan.pipeline import resample

    keep_memory()
    detectors = [Detector.load(path, device, lazily=True) for path in chosen.bundles]
    if frames is None:
        return detectors
    others = resample(detectors, frames, chosen.policy)
    complain(
        "Note", f"probabilities and thresholds were not fitted with --frames {frames}; bundle ids differ."
    )
    return others
