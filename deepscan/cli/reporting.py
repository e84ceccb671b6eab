"""The command that writes a report on one file."""

import datetime
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.cli.judging import cases_of, load_all
from deepscan.cli.options import (
    Camera,
    Device,
    Fusion,
    Judges,
    Maps,
    Plugin,
    analyzers_with,
    explain_by,
    use_plugin,
)
from deepscan.cli.program import say
from deepscan.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from deepscan.calibration import OperatingPoint
    from deepscan.detector import Detector
    from deepscan.fusion import FusionPolicy
    from deepscan.report.verdict import Context
    from deepscan.verdict import Verdict

KINDS = (".html", ".pdf", ".json")

app = typer.Typer()


@app.command()
def report(
    context: typer.Context,
    file: Annotated[pathlib.Path | None, typer.Argument(help="File to judge.")] = None,
    bundle: Judges = None,
    video: Annotated[pathlib.Path | None, typer.Option(help="Clip, whose sound is that of --audio.")] = None,
    audio: Annotated[pathlib.Path | None, typer.Option(help="Sound of the clip of --video.")] = None,
    fusion: Fusion = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip to look at.")] = None,
    maps: Maps = None,
    camera: Camera = None,
    device: Device = "auto",
    plugin: Plugin = None,
    out: Annotated[
        pathlib.Path, typer.Option("--out", "-o", help="Report to write: .html, .pdf or .json.")
    ] = pathlib.Path("report.html"),
    pdf: Annotated[bool, typer.Option("--pdf", help="Write it as PDF too, by Chromium.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write it as JSON too.")] = False,
) -> None:
    """Judge one file, measure it in every way, and write a report that stands alone."""
    from deepscan.ensemble import select
    from deepscan.pipeline import analyze
    from deepscan.report import printing, verdict

    paths = _paths(out, {".pdf": pdf, ".json": as_json})
    if ".pdf" in paths:
        printing.browser()
    if file and video:
        msg = "A report is on one case; name a file, or --video with --audio."
        raise ConfigError(msg)
    (read,) = cases_of([file] if file else [], video, audio).values()
    use_plugin(plugin)
    chosen = select(bundle or (), fusion or ())
    detectors, explain = load_all(chosen, device, frames), explain_by(maps)
    media = read()
    judged = analyze(media, detectors, chosen.policy, analyzers_with(camera), explain)
    command, beside = _repeated(context), _beside(judged, detectors, chosen.policy)
    page = verdict.render(judged, media, command, beside)
    for kind, path in paths.items():
        if kind == ".pdf":
            printing.print_pdf(page, path)
        else:
            _write(path, page if kind == ".html" else verdict.to_json(judged, command, beside))
        say(f"Report: {path}")


def _paths(out: pathlib.Path, wanted: dict[str, bool]) -> dict[str, pathlib.Path]:
    """Return the files to write by their kind; those that are wanted besides lie beside the first."""
    kind = out.suffix.lower()
    if kind not in KINDS:
        msg = f"A report ends in {', '.join(KINDS)}, which {str(out)!r} does not; name another file."
        raise ConfigError(msg)
    return {kind: out} | {
        each: out.with_suffix(each) for each, asked in wanted.items() if asked and each != kind
    }


def _repeated(context: typer.Context) -> str:
    """Return the line that was given, without what it left to the defaults, quoted for a shell."""
    words = ["deepscan", "report"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is None or value == parameter.get_default(context):
            continue
        words += _worded(parameter.opts[0], value)
    return shlex.join(words)


def _worded(option: str, value: object) -> list[str]:
    """Return an option with its value as words of a command line; an argument has no name."""
    if isinstance(value, bool):
        return [option]
    values = value if isinstance(value, list | tuple) else [value]
    named = [option] if option.startswith("-") else []
    return [word for each in values for word in (*named, str(each))]


def _beside(judged: "Verdict", detectors: "Sequence[Detector]", policy: "FusionPolicy") -> "Context":
    """Return where the detectors decide and how well each was in its test."""
    from deepscan.report.verdict import Context
    from deepscan.report.wording import tested

    cards = [detector.bundle.card for detector in detectors]
    points = {card.id: card.operating for card in cards}
    now = datetime.datetime.now(datetime.UTC)
    return Context(
        point=_point(judged, policy, points),
        points=points,
        tested={card.id: tested(card.metrics) for card in cards},
        made_at=f"{now:%Y-%m-%d %H:%M} UTC",
    )


def _point(
    judged: "Verdict", policy: "FusionPolicy", points: "Mapping[str, OperatingPoint]"
) -> "OperatingPoint | None":
    """Return where all of them together decide, where that is one point."""
    from deepscan.calibration import OperatingPoint

    if policy.threshold is not None:
        return OperatingPoint(threshold=policy.threshold, low=policy.threshold, high=policy.threshold)
    if policy.operating is None and len(judged.scores) == 1:
        return points[judged.scores[0].bundle]
    return policy.operating


def _write(path: pathlib.Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be written ({error}); name a file in a folder that can."
        raise StorageError(msg) from error
