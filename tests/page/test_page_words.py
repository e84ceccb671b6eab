"""What the page says of a number, asked of its modules in the browser."""

import dataclasses

import pytest

from deepscan.evidence import ordered
from deepscan.report import wording
from deepscan.verdict import Evidence

pytestmark = pytest.mark.browser

FEW = {"low": 0.2, "high": 0.9, "files": 12, "disagreement": 0.3}
ONE = {"low": 0.5, "high": 0.5, "files": 1}
PART = {"probability": 0.2, "detector": "a", "region": {"box": None, "start_s": None, "end_s": None}}


def verdict(label="fake", probability=0.5, scores=(1,), uncertainty=None, abstentions=()):
    return {
        "label": label, "probability": probability, "scores": scores, "uncertainty": uncertainty,
        "abstentions": abstentions,
    }  # fmt: skip


def ask(reader, module, name, *given):
    script = "const [path, name, ...rest] = given; return (await import(path))[name](...rest)"
    return reader.run(script, f"/static/{module}.js", name, *given)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("percent", 0.9999, "over 99\u00a0%"),
        ("percent", 0.0001, "under 1\u00a0%"),
        ("percent", 0.505, "51\u00a0%"),
        ("clock", 59.96, "1:00.0"),
        ("clock", 61.25, "1:01.3"),
        ("size", 999, "999 bytes"),
        ("size", 84_213, "84 kB"),
        ("size", 2_500_000, "2.5 MB"),
        ("step", 1, 4),
        ("step", 0, 0),
        ("figure", 0.123456, "0.123"),
        ("figure", 4800.4, "4800"),
        ("measure", "jitter_percent", {"name": "jitter", "unit": "%"}),
        ("measure", "offset_frames", {"name": "offset", "unit": "frames"}),
        ("measure", "distance", {"name": "distance", "unit": ""}),
        ("suspicion", 0.95, "very suspicious"),
        ("reason", {"reason": "of tomorrow"}, "It could not judge"),
        ("trust", verdict(probability=None), []),
        ("tested", None, ""),
        ("tested", {"test": {"figures": {"auc": {"value": None}}}}, ""),
    ],
)
def test_a_value_in_words(reader, name, given, said):
    assert ask(reader, "words", name, given) == said


@pytest.mark.parametrize(
    ("name", "given", "contained"),
    [
        ("trust", verdict(), "was not measured"),
        ("trust", verdict(uncertainty=FEW), "20 to 90\u00a0% were fakes (95\u00a0% interval, 12 files)"),
        ("trust", verdict(uncertainty=FEW), "few files"),
        ("trust", verdict(uncertainty=FEW, scores=(1, 2)), "disagree"),
        ("trust", verdict(uncertainty=ONE), "about 50\u00a0% were fakes (95\u00a0% interval, 1 file)"),
        ("meaning", verdict("fake"), "not a proof"),
        ("meaning", verdict("real"), "may look like this too"),
        ("meaning", verdict("inconclusive", None), "No detector looks at such files."),
        ("meaning", verdict("inconclusive", None, abstentions=(1,)), "None of the detectors could judge"),
        ("meaning", verdict("inconclusive"), "wrong too often in either direction"),
    ],
)
def test_a_verdict_in_words(reader, name, given, contained):
    said = ask(reader, "words", name, given)
    assert contained in (said if isinstance(said, str) else " ".join(said))


@pytest.mark.parametrize("name", ["UNITS", "GROUPS", "FINDINGS", "REASONS"])
def test_the_page_and_the_report_use_the_same_words(reader, name):
    told = reader.run("return (await import('/static/words.js'))[given[0]]", name)
    if name == "FINDINGS":
        told = {finding: (words["title"], words["meaning"]) for finding, words in told.items()}
    assert told == getattr(wording, name)


def test_evidence_is_ordered_as_everywhere(reader):
    given = [
        Evidence(
            analyzer=f"{finding} {group}",
            summary="",
            measurements={},
            limits="",
            group=group,
            finding=finding,
        )
        for group in ("sync", "of tomorrow", "provenance")
        for finding in ("ordinary", "none", "telling", "unusual")
    ]
    told = ask(reader, "words", "ordered", [dataclasses.asdict(each) for each in given])
    assert [each["analyzer"] for each in told] == [each.analyzer for each in ordered(given)]


def test_one_detector_cannot_disagree(reader):
    assert "disagree" not in " ".join(ask(reader, "words", "trust", verdict(uncertainty=FEW)))


def test_boxes_overlap_by_intersection_over_union(reader):
    assert ask(reader, "regions", "overlap", [0, 0, 0.5, 1], [0.25, 0, 0.75, 1]) == pytest.approx(1 / 3)
    assert ask(reader, "regions", "overlap", [0, 0, 0.5, 1], [0.5, 0, 1, 1]) == 0


def test_what_two_detectors_see_in_one_place_is_one_region(reader):
    parts = [PART, PART | {"probability": 0.9, "detector": "b"}]
    (region,) = ask(reader, "regions", "regions", parts, 0)
    assert (region["name"], region["probability"], region["box"]) == ("A", 0.9, [0, 0, 1, 1])
    assert [part["detector"] for part in region["seen"]] == ["b", "a"]


def test_a_region_is_shown_only_while_it_lasts(reader):
    part = PART | {"region": {"box": [0, 0, 0.5, 0.5], "start_s": 1.0, "end_s": 2.0}}
    shown = [len(ask(reader, "regions", "regions", [part], time_s)) for time_s in (0.9, 1.0, 2.0, 2.1)]
    assert shown == [0, 1, 1, 0]


def test_faces_of_one_moment_are_one_entry_with_the_most_suspicious(reader):
    region = {"box": None, "start_s": 1.0, "end_s": 2.0}
    parts = [PART | {"probability": p, "region": region} for p in (0.3, 0.8, 0.5)]
    (moment,) = ask(reader, "regions", "moments", {"detector": "a", "parts": parts})
    assert (moment["probability"], moment["faces"]) == (0.8, 3)


@pytest.mark.parametrize(("probability", "count"), [(0.9, 6), (0.2, 3)])
def test_few_moments_are_highlighted_in_order_of_time(reader, probability, count):
    regions = [{"box": None, "start_s": second, "end_s": second + 1} for second in range(40)]
    parts = [PART | {"probability": probability, "region": region} for region in regions]
    found = ask(reader, "regions", "highlights", [{"detector": "a", "parts": parts}], 40)
    starts_s = [moment["start_s"] for moment in found]
    assert len(starts_s) == count
    assert starts_s == sorted(starts_s)
