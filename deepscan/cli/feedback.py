"""Commands about the regression set: files whose truth somebody knows."""

import dataclasses
import json
import pathlib
from typing import Annotated, Any, Literal

import typer

from deepscan.cli.options import Device, Json, Plugin, SetDir, use_plugin
from deepscan.cli.program import console, say
from deepscan.cli.regression import set_at
from deepscan.errors import ConfigError

Label = Annotated[Literal["real", "fake"], typer.Option(help="What the file truly is.")]
Source = Annotated[str, typer.Option(help="Person or recording that it derives from.")]
Generator = Annotated[str, typer.Option(help="What made a fake.")]
Note = Annotated[str, typer.Option(help="What else is to be said of it.")]
Replace = Annotated[bool, typer.Option("--replace", help="Forget what the set says of this content.")]
Heard = Annotated[
    pathlib.Path | None, typer.Option("--bundle", help="Bundle, or ensemble file, to note the verdict of.")
]

app = typer.Typer(no_args_is_help=True, help="Keep files whose truth is known, to check every new bundle on.")


@app.command()
def add(
    file: Annotated[pathlib.Path, typer.Argument(help="File to copy into the set.")],
    label: Label,
    source: Source = "",
    generator: Generator = "",
    note: Note = "",
    replace: Replace = False,
    bundle: Heard = None,
    set_dir: SetDir = None,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Copy a file into the regression set, with the truth about it; the same content is there once."""
    from deepscan.feedback.judging import Judge
    from deepscan.feedback.regression import today
    from deepscan.feedback.store import LABELS, Case, sound, stored_path

    if generator and label == "real":
        msg = "A real file has no generator; leave --generator out, or say --label fake."
        raise ConfigError(msg)
    media = sound(file)
    case = Case(
        sha256=media.facts.sha256,
        path=stored_path(media),
        label=LABELS.index(label),
        source=source.strip(),
        generator=generator.strip(),
        note=note.strip(),
        name=media.facts.name,
        added=today(),
    )
    if bundle:
        use_plugin(plugin)
        judge = Judge.load(bundle, device)
        verdict = judge.ask(media)
        stated = verdict.probability
        case = dataclasses.replace(case, said_by=judge.id, said=verdict.label, said_probability=stated)
    kept = set_at(set_dir)
    stored, is_new = kept.add(media, case, replace)
    say(f"{'Added' if is_new else 'Renewed'}: {stored.sha256[:12]} {stored.name}, {label}, in {kept.folder}")


@app.command("list")
def show(set_dir: SetDir = None, as_json: Json = False) -> None:
    """List the files of the regression set."""
    from deepscan.console import grid
    from deepscan.feedback.store import LABELS

    kept = set_at(set_dir)
    cases = kept.cases()
    if as_json:
        for case in cases:
            say(json.dumps(dataclasses.asdict(case) | {"label": LABELS[case.label]}))
        return
    columns = ("digest", "is", "name", "source", "generator", "added", "said then", "note")
    rows: list[tuple[Any, ...]] = [
        (
            case.sha256[:12],
            LABELS[case.label],
            case.name,
            case.source,
            case.generator,
            case.added,
            _said(case.said, case.said_probability),
            case.note,
        )
        for case in cases
    ]
    console.print(grid(f"{len(rows)} files in {kept.folder}", columns, rows))


@app.command()
def remove(
    files: Annotated[list[str], typer.Argument(help="Digits of digests, as listed, or the files.")],
    set_dir: SetDir = None,
) -> None:
    """Take files out of the regression set."""
    from deepscan.feedback.store import key_of

    for case in set_at(set_dir).remove([key_of(word) for word in files]):
        say(f"Removed: {case.sha256[:12]} {case.name}")


def _said(label: str, probability: float | None) -> str:
    """Return what a bundle said; which one it was has no room in a table, the JSON tells it."""
    return label if probability is None else f"{label} {probability:.3f}"
