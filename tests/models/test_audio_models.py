"""What is special about the networks of sound; what all models promise is in tests/contract."""

import numpy as np
import pytest
import torch

from deepscan.config import override
from deepscan.errors import ConfigError
from deepscan.models.audio_recurrent import CnnGruConfig, GruConfig, build_cnn_gru
from deepscan.models.catalog import load_builtin
from deepscan.models.lcnn import LcnnConfig, LightCnn, MaxFeatureMap
from deepscan.models.sinc import Block, SincConfig
from deepscan.models.spectrogram import SpectrogramConfig
from deepscan.nn.specaugment import SpecAugment

MODELS = {
    "gru-attention": (60, 401),
    "gru-light": (60, 401),
    "cnn-gru": (60, 401),
    "lfcc-lcnn": (60, 401),
    "sinc-resnet": (64_000,),
    "spectrogram-cnn": (257, 401),
}
"""Every network of this file with the shape of what it reads of four seconds."""

MOST_PARAMETERS = {"gru-light": 50_000, "lfcc-lcnn": 150_000, "sinc-resnet": 300_000}


def build(name, *assignments):
    torch.manual_seed(0)
    spec = load_builtin().get(name)
    return spec.build(override(spec.config(), assignments)).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 4


def outputs_of(module, sound):
    with torch.no_grad():
        return module(sound)


