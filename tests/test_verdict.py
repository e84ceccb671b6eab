import dataclasses
import json
import re
import typing

import pytest

from deepscan import verdict
from deepscan.verdict import (
    Abstention,
    Curve,
    Evidence,
    Label,
    MediaFacts,
    Part,
    Picture,
    Region,
    Score,
    Uncertainty,
    Verdict,
    from_dict,
    to_dict,
)

SCHEMA = {
    "Region": ["box", "start_s", "end_s"],
    "Part": ["probability", "region", "weight"],
    "Score": ["detector", "bundle", "modality", "logit", "probability", "label", "parts", "measures"],
    "Abstention": ["detector", "bundle", "modality", "reason", "message"],
    "Picture": ["name", "caption", "png", "region", "low", "high", "unit"],
    "Curve": ["name", "caption", "x", "y", "x_unit", "unit", "spans"],
    "Evidence": [
        *("analyzer", "summary", "measurements", "limits", "group", "finding", "reason", "declaration"),
        *("facts", "pictures", "curves", "elapsed_ms"),
    ],
    "Uncertainty": ["low", "high", "files", "entropy", "disagreement"],
    "MediaFacts": [
        "name",
        "kind",
        "container",
        "bytes",
        "sha256",
        "width_px",
        "height_px",
        "duration_s",
        "has_sound",
        "notes",
    ],
    "Verdict": [
        "label",
        "probability",
        "uncertainty",
        "scores",
        "abstentions",
        "evidence",
        "media",
        "bundles",
        "elapsed_ms",
    ],
}
"""The public JSON schema. Clients read these keys: add to them, but rename or remove none."""

FACTS = MediaFacts(name="a.jpg", kind="image", container="jpeg", bytes=123, sha256="ab" * 32)


@pytest.fixture
def full():
    part = Part(probability=0.9, region=Region(box=(0.1, 0.2, 0.3, 0.4), start_s=0.0, end_s=1.5))
    score = Score(
        detector="cnn", bundle="cnn-12", modality="image", logit=2.2, probability=0.9, label="fake",
        parts=(part,),
    )  # fmt: skip
    return Verdict(
        label="fake",
        probability=0.9,
        uncertainty=Uncertainty(low=0.7, high=0.97, files=40, entropy=0.47),
        scores=(score,),
        abstentions=(
            Abstention(detector="av", bundle="av-1", modality="av", reason="no-sound", message="No sound."),
        ),
        evidence=(
            Evidence(
                analyzer="ela", summary="Even.", measurements={"spread_px": 1.0}, limits="Resaved files."
            ),
            Evidence(
                analyzer="sign",
                summary="Signed.",
                measurements={},
                limits="Who holds the key.",
                group="provenance",
                finding="telling",
                declaration="Made by a machine.",
                facts={"signer": "Ann"},
                pictures=(
                    Picture(name="map", caption="A map.", png="AAAA", region=Region(), low=0.0, high=1.0),
                ),
                curves=(Curve(name="c", caption="A curve.", x=(0.0, 1.0), y=(None, 2.0), x_unit="s"),),
            ),
        ),
        media=dataclasses.replace(FACTS, width_px=640, height_px=480),
        bundles=("av-1", "cnn-12"),
        elapsed_ms=12.5,
    )


@pytest.fixture
def bare():
    return Verdict(
        label="inconclusive",
        probability=None,
        uncertainty=None,
        scores=(),
        abstentions=(),
        evidence=(),
        media=FACTS,
        bundles=(),
        elapsed_ms=1.0,
    )


def test_the_schema_is_the_one_that_was_published():
    classes = [kind for kind in vars(verdict).values() if dataclasses.is_dataclass(kind)]
    assert {kind.__name__: [f.name for f in dataclasses.fields(kind)] for kind in classes} == SCHEMA


def test_the_labels_are_the_published_ones():
    assert typing.get_args(Label) == ("real", "fake", "inconclusive")


@pytest.mark.parametrize("name", ["full", "bare"])
def test_a_verdict_is_strict_json(name, request):
    values = to_dict(request.getfixturevalue(name))
    text = json.dumps(values, allow_nan=False)
    assert list(json.loads(text)) == SCHEMA["Verdict"]


def test_what_signatures_declare_is_told_apart(full, bare):
    assert (full.declarations, bare.declarations) == (("Made by a machine.",), ())


def test_nested_parts_keep_their_keys_and_values(full):
    values = json.loads(json.dumps(to_dict(full)))
    (score,) = values["scores"]
    assert list(score) == SCHEMA["Score"]
    assert score["parts"] == [
        {
            "probability": 0.9,
            "region": {"box": [0.1, 0.2, 0.3, 0.4], "start_s": 0.0, "end_s": 1.5},
            "weight": 1.0,
        }
    ]
    assert values["uncertainty"] == {
        "low": 0.7,
        "high": 0.97,
        "files": 40,
        "entropy": 0.47,
        "disagreement": None,
    }
    assert [list(values[name][0]) for name in ("abstentions", "evidence")] == [
        SCHEMA["Abstention"],
        SCHEMA["Evidence"],
    ]
    assert (values["media"]["width_px"], values["media"]["height_px"]) == (640, 480)


def test_what_is_unknown_is_null_and_never_a_number(bare):
    values = to_dict(bare)
    assert [values[name] for name in ("probability", "uncertainty")] == [None, None]
    assert [values["media"][name] for name in ("width_px", "height_px", "duration_s")] == [None] * 3


def test_a_verdict_cannot_be_altered(full):
    with pytest.raises(dataclasses.FrozenInstanceError):
        full.label = "real"


def test_the_dict_is_a_copy(full):
    to_dict(full)["evidence"][0]["measurements"]["spread_px"] = 99.0
    assert full.evidence[0].measurements == {"spread_px": 1.0}


@pytest.mark.parametrize("name", ["full", "bare"])
def test_a_verdict_is_read_back_as_it_was(name, request):
    given = request.getfixturevalue(name)
    plain = to_dict(given)
    assert from_dict(plain) == from_dict(json.loads(json.dumps(plain))) == given


def test_what_a_newer_version_adds_is_left_out(full):
    values = json.loads(json.dumps(to_dict(full)))
    values["newer"] = values["scores"][0]["newer"] = values["media"]["newer"] = {"any": 1}
    assert from_dict(values) == full


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"probability": "0.9"}, "probability"),
        ({"label": "perhaps"}, "label"),
        ({"scores": None}, "scores"),
        ({"bundles": "cnn-12"}, "bundles"),
        ({"media": {"name": "a.jpg"}}, "media.kind"),
        ({"scores": [{"detector": 1}]}, "scores.0.detector"),
    ],
)
def test_a_verdict_that_is_none_is_not_read(full, change, where):
    with pytest.raises(ValueError, match=re.escape(repr(where))):
        from_dict(to_dict(full) | change)


@pytest.mark.parametrize("values", [{}, [], None, "real", {1: object()}, {"label": {1, 2}}])
def test_what_is_no_dict_of_a_verdict_is_refused(values):
    with pytest.raises(ValueError, match="No verdict"):
        from_dict(values)


@pytest.mark.parametrize("name", SCHEMA["Verdict"])
def test_every_field_of_a_verdict_must_be_there(full, name):
    values = to_dict(full)
    del values[name]
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        from_dict(values)
