"""The report on one file tells all of the verdict, in order, escapes it and fetches nothing."""

import dataclasses
import itertools
import json
import re

import pytest

from deepscan import verdict as v
from deepscan.calibration import OperatingPoint
from deepscan.errors import AbstainError
from deepscan.media.source import Media
from deepscan.report import wording
from deepscan.report.moments import highlights, moments
from deepscan.report.stills import LONGEST_PX, MOST, moment, stills
from deepscan.report.verdict import render, software, to_json
from tests.material import encoded
from tests.report import told
from tests.report.reading import Reader


@pytest.fixture(scope="module")
def text():
    return render(told.of_clip(), told.moving(), told.COMMAND, told.CONTEXT)


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


@pytest.fixture(scope="module")
def hostile():
    return render(told.of_picture(told.HOSTILE), told.picture(), f"deepscan {told.HOSTILE}", told.CONTEXT)


@pytest.mark.parametrize("page", ["text", "hostile"])
def test_the_page_fetches_nothing_and_runs_nothing(page, request):
    text = request.getfixturevalue(page)
    read = Reader(text)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(read.tags)
    assert [name for _, name, _ in read.attributes if name.startswith("on")] == []
    sources = read.of("src", "href", "xlink:href")
    assert [each for each in sources if not each.startswith(("data:image/", "#"))] == []
    assert set(re.findall(r"url\((.*?)\)", text)) == {"#heat"}
    assert "@import" not in text
    policy = [value for tag, name, value in read.attributes if tag == "meta" and name == "content"]
    assert any(value.startswith("default-src 'none'; ") for value in policy)
    assert ("html", "lang", "en") in read.attributes


def test_what_a_file_calls_itself_and_holds_is_text(hostile):
    assert "<img src=x" not in hostile
    # Title and heading, twice the name; detector, its measures; analyzer, summary, fact and its value,
    # measures and their caption; declaration; the command.
    read = Reader(hostile)
    assert read.words.count(told.HOSTILE) >= 11
    assert [each for each in read.of("src") if not each.startswith("data:")] == []