def slices_of(module, sound):
    """Return the features of each moment, float [M, F]."""
    kept = []
    hook = module.slices.register_forward_hook(lambda _module, _inputs, output: kept.append(output[0]))
    outputs_of(module, sound)
    hook.remove()
    return kept[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_logit_is_the_weighted_sum_of_those_of_half_seconds(name):
    output = outputs_of(build(name), noise(2, *MODELS[name]))
    assert output["moment_logit"].shape == output["attention"].shape == (2, 8)
    torch.testing.assert_close(output["attention"].sum(1), torch.ones(2))
    torch.testing.assert_close((output["attention"] * output["moment_logit"]).sum(1), output["logit"])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("second", [0, 2, 3])
def test_a_moment_speaks_of_its_own_time(name, second):
    """Of eight moments in four seconds, the two that change most are those of the second that is replaced."""
    module, sound = build(name), noise(1, *MODELS[name])
    length = sound.shape[-1] // 4
    part = slice(second * length, (second + 1) * length)
    changed = sound.clone()
    changed[..., part] = noise(*changed[..., part].shape, seed=5)
    change_M = (slices_of(module, changed) - slices_of(module, sound)).norm(dim=1)
    assert set(change_M.topk(2).indices.tolist()) == {2 * second, 2 * second + 1}


@pytest.mark.parametrize("name", MODELS)
def test_windows_of_other_lengths_and_numbers_of_moments_are_read(name):
    *rows, frames = MODELS[name]
    output = outputs_of(build(name, "moments=3"), noise(2, *rows, frames // 2 + 3))
    assert output["moment_logit"].shape == (2, 3)


@pytest.mark.parametrize("name", MODELS)
def test_windows_too_short_for_their_moments_are_refused_by_the_setting(name):
    *rows, frames = MODELS[name]
    with pytest.raises(ConfigError, match=r"model\.moments="):
        build(name, "moments=50")(noise(1, *rows, frames // 10))


@pytest.mark.parametrize("name", ["lfcc-lcnn", "spectrogram-cnn"])
def test_windows_too_short_for_their_layers_are_refused_by_the_setting(name):
    rows, _ = MODELS[name]
    module = build(name, "moments=1")
    with pytest.raises(ConfigError, match=rf"{rows} rows of 15 frames.*4 times.*prep\.window_s"):
        module(noise(1, rows, 15))
    assert outputs_of(module, noise(1, rows, 16))["logit"].isfinite().all()


@pytest.mark.parametrize("name", MOST_PARAMETERS)
def test_small_models_are_small(name):
    assert sum(p.numel() for p in build(name).parameters()) <= MOST_PARAMETERS[name]


@pytest.mark.parametrize("name", ["gru-attention", "gru-light", "cnn-gru", "lfcc-lcnn"])
def test_other_front_ends_work_once_the_rows_are_set(name):
    features = noise(1, 90, 401)
    with pytest.raises(ConfigError, match=r"model\.rows=90"):
        build(name)(features)
    assert outputs_of(build(name, "rows=90"), features)["logit"].shape == (1,)


@pytest.mark.parametrize("rows", [40, 257])
def test_the_spectrogram_network_reads_any_number_of_rows(rows):
    assert outputs_of(build("spectrogram-cnn"), noise(1, rows, 401))["logit"].shape == (1,)


def test_the_spectrogram_network_tells_high_from_low():
    """A network that pools all rows without knowing their height would see the same far from the edges."""
    low, high = torch.zeros(2, 1, 256, 400)
    low[0, 64:80] = high[0, 160:176] = noise(16, 400) * 8
    module = build("spectrogram-cnn")
    low_MF, high_MF = slices_of(module, low), slices_of(module, high)
    assert (high_MF - low_MF).norm() > 0.02 * low_MF.norm()


@pytest.mark.parametrize("name", MODELS)
def test_masks_change_the_logit_in_training_only(name):
    module = build(name, "dropout=0", "masks.rows=0.5", "masks.frames=0.5")
    sound = noise(2, *MODELS[name])
    mask = next(part for part in module.modules() if isinstance(part, SpecAugment))
    plain = outputs_of(module, sound)["logit"]
    mask.train()
    assert not torch.equal(outputs_of(module, sound)["logit"], plain)
    mask.eval()
    assert torch.equal(outputs_of(module, sound)["logit"], plain)


def test_the_larger_of_two_halves_of_the_channels_remains():
    x_BCHW = torch.tensor([1.0, -4.0, 0.5, 3.0]).view(1, 4, 1, 1)
    assert MaxFeatureMap()(x_BCHW).flatten().tolist() == [1.0, 3.0]


def test_max_feature_maps_are_those_of_numpy():
    x_BCT = noise(2, 6, 5)
    expected = np.maximum(x_BCT[:, :3].numpy(), x_BCT[:, 3:].numpy())
    np.testing.assert_array_equal(MaxFeatureMap()(x_BCT).numpy(), expected)


def test_the_light_network_halves_rows_and_frames_at_each_stage():
    module = LightCnn(LcnnConfig(channels=(4, 6, 8)))
    assert module.stages(noise(1, 1, 60, 401)).shape == (1, 8, 60 // 8, 401 // 8)


def test_a_residual_block_keeps_every_third_frame_and_weighs_channels_between_one_and_two():
    torch.manual_seed(0)
    block = Block(4, 4).eval()
    x_BCT = noise(2, 4, 20)
    expected = block.pool(block.layers(x_BCT) + x_BCT)
    factor = (block(x_BCT) / expected).detach()
    assert factor.shape == (2, 4, 6)
    torch.testing.assert_close(factor, factor[:, :, :1].expand(2, 4, 6))
    assert 1 < factor.min() < factor.max() < 2


def test_the_polarity_of_a_wave_does_not_matter():
    """Microphones differ in it, so nothing may be learnt from it; magnitudes do not know it."""
    module, wave = build("sinc-resnet"), noise(2, 64_000)
    torch.testing.assert_close(outputs_of(module, -wave), outputs_of(module, wave), atol=1e-5, rtol=1e-4)


def test_a_network_with_one_direction_does_not_hear_the_future():
    module = build("gru-light")
    sound = noise(1, 60, 401)
    changed = sound.clone()
    changed[..., 240:] = 0
    before, after = (outputs_of(module, each)["moment_logit"][0] for each in (sound, changed))
    torch.testing.assert_close(before[:4], after[:4])
    assert (before[5:] - after[5:]).abs().min() > 0


@pytest.mark.parametrize("count", [1, 4])
def test_each_convolution_over_time_halves_the_frames(count):
    module = build_cnn_gru(CnnGruConfig(channels=(8,) * count))
    assert module.front(noise(2, 60, 400)).shape == (2, 400 // 2**count, 8)


@pytest.mark.parametrize(
    ("config", "assignment"),
    [
        (GruConfig, "stack=0"),
        (GruConfig, "hidden=0"),
        (GruConfig, "layers=0"),
        (GruConfig, "rows=0"),
        (GruConfig, "dropout=1"),
        (CnnGruConfig, "channels=[]"),
        (CnnGruConfig, "channels=[8, 0]"),
        (CnnGruConfig, "moments=0"),
        (LcnnConfig, "channels=[]"),
        (LcnnConfig, "moments=0"),
        (LcnnConfig, "rows=15"),
        (SincConfig, "bands=0"),
        (SincConfig, "taps=128"),
        (SincConfig, "taps=1"),
        (SincConfig, "channels=[0]"),
        (SincConfig, "moments=0"),
        (SpectrogramConfig, "channels=[]"),
        (SpectrogramConfig, "moments=0"),
        (SpectrogramConfig, "masks.rows=2"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(config, assignment):
    name = assignment.split("=")[0].rpartition(".")[2]
    with pytest.raises(ConfigError, match=name):
        override(config(), [assignment])
