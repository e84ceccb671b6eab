"""The page on robustness: what it says, what it draws, and that it holds everything itself."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import pytest

from deepscan.cli.robustness import show
from deepscan.metrics import Figure
from deepscan.report.robustness import (
    Measured,
    RobustnessPage,
    Row,
    panels,
    render_robustness,
    robustness_json,
    summary,
)
from tests.report.reading import Reader

NONE = Figure(value=None, low=None, high=None)


def measured(auc=0.9, flipped=0.0, **changes):
    known = Measured(
        auc=Figure(value=auc, low=auc - 0.05, high=auc + 0.05),
        auc_change=Figure(value=auc - 0.9, low=auc - 0.92, high=auc - 0.88),
        ece=0.125,
        pairs=40,
        flipped=flipped,
        changed=2 * flipped,
        crossed=3 * flipped,
        shift=0.1,
    )
    return dataclasses.replace(known, **changes)


def row(name, family="jpeg", severity=1, single=None, **changes):
    known = Row(
        name=name,
        family=family,
        setting=name.rpartition("-")[2],
        severity=severity,
        files=40,
        judged=40,
        abstained=0,
        failed=0,
        reasons={},
        single=single or measured(),
    )
    return dataclasses.replace(known, **changes)


CLEAN = row("as-is", "as-is", 0)
MILD = row("jpeg-90", single=measured(0.88, 0.05))
HARSH = row("jpeg-30", severity=2, single=measured(0.7, 0.25), failed=2, judged=38, reasons={"it <broke>": 2})
BLUR = row("blur-1", "blur", single=measured(0.5, 0.0))
PAGE = RobustnessPage(
    title="Robustness & more",
    facts={"bundle": "b-1"},
    rows=[CLEAN, MILD, HARSH, BLUR],
    unavailable={"h265-28": "no encoder"},
)


def test_the_page_is_well_formed_and_fetches_nothing():
    page = Reader(render_robustness(PAGE))
    assert page.of("src", "href") == []
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert "Robustness & more" in page.words


def test_the_page_tells_flips_reasons_and_what_is_missing():
    words = Reader(render_robustness(PAGE)).words
    assert "10.0 % of the verdicts flip" in words.replace("\u00a0", " ")
    assert "jpeg-30 (25.0 %), jpeg-90 (5.0 %)" in " ".join(words.split()).replace(" ,", ",")
    assert "2 files, it <broke>" in words
    assert "no encoder" in words
    assert "-0.200" in words
    assert "75.0 %" in words  # crossed


def test_there_is_a_panel_for_each_family():
    drawn = panels(PAGE.rows)
    assert [name for name, _ in drawn] == ["jpeg", "blur"]
    root = ET.fromstring(drawn[0][1])
    assert root.get("class") == "chart"  # which the style sheet fits into its column
    ticks = [each.text for each in root.iter("text")]
    assert {"is", "90", "30", "jpeg"} <= set(ticks)
    kinds = [each.get("class") for each in root.iter("circle")]
    assert kinds.count("dot main") == kinds.count("dot flips") == 3
    assert "30: AUC 0.700, 25.0% of verdicts flip" in "".join(each.text for each in root.iter("desc"))


def test_a_panel_lies_at_its_figures():
    """The lines of AUC and flips go down and up by as much as the figures do."""
    root = ET.fromstring(panels(PAGE.rows)[0][1])
    lines = {each.get("class"): each.get("points").split() for each in root.iter("polyline")}
    auc_px = [float(point.split(",")[1]) for point in lines["line main"]]
    flips_px = [float(point.split(",")[1]) for point in lines["line flips"]]
    assert (auc_px[2] - auc_px[0]) == pytest.approx((flips_px[0] - flips_px[2]) * 0.2 / 0.25, abs=0.2)


def test_the_ensemble_is_drawn_and_told_beside():
    rows = [
        dataclasses.replace(each, ensemble=measured(each.single.auc.value, each.single.flipped / 2))
        for each in PAGE.rows
    ]
    assert summary(rows)["ensemble"]["flipped"] == pytest.approx(0.05)
    page = Reader(render_robustness(dataclasses.replace(PAGE, rows=rows)))
    assert "Judged through mild deliveries, too, 5.0 % flip." in page.words
    assert "line main through" in page.of("class")
    assert "line main through" not in Reader(render_robustness(PAGE)).of("class")


def test_figures_that_are_not_defined_are_dashes():
    empty = measured(auc=0.9, auc_change=NONE, ece=None, changed=None, crossed=None, shift=None)
    empty = dataclasses.replace(empty, auc=NONE, flipped=None)
    page = dataclasses.replace(PAGE, rows=[CLEAN, row("jpeg-90", single=empty)])
    Reader(render_robustness(page))
    assert summary(page.rows) == {"single": {}}
    told = json.loads(robustness_json(page))
    assert told["rows"][1]["single"]["auc"]["value"] is None


def test_the_means_count_deliveries_alike_and_leave_out_the_files_as_they_are():
    found = summary(PAGE.rows)["single"]
    assert found["flipped"] == pytest.approx((0.05 + 0.25 + 0) / 3)
    assert found["auc"] == pytest.approx((0.88 + 0.7 + 0.5) / 3)


def test_json_has_all_figures():
    told = json.loads(robustness_json(PAGE))
    assert told["rows"][2]["reasons"] == {"it <broke>": 2}
    assert told["unavailable"] == {"h265-28": "no encoder"}
    assert told["mean"]["single"]["changed"] == pytest.approx(0.2)
    assert told["mean"]["single"]["crossed"] == pytest.approx(0.3)


def test_the_console_tells_what_was_not_judged_and_what_is_not_available(capsys, tmp_path):
    rows = [dataclasses.replace(each, ensemble=each.single) for each in PAGE.rows]
    show(dataclasses.replace(PAGE, rows=rows), tmp_path)
    told = " ".join(capsys.readouterr().out.split())
    assert "jpeg-30: 2 not judged: it <broke>" in told
    assert "h265-28 is not available: no encoder" in told
    assert told.count("Robustness & more") == 2
    assert "Robustness & more, through mild deliveries" in told
    assert "0.700 .65-.75" in told
    assert "-0.200" in told
    assert "25.0%" in told
    assert "50.0%" in told