def test_headings_leave_out_no_level_and_ids_are_unique(read):
    levels = [int(tag[1]) for tag in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(after - before for before, after in itertools.pairwise(levels)) == 1
    assert len(read.ids) == len(set(read.ids))
    labels = {one for value in read.of("aria-labelledby") for one in value.split()}
    assert labels <= set(read.ids)
    assert {each[1:] for each in read.of("href") if each.startswith("#")} <= set(read.ids)


def test_pictures_and_tables_have_words(read):
    assert all(read.of("alt"))
    assert len(read.of("alt")) == read.tags.count("img") == 2
    assert read.tags.count("caption") == read.tags.count("table")
    scopes = [value for tag, name, value in read.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == read.tags.count("th")
    drawn = [pair for tag, *pair in read.attributes if tag == "svg"]
    assert sum(pair[0] == "aria-labelledby" for pair in drawn) + 1 == read.tags.count("svg"), (
        "but for the sheet"
    )


def test_it_begins_with_what_is_declared_then_the_verdict_then_the_reasons(read):
    order = (
        "made by a generator.", "Looks fake", "What the decision is worth", "What each detector says",
        "Over time", "Evidence", "What was not judged, and why", "About the file and this",
    )  # fmt: skip
    places = [read.words.index(each) for each in order]
    assert places == sorted(places)


def test_the_answer_says_what_it_is_worth(read):
    said = read.words
    assert "78 % probability of a fake" in said
    assert "60 to 90 % were fakes (95 % interval, 25 files)." in said
    assert "The detectors disagree (standard deviation 0.28)" in said
    assert "A file is called fake from 70 % and genuine below 30 %." in said
    assert "at most 5 % of genuine files are called fake, and at most 5 % of fakes genuine" in said
    assert "(120 genuine, 100 fake)" in said
    assert "About the file: The index is broken." in said


def test_every_detector_has_its_score_its_thresholds_and_its_measures(read):
    assert "faces looks at: video 90 % : looks fake. It examined 8 parts." in read.words
    assert "On its own test files its AUC was 0.93." in read.words
    assert "voices looks at: video 35 % : looks genuine. It examined 2 parts." in read.words
    assert "offset -7 frames" in read.words


def test_suspicious_moments_are_drawn_and_told(read, text):
    assert "8 moments, 4 of them at 50 % or more; the highest is 93 % at 0:00.9." in read.words
    assert "2 moments, 0 of them" in read.words
    assert text.count("data:image/jpeg") == 4, "a still for each highlight, among them the cover"
    assert text.count('class="area suspicious"') == 4
    assert "All moments of 50 % and more (4)" in read.words


def test_evidence_comes_by_finding_and_group_with_all_that_it_holds(read, text):
    titles = ("Provenance credentials Telling", "Spectrum band limit Unusual", "Where the detectors looked")
    places = [read.words.index(each) for each in titles]
    assert places == sorted(places)
    assert (
        "Unusual : few genuine files have this. The sound ends at 7200 Hz. codec aac encoder Lavf60"
        in read.words
    )
    assert "cutoff 7200 Hz edge 31.3 dB flat share 0.02" in read.words
    assert "Telephones cut there too. (Measured in 33 ms.)" in read.words
    assert "Power over frequency. What stands out is shaded." in read.words
    assert text.count('class="line main"') == 2, "a curve is broken where nothing was measured"


def test_a_map_lies_over_its_place_and_stands_alone_with_its_scale(text, read):
    (place,) = re.findall(r'<image class="map"[^>]* x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', text)
    assert [float(each) for each in place] == pytest.approx([0.3 * 200, 0.15 * 160, 0.4 * 200])
    assert "0 share 1 share attribution, 0:00.8 to 0:01.0." in read.words
    (map_,) = told.of_clip().evidence[2].pictures
    assert text.count(map_.png) == 2


def test_what_was_not_judged_says_why(read):
    assert "lips detector, av The file is too short. Give a second or more." in read.words
    assert "blinks measure, face No face was found. No face was open-eyed." in read.words


def test_the_end_says_how_to_repeat_it(read):
    said = read.words
    assert told.moving().facts.sha256 in said
    assert f"To repeat it {told.COMMAND}" in said
    assert f"torch {software()['torch']}" in said
    assert "Judged by faces-1, lips-1, voices-1" in said
    assert "judged 2026-01-02 03:04 UTC" in said


def test_without_a_vote_there_is_no_number_and_no_rate():
    said = Reader(render(told.undecided(), told.picture(), "x")).words
    assert "Inconclusive" in said
    assert "That says nothing about whether it is genuine." in said
    assert "probability of a fake" not in said
    assert "What the decision is worth" not in said
    assert not re.search("Evidence|Over time|What was not judged|declares", said)


@pytest.mark.parametrize("data", [b"no clip" * 99, told.moving().data[:3000]])
def test_pictures_that_do_not_decode_are_left_out_and_the_rest_is_told(data, caplog):
    text = render(told.of_clip(), Media(data, told.moving().facts), "x", told.CONTEXT)
    assert "data:image/jpeg" not in text
    assert data[0] == told.moving().data[0] or "is left out of the report" in caplog.text
    assert "attribution" in Reader(text).words


def test_sound_alone_has_bars_and_no_pictures():
    facts = dataclasses.replace(told.moving().facts, width_px=None, height_px=None)
    given = dataclasses.replace(told.of_clip(), media=facts)
    text = render(given, Media(told.moving().data, facts), "x")
    assert "data:image/jpeg" not in text
    assert text.count('class="area suspicious"') == 4


def test_the_json_is_the_verdict_and_what_is_told_beside_it():
    given = told.of_clip()
    content = json.loads(to_json(given, told.COMMAND, told.CONTEXT))
    assert v.from_dict(content) == given
    assert content["declarations"] == list(given.declarations)
    assert (content["command"], content["software"]) == (told.COMMAND, software())
    assert content["context"]["points"]["faces-1"] == dataclasses.asdict(told.POINT)


def test_the_page_is_small_enough_to_send(text):
    assert len(text) < 200_000


# --- stills ----------------------------------------------------------------------------------------


def test_a_picture_has_one_still_for_all_times():
    found = stills(told.picture(), [0.0, 2.0])
    assert found[0.0] is found[2.0]
    assert (found[0.0].width_px, found[0.0].height_px) == (320, 240)


def test_a_clip_has_a_still_for_each_time_within_it():
    found = stills(told.moving(), [0.5, 1.5, 0.5, 99.0])
    assert list(found) == [0.5, 1.5]
    assert found[0.5].uri != found[1.5].uri
    assert len(stills(told.moving(), [n / 20 for n in range(30)])) == MOST


def test_a_large_picture_is_shrunk():
    from tests.material import draw

    large = Media.from_bytes(encoded(draw(size_px=(1700, 900))), "large.png")
    assert stills(large, [0.0])[0.0].width_px == LONGEST_PX


@pytest.mark.parametrize(
    ("region", "time_s"),
    [(None, 3.0), (v.Region(), 3.0), (v.Region(start_s=1.0), 1.0), (v.Region(start_s=1.0, end_s=2.0), 1.5)],
)
def test_a_region_is_looked_at_in_its_middle(region, time_s):
    assert moment(region, 3.0) == time_s


# --- moments ---------------------------------------------------------------------------------------


def of_parts(*parts):
    return told.score("a", 0.5, tuple(v.Part(probability=p, region=region) for p, region in parts))


def test_faces_of_one_moment_are_one_with_the_most_suspicious():
    region = v.Region(start_s=1.0, end_s=2.0)
    (found,) = moments(of_parts((0.3, region), (0.8, region), (0.5, region), (0.9, v.Region())))
    assert (found.probability, found.faces) == (0.8, 3)


@pytest.mark.parametrize(("probability", "count"), [(0.9, 6), (0.2, 3)])
def test_few_moments_are_highlighted_in_order_of_time(probability, count):
    parts = [(probability, v.Region(start_s=float(n), end_s=n + 1.0)) for n in range(40)]
    starts_s = [each.start_s for each in highlights([of_parts(*parts)], 40.0)]
    assert len(starts_s) == count
    assert starts_s == sorted(starts_s)


# --- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("percent", (0.9999,), "over 99\u00a0%"),
        ("percent", (0.0001,), "under 1\u00a0%"),
        ("percent", (0.505,), "51\u00a0%"),
        ("clock", (59.96,), "1:00.0"),
        ("clock", (7.5,), "0:07.5"),
        ("size", (999,), "999 bytes"),
        ("size", (84_213,), "84 kB"),
        ("size", (2_500_000,), "2.5 MB"),
        ("figure", (0.123456,), "0.123"),
        ("figure", (4800.4,), "4800"),
        ("figure", (float("nan"),), "nan"),
        ("span", (None, None), ""),
        ("span", (1.0, None), "at 0:01.0"),
        ("quantity", ("jitter_percent", 2.0), ("jitter", "2", "%")),
        ("quantity", ("pitch_hz_spread", 2.5), ("pitch, spread", "2.5", "Hz")),
        ("quantity", ("spread", 2.5), ("spread", "2.5", "")),
        ("quantity", ("distance", 1.0), ("distance", "1", "")),
        ("scale", (None, "db"), ""),
        ("scale", (30.0, "db"), "30\u00a0dB"),
        ("scale", (30.0, ""), "30"),
        ("reason", ("of-tomorrow",), "It could not judge"),
        ("tested", ({},), ""),
    ],
)  # fmt: skip
def test_a_value_in_words(name, given, said):
    assert getattr(wording, name)(*given) == said


