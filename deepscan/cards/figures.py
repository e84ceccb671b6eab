"""The sections of a card that tell figures: of the bundle's own test, of evaluations, of robustness."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from deepscan.calibration import wilson_interval
from deepscan.cards.facts import flat
from deepscan.cards.given import Given, Measured, public
from deepscan.metrics import Figure
from deepscan.report import FIGURES
from deepscan.report.card import Block, Cell, Items, Section, Table, Text
from deepscan.report.trust import GAPS, TITLES

DECISIONS = ("covered", "decided", "decided_error", "ece")
NAMES = {name: title for name, (title, _) in {**TITLES, **FIGURES}.items()}
UNNAMED = "(none)"


def own(metrics: Mapping[str, Any]) -> Section:
    """Tell every figure that the card of a bundle keeps."""
    blocks = [block for split, values in metrics.items() for block in _kept(split, values)]
    return Section(
        title="Its own figures", blocks=tuple(blocks) or (Text(text="Nobody measured it: none are known."),)
    )


def evaluations(given: Given) -> list[Section]:
    """Tell the figures of every evaluation: of all files, by generator, source and the user's columns."""
    return [_evaluated(measured) for measured in given.evaluations]


def robustness(given: Given) -> Section:
    """Tell what compression, scaling, noise and so on do to the figures."""
    if not given.robustness:
        return Section(title="Robustness", blocks=(Text(text="It was not measured for this card."),))
    blocks: list[Block] = []
    for values in given.robustness:
        facts = values["facts"]
        files = public(f"{facts.get('files', '')} of {facts.get('sources', '')} sources")
        blocks.append(_deliveries(values["rows"], f"The same files after each delivery; {files}"))
        ensemble = [row | {"single": row["ensemble"]} for row in values["rows"] if row.get("ensemble")]
        if ensemble:
            blocks.append(_deliveries(ensemble, "Judged through mild deliveries, too"))
        missing = tuple(f"{name}: {public(why)}" for name, why in values.get("unavailable", {}).items())
        if missing:
            blocks.append(Items(items=missing))
    return Section(title="Robustness", blocks=tuple(blocks))


def figure(values: Mapping[str, Any] | None) -> Figure:
    """Return a figure from plain values."""
    values = values or {}
    return Figure(value=values.get("value"), low=values.get("low"), high=values.get("high"))


def share(count: int, files: int) -> Figure:
    """Return a share of files with its 95 % Wilson interval (Wilson, 1927); no value where there are none."""
    if not files:
        return Figure(value=None, low=None, high=None)
    low, high = wilson_interval(count, files)
    return Figure(value=count / files, low=low, high=high)


def said(verdicts: Mapping[str, Mapping[str, int]], caption: str) -> Table:
    """Return what files of each label were called at the operating point."""
    rows = []
    for label, counts in verdicts.items():
        files = sum(counts.values())
        wrong = counts["fake" if label == "real" else "real"]
        rows.append(
            (
                f"{label} files",
                f"{files:,}",
                share(wrong, files),
                share(counts["inconclusive"], files),
                share(counts["abstained"], files),
            )
        )
    columns = ("", "files", "called wrong", "inconclusive", "could not be judged")
    return Table(columns=columns, rows=tuple(rows), numbers=(1,), caption=caption)


def _kept(split: str, values: Any) -> Iterator[Block]:
    if not isinstance(values, dict):
        yield Text(text=f"{split}: {public(str(values))}")
        return
    figures = values.get("figures")
    if not isinstance(figures, dict):
        rows = tuple((name, _number(text)) for name, text in flat(values).items())
        yield Table(columns=("", ""), rows=rows, numbers=(1,), caption=f"Of {split}, as it was written down")
        return
    counts = values.get("counts", {})
    yield _overall(figures, _rests(split, counts))
    if verdicts := values.get("verdicts"):
        yield said(verdicts, f"At its operating point, on the {split} split")


def _rests(split: str, counts: Mapping[str, Any]) -> str:
    told = ", ".join(
        f"{counts[name]:,} {name}" for name in ("files", "sources", "real", "fake") if name in counts
    )
    return f"On the {split} split" + (f": {told}" if told else "")


def _overall(figures: Mapping[str, Any], caption: str) -> Table:
    meanings = {
        **{name: text for name, (_, text) in TITLES.items()},
        **{n: t for n, (_, t) in FIGURES.items()},
    }
    rows = tuple(
        (NAMES.get(name, name), figure(values), meanings.get(name, "")) for name, values in figures.items()
    )
    return Table(
        columns=("figure", "value, 95 % interval", "meaning"), rows=rows, caption=caption, asides=(2,)
    )


