"""The report of a search: scales, lines, and that it holds everything itself."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest

from deepscan.report import campaign as drawing
from deepscan.report.campaign import CampaignPage, Scale, Tried, render_campaign

LR = Scale(name="recipe.optimizer.lr", low=1e-4, high=1e-2, log=True)
LEVEL = Scale(name="recipe.augment.level", values=("none", "basic", "advanced"))


def tried(name, lr, level, *curve, state="finished"):
    settings = {LR.name: lr, LEVEL.name: level}
    return Tried(name=name, state=state, settings=settings, curve=dict(enumerate(curve, 1)))


BEST = tried("best", 1e-3, "basic", 0.6, 0.9)
WORST = tried("worst", 1e-4, "advanced", 0.5, state="stopped")
FAILED = Tried(name="<failed>", state="failed", settings={}, curve={}, why="it <diverged>")
PAGE = CampaignPage(
    title="Search & find",
    facts={"trials": 3},
    scales=[LR, LEVEL],
    ranked=[BEST, WORST],
    begun=[WORST, FAILED, BEST],
    importances={LR.name: 0.75, LEVEL.name: 0.25},
)


@pytest.mark.parametrize(
    ("scale", "value", "share"),
    [
        (LR, 1e-4, 0.0),
        (LR, 1e-3, 0.5),
        (LR, 1e-2, 1.0),
        (Scale(name="a", low=-1, high=3), 0, 0.25),
        (LEVEL, "none", 0.0),
        (LEVEL, "advanced", 1.0),
        (Scale(name="a", values=(7,)), 7, 0.0),
    ],
)
def test_values_lie_on_their_scale(scale, value, share):
    assert scale.share(value) == pytest.approx(share)


def lines(markup):
    return list(ET.fromstring(markup).iter("polyline"))


def test_every_trial_is_a_line_through_its_settings_and_the_winner_is_on_top():
    drawn = lines(drawing.parallel(PAGE.scales, PAGE.ranked))
    assert [line.get("class") for line in drawn] == ["line trial", "line winner"]
    low, high = drawing._y_px(0.0), drawing._y_px(1.0)
    heights = [[float(point.split(",")[1]) for point in line.get("points").split()] for line in drawn]
    assert heights[0] == pytest.approx([low, high, low], abs=0.1)
    assert heights[1] == pytest.approx([(low + high) / 2, (low + high) / 2, high], abs=0.1)
    assert float(drawn[0].get("stroke-opacity")) < float(drawn[1].get("stroke-opacity")) == 1


def test_bars_are_as_long_as_their_share_and_the_longest_comes_first():
    root = ET.fromstring(drawing.importance(PAGE.importances))
    widths = [float(bar.get("width")) for bar in root.iter("rect")]
    assert widths[0] == pytest.approx(3 * widths[1], abs=0.3)
    assert [text.text for text in root.iter("text")] == [LR.name, "75%", LEVEL.name, "25%"]


def test_a_learning_curve_ends_where_its_trial_did():
    drawn = lines(drawing.curves(PAGE.ranked))
    assert [len(line.get("points").split()) for line in drawn] == [1, 2]


def test_the_best_so_far_never_falls():
    begun = [tried(str(n), 1e-3, "basic", auc) for n, auc in enumerate([0.6, 0.5, 0.8, 0.7])]
    [best] = lines(drawing.progress(begun))
    heights = [float(point.split(",")[1]) for point in best.get("points").split()]
    assert heights == sorted(heights, reverse=True)
    assert "trial 3" in drawing.progress(begun)


def test_one_trial_alone_can_be_drawn():
    page = dataclasses.replace(PAGE, ranked=[BEST], begun=[BEST], importances={})
    assert "tell nothing of this" in render_campaign(page)


def test_the_page_holds_all_trials_and_escapes_what_comes_from_outside():
    text = render_campaign(PAGE)
    assert "Search &amp; find" in text
    assert "&lt;failed&gt;" in text
    assert "it &lt;diverged&gt;" in text
    assert "<failed>" not in text
    assert all(name in text for name in ("best", "worst", LR.name, "stopped"))


def test_the_page_runs_nothing_and_fetches_nothing():
    text = render_campaign(PAGE)
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<img|https?://|url\(|@import", text)


def test_the_ids_of_the_page_are_unique():
    ids = re.findall(r' id="([^"]+)"', render_campaign(PAGE))
    assert len(ids) == len(set(ids))
