"""The command that writes model cards."""

import pathlib
from typing import Annotated

import typer

from deepscan.cli.options import Plugin, use_plugin
from deepscan.cli.program import say
from deepscan.errors import ConfigError

Bundles = Annotated[
    list[pathlib.Path], typer.Argument(help="Bundle, or ensemble file; several with --table.")
]
Evaluations = Annotated[
    list[pathlib.Path] | None, typer.Option(help="Folder that `evaluate` or `train` wrote; may be repeated.")
]
Robust = Annotated[
    list[pathlib.Path] | None, typer.Option(help="Folder of `evaluate --robustness`; may be repeated.")
]
Note = Annotated[str, typer.Option(help="What is to be said of the data, such as their licence.")]
Out = Annotated[
    pathlib.Path | None, typer.Option(help="Folder of card.md and card.html; default: the bundle's.")
]
AsTable = Annotated[bool, typer.Option("--table", help="Print one table, a row for each bundle.")]
Into = Annotated[
    pathlib.Path | None, typer.Option(help="With --table: page to put it into, between its markers.")
]
Speed = Annotated[
    pathlib.Path | None, typer.Option(help="With --table: JSON of `benchmark model --media`, for times.")
]

app = typer.Typer()


@app.command()
def card(
    bundles: Bundles,
    evaluation: Evaluations = None,
    robustness: Robust = None,
    data_note: Note = "",
    out: Out = None,
    as_table: AsTable = False,
    into: Into = None,
    speed: Speed = None,
    plugin: Plugin = None,
) -> None:
    """Write the model card of a bundle or an ensemble, as Markdown and HTML; or one table over several."""
    from deepscan.cards import given, table, write

    measures: dict[str, object] = {"evaluation": evaluation, "robustness": robustness}
    whole = measures | {"data-note": data_note, "out": out}
    rows: dict[str, object] = {"into": into, "speed": speed}
    _refuse(whole if as_table else rows, "a card" if as_table else "--table")
    use_plugin(plugin)
    if as_table:
        text = table.table(bundles, given.read_speeds(speed))
        if into:
            table.put_into(into, text)
        say(f"Table: {into}" if into else text)
        return
    if len(bundles) > 1:
        msg = "A card is of one bundle or ensemble; name one, or ask for --table."
        raise ConfigError(msg)
    measured = given.read(evaluation or (), robustness or (), data_note)
    page = write.card_of(bundles[0], measured)
    folder = out or (bundles[0] if bundles[0].is_dir() else bundles[0].parent)
    for path in write.write(page, folder):
        say(f"Card: {path}")


def _refuse(options: dict[str, object], whose: str) -> None:
    for name, value in options.items():
        if value:
            msg = f"--{name} goes with {whose} only; leave it out."
            raise ConfigError(msg)
