"""Sections of a card that tell where a bundle does not answer, and where it is wrong and sure of it."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from deepscan.calibration import OperatingPoint, decide
from deepscan.cards.figures import UNNAMED, said, share
from deepscan.cards.given import Given, Measured
from deepscan.datasets.judged import SAID_COLUMNS, STANDARD_COLUMNS
from deepscan.report.card import Block, Section, Table, Text
from deepscan.report.wording import reason

MOST_MISTAKES = 5
"""Mistakes that are shown of each class and evaluation."""

MOST_COLUMNS = 6
"""Columns of the user that are shown of a mistake."""

LABELS = ("real", "fake")
ANSWERS = ("real", "fake", "inconclusive", "abstained")


def abstentions(given: Given, point: OperatingPoint) -> Section:
    """Tell how many files it did not judge or decide, of which kind, and why."""
    blocks: list[Block] = []
    for measured in given.evaluations:
        blocks += _abstained(measured, point)
    nothing = Text(text="Not measured for this card, beyond what its own figures say.")
    return Section(title="Where it does not answer", blocks=tuple(blocks) or (nothing,))


def mistakes(given: Given, point: OperatingPoint) -> Section:
    """Show its most confident mistakes."""
    blocks: list[Block] = []
    for measured in given.evaluations:
        blocks += _mistaken(measured, point)
    nothing = Text(text="Not known: no evaluation was given to this card.")
    return Section(title="Known failures", blocks=tuple(blocks) or (nothing,))


def _abstained(measured: Measured, point: OperatingPoint) -> list[Block]:
    counted: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in LABELS}
    by_kind: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in measured.judged:
        answer = "abstained" if row["probability"] is None else decide(row["probability"], point)
        counted[LABELS[row["label"]]][answer] += 1
        if row["label"]:
            by_kind[measured.public(row["generator"]) or UNNAMED][answer] += 1
    verdicts = {label: {each: found[each] for each in ANSWERS} for label, found in counted.items()}
    blocks: list[Block] = [said(verdicts, f"{measured.name}: at its operating point")]
    if by_kind:
        blocks.append(_by_generator(measured, by_kind))
    silent = [row for row in measured.judged if row["probability"] is None]
    if not silent:
        blocks.append(Text(text=f"{measured.name}: every file could be judged."))
        return blocks
    why = collections.Counter(str(row["status"]) for row in silent)
    rows = tuple((f"{reason(name)} ({name})", f"{count:,}") for name, count in why.most_common())
    blocks.append(
        Table(columns=("why", "files"), rows=rows, numbers=(1,), caption="Files that were not judged")
    )
    return blocks


def _by_generator(measured: Measured, by_kind: Mapping[str, Mapping[str, int]]) -> Table:
    rows = tuple(
        (
            name,
            f"{sum(found.values()):,}",
            share(found["real"], sum(found.values())),
            share(found["inconclusive"] + found["abstained"], sum(found.values())),
        )
        for name, found in sorted(by_kind.items())
    )
    columns = ("generator", "fakes", "called real", "no answer")
    return Table(columns=columns, rows=rows, numbers=(1,), caption=f"{measured.name}: fakes by generator")


def _mistaken(measured: Measured, point: OperatingPoint) -> list[Block]:
    blocks: list[Block] = []
    for label, name in enumerate(LABELS):
        rows = [row for row in measured.judged if row["label"] == label and _is_wrong(row, point)]
        called = LABELS[1 - label]
        if not rows:
            blocks.append(
                Text(text=f"{measured.name}: no {name} file is on the wrong side of the threshold.")
            )
            continue
        worst = sorted(rows, key=lambda row: row["probability"], reverse=not label)[:MOST_MISTAKES]
        caption = (
            f"{measured.name}: {len(rows)} {name} files are on the {called} side of the threshold "
            f"{point.threshold:.3f}; the surest of these mistakes"
        )
        blocks.append(_shown(measured, worst, point, caption))
    return blocks


def _shown(
    measured: Measured, rows: Sequence[Mapping[str, Any]], point: OperatingPoint, caption: str
) -> Table:
    ours = {*STANDARD_COLUMNS, *SAID_COLUMNS}
    theirs = [name for name in rows[0] if name not in ours][:MOST_COLUMNS]
    told = tuple(
        (
            measured.public(row["path"]),
            f"{row['probability']:.4f}",
            decide(row["probability"], point),
            *(measured.public(row[name]) or "-" for name in ("source", "generator", *theirs)),
        )
        for row in rows
    )
    columns = ("file", "P(fake)", "verdict", "source", "generator", *theirs)
    return Table(columns=columns, rows=told, numbers=(1,), caption=caption)


def _is_wrong(row: Mapping[str, Any], point: OperatingPoint) -> bool:
    probability = row["probability"]
    return probability is not None and (probability >= point.threshold) != bool(row["label"])
