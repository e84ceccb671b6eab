"""What every registered model promises, whatever its architecture.

A new model needs one golden entry; after a deliberate change of an architecture, renew them all, or those
of some models, with

    python -m tests.contract.test_models [NAME ...]

and let the diff of golden.json show which models changed.
"""

import copy
import dataclasses
import functools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from deepscan.config import from_dict, override, to_dict
from deepscan.errors import UnknownNameError
from deepscan.modalities import MODALITIES
from deepscan.models import MODELS
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Choice, Loss

GOLDEN = Path(__file__).with_name("golden.json")
SMALL = {"size_px": 64, "count": 4, "window_s": 2.0}
LABELS = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])


def shrunk(settings):
    """Return settings with the values of SMALL wherever theirs are larger, however deep they are nested."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    less = {name: min(values[name], most) for name, most in SMALL.items() if name in values}
    nested = {name: shrunk(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    return dataclasses.replace(settings, **less, **nested)


def small_prep(spec):
    return shrunk(spec.prep)


def random_batch(spec, count=8, seed=0):
    """Noise of a strength that differs between the examples, so that they can be told apart.

    Clips are real up to a moment that differs, too, and padding from there on.
    """
    rng = np.random.default_rng(seed)
    prep, batch = small_prep(spec), {}
    for name in prep.inputs:
        column = prep.inputs[name]
        strength = rng.uniform(0.3, 1.0, (count, *[1] * len(column.shape)))
        if name == "mask":
            moments = column.shape[0]
            noise = np.arange(moments) < rng.integers(1, moments + 1, (count, 1))
        elif column.dtype == "uint8":
            noise = strength * rng.integers(0, 256, (count, *column.shape))
        else:
            noise = strength * rng.standard_normal((count, *column.shape))
        batch[name] = torch.from_numpy(noise.astype(column.dtype))
    return batch


def without_dropout(module):
    """Put batch norms into training mode, and all that is random into evaluation mode."""
    for part in module.eval().modules():
        part.training = isinstance(part, _BatchNorm)
    return module


def settle(module, batch):
    """Set the running statistics to those of the batch; without them the logits of a fresh
    network vanish or explode with its depth in evaluation."""
    for norm in (part for part in module.modules() if isinstance(part, _BatchNorm)):
        norm.momentum = 1.0
    with torch.no_grad():
        without_dropout(module)(**batch)
    return module.eval()


def fresh(spec):
    torch.manual_seed(0)
    return settle(spec.build(spec.config()), random_batch(spec))


def logits_of(module, batch):
    with torch.no_grad():
        return module(**batch)["logit"]


def objective_of(spec):
    return spec.objective(tuple(small_prep(spec).inputs), Loss(), (4, 4))


def loss_of(spec, module, labelled):
    """The loss in evaluation, but for the network itself, which returns what its objective reads."""
    module.eval().training = True
    with torch.no_grad():
        loss = objective_of(spec)(module, labelled)["loss"].item()
    module.eval()
    return loss


@functools.cache
def overfit(name, steps=30):
    """Train on eight examples, as the model learns; return the losses and the final logits in evaluation."""
    spec = MODELS.get(name)
    batch = random_batch(spec)
    label = LABELS if spec.recipe.learns_from == "both" else torch.zeros(len(LABELS))
    labelled = {**batch, "label": label}
    torch.manual_seed(0)
    module, objective = fresh(spec), objective_of(spec)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    before = loss_of(spec, module, labelled)
    without_dropout(module).training = True
    for _ in range(steps):
        loss = objective(module, labelled)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    after = loss_of(spec, settle(module, batch), labelled)
    return before, after, logits_of(module, batch)


def name_of(spec):
    return spec.name


CLASSIFIERS = [spec for spec in load_builtin() if spec.recipe.learns_from == "both"]
MASKED = [spec for spec in load_builtin() if "mask" in spec.prep.inputs]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """These networks are too small for threads, which only wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=load_builtin(), ids=name_of)
def spec(request):
    return request.param


@pytest.fixture(scope="module")
def module(spec, one_thread):
    """A fresh network for reading only."""
    return fresh(spec)


@pytest.fixture(scope="module")
def overfitted(spec, one_thread):
    return overfit(spec.name)


def test_logit_is_one_float32_number_an_example(spec, module):
    logit = logits_of(module, random_batch(spec, count=2))
    assert logit.shape == (2,)
    assert logit.dtype == torch.float32


def test_untrained_model_is_undecided_but_not_blind(spec, module):
    logit = logits_of(module, random_batch(spec))
    assert logit.abs().max() < 2
    assert logit.std() > 1e-3


def test_gradients_reach_every_parameter(spec, module):
    trained = copy.deepcopy(module).train()
    torch.manual_seed(0)
    objective_of(spec)(trained, {**random_batch(spec), "label": LABELS})["loss"].backward()
    unreached = [
        name for name, p in trained.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]  # fmt: skip
    assert unreached == []


def test_batch_of_three_equals_three_batches_of_one(spec, module):
    batch = random_batch(spec, count=3)
    apart = [logits_of(module, {name: x[i : i + 1] for name, x in batch.items()}) for i in range(3)]
    torch.testing.assert_close(logits_of(module, batch), torch.cat(apart), rtol=1e-4, atol=1e-4)


