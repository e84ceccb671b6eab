"""The report on robustness as one self-contained HTML file and as JSON: figures for every delivery."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from deepscan.metrics import Figure
from deepscan.report import svg
from deepscan.report.page import environment

PANEL_PX = (400, 270)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What became of files that were delivered, as one way of judging them sees it.

    Attributes:
        auc: AUC of those that were judged, with its 95 % interval over sources.
        auc_change: AUC of the files that were judged before and after, less their AUC before, likewise.
        ece: Expected calibration error; None where no file was judged.
        pairs: Files that were judged before and after.
        flipped: Share of these whose verdict went from real to fake or from fake to real.
        changed: Share of these whose verdict is another, to or from ``inconclusive`` included.
        crossed: Share of these whose P(fake) crossed the threshold: what flips where an answer is forced.
        shift: Mean absolute difference of their P(fake).
    """

    auc: Figure
    auc_change: Figure
    ece: float | None
    pairs: int
    flipped: float | None
    changed: float | None
    crossed: float | None
    shift: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The figures of a delivery.

    Attributes:
        name: Its name.
        family: Deliveries that differ in strength only; drawn in one panel.
        setting: How strong it is, at an axis.
        severity: Place in the family, from 1; 0 = files as they are.
        files: Files that it takes.
        judged: Those that the detector judged afterwards.
        abstained: Those in which it found nothing to judge any more.
        failed: Those that could not be delivered or read.
        reasons: How many were not judged for each reason.
        single: What the detector said.
        ensemble: What the ensemble over mild deliveries said; None = it was not asked.
    """

    name: str
    family: str
    setting: str
    severity: int
    files: int
    judged: int
    abstained: int
    failed: int
    reasons: Mapping[str, int]
    single: Measured
    ensemble: Measured | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RobustnessPage:
    """What the report shows.

    Attributes:
        title: Heading.
        facts: What was examined, by name.
        rows: The files as they are first, then the deliveries.
        unavailable: Why deliveries could not be made on this machine, by name.
    """

    title: str
    facts: Mapping[str, str | int | float]
    rows: Sequence[Row]
    unavailable: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def delivered(self) -> Sequence[Row]:
        """The deliveries."""
        return self.rows[1:]

    @property
    def worst(self) -> Sequence[Row]:
        """At most three deliveries that flip verdicts, those that flip most first."""
        ranked = sorted(self.delivered, key=lambda row: -(row.single.flipped or 0))
        return [row for row in ranked[:3] if row.single.flipped]


def render_robustness(page: RobustnessPage) -> str:
    """Return the report as the text of one HTML file."""
    template = environment().get_template("robustness.html.j2")
    return template.render(page=page, panels=panels(page.rows), summary=summary(page.rows))


def robustness_json(page: RobustnessPage) -> str:
    """Return the report's content as JSON."""
    return json.dumps(
        dataclasses.asdict(page) | {"mean": summary(page.rows)}, indent=2, allow_nan=False, default=dict
    )


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the means over all deliveries, by who judged: shares of flips, changes and crossings, AUC.

    Deliveries count alike; those for which a figure is not defined have no part in its mean.
    """
    found: dict[str, dict[str, float]] = {}
    for who in ("single", "ensemble"):
        measured = [each for row in rows[1:] if (each := getattr(row, who)) is not None]
        columns = {
            "flipped": [each.flipped for each in measured],
            "changed": [each.changed for each in measured],
            "crossed": [each.crossed for each in measured],
            "auc": [each.auc.value for each in measured],
        }
        known = {name: [v for v in values if v is not None] for name, values in columns.items()}
        if measured:
            found[who] = {name: sum(values) / len(values) for name, values in known.items() if values}
    return found


def panels(rows: Sequence[Row]) -> list[tuple[str, Markup]]:
    """Return a chart for each family, by its name: AUC and flipped verdicts over the severity."""
    clean, *delivered = rows
    families = itertools.groupby(delivered, key=lambda row: row.family)
    return [
        (name, panel(f"chart-panel-{at}", clean, list(members)))
        for at, (name, members) in enumerate(families)
    ]


def panel(key: str, clean: Row, members: Sequence[Row]) -> Markup:
    """Draw a family: AUC with its intervals and the share of flipped verdicts, from the file as it is on."""
    shown = [clean, *members]
    ticks = tuple((float(at), row.setting) for at, row in enumerate(shown))
    frame = svg.Frame(
        x=svg.Axis(title=members[0].family, low=-0.3, high=len(shown) - 0.7, ticks=ticks),
        y=svg.axis("AUC, and share of flips", 0, 1),
        width_px=PANEL_PX[0],
        height_px=PANEL_PX[1],
    )
    marks = [svg.line(frame, [(-0.3, 0.5), (len(shown) - 0.7, 0.5)], "chance")]
    for who, suffix in (("ensemble", " through"), ("single", "")):
        measured = [getattr(row, who) for row in shown]
        if None not in measured:
            marks += _curves(frame, measured, suffix)
    text = "; ".join(f"{row.setting}: {_told(row.single)}" for row in shown)
    return svg.chart(key, f"AUC and flipped verdicts: {members[0].family}", text, frame, marks)


def _curves(frame: svg.Frame, measured: Sequence[Measured], suffix: str) -> list[Markup]:
    aucs = [(float(x), each.auc.value) for x, each in enumerate(measured) if each.auc.value is not None]
    flips = [(float(x), each.flipped) for x, each in enumerate(measured) if each.flipped is not None]
    spans = [
        svg.line(frame, [(float(x), each.auc.low), (float(x), each.auc.high)], "interval")
        for x, each in enumerate(measured)
        if each.auc.low is not None and each.auc.high is not None and not suffix
    ]
    drawn = []
    for points, kind in ((aucs, "main"), (flips, "flips")):
        if points:
            drawn.append(svg.line(frame, points, kind + suffix))
            drawn += [svg.dot(frame, point, kind, 2.5 if suffix else 4) for point in points]
    return spans + drawn


def _told(measured: Measured) -> str:
    found = "no AUC" if measured.auc.value is None else f"AUC {measured.auc.value:.3f}"
    return found + ("" if measured.flipped is None else f", {measured.flipped:.1%} of verdicts flip")
