"""What every method promises of every registered model that it suits."""

import base64
import dataclasses
import io
import math

import numpy as np
import PIL.Image
import pytest
import torch

from deepscan import heatmaps
from deepscan.evidence import GROUPS
from deepscan.evidence.exhibits import values_of
from deepscan.heatmaps import gradients
from deepscan.models.catalog import load_builtin
from tests.heatmaps.subjects import example_of, facts_of, small_detector

METHODS = heatmaps.load_builtin()
SUITED = {
    "grad-cam": "cnn cnn-gru boundary mobilenet-v2-gru lfcc-lcnn sinc-resnet residual-gru",
    "hires-cam": "residual spectrogram-cnn mobilenet-v2",
    "attention": "cnn avsync gru-light clip-statistics sinc-resnet residual-gru",
    "integrated-gradients": "cnn gru-light autoencoder sound-autoencoder sinc-resnet residual-gru",
    "occlusion": "statistics clip-statistics gru-attention autoencoder residual",
    "mask": "boundary",
}
UNSUITED = {
    "grad-cam": "statistics autoencoder sound-autoencoder voice avsync gru-light clip-statistics",
    "attention": "residual boundary voice",
    "integrated-gradients": "statistics clip-statistics voice avsync",
    "occlusion": "voice avsync",
    "mask": "cnn residual-gru spectrogram-cnn",
}
LARGE = 4_000_000
"""Networks of so many parameters are looked at with the cheap methods only; they have layers like others."""

CHEAP = ("attention", "grad-cam", "hires-cam", "mask")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=load_builtin(), ids=lambda spec: spec.name)
def detector(request, tmp_path_factory):
    return small_detector(tmp_path_factory.mktemp("maps"), request.param)


def pairs(table):
    return [(method, model) for method, models in table.items() for model in models.split()]


def explained(detector, methods=None, count=1):
    examples = [example_of(detector.prep, number) for number in range(count)]
    names = METHODS.names() if methods is None else methods
    return heatmaps.explain(detector, facts_of(detector), examples, names)


def grey(picture):
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(picture.png))))


def test_a_method_that_suits_a_model_shows_it_and_any_other_says_why(detector, monkeypatch):
    monkeypatch.setattr(gradients.attributions, "__defaults__", (2,))
    name = detector.bundle.card.name
    large = sum(each.numel() for each in detector.runner.module.parameters()) > LARGE
    methods = [METHODS.get(each) for each in METHODS.names() if not large or each in CHEAP]
    for method, evidence in zip(methods, explained(detector, [m.name for m in methods]), strict=True):
        assert evidence.analyzer == f"{method.name}: {name}"
        assert evidence.group == "model"
        assert evidence.summary.endswith(".")
        if not method.suits(detector):
            assert (evidence.finding, evidence.reason) == ("none", "no-map")
            assert evidence.measurements == {}
            continue
        assert (evidence.finding, evidence.reason) == ("ordinary", "")
        assert tuple(evidence.measurements) == method.measures
        assert all(math.isfinite(value) for value in evidence.measurements.values())
        assert evidence.pictures or evidence.curves
        assert len({each.name for each in evidence.pictures}) == len(evidence.pictures)
        check_places(evidence, detector)


def check_places(evidence, detector):
    for picture in evidence.pictures:
        if picture.low is not None:
            assert np.isfinite(values_of(picture)).all()
        box = picture.region.box
        assert (box is None) == (detector.modality.shown is None)
        if box is not None:
            assert 0 <= box[0] < box[2] <= 1
            assert 0 <= box[1] < box[3] <= 1
        if detector.modality.name != "image":
            assert picture.region.start_s < picture.region.end_s
    for curve in evidence.curves:
        assert list(curve.x) == sorted(curve.x)
        assert None not in curve.y


@pytest.mark.parametrize(("method", "model"), pairs(SUITED))
def test_methods_suit_the_models_that_they_should(method, model, tmp_path):
    assert METHODS.get(method).suits(small_detector(tmp_path, load_builtin().get(model)))


@pytest.mark.parametrize(("method", "model"), pairs(UNSUITED))
def test_methods_suit_no_models_that_have_nothing_to_show(method, model, tmp_path):
    assert not METHODS.get(method).suits(small_detector(tmp_path, load_builtin().get(model)))


@pytest.mark.parametrize("model", ["boundary", "residual-gru", "cnn-gru", "sinc-resnet"])
def test_the_detector_is_left_as_it_was_and_the_same_maps_come_again(model, tmp_path, monkeypatch):
    monkeypatch.setattr(gradients.attributions, "__defaults__", (2,))
    detector = small_detector(tmp_path, load_builtin().get(model))
    network = detector.runner.module
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    first = explained(detector, count=2)
    assert not any(part.training for part in network.modules())
    assert not any(part._forward_hooks or part._backward_hooks for part in network.modules())
    assert all(each.grad is None and each.requires_grad for each in network.parameters())
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    with torch.inference_mode():
        second = explained(detector, count=2)
    assert [dataclasses.replace(each, elapsed_ms=0) for each in first] == [
        dataclasses.replace(each, elapsed_ms=0) for each in second
    ]


def test_a_detector_that_was_loaded_in_inference_mode_has_maps_too(tmp_path, monkeypatch):
    monkeypatch.setattr(gradients.attributions, "__defaults__", (2,))
    with torch.inference_mode():
        detector = small_detector(tmp_path, load_builtin().get("residual"))
        found = explained(detector, ["grad-cam", "integrated-gradients"])
    assert [evidence.reason for evidence in found] == ["", ""]


def test_the_group_is_one_of_those_that_are_shown():
    assert heatmaps.GROUP in GROUPS
