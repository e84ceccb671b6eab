"""What comparisons make of a log."""

import dataclasses

import numpy as np
import pytest
import scipy
from scenes import divided, entry, shadowed

from deepscan.errors import DataError
from deepscan.experiment import Feedback
from deepscan.experiment.compare import compare, main_variant
from deepscan.experiment.wording import sentences
from deepscan.serving import journal


@pytest.fixture
def columns(tmp_path):
    """Returns ``columns(entries, feedback)``: adds to the log, and returns it as a comparison reads it."""

    def write(entries, feedback=()):
        log = journal.Journal(str(tmp_path / "log"))
        for each in entries:
            log.append(each)
        for each in feedback:
            log.feedback(each)
        log.close()
        return journal.columns(journal.read(str(tmp_path / "log")))

    return write


def report(found, baseline="now", alpha=0.05):
    return compare(*found, baseline, alpha, np.random.default_rng(0))


def test_a_shadow_is_compared_pair_by_pair(columns):
    entries, feedback = shadowed()
    (found,) = report(columns(entries, feedback)).comparisons
    assert (found.baseline, found.other, found.paired) == ("now", "next", True)
    assert (found.contents, found.labelled, found.unanswered) == (200, 200, 0)
    now, following = entries[::2], entries[1::2]
    same = [a.label == b.label for a, b in zip(now, following, strict=True)]
    shift = [b.probability - a.probability for a, b in zip(now, following, strict=True)]
    assert found.figures["agreement"].value == pytest.approx(np.mean(same))
    assert found.figures["score_shift"].value == pytest.approx(np.mean(shift))
    right = [
        [each.label == ("real", "fake")[told.label] for each, told in zip(side, feedback, strict=True)]
        for side in (now, following)
    ]
    won = sum(b and not a for a, b in zip(*right, strict=True))
    lost = sum(a and not b for a, b in zip(*right, strict=True))
    assert (found.only_other_right, found.only_baseline_right) == (won, lost)
    assert found.figures["accuracy"].value == pytest.approx((won - lost) / 200)
    assert found.mcnemar_p == pytest.approx(scipy.stats.binomtest(won, won + lost).pvalue)
    assert found.test.steps == 200
    assert found.test.value == pytest.approx((won - lost) / 200)
    assert found.figures["p50_ratio"].low < 2 < found.figures["p50_ratio"].high


def test_each_variant_has_figures_of_its_own(columns):
    entries, feedback = shadowed(right=(1.0, 0.7))
    now, following = sorted(report(columns(entries, feedback)).summaries, key=lambda each: each.shadow)
    assert (now.variant, now.shadow, now.answers, now.contents, now.labelled) == ("now", False, 200, 200, 200)
    assert now.figures["accuracy"].value == now.figures["auc"].value == 1
    assert now.figures["wrong"].value == 0
    fakes = np.mean([each.label == "fake" for each in entries[1::2]])
    assert following.figures["fake"].value == pytest.approx(fakes)
    assert following.figures["accuracy"].value + following.figures["wrong"].value == pytest.approx(1)
    assert 0.5 < following.figures["auc"].low < following.figures["auc"].high < 0.9
    times = [each.elapsed_ms for each in entries[1::2]]
    assert (following.p50_ms, following.p95_ms) == (sorted(times)[99], sorted(times)[189])


def test_arms_are_compared_by_callers(columns):
    (found,) = report(columns(*divided())).comparisons
    assert (found.paired, found.contents, found.labelled) == (False, 800, 800)
    assert (found.mcnemar_p, found.only_other_right, found.only_baseline_right) == (None, 0, 0)
    assert found.figures["accuracy"].high < 0
    assert found.figures["accuracy"].low < -0.3 < found.figures["accuracy"].high
    assert found.test.steps == 200, "one answer of each of the 400 callers, in pairs"
    assert found.test.high < 0
    assert set(found.figures) == {
        "score_shift",
        "fake",
        "inconclusive",
        "accuracy",
        "p50_ratio",
        "p95_ratio",
    }


def test_answers_from_before_the_other_arm_began_do_not_count(columns):
    alone = report(columns(*divided())).comparisons
    early = [
        entry(request_id=f"early {number}", sha256=f"e{number:063x}", time_s=1.0, elapsed_ms=9.0)
        for number in range(500)
    ]
    told = [Feedback(label=1, time_s=2.0, request_id=each.request_id) for each in early]
    assert report(columns(early, told)).comparisons == alone


def test_arms_that_were_never_there_at_the_same_time_say_nothing(columns):
    entries = [entry(request_id="a", time_s=1.0), entry(request_id="b", time_s=2.0, variant="next")]
    (found,) = report(columns(entries)).comparisons
    assert found.contents == 0
    assert {each.value for each in found.figures.values()} == {None}
    assert sentences(found) == ["next and now never answered at the same time, so nothing is compared."]


def test_a_content_counts_once_however_often_it_is_sent(columns):
    entries, feedback = shadowed(50)
    again = [
        dataclasses.replace(each, request_id=f"again {copy} {each.request_id}", time_s=3000.0 + copy)
        for copy in range(3)
        for each in entries[:20]
    ]
    once = report(columns(entries, feedback)).comparisons[0]
    often = report(columns(again, ())).comparisons[0]
    assert often.contents == once.contents == 50
    assert often.figures["agreement"] == once.figures["agreement"]
    assert often.test == once.test


