import dataclasses
import json
import time

import pytest

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.errors import ConfigError, CorruptMediaError, FormatError, NoFaceError, TooShortError
from deepscan.evidence import Analyzer
from deepscan.evidence.catalog import load_builtin
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media, Sampling
from deepscan.pipeline import analyze, conclude, plan, prepare, resample
from deepscan.verdict import Evidence, to_dict
from tests.sounds import speech, wav
from tests.tiny_bundles import FACES, WHOLE, media, noise, tiny_bundle


class CountingPrep:
    """A Prep that counts how often it runs."""

    def __init__(self, prep):
        self.prep, self.runs = prep, 0
        self.digest, self.inputs, self.features = prep.digest, prep.inputs, prep.features

    def __call__(self, media):
        self.runs += 1
        return self.prep(media)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Two that look at the whole picture and one that needs a face."""
    members = {"a": (0, WHOLE), "faces": (1, FACES), "b": (2, WHOLE)}
    folder = tmp_path_factory.mktemp("bundles")
    bundles = [tiny_bundle(folder / n, seed, prep, name=n) for n, (seed, prep) in members.items()]
    return [Detector.load(bundle.path, "cpu") for bundle in bundles]


@pytest.fixture
def deaf(detectors):
    """A detector whose modality accepts nothing."""
    modality = dataclasses.replace(detectors[0].modality, accepts=lambda media: False)
    return dataclasses.replace(detectors[0], modality=modality)


def test_a_detector_that_voted_is_explained_and_no_other(detectors):
    asked = []

    def explain(detector, facts, prepared):
        asked.append((detector.bundle.card.name, facts.name, len(prepared)))
        return (Evidence(analyzer="eye", summary=".", measurements={}, limits="", group="model"),)

    verdict = analyze(media(), detectors, explain=explain)
    assert asked == [("a", media().facts.name, 1), ("b", media().facts.name, 1)]
    assert [each.analyzer for each in verdict.evidence] == ["eye", "eye"]
    assert {score.detector for score in verdict.scores} == {"a", "b"}, "the one that needs a face saw none"


def test_the_plan_groups_detectors_by_what_they_prepare(detectors):
    groups = {group.prep: [d.bundle.card.name for d in group.detectors] for group in plan(media(), detectors)}
    assert groups == {WHOLE: ["a", "b"], FACES: ["faces"]}


def test_the_plan_leaves_out_detectors_that_do_not_accept_the_file(detectors, deaf):
    assert plan(media(), [deaf]) == []
    assert [group.detectors for group in plan(media(), [deaf, detectors[1]])] == [(detectors[1],)]


def test_two_detectors_with_one_prep_cost_one_preparation(detectors):
    counting = CountingPrep(WHOLE)
    twins = [dataclasses.replace(d, prep=counting) for d in (detectors[0], detectors[2])]
    verdict = analyze(media(), twins)
    assert counting.runs == 1
    assert [score.detector for score in verdict.scores] == ["a", "b"]


def test_a_reason_to_abstain_is_a_value():
    assert isinstance(prepare(FACES, media()), NoFaceError)
    assert [example["pixels"].shape for example in prepare(WHOLE, media())] == [(32, 32, 3)]


def test_the_verdict_of_one_detector_is_its_score(detectors):
    verdict = analyze(media(), detectors[:1])
    (score,) = verdict.scores
    assert (verdict.probability, verdict.label) == (score.probability, score.label)
    assert verdict.media == media().facts
    assert verdict.bundles == (detectors[0].bundle.card.id,)


def test_abstentions_never_count(detectors):
    verdict = analyze(media(), detectors)
    without = analyze(media(), [detectors[0], detectors[2]])
    assert (verdict.probability, verdict.uncertainty) == (without.probability, without.uncertainty)
    assert [(a.detector, a.reason) for a in verdict.abstentions] == [("faces", "no-face")]
    assert "faces" not in {score.detector for score in verdict.scores}


def test_all_bundles_that_were_asked_are_listed(detectors):
    assert analyze(media(), detectors).bundles == tuple(sorted(d.bundle.card.id for d in detectors))


def test_only_abstentions_are_inconclusive(detectors):
    verdict = analyze(media(), detectors[1:2])
    assert (verdict.label, verdict.probability, verdict.uncertainty) == ("inconclusive", None, None)
    assert len(verdict.abstentions) == 1


def test_a_file_that_no_detector_accepts_is_inconclusive(deaf):
    for able in ([deaf], []):
        verdict = analyze(media(), able)
        assert (verdict.label, verdict.probability) == ("inconclusive", None)
        assert (verdict.scores, verdict.abstentions, verdict.bundles) == ((), (), ())


def test_the_policy_says_how_many_votes_make_an_answer(detectors):
    assert analyze(media(), detectors, FusionPolicy(min_models=2)).probability is not None
    assert analyze(media(), detectors, FusionPolicy(min_models=3)).label == "inconclusive"


class Breaking:
    """A runner that fails as a weights format does on this machine."""

    def __call__(self, batch):
        raise FormatError("no such operator here")


@pytest.fixture
def broken(detectors):
    return dataclasses.replace(detectors[2], runner=Breaking())


def test_a_detector_that_fails_is_named_and_the_others_decide_without_it(detectors, broken):
    verdict = analyze(media(), [detectors[0], broken])
    alone = analyze(media(), detectors[:1])
    assert (verdict.probability, verdict.uncertainty) == (alone.probability, alone.uncertainty)
    (abstention,) = verdict.abstentions
    assert (abstention.detector, abstention.reason) == ("b", "failed")
    assert abstention.message == "no such operator here"
    assert broken.bundle.card.id in verdict.bundles


def test_where_all_detectors_fail_there_is_an_error_and_no_verdict(broken):
    with pytest.raises(FormatError, match="no such operator"):
        analyze(media(), [broken, broken])


def test_a_detector_that_abstains_has_read_the_file(detectors, broken):
    verdict = analyze(media(), [broken, detectors[1]])
    assert verdict.label == "inconclusive"
    assert {a.detector: a.reason for a in verdict.abstentions} == {"b": "failed", "faces": "no-face"}


class Unreadable:
    """A Prep that cannot read what others can."""

    digest = "0"

    def __call__(self, media):
        raise CorruptMediaError("the sound is damaged")


def test_a_half_that_does_not_decode_fails_the_detectors_of_that_half_only(detectors):
    deafened = dataclasses.replace(detectors[2], prep=Unreadable())
    verdict = analyze(media(), [detectors[0], deafened])
    assert [score.detector for score in verdict.scores] == ["a"]
    assert [(a.detector, a.message) for a in verdict.abstentions] == [("b", "the sound is damaged")]
    with pytest.raises(CorruptMediaError):
        analyze(media(), [deafened])


def test_the_policy_fuses(detectors):
    scores = {score.detector: score.probability for score in analyze(media(), detectors).scores}
    for method, expected in (("maximum", max), ("minimum", min)):
        fused = analyze(media(), detectors, FusionPolicy(method=method))
        assert fused.probability == expected(scores.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipPrep:
    """Stands for every Prep that samples frames."""

    sampling: Sampling = Sampling()

    @property
    def digest(self):
        return str(self.sampling.count)


def test_another_number_of_frames_is_another_prep_and_another_id(detectors):
    clip = dataclasses.replace(detectors[0], prep=ClipPrep())
    still, moving = resample([detectors[1], clip], 5)
    assert still is detectors[1]
    assert moving.prep == ClipPrep(sampling=Sampling(count=5))
    card = moving.bundle.card
    assert (card.prep_digest, card.prep["sampling"]["count"]) == ("5", 5)
    assert card.id != clip.bundle.card.id
    assert card.calibration == clip.bundle.card.calibration


def test_frames_mean_nothing_to_detectors_of_pictures(detectors):
    with pytest.raises(ConfigError, match="leave out the number of frames"):
        resample(detectors, 5)


def analyzer(name, answer, accepts=True):
    """An analyzer that says ``answer`` of every file, or raises it."""

    def testify(media):
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Analyzer(
        name=name,
        group="face",
        summary="",
        measures=("edge_px",),
        accepts=lambda media: accepts,
        testify=testify,
    )


SEEN = Evidence(analyzer="eye", summary="Seen.", measurements={"edge_px": 3.0}, limits="All else.")


def test_analyzers_testify_and_do_not_vote(detectors):
    verdict = analyze(media(), detectors, analyzers=[analyzer("eye", SEEN)])
    silent = analyze(media(), detectors)
    (told,) = verdict.evidence
    assert silent.evidence == ()
    assert dataclasses.replace(told, group="", elapsed_ms=0.0) == SEEN
    assert (told.group, told.elapsed_ms > 0) == ("face", True)
    assert (verdict.scores, verdict.probability) == (silent.scores, silent.probability)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TooShortError("too short"), "too-short"), (CorruptMediaError("the sound is damaged"), "failed")],
)
def test_an_analyzer_that_has_nothing_to_say_says_why_and_the_others_go_on(error, reason):
    silent, told = pipeline.testify(media(), [analyzer("ear", error), analyzer("eye", SEEN)])
    assert (silent.analyzer, silent.reason, silent.summary) == ("ear", reason, str(error))
    assert (silent.measurements, silent.finding) == ({}, "none")
    assert told.measurements == SEEN.measurements


def test_an_analyzer_is_asked_of_files_that_it_accepts_only():
    assert pipeline.testify(media(), [analyzer("ear", SEEN, accepts=False)]) == ()


def test_the_analyzers_of_the_package_measure_a_voice():
    of_sound = pipeline.testify(Media.from_bytes(wav(speech()), "voice.wav"), load_builtin())
    assert "voice" in {evidence.analyzer for evidence in of_sound}
    assert "voice" not in {evidence.analyzer for evidence in pipeline.testify(media(), load_builtin())}


def test_the_order_of_the_detectors_does_not_matter(detectors):
    one, other = analyze(media(), detectors), analyze(media(), detectors[::-1])
    assert one.probability == pytest.approx(other.probability, abs=1e-12)
    assert one.bundles == other.bundles


def test_a_truncated_file_raises(detectors):
    broken = Media.from_bytes(noise()[:2000], "half.png")
    with pytest.raises(CorruptMediaError, match=r"half\.png"):
        analyze(broken, detectors)


def test_the_time_from_bytes_to_verdict_is_in_milliseconds(detectors):
    start_s = time.perf_counter()
    verdict = analyze(media(), detectors)
    assert 0 < verdict.elapsed_ms <= (time.perf_counter() - start_s) * 1000
    earlier_s = time.perf_counter() - 2
    assert conclude(media().facts, [], FusionPolicy(), earlier_s).elapsed_ms == pytest.approx(2000, abs=500)


def test_a_verdict_is_ready_for_json(detectors):
    values = json.loads(json.dumps(to_dict(analyze(media(), detectors))))
    assert values["label"] in {"real", "fake", "inconclusive"}
    assert len(values["scores"][0]["parts"][0]["region"]["box"]) == 4