def test_a_test_in_words():
    measured = {"test": {"counts": {"files": 9}, "figures": {"auc": {"value": 0.9, "low": 0.8, "high": 1.0}}}}
    assert wording.tested(measured).endswith("1 is best, 95\u00a0% interval 0.80 to 1.00, 9 files).")


@pytest.mark.parametrize(
    ("point", "contained"),
    [
        (None, "was not measured"),
        (OperatingPoint(), "not fitted, so no rate"),
        (
            OperatingPoint(threshold=0.5, low=0.0, high=1.5, real=5, fake=5),
            "No probability suffices to call a",
        ),
        (OperatingPoint(threshold=0.5, low=0.0, high=0.5, real=50, fake=5), "cannot show an error rate"),
        (
            OperatingPoint(real=50, fake=50, groups=2),
            "keep to it in each of their 2 groups.",
        ),
    ],
)
def test_a_decision_says_how_often_it_is_wrong(point, contained):
    assert contained in wording.rate(point)


@pytest.mark.parametrize(
    ("changed", "contained"),
    [
        ({"label": "real"}, "may look like this too"),
        ({"label": "inconclusive"}, "wrong too often in either direction"),
        ({"label": "inconclusive", "probability": None}, "No detector looks at such files."),
    ],
)
def test_a_label_in_words(changed, contained):
    assert contained in wording.meaning(dataclasses.replace(told.of_picture(), **changed))


def test_an_interval_that_nobody_measured_is_not_told():
    unknown = v.Uncertainty(low=0.0, high=1.0, files=0)
    assert "was not measured" in wording.trust(dataclasses.replace(told.of_picture(), uncertainty=unknown))[0]


def test_every_reason_to_abstain_has_words():
    reasons = {each.reason for each in (AbstainError, *AbstainError.__subclasses__())}
    assert set(wording.REASONS) == reasons - {AbstainError.reason} | {v.FAILED}