def test_inconclusive_is_neither_right_nor_wrong(columns):
    entries = [
        entry(request_id="a", sha256="a" * 64, label="inconclusive", probability=None),
        entry(request_id="b", sha256="b" * 64, label="fake", probability=0.9),
        entry(request_id="b", sha256="b" * 64, variant="next", label="real", probability=0.1),
    ]
    feedback = [Feedback(label=1, time_s=2000.0, sha256=each * 64) for each in "ab"]
    _, now = report(columns(entries, feedback)).summaries
    assert now.figures["accuracy"].value == now.figures["inconclusive"].value == 0.5
    assert now.figures["wrong"].value == 0
    assert now.figures["probability"].value == 0.9


def test_remembered_answers_say_nothing_of_the_time(columns):
    entries, _ = shadowed(30)
    cached = [dataclasses.replace(each, cached=each.variant == "next") for each in entries]
    found = report(columns(cached))
    following, now = found.summaries
    assert (following.cached, following.p50_ms, following.p95_ms) == (30, None, None)
    assert now.cached == 0
    assert found.comparisons[0].figures["p50_ratio"].value is None


def test_requests_that_the_other_left_out_are_counted(columns):
    entries, _ = shadowed(40)
    lost = [each for each in entries if each.variant == "now" or each.request_id not in {"r-5", "r-9"}]
    before = [entry(request_id="early", time_s=1.0)]
    (found,) = report(columns(before + lost)).comparisons
    assert (found.contents, found.unanswered) == (38, 2)
    assert "2 requests have no answer of it." in sentences(found)[0]


def test_the_latest_label_of_a_content_counts_and_strangers_are_counted(columns):
    entries, _ = shadowed(1)
    told = entries[0].label == "fake"
    feedback = [
        Feedback(label=int(not told), time_s=3.0, sha256=entries[0].sha256),
        Feedback(label=int(told), time_s=4.0, request_id="r-0"),
        Feedback(label=1, time_s=5.0, request_id="of another service"),
        Feedback(label=1, time_s=5.0, sha256="f" * 64),
    ]
    found = report(columns(entries, feedback))
    now = next(each for each in found.summaries if each.variant == "now")
    assert (now.labelled, now.figures["accuracy"].value, found.unmatched) == (1, 1, 1)


def test_without_labels_it_says_so(columns):
    entries, _ = shadowed(20)
    (found,) = report(columns(entries)).comparisons
    assert (found.labelled, found.test, found.mcnemar_p) == (0, None, None)
    assert found.figures["accuracy"].value is None
    assert sentences(found)[-1].startswith("No truth is known")


def test_one_variant_is_nothing_to_compare(columns):
    with pytest.raises(DataError, match="answers of now; a comparison needs at least two"):
        report(columns([entry()]))


def test_the_baseline_is_the_variant_that_answered_most(columns):
    more = [entry(request_id=f"x-{n}", variant="most") for n in range(30)]
    assert main_variant(columns(shadowed(20)[0] + more)[0]) == "most"


def test_shadows_alone_have_no_baseline(columns):
    answers, _ = columns([entry(shadow=True), entry(variant="b", shadow=True)])
    with pytest.raises(DataError, match="no answer that a caller got"):
        main_variant(answers)


def test_two_shadows_of_the_same_requests_are_pairs(columns):
    entries, _ = shadowed(10)
    third = [dataclasses.replace(each, variant="third") for each in entries if each.shadow]
    found = report(columns(entries + third), baseline="next")
    assert [(each.other, each.paired) for each in found.comparisons] == [("now", True), ("third", True)]
    assert found.comparisons[1].figures["agreement"].value == 1


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (shadowed(300, (0.6, 0.95)), "It is decided: next is more accurate."),
        (shadowed(300, (0.95, 0.6)), "It is decided: now is more accurate."),
        (shadowed(30, (0.9, 0.9)), "Nothing is decided"),
        (shadowed(30, (0.9, 0.9)), "which is a clear difference"),
        (divided(), "answered different requests, 800 contents together"),
        (divided(), "which is no clear difference"),
    ],
)
def test_a_comparison_is_told_in_sentences(columns, scene, words):
    (found,) = report(columns(*scene)).comparisons
    assert words in " ".join(sentences(found))


def test_too_few_labels_are_told(columns):
    entries, feedback = divided(4)
    (found,) = report(columns(entries, feedback[:2])).comparisons
    assert (found.labelled, found.test) == (2, None)
    assert "Labels are too few to test yet" in sentences(found)[-1]


def test_a_difference_that_changed_is_told(columns):
    good, told = shadowed(200, (0.0, 1.0))
    bad, more = shadowed(600, (1.0, 0.0), seed=1)
    late = [
        dataclasses.replace(
            e, time_s=e.time_s + 9e3, request_id=f"late {e.request_id}", sha256=e.sha256[::-1]
        )
        for e in bad[400:]
    ]
    later = [
        dataclasses.replace(each, time_s=each.time_s + 9e3, request_id=f"late {each.request_id}")
        for each in more[200:]
    ]
    (found,) = report(columns(good + late, told + later)).comparisons
    assert found.test.low is None
    assert "so it changed" in sentences(found)[-1]
