"""Measurements of analyzers as Examples."""

import numpy as np
import pytest

from deepscan.errors import ConfigError, NothingMeasuredError, TooShortError, UnknownNameError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.catalog import load_builtin
from deepscan.media.source import Media
from deepscan.modalities import forensic
from deepscan.modalities.forensic import LARGEST, LEFT_OUT, SLOTS, ForensicPrep, augment_measures
from deepscan.recipe import Augment
from deepscan.verdict import Evidence
from tests.sounds import speech, wav


def analyzer(name, answer, accepts=True, measures=("a_px", "b_px"), group="face"):
    def testify(media):
        if isinstance(answer, Exception):
            raise answer
        values = dict(zip(measures, answer, strict=True))
        return Evidence(analyzer=name, summary="Seen.", measurements=values, limits="All else.")

    return Analyzer(
        name=name, group=group, summary="", measures=measures, accepts=lambda media: accepts, testify=testify
    )


@pytest.fixture
def made(monkeypatch):
    """Registers analyzers for one test."""
    load_builtin()
    monkeypatch.setattr(ANALYZERS, "_items", dict(ANALYZERS._items))
    forensic._asked.cache_clear()
    yield lambda *given: [ANALYZERS.register(each.name, each) for each in given]
    forensic._asked.cache_clear()


def sound():
    return Media.from_bytes(wav(speech(1.0)), "voice.wav")


def test_measurements_stand_in_the_order_of_the_analyzers_and_what_is_missing_is_marked(made):
    made(
        analyzer("one", (1.5, 2.5)),
        analyzer("deaf", TooShortError("too short")),
        analyzer("blind", (7.0, 7.0), accepts=False),
        analyzer("two", (LARGEST * 10, -3.0)),
    )
    prep = ForensicPrep(analyzers=("one", "deaf", "blind", "two"))
    (example,) = prep(sound())
    assert example["measures"][:8].tolist() == pytest.approx([1.5, 2.5, 0, 0, 0, 0, LARGEST, -3.0])
    assert example["known"][:8].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert not example["known"][8:].any()
    assert prep.names == ("one.a_px", "one.b_px", "deaf.a_px", "deaf.b_px", *prep.names[4:])
    assert float(example["length_s"]) == pytest.approx(1.0, abs=0.01)


def test_where_nothing_can_be_measured_the_prep_abstains_with_every_reason(made):
    made(analyzer("deaf", TooShortError("It is too short.")), analyzer("blind", (1, 1), accepts=False))
    with pytest.raises(NothingMeasuredError, match=r"'voice.wav'.*deaf: It is too short\."):
        ForensicPrep(analyzers=("deaf", "blind"))(sound())


def test_no_names_become_all_analyzers_but_those_that_read_metadata(made):
    made(analyzer("date", (1.0, 2.0), group=sorted(LEFT_OUT)[0]), analyzer("nose", (1.0, 2.0)))
    names = ForensicPrep().resolved().analyzers
    assert "nose" in names
    assert "voice" in names
    assert "date" not in names
    assert ForensicPrep(analyzers=("date",)).resolved().analyzers == ("date",)


def test_a_prep_without_names_has_no_digest_and_does_not_run():
    with pytest.raises(ConfigError, match="resolved"):
        _ = ForensicPrep().digest
    with pytest.raises(ConfigError, match="resolved"):
        ForensicPrep()(sound())


def test_the_digest_changes_with_what_an_analyzer_measures(made, monkeypatch):
    made(analyzer("nose", (1.0, 2.0)))
    prep = ForensicPrep(analyzers=("nose",))
    before = prep.digest
    ANALYZERS._items["nose"] = analyzer("nose", (1.0, 2.0), measures=("a_px", "c_px"))
    forensic._asked.cache_clear()
    assert prep.digest != before


def test_an_unknown_analyzer_and_too_many_are_refused(made):
    with pytest.raises(UnknownNameError, match="voic"):
        ForensicPrep(analyzers=("voic",)).resolved()
    made(analyzer("many", (), measures=tuple(f"m{number}" for number in range(SLOTS + 1))))
    with pytest.raises(ConfigError, match="slots"):
        ForensicPrep(analyzers=("many",)).resolved()


def test_training_forgets_some_measurements_and_changes_the_others_a_little():
    example = {
        "measures": np.full(SLOTS, 100, np.float32),
        "known": np.ones(SLOTS, np.uint8),
        "length_s": np.array(0, np.float32),
    }
    changed = augment_measures(example, Augment(level="advanced"), np.random.default_rng(0))
    known = changed["known"].astype(bool)
    assert 0.8 < known.mean() < 0.9
    assert not changed["measures"][~known].any()
    assert changed["measures"][known] == pytest.approx(100, rel=0.1)
    assert len(np.unique(changed["measures"][known])) > 100
