"""From features over time to one logit, with what each moment says by itself."""

import torch
from torch import Tensor, nn

from deepscan.nn.heads import Head


class Moments(nn.Module):
    """Scores every moment by itself and averages the scores by learnt attention.

    The logit is a weighted sum of the logits of moments (attention-based multiple-instance learning,
    Ilse et al., ICML 2018, with scores in the place of features), so what it is made of can be shown.

    Attributes:
        attention: float [B, T, F] -> float [B, T, 1], unnormalised.
        head: float [N, F] -> float32 [N].
    """

    def __init__(self, features: int, widths: tuple[int, ...], dropout: float, attention: int = 64) -> None:
        """Create the head over ``features`` features a moment; ``attention`` hidden units weigh them."""
        super().__init__()
        self.attention = nn.Sequential(
            nn.Linear(features, attention), nn.Tanh(), nn.Linear(attention, 1, bias=False)
        )
        self.head = Head(features, widths, dropout)

    def forward(self, x_BTF: Tensor, mask_BT: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``logit`` [B], ``moment_logit`` [B, T] and ``attention`` [B, T], all float32.

        Args:
            x_BTF: Features of each moment.
            mask_BT: True for moments that are real; None = all. Each row needs at least one.
        """
        energy_BT = self.attention(x_BTF)[..., 0].float()
        if mask_BT is not None:
            energy_BT = energy_BT.masked_fill(~mask_BT, torch.finfo(torch.float32).min)
        weight_BT = energy_BT.softmax(1)
        moment_logit_BT = self.head(x_BTF.flatten(0, 1)).unflatten(0, x_BTF.shape[:2])
        if mask_BT is not None:
            moment_logit_BT = moment_logit_BT.masked_fill(~mask_BT, 0.0)
        logit_B = (weight_BT * moment_logit_BT).sum(1)
        return {"logit": logit_B, "moment_logit": moment_logit_BT, "attention": weight_BT}
