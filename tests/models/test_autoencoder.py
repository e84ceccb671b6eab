"""Detectors of anomalies: they learn what is real, and the error on anything else stands out."""

import numpy as np
import pytest
import torch

from deepscan.errors import ConfigError
from deepscan.models.autoencoder import (
    AutoencoderConfig,
    PictureAutoencoder,
    SpectrumAutoencoder,
)
from deepscan.objectives import reconstruction
from deepscan.recipe import Loss

KINDS = ("plain", "denoising", "variational")
SMALL = {"channels": (8, 16), "latent": 8}
REAL, FAKE = torch.zeros(16), torch.ones(16)


def smooth_pictures(count, seed):
    """Colour ramps in random directions: easily reproduced."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:32, 0:32] / 31
    slopes = rng.uniform(-1, 1, (count, 2, 1, 1, 3))
    ramps = slopes[:, 0] * x[..., None] + slopes[:, 1] * y[..., None]
    return torch.from_numpy((127 + 60 * ramps).astype(np.uint8))


def noisy_pictures(count, seed):
    noise = np.random.default_rng(seed).integers(-60, 60, (count, 32, 32, 3))
    return (smooth_pictures(count, seed).int() + torch.from_numpy(noise)).clamp(0, 255).to(torch.uint8)


def trained(kind, steps=120, both=False):
    torch.manual_seed(0)
    model = PictureAutoencoder(AutoencoderConfig(kind=kind, **SMALL)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    objective = reconstruction(("pixels",), Loss(), (16, 16))
    for step in range(steps):
        pixels, label = smooth_pictures(16, step), REAL
        if both:
            pixels, label = torch.cat([pixels, noisy_pictures(16, step)]), torch.cat([REAL, FAKE])
        loss = objective(model, {"pixels": pixels, "label": label})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return trained(request.param)


def logits(model, pixels):
    with torch.no_grad():
        return model(pixels=pixels)["logit"]


def test_what_was_never_seen_has_the_higher_logit(model):
    assert logits(model, noisy_pictures(16, 999)).min() > logits(model, smooth_pictures(16, 999)).max()


def test_the_logit_counts_deviations_above_the_error_on_real_media(model):
    assert logits(model, smooth_pictures(64, 999)).mean().abs() < 2


def test_evaluation_draws_nothing_at_random(model):
    pixels = smooth_pictures(4, 1)
    assert torch.equal(logits(model, pixels), logits(model, pixels))


def test_training_with_both_pushes_the_error_on_fakes_up():
    alone, both = trained("plain", 60), trained("plain", 60, both=True)
    gap = [
        (logits(m, noisy_pictures(32, 7)).mean() - logits(m, smooth_pictures(32, 7)).mean()).item()
        for m in (alone, both)
    ]
    assert gap[1] > gap[0]


def test_fakes_alone_leave_the_measure_of_real_errors_untouched():
    model = PictureAutoencoder(AutoencoderConfig(**SMALL)).train()
    objective = reconstruction(("pixels",), Loss(), (1, 1))
    objective(model, {"pixels": noisy_pictures(16, 0), "label": FAKE})
    assert (model.centre.item(), model.spread.item()) == (0, 1)
    objective(model, {"pixels": smooth_pictures(16, 0), "label": REAL})
    assert model.centre.item() != 0


def test_only_a_variational_bottleneck_has_a_divergence():
    pixels = smooth_pictures(4, 0)
    for kind in KINDS:
        divergence = PictureAutoencoder(AutoencoderConfig(kind=kind, **SMALL)).train()(pixels)["divergence"]
        assert (divergence > 0).all().item() == (kind == "variational")


def test_the_divergence_is_that_of_gaussians():
    """Against torch's own formula for two normal distributions."""
    model = PictureAutoencoder(AutoencoderConfig(kind="variational", **SMALL)).train()
    code = torch.randn(3, 16, 4, 4)
    _, found = model._bottleneck(code)
    mean, log_variance = code.chunk(2, 1)
    given = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(given, torch.distributions.Normal(0, 1)).sum((1, 2, 3))
    torch.testing.assert_close(found, expected)


def test_only_a_denoising_network_gets_noise_and_only_in_training():
    x = torch.zeros(2, 3, 8, 8)
    for kind in KINDS:
        model = PictureAutoencoder(AutoencoderConfig(kind=kind, noise=0.5, **SMALL))
        assert model.train()._noisy(x).any().item() == (kind == "denoising")
        assert not model.eval()._noisy(x).any()


def test_a_spectrogram_of_any_size_is_cut_to_what_the_network_can_halve():
    model = SpectrumAutoencoder(AutoencoderConfig(**SMALL)).eval()
    features = torch.randn(2, 23, 57)
    torch.testing.assert_close(model(features), model(features[:, :20, :56]))


@pytest.mark.parametrize("wrong", [{"channels": ()}, {"latent": 0}, {"noise": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        AutoencoderConfig(**wrong)
