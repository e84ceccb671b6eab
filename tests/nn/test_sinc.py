import numpy as np
import pytest
import torch
from scipy.signal import firwin, freqz

from deepscan.nn.sinc import FIRST_KHZ, MIN_LOW_KHZ, MIN_WIDTH_KHZ, SincFilters

RATE_HZ = 16_000


def response(layer, number, at_hz):
    """Return the gain of one filter at some frequencies, as SciPy measures it."""
    kernel_K = layer.kernels()[number, 0].detach().double().numpy()
    return np.abs(freqz(kernel_K, worN=np.atleast_1d(at_hz), fs=RATE_HZ)[1])


def band(low_hz, high_hz, taps=513):
    layer = SincFilters(1, taps, 1, RATE_HZ)
    with torch.no_grad():
        layer.low_khz[0] = low_hz / 1000 - MIN_LOW_KHZ
        layer.width_khz[0] = (high_hz - low_hz) / 1000 - MIN_WIDTH_KHZ
    return layer


def test_a_band_passes_what_lies_between_its_edges_and_nothing_else():
    layer = band(1000, 2500)
    np.testing.assert_allclose(response(layer, 0, [1200, 1700, 2300]), 1, atol=0.01)
    np.testing.assert_allclose(response(layer, 0, [50, 800, 2700, 7000]), 0, atol=0.01)


def test_the_gain_at_the_edges_is_one_half():
    np.testing.assert_allclose(response(band(1000, 2500), 0, [1000, 2500]), 0.5, atol=0.01)


def test_a_filter_is_the_windowed_design_of_scipy():
    own = band(900, 3100, taps=129).kernels()[0, 0].detach().numpy()
    design = firwin(129, [900, 3100], pass_zero=False, fs=RATE_HZ, window="hamming", scale=False)
    np.testing.assert_allclose(own, design, atol=1e-6)


def test_fresh_bands_lie_side_by_side_over_the_whole_spectrum():
    low_F, high_F = (edge.detach() for edge in SincFilters(48, 129, 4, RATE_HZ).edges_khz())
    torch.testing.assert_close(high_F[:-1], low_F[1:])
    assert low_F[0].item() == pytest.approx(FIRST_KHZ)
    assert high_F[-1].item() == pytest.approx(RATE_HZ / 2000 - MIN_WIDTH_KHZ)


def test_fresh_bands_are_equally_wide_in_mel():
    low_F, high_F = (edge.detach().numpy() * 1000 for edge in SincFilters(24, 129, 4, RATE_HZ).edges_khz())
    width_mel = 2595 * (np.log10(1 + high_F / 700) - np.log10(1 + low_F / 700))
    np.testing.assert_allclose(width_mel, width_mel.mean(), rtol=1e-3)


def test_fresh_bands_together_pass_everything_with_gain_one():
    """Neighbours share an edge, so their sum is one filter from the first to the last edge."""
    total_K = SincFilters(48, 513, 1, RATE_HZ).kernels().sum((0, 1)).detach().numpy()
    gain = np.abs(freqz(total_K, worN=[300, 1000, 4000, 7500], fs=RATE_HZ)[1])
    np.testing.assert_allclose(gain, 1, atol=0.01)


def test_edges_stay_in_order_and_within_the_spectrum_whatever_is_learnt():
    layer = SincFilters(64, 9, 4, RATE_HZ)
    with torch.no_grad():
        layer.low_khz.normal_(0, 20, generator=torch.Generator().manual_seed(0))
        layer.width_khz.normal_(0, 20, generator=torch.Generator().manual_seed(1))
    low_F, high_F = layer.edges_khz()
    assert low_F.min() >= MIN_LOW_KHZ
    assert high_F.max() <= RATE_HZ / 2000
    assert (high_F - low_F).min() >= MIN_WIDTH_KHZ - 1e-6


def test_every_edge_of_a_fresh_filter_can_be_learnt():
    layer = SincFilters(48, 129, 4, RATE_HZ)
    wave_BN = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    layer(wave_BN).square().sum().backward()
    assert (layer.low_khz.grad != 0).all()
    assert (layer.width_khz.grad != 0).all()


def test_a_tone_comes_out_of_its_own_band():
    layer = SincFilters(16, 257, 4, RATE_HZ)
    wave_1N = torch.sin(2 * torch.pi * 3000 * torch.arange(8000) / RATE_HZ)[None]
    power_F = layer(wave_1N)[0].square().mean(1)
    low_F, high_F = layer.edges_khz()
    loudest = power_F.argmax()
    assert low_F[loudest] < 3 < high_F[loudest]


@pytest.mark.parametrize(("samples", "stride"), [(64_000, 4), (1001, 1), (1001, 3)])
def test_there_is_one_value_a_stride(samples, stride):
    assert SincFilters(5, 129, stride, RATE_HZ)(torch.zeros(2, samples)).shape == (
        2,
        5,
        -(-samples // stride),
    )
