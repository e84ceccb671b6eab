"""What is remembered of a verdict, and what is not."""

import dataclasses
import pickle

from deepscan.monitor.records import Record
from deepscan.verdict import Abstention, MediaFacts, Score, Verdict


def verdict():
    score = Score(detector="x", bundle="x-1", modality="m", logit=1.0, probability=0.7, label="fake")
    silent = Abstention(
        detector="y", bundle="y-1", modality="m", reason="no-face", message="secret.jpg: none"
    )
    facts = MediaFacts(name="secret.jpg", kind="m", container="jpeg", bytes=5, sha256="abcdef")
    return Verdict(
        label="fake",
        probability=0.7,
        uncertainty=None,
        scores=(score,),
        abstentions=(silent,),
        evidence=(),
        media=facts,
        bundles=("x-1", "y-1"),
        elapsed_ms=3.0,
    )


def test_a_record_tells_what_a_verdict_says(record):
    told = record(3, cached=True).telling(verdict())
    assert (told.label, told.probability, told.cached, told.elapsed_ms) == ("fake", 0.7, True, 100.0)
    assert told.scores == {"x-1": 0.7}
    assert told.abstentions == (("y-1", "no-face"),)


def test_a_record_holds_neither_name_nor_content(record):
    text = repr(dataclasses.asdict(record().telling(verdict())))
    assert "secret" not in text
    assert "abcdef" not in text


def test_a_record_travels_between_processes(record):
    told: Record = record(stages_ms={"model": 1.0}).telling(verdict())
    assert pickle.loads(pickle.dumps(told)) == told
