"""A report as one self-contained HTML file, and as JSON.

The file holds its style sheet, its charts and its thumbnails; it runs no script and fetches nothing,
which its own content security policy enforces. All text from outside is escaped.
"""

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from deepscan.calibration import OperatingPoint
from deepscan.metrics import Evaluation, Figure, Slice
from deepscan.metrics.examination import Examination
from deepscan.metrics.paired import Against
from deepscan.report import charts, trust

FIGURES = {
    "auc": ("AUC", "how often a fake outranks a real file; .5 is chance"),
    "average_precision": ("Average precision", "precision averaged over all thresholds"),
    "eer": ("Equal error rate", "error where both classes err alike; lower is better"),
    "tpr_at_fpr_1": ("Fakes found at 1 % FPR", "when at most 1 % of real files may be called fake"),
    "tpr_at_fpr_5": ("Fakes found at 5 % FPR", "when at most 5 % of real files may be called fake"),
    "accuracy": ("Accuracy", "files called right at the threshold"),
    "balanced_accuracy": ("Balanced accuracy", "mean over the two classes"),
    "precision": ("Precision", "of the files called fake, those that are"),
    "recall": ("Recall", "of the fakes, those called fake"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "brier": ("Brier score", "squared error of the probability; lower is better"),
    "ece": ("Calibration error", "how far stated probabilities are off; lower is better"),
}
"""Title and meaning of every figure of an Evaluation, in the order of the report."""

TILES = ("auc", "eer", "tpr_at_fpr_1", "ece")
COLUMNS = ("auc", "eer", "recall", "accuracy")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A verdict to show.

    Attributes:
        verdict: As from ``deepscan.verdict.to_dict``.
        thumbnail_jpeg: Small JPEG file; None = no picture.
    """

    verdict: Mapping[str, Any]
    thumbnail_jpeg: bytes | None = None

    @property
    def thumbnail_uri(self) -> str | None:
        """The thumbnail as a data URI."""
        if self.thumbnail_jpeg is None:
            return None
        return "data:image/jpeg;base64," + base64.b64encode(self.thumbnail_jpeg).decode()

    @property
    def meter(self) -> Figure:
        """The probability and its interval, as a figure to draw."""
        interval = self.verdict["uncertainty"] or {"low": None, "high": None}
        return Figure(value=self.verdict["probability"], low=interval["low"], high=interval["high"])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What a report shows; whatever is empty or None has no section.

    Attributes:
        title: Heading.
        facts: What was examined (bundle, model, data), by name.
        evaluation: Figures and curves on a set of files.
        point: Where the detector decides.
        ledger: Files by what became of them: used, no-face, corrupt and so on.
        history: A row an epoch: ``epoch`` and any numbers recorded with it; None where there is none.
        examples: Verdicts on single files.
        examination: How far the evaluation can be trusted, and for whom.
        against: How the detector compares with another.
        seen: Which of the files the detector had seen before, as plain values.
        warnings: Sentences about what makes the figures doubtful.
    """

    title: str
    facts: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)
    evaluation: Evaluation | None = None
    point: OperatingPoint | None = None
    ledger: Mapping[str, int] = dataclasses.field(default_factory=dict)
    history: Sequence[Mapping[str, float | None]] = ()
    examples: Sequence[Example] = ()
    examination: Examination | None = None
    against: Against | None = None
    seen: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()


class _Table(NamedTuple):
    column: str
    explanation: str
    rows: dict[str, Slice]
    scale_low: float


def render(page: Page) -> str:
    """Return the report as the text of one HTML file."""
    template = environment().get_template("page.html.j2")
    return template.render(
        page=page,
        figures=FIGURES,
        tiles=TILES,
        columns=COLUMNS,
        plots=_plots(page),
        tables=_tables(page.evaluation),
        histories=_histories(page.history),
        whisker=charts.whisker,
        stacked=charts.stacked,
        trust=trust,
    )


def to_json(page: Page) -> str:
    """Return the report's content as JSON; thumbnails are left out."""
    content = {
        "title": page.title,
        "facts": dict(page.facts),
        "evaluation": page.evaluation and dataclasses.asdict(page.evaluation),
        "point": page.point and dataclasses.asdict(page.point),
        "examination": page.examination and dataclasses.asdict(page.examination),
        "against": page.against and dataclasses.asdict(page.against),
        "seen": page.seen and dict(page.seen),
        "warnings": list(page.warnings),
        "ledger": dict(page.ledger),
        "history": [dict(row) for row in page.history],
        "verdicts": [dict(example.verdict) for example in page.examples],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def environment() -> jinja2.Environment:
    """Return the templates of this folder; all that they fill in is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure_text
    environment.filters["interval"] = _interval_text
    return environment


def _plots(page: Page) -> list[tuple[str, str, Markup]]:
    """Return name, caption and drawing of the charts that the data allows."""
    evaluation = page.evaluation
    if evaluation is None:
        return []
    curves, plots = evaluation.curves, []
    if curves.roc:
        plots = [
            (
                "ROC",
                "Every threshold's trade of fakes found against real files called fake.",
                charts.roc(curves, evaluation.confusion),
            ),
            (
                "Precision and recall",
                "This one depends on how many fakes the set holds.",
                charts.precision_recall(curves),
            ),
        ]
    return [
        *plots,
        (
            "Reliability",
            "On the diagonal 80 % of files stated at 80 % are fake. Larger dots hold more files.",
            charts.reliability(curves.reliability),
        ),
        (
            "Scores",
            "The line is the threshold; verdicts in a shaded band are inconclusive.",
            charts.histogram(curves, evaluation.threshold, page.point),
        ),
    ]


def _tables(evaluation: Evaluation | None) -> list[_Table]:
    """Return a table by generator and one for every user column, those that have rows."""
    if evaluation is None:
        return []
    against = "The fakes of each generator against all real files."
    tables = [
        _table("generator", against, evaluation.by_generator),
        *(_table(name, "The files of each value.", rows) for name, rows in evaluation.by_group.items()),
    ]
    return [table for table in tables if table.rows]


def _table(column: str, explanation: str, rows: dict[str, Slice]) -> _Table:
    """Return a table whose scale begins at .5, or at the tenth below the lowest interval."""
    lows = [figure.low for part in rows.values() if (figure := part.figures[COLUMNS[0]]).low is not None]
    scale_low = math.floor(min(0.5, *lows, 0.5) * 10) / 10
    return _Table(column, explanation, rows, scale_low)


def _histories(rows: Sequence[Mapping[str, float | None]]) -> list[Markup]:
    """Return a chart for every value that was recorded in some epoch."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "epoch"))
    recorded = {
        name: {float(row["epoch"] or 0): float(value) for row in rows if (value := row.get(name)) is not None}
        for name in names
    }
    return [
        charts.history(f"history-{index}", name, epochs)
        for index, (name, epochs) in enumerate(recorded.items())
        if epochs
    ]


def _figure_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval_text(figure: Figure) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
