"""A model card: one document of sections, as Markdown and as one self-contained HTML file.

What is said is put together elsewhere (``deepscan.cards``); here it gets its form, the same in both. All
text is escaped in both: names of sources and generators come from whoever labelled the data.
"""

import dataclasses
import re

from markupsafe import Markup

from deepscan.metrics import Figure
from deepscan.report import charts
from deepscan.report.page import environment

Cell = str | Figure
UNKNOWN = "not known"
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A paragraph.

    Attributes:
        text: What it says.
        is_warning: Whether it makes figures doubtful.
    """

    text: str
    is_warning: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """The title of a part of a section."""

    text: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of texts and figures.

    Attributes:
        columns: Their titles.
        rows: As many cells each; the first names the row.
        caption: What the rows are; empty = the section's title says it.
        numbers: Places of the columns that hold numbers.
        asides: Places of the columns that a narrow screen leaves out.
        scale_low: Where the scale of drawn figures begins; they end at 1.
        folded: Whether the page shows the caption alone until somebody opens it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    numbers: tuple[int, ...] = ()
    asides: tuple[int, ...] = ()
    scale_low: float = 0.0
    folded: bool = False


Block = Text | Heading | Items | Table


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A titled part of a card."""

    title: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CardPage:
    """A model card.

    Attributes:
        title: Heading.
        facts: What it is about, by name.
        sections: Its parts, in their order.
    """

    title: str
    facts: dict[str, str]
    sections: tuple[Section, ...]


def render_card(page: CardPage) -> str:
    """Return the card as the text of one HTML file, which runs no script and fetches nothing."""
    template = environment().get_template("card.html.j2")
    return template.render(
        page=page, kind=_kind, drawn=_drawn, cell=cell_text, is_figure=_is_figure, kinds=_kinds
    )


def card_markdown(page: CardPage) -> str:
    """Return the card as Markdown, with tables as GitHub reads them."""
    facts = [f"- **{_plain(name)}**: {_plain(value)}" for name, value in page.facts.items()]
    parts = [f"# {_plain(page.title)}", "\n".join(facts)]
    for section in page.sections:
        parts += [f"## {_plain(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table_markdown(table: Table) -> str:
    """Return a table as Markdown."""
    ends = ["---:" if place in table.numbers else "---" for place in range(len(table.columns))]
    lines = [[_plain(title) or " " for title in table.columns], ends]
    lines += [[_plain(cell_text(cell)) for cell in row] for row in table.rows]
    caption = f"{_plain(table.caption)}\n\n" if table.caption else ""
    return caption + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell_text(cell: Cell) -> str:
    """Return a cell as text, a figure with its 95 % interval."""
    if isinstance(cell, str):
        return cell
    if cell.value is None:
        return "-"
    known = cell.low is not None and cell.high is not None
    return f"{cell.value:.3f}" + (f" ({cell.low:.3f} to {cell.high:.3f})" if known else "")


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"**{_plain(block.text)}**" if block.is_warning else _plain(block.text)
    if isinstance(block, Heading):
        return f"### {_plain(block.text)}"
    if isinstance(block, Items):
        return "\n".join(f"- {_plain(item)}" for item in block.items)
    return table_markdown(block)


def _plain(text: str) -> str:
    """Escape what Markdown, or HTML inside it, would read as more than text; one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _kind(block: Block) -> str:
    return type(block).__name__


def _kinds(table: Table, place: int) -> str:
    """Return the classes of a cell, for the style sheet."""
    return " ".join(
        name for name, places in (("number", table.numbers), ("wide faint", table.asides)) if place in places
    )


def _is_figure(cell: Cell) -> bool:
    return isinstance(cell, Figure)


def _drawn(key: str, cell: Cell, low: float) -> Markup:
    """Draw a figure on the scale from ``low`` to 1; nothing where it has no value or lies outside."""
    if isinstance(cell, str) or cell.value is None:
        return Markup()
    ends = [end for end in (cell.low, cell.value, cell.high) if end is not None]
    return charts.whisker(key, cell, low) if low <= min(ends) and max(ends) <= 1 else Markup()
