"""Networks of clips: what they see of frames, padding and order, and that they learn on a CPU."""

import dataclasses

import pytest
import torch

from deepscan.config import override
from deepscan.errors import AssetError, ConfigError
from deepscan.models import MODELS
from deepscan.models.catalog import load_builtin
from deepscan.models.clip_statistics import ClipStatisticsConfig, changes
from deepscan.models.efficientnet import B0
from deepscan.models.hybrid import SCALES, HybridConfig, HybridNet
from deepscan.models.recurrent import PUBLIC, RecurrentConfig, RecurrentNet, ResidualGru, fill_trunk
from deepscan.models.statistics import steady_norm
from deepscan.nn.recurrent import RecurrentLayer
from deepscan.nn.trunks import feature_maps

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.uint8)


def noise(count=2, frames=4, side_px=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, frames, side_px, side_px, 3), generator=generator, dtype=torch.uint8)


def built(config=None, network=RecurrentNet):
    torch.manual_seed(0)
    return network(config or ResidualGru(dropout=0.0)).eval()


@pytest.mark.parametrize(
    ("name", "trunk", "cell", "bidirectional", "units"),
    [
        ("efficientnet-b0-bilstm", "efficientnet-b0", "lstm", True, (256,)),
        ("efficientnet-b0-bigru", "efficientnet-b0", "gru", True, (256,)),
        ("mobilenet-v2-lstm", "mobilenet-v2", "lstm", False, (128,)),
        ("mobilenet-v2-gru", "mobilenet-v2", "gru", False, (128,)),
        ("resnet-50-bilstm", "resnet-50", "lstm", True, (256,)),
        ("resnet-50-bigru", "resnet-50", "gru", True, (256,)),
        ("recurrent-256-128-64", "efficientnet-b0", "lstm", False, (256, 128, 64)),
        ("residual-gru", "residual", "gru", False, (64,)),
    ],
)
def test_a_name_is_a_point_in_the_space_of_settings(name, trunk, cell, bidirectional, units):
    config = load_builtin().get(name).config()
    assert (config.trunk, config.cell, config.bidirectional, config.units) == (
        trunk, cell, bidirectional, units,
    )  # fmt: skip


def test_names_with_underscores_are_understood():
    assert load_builtin().get("efficientnet_b0_bilstm") is MODELS.get("efficientnet-b0-bilstm")


def test_trunk_and_cell_are_settings():
    model = built(override(ResidualGru(), ["cell=lstm", "bidirectional=true", "units=[8, 4]"]))
    layers = [part for part in model.modules() if isinstance(part, RecurrentLayer)]
    assert [layer.width for layer in layers] == [16, 8]
    assert all(isinstance(layer.back, torch.nn.LSTM) for layer in layers)
    with pytest.raises(ConfigError, match="trunk"):
        override(RecurrentConfig(), ["trunk=vgg"])


@pytest.mark.parametrize("config", [ResidualGru(dropout=0.0), ResidualGru(dropout=0.0, bidirectional=True)])
def test_a_padded_clip_is_judged_as_the_clip_alone(config):
    model, frames = built(config), noise()
    padded, alone = model(frames, MASK), model(frames[1:, :2], MASK[1:, :2])
    torch.testing.assert_close(padded["logit"][1:], alone["logit"])
    torch.testing.assert_close(padded["attention"][1:, :2], alone["attention"])


def test_padding_does_not_reach_batch_norms_in_training():
    frames, black = noise(), noise()
    black[1, 2:] = 0
    model = built().train()
    torch.testing.assert_close(model(black, MASK), model(frames, MASK), rtol=0, atol=0)


@pytest.mark.parametrize("public", PUBLIC)
def test_the_scales_of_the_hybrid_are_an_eighth_to_a_32nd_of_the_picture(public):
    scales = SCALES[public]
    maps = feature_maps(PUBLIC[public].build().eval(), torch.randn(1, 3, 64, 64), tuple(scales))
    assert [tuple(x.shape[1:]) for x in maps.values()] == [
        (channels, side, side) for channels, side in zip(scales.values(), (8, 4, 2), strict=True)
    ]


