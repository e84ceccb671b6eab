import dataclasses
import json
import os
import pickle

import pytest
import torch

from deepscan import bundle as bundles
from deepscan import config
from deepscan.bundle import MANIFEST, Bundle, Card
from deepscan.calibration import Calibration, OperatingPoint, Reliability
from deepscan.detector import Detector
from deepscan.errors import BundleError
from deepscan.formats.eager import WEIGHTS, fill
from deepscan.models import MODELS
from tests.tiny_bundles import WHOLE, tiny_bundle, tiny_module

RELIABILITY = Reliability(edges=(0.25, 0.5), files=(20, 21, 22), fakes=(1, 9, 22))
ISOTONIC = Calibration(kind="isotonic", knot_logits=(-1.5, 0.0, 1 / 3), knot_probabilities=(0.1, 0.1, 2 / 3))


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "bundle")


def rewrite(bundle, **changes):
    """Change the card on disk behind the back of the code."""
    path = bundle.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(call):
    with pytest.raises(BundleError) as caught:
        call()
    return str(caught.value)


def test_what_is_read_is_what_was_written(bundle):
    assert Bundle.read(bundle.path) == bundle
    assert set(bundle.card.files) == {WEIGHTS}
    assert sorted(os.listdir(bundle.path)) == [MANIFEST, WEIGHTS]


def test_weights_and_buffers_come_back_exactly(bundle):
    module = tiny_module(seed=0)
    other = Bundle.read(bundle.path).module()
    fill(other, bundle.path)
    assert list(other.state_dict()) == list(module.state_dict())
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_card_survives_json(bundle):
    card = dataclasses.replace(
        bundle.card,
        calibration=ISOTONIC,
        operating=OperatingPoint(threshold=0.1 + 0.2, low=0.1, high=0.7),
        reliability=RELIABILITY,
        metrics={"test": {"auc": None, "interval": [0.5, 1.0], "files": 3}},
        recipe={"stop": {"target_auc": None}, "lr": 1e-4},
    )
    again = config.from_dict(Card, json.loads(json.dumps(config.to_dict(card))))
    assert again == card
    assert isinstance(again.calibration.knot_logits, tuple)
    assert isinstance(again.reliability.files, tuple)
    assert again.id == card.id


def test_no_reliability_stays_none(bundle):
    assert bundle.card.reliability is Bundle.read(bundle.path).card.reliability is None


def test_altered_weights_are_noticed(bundle):
    data = bytearray((bundle.path / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle.path / WEIGHTS).write_bytes(data)
    assert f"was altered: {WEIGHTS}" in refusal(lambda: Bundle.read(bundle.path))


def test_a_missing_file_is_named(bundle):
    (bundle.path / WEIGHTS).unlink()
    message = refusal(lambda: Bundle.read(bundle.path))
    assert f"incomplete: {WEIGHTS} is missing" in message
    assert "whole directory" in message


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(bundle, schema):
    rewrite(bundle, schema=schema)
    assert "not of schema 1" in refusal(lambda: Bundle.read(bundle.path))


def test_a_directory_of_other_things_is_no_bundle(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        assert f"{path} is no bundle" in refusal(lambda path=path: Bundle.read(path))


@pytest.mark.parametrize("text", ["", "{", "\xff\xfe", '"a text"', "[]", "null"])
def test_a_card_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_bytes(text.encode("latin-1"))
    assert MANIFEST in refusal(lambda: Bundle.read(tmp_path))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"modl": "tiny"}, "Did you mean 'model'"),
        ({"name": 3}, "'name' cannot be 3"),
        ({"calibration": {"kind": "isotonic"}}, "0 knots"),
        ({"calibration": {"temperature": -1}}, "above 0"),
        ({"operating": {"low": 0.9}}, "low <= threshold"),
        ({"reliability": {"edges": [], "files": [1], "fakes": [2]}}, "no more fakes"),
    ],
)
def test_a_malformed_card_is_refused_with_what_is_wrong(bundle, changes, complaint):
    rewrite(bundle, **changes)
    message = refusal(lambda: Bundle.read(bundle.path))
    assert "is malformed" in message
    assert complaint in message


def test_an_incomplete_card_is_refused(bundle):
    (bundle.path / MANIFEST).write_text('{"schema": 1, "name": "x"}')
    assert "prep_digest" in refusal(lambda: Bundle.read(bundle.path))


