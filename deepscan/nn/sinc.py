"""Band-pass filters whose edges are learnt (SincNet: Ravanelli and Bengio, SLT 2018)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST_KHZ = 0.05
"""Lower edge of the lowest fresh band; voices have nothing below it."""

MIN_LOW_KHZ = 0.03
MIN_WIDTH_KHZ = 0.01


class SincFilters(nn.Module):
    """Splits sound float [B, N] into frequency bands, float [B, bands, about N / stride].

    A filter is the difference of two ideal low passes, cut to ``taps`` samples by a Hamming window
    (eq. 4 to 6); it has two parameters, so what it passes can be read off. Fresh bands lie side by side,
    equally wide in mel (HTK), and cover everything from 50 Hz to 10 Hz below half of the rate;
    at the very limits an edge would get no gradient.

    Edges are kept in kHz: a step of 0.001, usual for learning rates, then moves an edge by 1 Hz.

    Attributes:
        low_khz: Lower edges above ``MIN_LOW_KHZ``, as learnt, float [bands].
        width_khz: Widths above ``MIN_WIDTH_KHZ``, as learnt, float [bands].
        time_ms: Times of the taps around the middle, float [taps].
        window: float [taps].
    """

    time_ms: Tensor
    window: Tensor

    def __init__(self, bands: int, taps: int, stride: int, rate_hz: int) -> None:
        """Create ``bands`` filters of an odd number of ``taps``, for sound at ``rate_hz``."""
        super().__init__()
        self.stride = stride
        self.top_khz = rate_hz / 2000
        edges_khz = _mel_edges(bands, self.top_khz - MIN_WIDTH_KHZ)
        self.low_khz = nn.Parameter(edges_khz[:-1] - MIN_LOW_KHZ)
        self.width_khz = nn.Parameter((edges_khz.diff() - MIN_WIDTH_KHZ).clamp(min=1e-3))
        place = torch.arange(taps) - (taps - 1) / 2
        self.register_buffer("time_ms", place / (rate_hz / 1000))
        self.register_buffer("window", torch.hamming_window(taps, periodic=False))

    def edges_khz(self) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper edge of each band, in order and within the spectrum."""
        low_F = (MIN_LOW_KHZ + self.low_khz.abs()).clamp(max=self.top_khz - MIN_WIDTH_KHZ)
        high_F = (low_F + MIN_WIDTH_KHZ + self.width_khz.abs()).clamp(max=self.top_khz)
        return low_F, high_F

    def kernels(self) -> Tensor:
        """Return the impulse responses, float [bands, 1, taps]; the gain within a band is 1."""
        low_F1, high_F1 = (edge_F[:, None] for edge_F in self.edges_khz())
        ideal_FK = _low_pass(high_F1, self.time_ms) - _low_pass(low_F1, self.time_ms)
        return (ideal_FK * self.window / (2 * self.top_khz))[:, None]

    def forward(self, wave_BN: Tensor) -> Tensor:
        """Return the bands."""
        padding = self.time_ms.numel() // 2
        return functional.conv1d(wave_BN[:, None], self.kernels(), stride=self.stride, padding=padding)


def _low_pass(edge_khz: Tensor, time_ms: Tensor) -> Tensor:
    return 2 * edge_khz * torch.sinc(2 * edge_khz * time_ms)


def _mel_edges(bands: int, last_khz: float) -> Tensor:
    first_mel, last_mel = 2595 * (1 + torch.tensor([FIRST_KHZ, last_khz]) / 0.7).log10()
    mel = first_mel + torch.linspace(0, 1, bands + 1) * (last_mel - first_mel)
    edges_khz: Tensor = 0.7 * (10 ** (mel / 2595) - 1)
    return edges_khz
