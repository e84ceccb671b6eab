"""One table over bundles, and how it gets into a page such as a README."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from deepscan.bundle import Bundle
from deepscan.cards.figures import figure, share
from deepscan.ensemble import Ensemble
from deepscan.errors import ConfigError, StorageError
from deepscan.metrics import Figure
from deepscan.report.card import Cell, Table, cell_text, table_markdown
from deepscan.report.wording import size

BEGIN, END = "<!-- card: begin -->", "<!-- card: end -->"
COLUMNS = (
    "bundle",
    "modality",
    "model",
    "size",
    "test AUC",
    "EER",
    "real called fake",
    "abstained",
    "ms a file",
)
ABSENT = "-"
INHERITED = " *"
NOTE = "\n\n\\* measured on the bundle that this one was made of."
NO_FIGURE = Figure(value=None, low=None, high=None)


def table(paths: Sequence[pathlib.Path], speeds: Mapping[str, float]) -> str:
    """Return a Markdown table with a row for each bundle or ensemble, between its markers.

    ``real called fake`` is the share of the real test files that get the verdict fake at the operating point,
    ``abstained`` the share of all of them that gets no verdict, be it inconclusive or not judged.

    Args:
        paths: Directories of bundles, and ensemble files.
        speeds: Milliseconds a file, by bundle id.

    Raises:
        BundleError: One cannot be used.
    """
    rows = tuple(_ensemble_row(path) if path.is_file() else _row(path, speeds) for path in paths)
    whole = Table(columns=COLUMNS, rows=rows, numbers=(3, 8))
    inherited = any(isinstance(cell, str) and cell.endswith(INHERITED) for row in rows for cell in row)
    return f"{BEGIN}\n{table_markdown(whole)}{NOTE if inherited else ''}\n{END}"


def put_into(page: pathlib.Path, text: str) -> None:
    """Replace what stands between the markers of a page, and the markers, by a table.

    Raises:
        ConfigError: The page has not one of each marker, in their order.
        StorageError: It cannot be read or written.
    """
    try:
        before = page.read_text(encoding="utf-8")
        if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(BEGIN) > before.index(END):
            msg = f"{page} has no place for the table; put a line {BEGIN} and below it a line {END} there."
            raise ConfigError(msg)
        head, _, rest = before.partition(BEGIN)
        draft = page.with_name(f".{page.name}.tmp")
        draft.write_text(head + text + rest.partition(END)[2], encoding="utf-8")
        os.replace(draft, page)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{page} cannot be read or written ({error}); name a text file that can."
        raise StorageError(msg) from error


def _row(path: pathlib.Path, speeds: Mapping[str, float]) -> tuple[Cell, ...]:
    bundle = Bundle.read(path)
    card, tested = bundle.card, bundle.card.metrics.get("test", {})
    wrong, silent = _decisions(tested.get("verdicts"))
    figures = [_figure(tested, "auc"), _figure(tested, "eer"), wrong, silent]
    model = card.model if card.weights_format == "eager" else f"{card.model}, {card.weights_format}"
    return (
        card.id,
        card.modality,
        model,
        size(_bytes(bundle)),
        *(_inherited(each) if card.change else each for each in figures),
        f"{speeds[card.id]:.0f}" if card.id in speeds else ABSENT,
    )


def _ensemble_row(path: pathlib.Path) -> tuple[Cell, ...]:
    ensemble = Ensemble.load(path)
    bundles = [Bundle.read(folder) for folder in ensemble.bundles(path)]
    tested = ensemble.metrics.get("ensemble", {})
    return (
        path.stem,
        ", ".join(dict.fromkeys(bundle.card.modality for bundle in bundles)),
        f"{len(bundles)} bundles, {ensemble.policy.method}",
        size(sum(map(_bytes, bundles))),
        _figure(tested, "auc"),
        _figure(tested, "eer"),
        ABSENT,
        ABSENT,
        ABSENT,
    )


def _inherited(figure: Figure) -> Cell:
    """Mark a figure that was measured on the parent of a bundle."""
    return figure if figure.value is None else cell_text(figure) + INHERITED


def _bytes(bundle: Bundle) -> int:
    return sum((bundle.path / name).stat().st_size for name in bundle.card.files)


def _figure(tested: Mapping[str, Any], name: str) -> Figure:
    found = tested.get("figures", {}).get(name)
    return figure(found) if isinstance(found, dict) else NO_FIGURE


def _decisions(verdicts: Mapping[str, Mapping[str, int]] | None) -> tuple[Figure, Figure]:
    if not verdicts:
        return NO_FIGURE, NO_FIGURE
    real = verdicts["real"]
    files = sum(sum(each.values()) for each in verdicts.values())
    silent = sum(each["inconclusive"] + each["abstained"] for each in verdicts.values())
    return share(real["fake"], sum(real.values())), share(silent, files)