def test_every_scale_of_the_hybrid_counts():
    model, frames = built(HybridConfig(), HybridNet), noise()
    with torch.no_grad():
        whole = model(frames, MASK)["logit"]
        for scale in model.scales.values():
            shift, scale.norm.bias.data = scale.norm.bias.data, scale.norm.bias.data + torch.randn(128)
            assert (model(frames, MASK)["logit"] - whole).abs().max() > 1e-5
            scale.norm.bias.data = shift


def test_public_weights_go_to_the_trunk_that_was_chosen(monkeypatch):
    filled = []
    monkeypatch.setattr(type(B0), "fill", lambda public, model: filled.append((public, model)))
    model = built(RecurrentConfig(trunk="mobilenet-v2"))
    fill_trunk(model)
    assert filled == [(PUBLIC["mobilenet-v2"], model)]


def test_our_own_trunk_has_no_public_weights():
    with pytest.raises(AssetError, match=r"set model\.trunk to one of efficientnet-b0"):
        fill_trunk(built())


@pytest.mark.parametrize("wrong", [{"width": 0}, {"attention_ratio": 0}])
def test_wrong_settings_of_the_hybrid_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HybridConfig(**wrong)


def test_crops_too_small_for_their_statistics_are_refused_by_the_setting():
    spec = load_builtin().get("clip-statistics")
    model = spec.build(spec.config()).eval()
    with pytest.raises(ConfigError, match=r"prep\.size_px=64"):
        model(noise(side_px=6), MASK)
    assert model(torch.zeros(2, 4, 64, 64, 3, dtype=torch.uint8), MASK)["logit"].isfinite().all()


def test_change_is_the_mean_distance_from_the_real_moments_beside():
    x_BTF = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 4, 1)
    mask_BT = torch.tensor([[True, True, True, True], [True, True, True, False], [True, False, False, False]])
    found = changes(x_BTF.expand(3, 4, 1), mask_BT)[..., 0]
    assert found.tolist() == [[1, 2, 4, 5], [1, 2, 3, 0], [0, 0, 0, 0]]


def test_a_still_clip_gives_the_same_logit_whatever_it_shows():
    spec = load_builtin().get("clip-statistics")
    model = spec.build(spec.config()).eval()
    still = noise(side_px=24)[:, :1].expand(-1, 4, -1, -1, -1)
    with torch.no_grad():
        first, second = model(still, MASK)["logit"]
        moving = model(noise(side_px=24), MASK)["logit"][0]
    assert first == second != moving


def test_a_share_of_dropped_measurements_is_checked():
    with pytest.raises(ConfigError, match="dropout"):
        ClipStatisticsConfig(dropout=1.0)


def test_measurements_are_normalised_by_what_was_seen_from_the_first_batch_on():
    torch.manual_seed(0)
    norm = steady_norm(3).train()
    for _ in range(4):
        norm(1e-3 * torch.randn(500, 3) + 7)
    assert norm.eval()(1e-3 * torch.randn(500, 3) + 7).std(0) == pytest.approx([1, 1, 1], abs=0.15)


def flickering(count, seed):
    """Grey noise whose grain is steady in real clips and comes and goes in fakes; pooled it is alike."""
    generator = torch.Generator().manual_seed(seed)
    label_B = (torch.arange(count) % 2).float()
    grain = torch.rand((count, 4, 1, 1, 1), generator=generator) * 4 + 6
    swing_T = torch.tensor([0.4, 1.6, 0.4, 1.6]).view(1, 4, 1, 1, 1)
    strength = torch.where(label_B.view(-1, 1, 1, 1, 1) > 0, grain * swing_T, grain)
    values = 128 + strength * torch.randn((count, 4, 24, 24, 3), generator=generator)
    return values.clamp(0, 255).to(torch.uint8), torch.ones(count, 4, dtype=torch.uint8), label_B


def test_the_small_network_learns_a_change_over_time_within_seconds():
    torch.manual_seed(0)
    model = RecurrentNet(dataclasses.replace(ResidualGru(), dropout=0.0)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(40):
        frames, mask, label_B = flickering(16, seed=step)
        logit_B = model(frames, mask)["logit"]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit_B, label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    frames, mask, label_B = flickering(64, seed=1000)
    with torch.no_grad():
        logit_B = model.eval()(frames, mask)["logit"]
    assert ((logit_B > 0).float() == label_B).float().mean() > 0.9