def test_a_prep_that_would_do_something_else_is_refused(bundle):
    message = refusal(bundle.amend(prep_digest="0123456789abcdef").prep)
    assert "0123456789abcdef" in message
    assert f"prepares as {WHOLE.digest}" in message
    assert bundle.prep() == WHOLE


@pytest.mark.parametrize(
    ("part", "changes", "complaint"),
    [
        ("prep", {"modality": "imag"}, "Did you mean 'image'"),
        ("prep", {"prep": {"sise_px": 32}}, "Did you mean 'size_px'"),
        ("prep", {"prep": {"size_px": 1}}, "[8, 4096]"),
        ("module", {"model_config": {"widht": 8}}, "Did you mean 'width'"),
        ("weights_format", {"weights_format": "eagre"}, "Did you mean 'eager'"),
    ],
)
def test_what_this_installation_does_not_know_is_blamed_on_the_bundle(bundle, part, changes, complaint):
    message = refusal(getattr(bundle.amend(**changes), part))
    assert message.startswith(f"Bundle {bundle.path}: ")
    assert complaint in message
    assert "--plugin" not in message


def test_an_unknown_model_names_the_plugin_that_it_came_from(bundle, monkeypatch):
    monkeypatch.setattr(MODELS, "_items", {k: v for k, v in MODELS._items.items() if k != "tiny"})
    assert "It comes from the plug-in tiny.py: add --plugin." in refusal(bundle.module)
    message = refusal(bundle.amend(plugin="").module)
    assert "No model is named 'tiny'" in message
    assert "--plugin" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {WEIGHTS: "0" * 64}},
        {"calibration": ISOTONIC},
        {"calibration": Calibration(kind="temperature", temperature=2.0)},
        {"operating": OperatingPoint(low=0.4, high=0.6)},
        {"reliability": RELIABILITY},
        {"prep_digest": "0123456789abcdef"},
        {"model": "other"},
        {"model_config": {"width": 9}},
        {"weights_format": "other"},
        {"name": "other"},
    ],
)
def test_the_id_follows_what_a_verdict_depends_on(bundle, changes):
    assert dataclasses.replace(bundle.card, **changes).id != bundle.card.id


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"test": {"auc": 1.0}}},
        {"recipe": {"epochs": 1}},
        {"data": {"digest": "x"}},
        {"parent": "tiny-0"},
        {"software": {"torch": "0"}},
        {"plugin": "moved.py"},
        {"operating": OperatingPoint(groups=2)},
    ],
)
def test_the_id_does_not_follow_what_is_only_told(bundle, changes):
    assert dataclasses.replace(bundle.card, **changes).id == bundle.card.id


def test_the_id_follows_the_weights(tmp_path):
    one, same, other = (tiny_bundle(tmp_path / str(i), seed=seed) for i, seed in enumerate([0, 0, 1]))
    assert one.card.id == same.card.id != other.card.id
    assert one.card.id.startswith("tiny-")
    assert len(one.card.id) == len("tiny-") + 12


def test_amending_changes_the_card_on_disk_and_not_the_weights(bundle):
    weights = (bundle.path / WEIGHTS).read_bytes()
    amended = bundle.amend(metrics={"test": 1}, calibration=ISOTONIC)
    assert Bundle.read(bundle.path) == amended
    assert amended.card == dataclasses.replace(bundle.card, metrics={"test": 1}, calibration=ISOTONIC)
    assert bundle.card.metrics == {}
    assert (bundle.path / WEIGHTS).read_bytes() == weights


def test_an_amendment_that_is_interrupted_leaves_the_card_before(bundle, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        bundle.amend(metrics={"test": 1})
    assert Bundle.read(bundle.path) == bundle


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_executed(bundle, tmp_path):
    trap = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    (bundle.path / WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    digest = bundles._sha256(bundle.path / WEIGHTS)
    rewrite(bundle, files={WEIGHTS: digest})
    assert "do not fit the model" in refusal(lambda: Detector.load(bundle.path, "cpu"))
    assert not trap.exists()


def test_weights_of_another_architecture_are_refused(bundle):
    bundle.amend(model_config={"width": 9})
    assert "do not fit the model" in refusal(lambda: Detector.load(bundle.path, "cpu"))
