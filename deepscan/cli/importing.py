"""The command that reads data sets as their authors arrange them."""

import collections
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from deepscan.cli.program import complain, console, say
from deepscan.errors import ConfigError

if TYPE_CHECKING:
    from deepscan.datasets.importing import Imported

app = typer.Typer()


@app.command("import")
def import_data(
    name: Annotated[str, typer.Argument(help="Arrangement; none = list them.", show_default=False)] = "",
    folder: Annotated[
        pathlib.Path | None, typer.Argument(help="Folder that the data set was unpacked into.")
    ] = None,
    out: Annotated[pathlib.Path | None, typer.Option(help="Manifest to write (.parquet).")] = None,
    splits: Annotated[
        bool, typer.Option(help="Keep the authors' splits; without them the data are divided anew.")
    ] = True,
) -> None:
    """Write a manifest for a published data set from its own lists and folders; without a name, list them."""
    from deepscan.datasets.known import LAYOUTS

    if not name:
        from deepscan.console import grid

        rows = [(each.name, each.summary, each.terms) for each in LAYOUTS]
        console.print(grid("Data sets", ("name", "what it is", "terms"), rows))
        return
    layout = LAYOUTS.get(name)
    if folder is None or out is None or out.suffix != ".parquet":
        msg = f"Give the folder and the manifest: deepscan import {name} FOLDER --out manifest.parquet."
        raise ConfigError(msg)
    import pyarrow.parquet

    from deepscan.datasets.importing import import_layout

    imported = import_layout(layout, folder, splits=splits)
    out.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(imported.manifest, out)
    _show(imported)
    say(f"Manifest: {out}")


def _show(imported: "Imported") -> None:
    from deepscan.console import grid

    columns = (imported.manifest[name].to_pylist() for name in ("split", "label", "generator"))
    counts = collections.Counter(zip(*columns, strict=True))
    rows = [(*group, files) for group, files in sorted(counts.items())]
    console.print(grid("Files", ("split", "label", "generator", "files"), rows))
    notes = (
        (imported.absent, "are listed but not in the folder", ""),
        (imported.unlisted, "are in the folder but in no list: left out", ""),
        (
            imported.leaks,
            "are sources that the authors' splits divide: training refuses them without --allow-leaks",
            "; better import with --no-splits, or keep one split (--where split=test)",
        ),
    )
    for names, what, advice in notes:
        if names:
            complain("Note", f"{len(names)} {what} ({', '.join(names[:3])}){advice}.")
    if imported.unsplit:
        complain(
            "Note", f"{imported.unsplit} files have no split while others have; import with --no-splits."
        )
