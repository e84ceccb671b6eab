"""Histograms of DCT coefficients at every place of the grid of JPEG.

These are the DCTR features of Holub and Fridrich (IEEE Trans. Information Forensics and Security, 2015), with
more bins and in square roots.

JPEG rounds the coefficients of squares of 8 by 8 pixels. Squares that lie otherwise overlap four of these,
and what their coefficients look like depends on how they lie: on the noise and the detail that a picture had
before it was stored, which a camera and a generator leave differently.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 8
COEFFICIENTS = BLOCK**2
PLACES = (BLOCK // 2 + 1) ** 2
"""Places in the grid that a mirrored picture does not exchange."""

EDGES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 28.0)
"""Between the bins of a histogram, grey levels."""

LENGTH = COEFFICIENTS * PLACES * (len(EDGES) + 1)

_LUMA = (77.0, 150.0, 29.0)
_SCALE = 2.0**13
"""Weights are rounded to multiples of 1/8192, which keeps every sum of theirs exact in float32: counts do not
depend on the order in which a runtime adds up."""


class PhaseHistograms(nn.Module):
    """Square roots of histograms, uint8 [B, H, W, 3] to float32 [B, 19200] in [0, 1].

    Of the magnitude of each of the 64 coefficients of the luma, at each of 25 places in the grid, in twelve
    bins. Sides are at least 15 px; nothing is to be trained.

    Attributes:
        kernels: float32 [64, 1, 8, 8], the orthonormal DCT times 8192.
        fold: float32 [5, 8], which averages places that a mirrored picture exchanges.
    """

    kernels: Tensor
    fold: Tensor

    def __init__(self) -> None:
        """Create the filters."""
        super().__init__()
        place = torch.arange(BLOCK)
        basis = (math.pi * place[:, None] * (2 * place[None] + 1) / (2 * BLOCK)).double().cos() / 2
        basis[0] = BLOCK**-0.5
        kernels = torch.einsum("ki,lj->klij", basis, basis).flatten(0, 1)[:, None]
        self.register_buffer("kernels", (kernels * _SCALE).round().float())
        fold = torch.zeros(BLOCK // 2 + 1, BLOCK)
        fold[torch.minimum(place, BLOCK - place), place] = 1
        self.register_buffer("fold", fold / fold.sum(1, keepdim=True))

    @torch.no_grad()
    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """Return the measurements; coefficients, then places, then bins."""
        with torch.autocast(pixels_BHWC.device.type, enabled=False):
            luma = torch.tensor(_LUMA, device=pixels_BHWC.device)
            luma_BHW = ((pixels_BHWC.float() * luma).sum(3) / 256 + 0.5).floor() - 128
            size_BKHW = functional.conv2d(luma_BHW[:, None], self.kernels).abs_()
            return self._counted(size_BKHW).clamp(min=0).sqrt().flatten(1)

    def _counted(self, size_BKHW: Tensor) -> Tensor:
        """Return the share of each bin at each place, float [B, 64, 5, 5, 12]."""
        rows, columns = (side // BLOCK for side in size_BKHW.shape[2:])
        # To move memory is what takes time, and bytes, in halves of a grey level, are a quarter of it.
        code_BKHW = size_BKHW.mul_(2 / _SCALE).clamp_(max=2 * EDGES[-1]).to(torch.uint8)
        code_BKHW = code_BKHW[:, :, : rows * BLOCK, : columns * BLOCK]
        by_place = code_BKHW.reshape(-1, COEFFICIENTS, rows, BLOCK, columns, BLOCK)
        code_BKRCN = by_place.permute(0, 1, 3, 5, 2, 4).flatten(4).contiguous()
        beyond = [(code_BKRCN >= int(2 * edge)).sum(4, dtype=torch.float32) for edge in EDGES]
        beyond_BKPQE = torch.einsum("pr,bkrce,qc->bkpqe", self.fold, torch.stack(beyond, 4), self.fold)
        beyond_BKPQE = beyond_BKPQE / (rows * columns)
        return functional.pad(beyond_BKPQE, (1, 0), value=1.0) - functional.pad(beyond_BKPQE, (0, 1))
