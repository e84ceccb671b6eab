"""One call for the whole: plan, judge, measure and write."""

import pathlib

import pyarrow as pa

from deepscan.bundle import Bundle
from deepscan.evaluation import Judging
from deepscan.report.robustness import RobustnessPage, render_robustness, robustness_json
from deepscan.robustness.figures import measure
from deepscan.robustness.plan import Asked, Plan, plan
from deepscan.robustness.run import judge_all
from deepscan.watch import Watch

REPORT, FIGURES = "robustness.html", "robustness.json"


def assess_robustness(
    bundle: Bundle, judged: pa.Table, asked: Asked, judging: Judging, out: pathlib.Path, watch: Watch
) -> RobustnessPage:
    """Judge files after deliveries; write ``robustness.json``, ``robustness.html`` and what was said.

    Args:
        bundle: The bundle.
        judged: What it said of the files as they are, columns of ``evaluation.predictions``.
        asked: Which deliveries, and of how many files.
        judging: How files are judged.
        out: Folder to write into; what an earlier run left there is used.
        watch: Follows the work.

    Raises:
        ConfigError: A delivery is unknown, or none takes any of the files.
        DataError: There are no files that the bundle judges.
    """
    whole = plan(bundle, judged, asked, judging, out)
    rows = measure(whole, judge_all(whole, watch))
    page = RobustnessPage(
        title=f"Robustness of {bundle.card.name}",
        facts=_facts(whole),
        rows=rows,
        unavailable=whole.unavailable,
    )
    (out / FIGURES).write_text(robustness_json(page), encoding="utf-8")
    (out / REPORT).write_text(render_robustness(page), encoding="utf-8")
    return page


def _facts(whole: Plan) -> dict[str, str | int | float]:
    card, files = whole.bundle.card, whole.files
    labels, point = files.column("label").to_pylist(), card.operating
    facts: dict[str, str | int | float] = {
        "bundle": card.id,
        "files": f"{labels.count(0)} real, {labels.count(1)} fake",
        "sources": len(set(files.column("source").to_pylist())),
        "called real below": f"{point.low:.3f}",
        "called fake from": f"{point.high:.3f}",
    }
    if point.shortfall:
        facts["operating point"] = point.shortfall
    if whole.mild:
        facts["judged through"] = ", ".join(each.name for each in whole.mild)
    return facts
