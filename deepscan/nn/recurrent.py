"""Recurrent layers over clips of unequal length, whose padding changes nothing.

A clip is padded at its end: the mask is True for its first moments and False for the rest. Packed
sequences would do, but they sort by length and do not export; plain indexing does the same.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["lstm", "gru"]

CELLS: dict[Cell, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def repeat_real(x_BTX: Tensor, mask_BT: Tensor) -> Tensor:
    """Return ``x_BTX`` with real moments, from the first on, in the place of padding.

    Statistics over a batch (batch normalisation) then describe real moments only.

    Args:
        x_BTX: Any dtype, [B, T, ...].
        mask_BT: True for real moments, at least the first of each row.
    """
    index_BT = _numbers(mask_BT) % mask_BT.sum(1, keepdim=True)
    return x_BTX[torch.arange(x_BTX.shape[0], device=x_BTX.device)[:, None], index_BT]


def reverse_real(x_BTF: Tensor, mask_BT: Tensor) -> Tensor:
    """Return ``x_BTF`` with the real moments of each row in reverse; padding stays where it is."""
    number_BT = _numbers(mask_BT)
    index_BT = torch.where(mask_BT, mask_BT.sum(1, keepdim=True) - 1 - number_BT, number_BT)
    return x_BTF.gather(1, index_BT[..., None].expand_as(x_BTF))


def _numbers(mask_BT: Tensor) -> Tensor:
    return torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)


class RecurrentLayer(nn.Module):
    """One LSTM or GRU layer: float [B, T, ``features``] -> float [B, T, ``width``].

    States are normalised (Ba, Kiros and Hinton, 2016): those of fresh cells are small, and a few layers of
    them would fade what tells two clips apart.
    """

    def __init__(self, features: int, units: int, cell: Cell, bidirectional: bool) -> None:
        """Create a cell of so many ``units``, and one that reads backwards if ``bidirectional``."""
        super().__init__()
        self.ahead = CELLS[cell](features, units, batch_first=True)
        self.back = CELLS[cell](features, units, batch_first=True) if bidirectional else None
        self.width = 2 * units if bidirectional else units
        self.norm = nn.LayerNorm(self.width)

    def forward(self, x_BTF: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the states at each moment, those ahead before those from behind; 0 for padding."""
        states_BTF = self.ahead(x_BTF)[0]
        if self.back is not None:
            behind_BTF = self.back(reverse_real(x_BTF, mask_BT))[0]
            states_BTF = torch.cat([states_BTF, reverse_real(behind_BTF, mask_BT)], 2)
        normal_BTF: Tensor = self.norm(states_BTF)
        return normal_BTF.masked_fill(~mask_BT[..., None], 0.0)


class Recurrent(nn.Module):
    """Recurrent layers of ``units``, with dropout between them.

    Attributes:
        width: Features of each moment that come out.
    """

    def __init__(
        self, features: int, units: tuple[int, ...], cell: Cell, bidirectional: bool, dropout: float
    ) -> None:
        """Create the layers over ``features`` features a moment."""
        super().__init__()
        ways = 2 if bidirectional else 1
        sizes = (features, *(ways * count for count in units))
        self.layers = nn.ModuleList(
            RecurrentLayer(before, after // ways, cell, bidirectional) for before, after in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)
        self.width = sizes[-1]

    def forward(self, x_BTF: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the states of the last layer, float [B, T, ``width``], 0 for padding.

        Args:
            x_BTF: Features of each moment.
            mask_BT: True for the first moments of each row, which are real, False for its padding.
        """
        for number, layer in enumerate(self.layers):
            x_BTF = layer(x_BTF if number == 0 else self.dropout(x_BTF), mask_BT)
        return x_BTF
