"""The report of a search as one self-contained HTML file: what was tried, and what came of it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from deepscan.report import svg
from deepscan.report.page import environment

Setting = str | float | int | bool
PARALLEL_PX = (960, 360)
MARGIN_PX, HEAD_PX, FOOT_PX = 70, 52, 30
BAR_PX, NAME_PX = 26, 230
FAINTEST = 0.18
SCORE = "validation AUC"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """One searched setting.

    Attributes:
        name: Dotted name.
        low: Smallest number, where it is a range.
        high: Largest number.
        log: Whether the logarithm was drawn uniformly.
        values: What was chosen from; empty = it is a range.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[Setting, ...] = ()

    def share(self, value: Setting) -> float:
        """Return where a value lies between the ends, 0 at the lowest and 1 at the highest."""
        if self.values:
            return self.values.index(value) / max(1, len(self.values) - 1)
        ends = (self.low, self.high, float(value))
        low, high, here = (math.log(each) for each in ends) if self.log else ends
        return (here - low) / (high - low)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Labelled places along the scale."""
        if self.values:
            return tuple((self.share(value), str(value)) for value in self.values)
        return (0.0, f"{self.low:.3g}"), (1.0, f"{self.high:.3g}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A trial to draw.

    Attributes:
        name: Its id.
        state: How it ended.
        settings: At its best epoch, by dotted name.
        curve: Validation AUC by epoch; empty = it finished none.
        why: Why it failed.
    """

    name: str
    state: str
    settings: Mapping[str, Setting]
    curve: Mapping[int, float]
    why: str = ""

    @property
    def score(self) -> float:
        """Validation AUC of its best epoch; there has to be one."""
        return max(self.curve.values())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CampaignPage:
    """What the report of a search shows.

    Attributes:
        title: Heading.
        facts: What was searched, by name.
        scales: The settings.
        ranked: The trials that can be compared, the best one first.
        begun: All trials in the order in which they began.
        importances: Share of each setting in how the trials differ; empty = too little is known.
    """

    title: str
    facts: Mapping[str, str | int | float]
    scales: Sequence[Scale]
    ranked: Sequence[Tried]
    begun: Sequence[Tried]
    importances: Mapping[str, float]


def render_campaign(page: CampaignPage) -> str:
    """Return the report as the text of one HTML file."""
    return (
        environment()
        .get_template("campaign.html.j2")
        .render(
            page=page,
            parallel=parallel(page.scales, page.ranked),
            importance=importance(page.importances) if page.importances else None,
            curves=curves(page.ranked),
            progress=progress(page.begun),
        )
    )


def parallel(scales: Sequence[Scale], ranked: Sequence[Tried]) -> Markup:
    """Draw a line for each trial through its settings to its score; the better, the stronger."""
    scores = [tried.score for tried in ranked]
    low, high = min(scores), max(scores)
    last = Scale(name=SCORE, low=low, high=high if high > low else low + 1e-6)
    axes = [*scales, last]
    marks = [mark for place, scale in enumerate(axes) for mark in _upright(scale, _x_px(place, len(axes)))]
    for place, tried in reversed(list(enumerate(ranked))):
        values = [tried.settings[scale.name] for scale in scales] + [tried.score]
        points = [
            f"{_x_px(i, len(axes)):.1f},{_y_px(scale.share(value)):.1f}"
            for i, (scale, value) in enumerate(zip(axes, values, strict=True))
        ]
        strength = FAINTEST + (1 - FAINTEST) * last.share(tried.score)
        kind = "line winner" if place == 0 else "line trial"
        marks.append(
            svg.element("polyline", points=" ".join(points), class_=kind, stroke_opacity=f"{strength:.2f}")
        )
    text = f"{len(ranked)} trials, each a line from setting to setting; the winner came to {high:.4f}."
    return svg.picture("chart-parallel", "Settings of all trials", text, PARALLEL_PX, marks)


def importance(shares: Mapping[str, float]) -> Markup:
    """Draw a bar for each setting."""
    ordered = sorted(shares.items(), key=lambda pair: pair[1], reverse=True)
    width_px, longest = 560, max(shares.values()) or 1.0
    marks = []
    for number, (name, share) in enumerate(ordered):
        y_px = number * BAR_PX
        length_px = (width_px - NAME_PX - 60) * share / longest
        marks += [
            svg.element("text", name, x=NAME_PX - 8, y=y_px + 17, text_anchor="end", class_="note"),
            svg.element("rect", x=NAME_PX, y=y_px + 5, width=length_px, height=BAR_PX - 10, class_="bar"),
            svg.element("text", f"{share:.0%}", x=NAME_PX + length_px + 6, y=y_px + 17, class_="tick"),
        ]
    text = "; ".join(f"{name} {share:.0%}" for name, share in ordered)
    size_px = (width_px, BAR_PX * len(ordered))
    return svg.picture("chart-importance", "What made the difference", text, size_px, marks)


def curves(ranked: Sequence[Tried]) -> Markup:
    """Draw the validation AUC of every trial over its epochs."""
    values = [auc for tried in ranked for auc in tried.curve.values()]
    last = max(max(tried.curve) for tried in ranked)
    frame = svg.Frame(x=svg.axis("epoch", 1, last), y=svg.axis(SCORE, min(values), max(values)))
    marks = []
    for place, tried in reversed(list(enumerate(ranked))):
        points = [(float(epoch), auc) for epoch, auc in sorted(tried.curve.items())]
        kind = "winner" if place == 0 else "trial"
        marks += [svg.line(frame, points, kind), svg.dot(frame, points[-1], kind, 3)]
    text = f"Between {min(values):.4f} and {max(values):.4f}; a line that ends early was stopped."
    return svg.chart("chart-curves", "Validation AUC over the epochs", text, frame, marks)


def progress(begun: Sequence[Tried]) -> Markup:
    """Draw the score of every trial in the order in which they began, and the best so far."""
    scored = [(float(number), tried.score) for number, tried in enumerate(begun, 1) if tried.curve]
    scores = [score for _, score in scored]
    frame = svg.Frame(x=svg.axis("trial", 1, max(len(begun), 2)), y=svg.axis(SCORE, min(scores), max(scores)))
    best = [(number, max(scores[: place + 1])) for place, (number, _) in enumerate(scored)]
    marks = [svg.line(frame, best, "winner"), *(svg.dot(frame, point, "trial", 3) for point in scored)]
    text = f"The best of {len(scored)} scores was reached at trial {scored[scores.index(max(scores))][0]:g}."
    return svg.chart("chart-progress", "Scores in the order of the trials", text, frame, marks)


def _upright(scale: Scale, x_px: float) -> list[Markup]:
    top, bottom = _y_px(1.0), _y_px(0.0)
    head, _, tail = scale.name.rpartition(".")
    marks = [
        svg.element("text", head, x=x_px, y=16, text_anchor="middle", class_="tick"),
        svg.element("text", tail, x=x_px, y=32, text_anchor="middle", class_="note"),
        svg.element("line", x1=x_px, x2=x_px, y1=top, y2=bottom, class_="grid"),
    ]
    marks += [
        svg.element("text", text, x=x_px + 5, y=_y_px(share) + 4, class_="tick")
        for share, text in scale.ticks
    ]
    return marks


def _x_px(place: int, axes: int) -> float:
    return MARGIN_PX + place * (PARALLEL_PX[0] - 2 * MARGIN_PX) / max(1, axes - 1)


def _y_px(share: float) -> float:
    return PARALLEL_PX[1] - FOOT_PX - share * (PARALLEL_PX[1] - HEAD_PX - FOOT_PX)
