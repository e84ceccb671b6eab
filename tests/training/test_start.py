import dataclasses

import pytest
import safetensors.torch
import torch

from deepscan import config
from deepscan.errors import BundleError
from deepscan.formats import eager
from deepscan.models.catalog import load_builtin
from deepscan.training.start import check_init, initial_module, taken_over, was_begun
from tests.tiny_bundles import fresh_bundle


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def spec_of(name):
    return load_builtin().get(name)


def test_training_starts_from_the_weights_of_a_bundle(make_bundle):
    bundle, spec = make_bundle("start"), spec_of("cnn")
    expected = bundle.module()
    eager.fill(expected, bundle.path)
    assert same(initial_module(spec, bundle.card.model_config, str(bundle.path)), expected)
    assert not same(initial_module(spec, bundle.card.model_config, ""), expected)


def test_a_bundle_of_the_same_architecture_gives_everything(make_bundle):
    bundle, spec = make_bundle("start"), spec_of("cnn")
    told = check_init(spec, spec.config(), str(bundle.path))
    count = len(spec.build(spec.config()).state_dict())
    assert told == f"{count} of {count} tensors from {bundle.card.id}"


def test_a_network_of_clips_takes_over_the_trunk_of_one_of_pictures(tmp_path):
    pictures, clips = spec_of("mobilenet-v2"), spec_of("mobilenet-v2-gru")
    bundle = fresh_bundle(tmp_path / "b", "mobilenet-v2", pictures.prep.resolved(), 3)
    told = check_init(clips, clips.config(), str(bundle.path))
    assert "the whole trunk among them" in told
    module = initial_module(clips, config.to_dict(clips.config()), str(bundle.path))
    donor = safetensors.torch.load_file(bundle.path / eager.WEIGHTS)
    for name, value in module.trunk.state_dict().items():
        assert torch.equal(value, donor[f"trunk.{name}"]), name


def test_a_model_takes_over_the_whole_of_another_that_is_a_part_of_it(tmp_path):
    part, whole = spec_of("residual"), spec_of("rich-residual")
    bundle = fresh_bundle(tmp_path / "b", "residual", part.prep, 3)
    assert "the whole trunk among them" in check_init(whole, whole.config(), str(bundle.path))
    module = initial_module(whole, config.to_dict(whole.config()), str(bundle.path))
    donor = safetensors.torch.load_file(bundle.path / eager.WEIGHTS)
    taken = module.network.state_dict()
    assert taken.keys() == donor.keys()
    for name, value in donor.items():
        assert torch.equal(taken[name], value), name
    assert not was_begun("rich-residual", str(bundle.path)), "the other part is still to be solved for"


@pytest.mark.parametrize(("model", "begun"), [("cnn", True), ("residual", False)])
def test_only_a_bundle_of_the_same_model_has_what_begin_gives(make_bundle, model, begun):
    assert was_begun(model, str(make_bundle("start").path)) is begun


@pytest.mark.parametrize("init", ["", "imagenet"])
def test_a_model_without_a_bundle_has_not_begun(init):
    assert not was_begun("cnn", init)


def test_what_does_not_fit_is_left_as_it_was_made(make_bundle):
    """A wider layer has its own weights; the layers that agree come from the bundle."""
    bundle, spec = make_bundle("start"), spec_of("cnn")
    wider = dataclasses.replace(spec.config(), widths=(7,))
    taken = taken_over(spec, spec.build(wider), bundle)
    assert 0 < len(taken.tensors) < taken.of
    module = initial_module(spec, config.to_dict(wider), str(bundle.path))
    for name, value in taken.tensors.items():
        assert torch.equal(module.state_dict()[name], value), name


def test_a_bundle_with_nothing_in_common_is_no_start(make_bundle):
    bundle, spec = make_bundle("start"), spec_of("mobilenet-v2")
    with pytest.raises(BundleError, match="no weights in common"):
        check_init(spec, spec.config(), str(bundle.path))


def test_a_damaged_file_of_weights_is_named(make_bundle):
    bundle, spec = make_bundle("broken"), spec_of("cnn")
    (bundle.path / eager.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(BundleError, match="was altered"):
        check_init(spec, spec.config(), str(bundle.path))
    with pytest.raises(BundleError, match="cannot be read"):
        taken_over(spec, spec.build(spec.config()), bundle)
