"""The part of a report that tells how far to trust it."""

import json
import re

import numpy as np
import pytest

from deepscan.calibration import OperatingPoint
from deepscan.metrics import evaluate
from deepscan.metrics.costs import Verifier
from deepscan.metrics.examination import examine
from deepscan.metrics.paired import Against, Difference, compare
from deepscan.metrics.records import NOTHING
from deepscan.report import Page, render, to_json, trust
from tests.metrics.samples import judged, random
from tests.report.reading import Reader

HOSTILE = '"><script>alert("x")</script>'
POINT = OperatingPoint(threshold=0.5, low=0.3, high=0.7)
VERIFIER = Verifier(miss=0.02, false_alarm=0.02, fake_false_alarm=0.4)


def files(seed=0):
    some = random(240, seed)
    source = np.array([f"{HOSTILE}-{number % 30}" for number in range(240)])
    tone = np.where(np.arange(240) < 8, HOSTILE, np.array(["dark", "light"])[np.arange(240) % 2])
    return judged(some.label, some.logit, source, generator=HOSTILE, **{"tone <b>": tone})


@pytest.fixture(scope="module")
def page():
    first = files()
    second = judged(first.label, np.random.default_rng(1).normal(first.logit, 1), first.source)
    rng = np.random.default_rng(0)
    return Page(
        title="t",
        evaluation=evaluate(first, 0.5, rng, 20),
        examination=examine(first, POINT, rng, 50, VERIFIER),
        against=Against(
            bundle=HOSTILE,
            only_first=3,
            only_second=5,
            comparison=compare(first, second, (0.5, 0.5), rng, 50),
        ),
        seen={"total": 240, "files": {HOSTILE: "train"}},
        warnings=(f"1 of 240 files was seen: {HOSTILE}",),
    )


@pytest.fixture(scope="module")
def text(page):
    return render(page)


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def test_every_cost_and_decision_stands_with_its_interval_and_meaning(page, read):
    found = page.examination.costs | page.examination.decisions
    assert set(trust.TITLES) == set(found)
    for name, (title, meaning) in trust.TITLES.items():
        figure = found[name]
        assert f"{title} {figure.value:.3f} {figure.low:.3f} to {figure.high:.3f} {meaning}" in read.words


def test_every_part_has_a_row_with_its_coverage(page, read):
    examined = page.examination
    parts = [
        *examined.by_label.values(),
        *examined.by_generator.values(),
        *examined.by_group["tone <b>"].values(),
    ]
    for part in (*parts, *examined.by_source.lowest.values()):
        counts, covered = part.counts, part.figures["covered"]
        assert (
            f"{counts.fake} {counts.real} {counts.sources} {covered.value:.3f} {covered.low:.3f} to"
            in read.words
        )


def test_differences_between_groups_stand_with_intervals_and_small_groups_are_named(page, read):
    found = page.examination.disparities["tone <b>"]
    for name, title in trust.GAPS.items():
        gap = found.gaps[name]
        apart = gap.difference
        row = f"{title} 2 {apart.value:.3f} {apart.low:.3f} to {apart.high:.3f} {gap.worst}"
        assert row in read.words
    assert f"Equalised odds {found.equalised_odds.value:.3f}" in read.words
    (why,) = found.too_small.values()
    assert f"{HOSTILE}: {why}" in read.words.replace(f"{HOSTILE} :", f"{HOSTILE}:")


def test_the_comparison_stands_with_intervals_and_chances(page, read):
    compared = page.against.comparison
    for title, each in (
        ("AUC", compared.bootstrap),
        ("AUC, DeLong", compared.delong),
        ("Accuracy", compared.accuracy),
    ):
        figure = each.figure
        row = f"{title} {figure.value:.3f} {figure.low:.3f} to {figure.high:.3f} {trust.probable(each)}"
        assert row in read.words
    assert "3 more were judged by this detector alone and 5 by the other" in read.words
    assert f"{compared.mcnemar.only_first} files are called right by this one only" in read.words


def test_warnings_stand_at_the_top(read):
    assert 0 <= read.words.index("1 of 240 files was seen") < read.words.index("In short")


def test_names_from_outside_are_text_and_ids_are_unique(text, read):
    assert "<script" not in text
    assert "tone <b>" not in text
    assert len(read.ids) == len(set(read.ids))
    assert read.tags.count("svg") == read.tags.count("desc")


def test_the_charts_show_the_promise_and_a_row_each(page, text):
    drawings = {name: str(drawing) for name, _, drawing in trust.charts(page.examination)}
    assert list(drawings) == ["Risk and coverage", "Coverage by class and generator", "Coverage by source"]
    assert all(drawing in text for drawing in drawings.values())
    kinds = drawings["Coverage by class and generator"]
    assert "95% was promised." in kinds
    assert kinds.count("<circle") == 3
    assert drawings["Coverage by source"].count("<circle") == 20
    # The line of the promise is as far right as a dot at this coverage would be.
    promise = re.search(r'points="([\d.]+),2 [\d.]+,[\d.]+" class="line chance"', kinds)
    assert float(promise[1]) == pytest.approx(
        trust.NAMES_PX + 0.95 * (trust.WIDTH_PX - trust.NAMES_PX - 12), abs=0.1
    )


def test_data_of_one_class_and_one_source_have_a_page(page):
    one = judged([1] * 4, [1.0, 2, 3, -1], ["s"] * 4)
    rng = np.random.default_rng(0)
    words = Reader(
        render(
            Page(title="t", evaluation=evaluate(one, 0.5, rng, 9), examination=examine(one, POINT, rng, 9))
        )
    ).words
    assert "Cllr -" in words
    assert "Coverage by source" not in words
    assert "0.750 of the fake files." in words


def test_json_holds_it_all(page):
    told = json.loads(to_json(page))
    assert told["examination"]["costs"]["cllr"]["value"] == page.examination.costs["cllr"].value
    assert told["examination"]["by_source"]["total"] == 30
    assert told["against"]["comparison"]["mcnemar"]["p"] == page.against.comparison.mcnemar.p
    assert told["seen"]["total"] == 240
    assert told["warnings"] == list(page.warnings)
    nothing = json.loads(to_json(Page(title="t")))
    assert (nothing["examination"], nothing["against"], nothing["seen"], nothing["warnings"]) == (
        None,
        None,
        None,
        [],
    )


@pytest.mark.parametrize(("p", "words"), [(None, "-"), (0.0004, "p < 0.001"), (0.25, "p = 0.250")])
def test_chances_in_words(p, words):
    assert trust.probable(Difference(figure=NOTHING, p=p)) == words
