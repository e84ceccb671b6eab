"""Who is answered by which variant, and what is kept of an answer."""

import collections
import dataclasses

import numpy as np
import pytest

from deepscan.errors import ConfigError
from deepscan.experiment import (
    Circumstances,
    Entry,
    Feedback,
    Variant,
    assign,
    check,
    entry_of,
    hash_key,
)
from deepscan.verdict import Abstention, MediaFacts, Score, Verdict

KEYS = [f"caller {number}" for number in range(4000)]
A, B, C = Variant(name="a", weight=3), Variant(name="b", weight=1), Variant(name="c", weight=1)
SHADOW = Variant(name="shadow", shadow=True)


def draws(seed=0):
    return np.random.default_rng(seed)


def by_key(variants, salt="salt"):
    rng = draws()
    return {key: assign(variants, key, salt, rng).name for key in KEYS}


def test_callers_are_divided_by_the_weights():
    counts = collections.Counter(by_key([A, B]).values())
    assert counts["a"] == pytest.approx(3000, abs=4 * (4000 * 0.75 * 0.25) ** 0.5)
    assert counts["a"] + counts["b"] == 4000


def test_a_caller_stays_whatever_the_order_and_whoever_asks():
    assert by_key([A, B, C]) == by_key([C, SHADOW, A, B])


def test_the_assignment_is_the_same_in_later_versions():
    assigned = by_key([A, B, C])
    assert [assigned[key] for key in KEYS[:8]] == list("aaabcbaa")


def test_another_salt_is_another_assignment():
    first, second = by_key([A, B]), by_key([A, B], "other")
    same = np.mean([first[key] == second[key] for key in KEYS])
    assert same == pytest.approx(0.75**2 + 0.25**2, abs=0.04), "as two independent draws agree"


def test_a_new_variant_takes_callers_and_moves_no_others():
    before, after = by_key([A, B]), by_key([A, B, C])
    assert {after[key] for key in KEYS if before[key] != after[key]} == {"c"}


@pytest.mark.parametrize("weight", [0, 0.5, 2, 8])
def test_another_weight_moves_callers_to_or_from_its_variant_only(weight):
    before, after = by_key([A, B, C]), by_key([A, dataclasses.replace(B, weight=weight), C])
    moved = {(before[key], after[key]) for key in KEYS if before[key] != after[key]}
    assert moved == ({("a", "b"), ("c", "b")} if weight > 1 else {("b", "a"), ("b", "c")})


def test_no_more_callers_move_than_a_new_weight_must():
    before, after = by_key([A, B]), by_key([dataclasses.replace(A, weight=1), B])
    assert np.mean([before[key] != after[key] for key in KEYS]) == pytest.approx(0.75 - 0.5, abs=0.03)


@pytest.mark.parametrize("key", [None, ""])
def test_callers_without_a_key_are_drawn(key):
    rng = draws()
    counts = collections.Counter(assign([A, SHADOW, B], key, "salt", rng).name for _ in range(4000))
    assert counts["a"] == pytest.approx(3000, abs=110)
    assert set(counts) == {"a", "b"}


def test_neither_a_shadow_nor_a_variant_without_weight_answers():
    off = dataclasses.replace(B, weight=0)
    assert set(by_key([SHADOW, C, off]).values()) == {"c"}


def test_the_hash_of_a_key_hides_it_and_needs_the_salt():
    assert hash_key("somebody", "salt") == hash_key("somebody", "salt")
    assert len({hash_key(key, salt) for key in KEYS for salt in ("one", "two")}) == 2 * len(KEYS)
    assert len(hash_key("somebody", "salt")) == 16
    assert hash_key(None, "salt") is None
    assert hash_key("", "salt") is None


def test_a_sound_experiment_passes():
    check([A, SHADOW], "salt")


@pytest.mark.parametrize(
    ("variants", "salt", "message"),
    [
        ([A, B, A], "salt", "a occurs twice"),
        ([SHADOW], "salt", "No variant can answer"),
        ([dataclasses.replace(A, weight=0)], "salt", "No variant can answer"),
        ([], "salt", "No variant can answer"),
        ([A], "", "salt of the experiment is empty"),
    ],
)
def test_an_experiment_that_cannot_be_run_is_refused(variants, salt, message):
    with pytest.raises(ConfigError, match=message):
        check(variants, salt)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "cannot be called ''"),
        ({"name": "a/b"}, "cannot be called 'a/b'"),
        ({"name": "x" * 65}, "1 to 64"),
        ({"weight": -1}, "has weight -1"),
        ({"weight": float("nan")}, "has weight nan"),
        ({"weight": float("inf")}, "has weight inf"),
        ({"shadow": True, "weight": 2}, "Shadow 'a' has weight 2"),
        ({"bundles": ()}, "name each once"),
        ({"bundles": ("x", "x")}, "name each once"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Variant(**({"name": "a"} | fields))


def test_an_entry_keeps_the_answer_and_not_the_file():
    facts = MediaFacts(name="me.jpg", kind="image", container="jpeg", bytes=1, sha256="5" * 64)
    score = Score(
        detector="d", bundle="d-1", modality="image", logit=2.0, probability=0.8, label="fake", parts=()
    )
    abstention = Abstention(detector="e", bundle="e-1", modality="image", reason="no-face", message="None.")
    verdict = Verdict(
        label="fake",
        probability=0.9,
        uncertainty=None,
        scores=(score,),
        abstentions=(abstention,),
        evidence=(),
        media=facts,
        bundles=("d-1", "e-1"),
        elapsed_ms=12.5,
    )
    told = Circumstances(time_s=7.0, request_id="r", cached=True, key_hash="c")
    assert entry_of(verdict, SHADOW, told) == Entry(
        time_s=7.0,
        request_id="r",
        sha256="5" * 64,
        variant="shadow",
        shadow=True,
        label="fake",
        probability=0.9,
        scores={"d-1": 0.8},
        abstentions={"e-1": "no-face"},
        elapsed_ms=12.5,
        cached=True,
        key_hash="c",
    )


@pytest.mark.parametrize("named", [{"request_id": "r"}, {"sha256": "0a" * 32}])
def test_a_feedback_names_a_request_or_a_content(named):
    assert Feedback(label=1, time_s=0.0, **named).label == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": 2}, "cannot be 2"),
        ({"sha256": "0a" * 32}, "either request_id or sha256"),
        ({"request_id": None}, "either request_id or sha256"),
        ({"request_id": None, "sha256": "0A" * 32}, "is no sha256"),
        ({"request_id": "r" * 65}, "at most 64"),
        ({"source": "s" * 65}, "at most 64"),
    ],
)
def test_a_feedback_that_says_nothing_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Feedback(**({"label": 1, "time_s": 0.0, "request_id": "r"} | fields))
