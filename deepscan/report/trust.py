"""How far the figures of a report can be trusted, and for whom: words and drawings."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from deepscan.metrics.decisions import Decided
from deepscan.metrics.examination import Examination
from deepscan.metrics.paired import Difference
from deepscan.report import svg

TITLES = {
    "cllr": ("Cllr", "what the stated odds cost, in bits; 0 is perfect, 1 says nothing"),
    "min_cllr": ("Least Cllr", "the same after the best calibration; the rest is bad calibration"),
    "act_dcf": ("Detection cost", "at the threshold that the stated odds advise; 1 = deciding blindly"),
    "min_dcf": ("Least detection cost", "at the threshold that suits these files best"),
    "min_tdcf_2019": ("Least t-DCF 2019", "cost in tandem with the speaker verifier; 1 = of no use"),
    "min_tdcf_2021": ("Least t-DCF 2021", "the same, the verifier's own errors counted"),
    "covered": ("Labels not ruled out", "files whose true label the verdict leaves possible"),
    "decided": ("Decided", "files that get a verdict and not 'inconclusive'"),
    "decided_error": ("Wrong when decided", "wrong verdicts among the decided; lower is better"),
    "aurc": ("Area under risk-coverage", "mean error among the surest files; lower is better"),
    "ece": ("Calibration error", "how far stated probabilities are off; lower is better"),
}
"""Title and meaning of every figure of an Examination, in the order of the report."""

GAPS = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "real_called_fake": "Real called fake",
    "fake_called_real": "Fakes called real",
}
"""Titles of the figures that groups are compared in."""

ROW_PX, NAMES_PX, WIDTH_PX = 22, 150, 440
LONGEST = 24


def charts(examination: Examination) -> list[tuple[str, str, Markup]]:
    """Return name, caption and drawing of the charts of an examination."""
    kinds = {**examination.by_label, **examination.by_generator}
    promised = examination.promised
    drawn = [
        (
            "Risk and coverage",
            "If only the surest files were decided: the errors among them.",
            risk_coverage(examination.risk_coverage),
        ),
        (
            "Coverage by class and generator",
            "Files whose true label the verdict leaves possible; the line is what was promised.",
            coverage("coverage-kinds", "Coverage by class and generator", kinds, promised),
        ),
    ]
    sources = examination.by_source
    if sources.total > 1:
        caption = (
            f"The sources of lowest coverage, of {sources.total}; {sources.below} have their whole interval "
            "below the promise."
        )
        drawing = coverage("coverage-sources", "Coverage by source", sources.lowest, promised)
        drawn.append(("Coverage by source", caption, drawing))
    return drawn


def risk_coverage(points: Sequence[svg.Point]) -> Markup:
    """Draw the error rate among the surest files over their share of all."""
    top = max(0.05, *(risk for _, risk in points))
    frame = svg.Frame(
        x=svg.axis("share of files decided, the surest first", 0, 1),
        y=svg.axis("errors among them", 0, top),
    )
    marks = [svg.line(frame, points, "main"), svg.dot(frame, points[-1], "here", radius_px=5.5)]
    text = f"If every file is decided, {points[-1][1]:.1%} are wrong."
    return svg.chart("chart-risk", "Errors as more is abstained from", text, frame, marks)


def coverage(key: str, title: str, rows: Mapping[str, Decided], promised: float) -> Markup:
    """Draw the coverage of each row as a dot with its interval, and a line at what was promised."""
    height_px = ROW_PX * len(rows) + 30

    def x_px(value: float) -> float:
        return NAMES_PX + value * (WIDTH_PX - NAMES_PX - 12)

    bottom_px = height_px - 26
    marks = []
    for tick in (0.0, 0.5, 1.0):
        tick_px = x_px(tick)
        marks.append(svg.element("line", x1=tick_px, x2=tick_px, y1=2, y2=bottom_px, class_="grid"))
        marks.append(
            svg.element("text", f"{tick:g}", x=tick_px, y=bottom_px + 16, text_anchor="middle", class_="tick")
        )
    line = f"{x_px(promised):.1f},2 {x_px(promised):.1f},{bottom_px}"
    marks.append(svg.element("polyline", points=line, class_="line chance"))
    for number, (name, part) in enumerate(rows.items()):
        middle_px, figure = ROW_PX * (number + 0.5) + 2, part.figures["covered"]
        short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        marks.append(svg.element("text", short or "(none)", x=0, y=middle_px + 4, class_="tick"))
        if figure.low is not None and figure.high is not None:
            ends_px = f"{x_px(figure.low):.1f},{middle_px} {x_px(figure.high):.1f},{middle_px}"
            marks.append(svg.element("polyline", points=ends_px, class_="line interval"))
        if figure.value is not None:
            marks.append(svg.element("circle", cx=x_px(figure.value), cy=middle_px, r=4.0, class_="dot main"))
    text = f"{promised:.0%} was promised."
    return svg.picture(f"chart-{key}", title, text, (WIDTH_PX, height_px), marks)


def slices(examination: Examination) -> list[tuple[str, dict[str, Decided]]]:
    """Return what the files are divided by, and the parts, for a table each."""
    return [
        ("class", examination.by_label),
        ("generator", examination.by_generator),
        *examination.by_group.items(),
        ("source, the lowest first", examination.by_source.lowest),
    ]


def probable(difference: Difference) -> str:
    """Return how probable a difference is where there is none, in words."""
    if difference.p is None:
        return "-"
    return f"p = {difference.p:.3f}" if difference.p >= 0.001 else "p < 0.001"