def _evaluated(measured: Measured) -> Section:
    values = measured.values
    found = values["evaluation"]
    counts = found["counts"]
    blocks: list[Block] = [
        Text(
            text=f"{measured.public(values.get('title', ''))}; figures of {found['replicates']:,} replicates."
        )
    ]
    blocks += [Text(text=measured.public(each), is_warning=True) for each in values.get("warnings") or ()]
    blocks.append(
        _overall(found["overall"], _rests("measured", counts).replace("On the measured split", "All"))
    )
    blocks.append(_confusion(found["confusion"], found["threshold"]))
    groups = {"generator": found["by_generator"], **found["by_group"]}
    for column, parts in groups.items():
        if parts:
            blocks.append(_slices(measured, column, parts))
    blocks += [*_examined(measured), *_against(values.get("against"))]
    return Section(title=f"Measured: {public(measured.name)}", blocks=tuple(blocks))


def _confusion(cells: Mapping[str, int], threshold: float) -> Table:
    rows = tuple(
        (f"is {kind}", *(f"{cells[f'{kind}_called_{called}']:,}" for called in ("real", "fake")))
        for kind in ("real", "fake")
    )
    caption = f"Files at the threshold {threshold:.3f}, where every file is called something"
    return Table(columns=("", "called real", "called fake"), rows=rows, numbers=(1, 2), caption=caption)


def _against(against: Mapping[str, Any] | None) -> list[Block]:
    """Return how a bundle compares with another that judged the same files."""
    if not against:
        return []
    found = against["comparison"]
    names = {"AUC": "bootstrap", "AUC, DeLong": "delong", "accuracy": "accuracy"}
    rows = tuple(
        (f"difference of {name}", figure(found[key]["figure"]), _figure_text(found[key]["p"]))
        for name, key in names.items()
    )
    right = found["mcnemar"]
    caption = f"This one less {against['bundle']}, on the {found['counts']['files']:,} files that both judged"
    return [
        Table(columns=("", "value, 95 % interval", "p if there were none"), rows=rows, caption=caption),
        Text(
            text=f"Right here only: {right['only_first']} files; there only: {right['only_second']} "
            f"(McNemar: p = {right['p']:.3g})."
        ),
    ]


def _slices(measured: Measured, column: str, parts: Mapping[str, Any]) -> Table:
    names = list(next(iter(parts.values()))["figures"])
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            measured.public(value) or UNNAMED,
            *(f"{part['counts'][kind]:,}" for kind in ("fake", "real", "sources")),
            *(figure(part["figures"][name]) for name in names),
        )
        for value, part in parts.items()
    )
    columns = (column, "fake", "real", "sources", *(NAMES.get(name, name) for name in names))
    against = " (its fakes against all real files)" if column == "generator" else ""
    return Table(columns=columns, rows=rows, numbers=(1, 2, 3), caption=f"By {column}{against}")


def _examined(measured: Measured) -> list[Block]:
    """Return what an evaluation says of costs, of decisions by class, generator and source, and of gaps."""
    examined = measured.values.get("examination")
    if not examined:
        return []
    blocks: list[Block] = [_overall(examined["costs"] | examined["decisions"], "Costs and decisions")]
    parts = {
        "class": examined["by_label"],
        "generator": examined["by_generator"],
        **examined["by_group"],
    }
    sources = examined["by_source"]
    parts[f"source: the lowest of {sources['total']}"] = sources["lowest"]
    blocks += [_decided(measured, column, rows) for column, rows in parts.items() if rows]
    gaps = examined["disparities"]
    blocks += [_gaps(measured, column, found) for column, found in gaps.items()]
    return blocks


def _decided(measured: Measured, column: str, parts: Mapping[str, Any]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            measured.public(value) or UNNAMED,
            f"{part['counts']['fake']:,}",
            f"{part['counts']['real']:,}",
            *(figure(part["figures"][name]) for name in DECISIONS),
        )
        for value, part in parts.items()
    )
    columns = (column, "fake", "real", *(NAMES[name] for name in DECISIONS))
    return Table(columns=columns, rows=rows, numbers=(1, 2), caption=f"Decisions by {column}")


def _gaps(measured: Measured, column: str, found: Mapping[str, Any]) -> Table:
    rows = [
        (
            title,
            figure(found["gaps"][name]["difference"]),
            measured.public(found["gaps"][name]["worst"]) or "-",
        )
        for name, title in GAPS.items()
    ]
    rows.append(("Equalised odds", figure(found["equalised_odds"]), "-"))
    columns = ("", "largest difference", "worst group")
    return Table(columns=columns, rows=tuple(rows), caption=f"Differences by {column}")


def _deliveries(rows: list[dict[str, Any]], caption: str) -> Table:
    columns = (
        "delivery",
        "files",
        "judged",
        "AUC",
        "change of AUC",
        "calibration error",
        "verdicts that flip",
    )
    told = tuple(
        (
            row["name"],
            f"{row['files']:,}",
            f"{row['judged']:,}",
            figure(row["single"]["auc"]),
            figure(row["single"]["auc_change"]) if row["severity"] else "-",
            _figure_text(row["single"]["ece"]),
            _percent(row["single"]["flipped"]) if row["severity"] else "-",
        )
        for row in rows
    )
    return Table(columns=columns, rows=told, numbers=(1, 2, 5, 6), caption=caption)


def _figure_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    return f"{value:.6g}" if math.isfinite(value) else text