def test_evaluation_is_deterministic_and_leaves_its_input_alone(spec, module):
    batch = random_batch(spec)
    untouched = copy.deepcopy(batch)
    assert torch.equal(logits_of(module, batch), logits_of(module, batch))
    assert all(torch.equal(batch[name], untouched[name]) for name in batch)


def test_saving_and_loading_weights_is_exact(spec, module):
    twin = spec.build(spec.config()).eval()
    twin.load_state_dict(safetensors.torch.load(safetensors.torch.save(module.state_dict())))
    batch = random_batch(spec, count=2)
    assert torch.equal(logits_of(twin, batch), logits_of(module, batch))


def test_fixed_initialisation_gives_its_golden_logits(spec, module):
    golden = json.loads(GOLDEN.read_text())
    assert spec.name in golden, "add it with: python -m tests.contract.test_models"
    np.testing.assert_allclose(logits_of(module, random_batch(spec)), golden[spec.name], rtol=1e-3, atol=1e-4)


def test_autocast_still_gives_a_float32_logit_of_about_the_same_size(spec, module):
    batch = random_batch(spec, count=2)
    with torch.autocast("cpu", torch.bfloat16):
        logit = logits_of(module, batch)
    assert logit.dtype == torch.float32
    torch.testing.assert_close(logit, logits_of(module, batch), rtol=0, atol=0.5)


def test_logit_is_the_weighted_sum_of_what_its_moments_say(spec, module):
    batch = random_batch(spec)
    with torch.no_grad():
        outputs = module(**batch)
    assert ("moment_logit" in outputs) == ("attention" in outputs)
    if "attention" not in outputs:
        return
    share, moment_logit = outputs["attention"], outputs["moment_logit"]
    assert share.dtype == moment_logit.dtype == torch.float32
    assert share.shape == moment_logit.shape
    assert share.min() >= 0
    torch.testing.assert_close(share.sum(1), torch.ones(8))
    torch.testing.assert_close((share * moment_logit).sum(1), outputs["logit"])
    if "mask" in batch:
        real = functional.adaptive_max_pool1d(batch["mask"].float(), share.shape[1])
        assert not share[real == 0].any()
        assert not moment_logit[real == 0].any()


@pytest.mark.parametrize("spec", MASKED, ids=name_of, indirect=True)
def test_what_padding_shows_changes_nothing(spec, module):
    batch = random_batch(spec)
    padding = batch["mask"] == 0
    altered = {
        name: torch.where(padding.view(*padding.shape, *[1] * (x.ndim - 2)), 200, x).to(x.dtype)
        if name != "mask" and x.shape[:2] == padding.shape else x
        for name, x in batch.items()
    }  # fmt: skip
    assert any(not torch.equal(altered[name], batch[name]) for name in batch)
    torch.testing.assert_close(logits_of(module, altered), logits_of(module, batch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec", CLASSIFIERS, ids=name_of, indirect=True)
def test_first_loss_is_that_of_a_guess(overfitted):
    before, _, _ = overfitted
    assert before == pytest.approx(math.log(2), abs=0.3)


def test_eight_examples_can_be_learnt_by_heart(overfitted):
    before, after, _ = overfitted
    assert after < before / 2


@pytest.mark.parametrize("spec", CLASSIFIERS, ids=name_of, indirect=True)
def test_fakes_get_the_higher_logits(overfitted):
    _, _, logit = overfitted
    assert logit[LABELS == 1].min() > logit[LABELS == 0].max()


def test_default_prep_is_of_the_modality(spec):
    assert isinstance(spec.prep, MODALITIES.get(spec.modality).prep)


def test_config_survives_json(spec):
    assert from_dict(spec.config, json.loads(json.dumps(to_dict(spec.config())))) == spec.config()


def test_search_space_holds_valid_settings_only(spec):
    assert spec.search
    for path, tried in spec.search.items():
        root, _, setting = path.partition(".")
        config = {"recipe": spec.recipe, "model": spec.config()}[root]
        for value in tried.values if isinstance(tried, Choice) else (tried.low, tried.high):
            override(config, [f"{setting}={json.dumps(value)}"])


def test_pretrained_part_is_part_of_the_model(spec, module):
    if spec.trunk is None:
        assert spec.imagenet is None, "there is nothing that pretrained weights could fill"
        return
    trunk = spec.trunk(module)
    assert isinstance(trunk, nn.Module)
    own, all_of_it = set(trunk.parameters()), set(module.parameters())
    assert own < all_of_it, "a head remains to be trained"


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'xception'\?"):
        MODELS.get("xcepton")


if __name__ == "__main__":
    torch.set_num_threads(1)
    renewed = sys.argv[1:] or load_builtin().names()
    known = json.loads(GOLDEN.read_text()) | {
        name: [round(logit, 6) for logit in logits_of(fresh(spec), random_batch(spec)).tolist()]
        for name, spec in ((name, MODELS.get(name)) for name in renewed)
    }
    values = {name: known[name] for name in load_builtin().names() if name in known}
    GOLDEN.write_text(json.dumps(values, indent=1) + "\n")
