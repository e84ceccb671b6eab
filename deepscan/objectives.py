"""What a training step minimises: ``(model, batch) -> losses``."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.errors import TrainingError
from deepscan.modalities import ALPHA, ALPHA_KNOWN
from deepscan.recipe import Loss

DIVERGENCE = 1e-5
"""Weight of the divergence of a variational bottleneck beside the mean squared error of one value."""

Objective = Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]]
"""``(model, batch) -> results``. The batch holds the model's input columns and ``label``, float32 [B],
1 = fake. The results hold at least ``loss``, a scalar to differentiate."""


def classification(inputs: tuple[str, ...], loss: Loss, counts: tuple[int, int]) -> Objective:
    """Return the objective of telling fake from real.

    Its results are ``loss``, the mean over the batch, and ``logit``, float32 [B], detached. Where the
    model returns ``member_logits`` [B, M], each member has to classify by itself: the loss is their mean.
    Where it returns ``mask_logit`` [B, h, w] and the batch has ``alpha`` and ``alpha_known``, columns that
    pseudo-fakes bring, ``boundary_loss`` is added.

    Args:
        inputs: Columns of the batch that the model takes as keyword arguments.
        loss: Which loss, and the weight of the other.
        counts: Real and fake examples of the training split, for balanced class weights.

    Raises:
        TrainingError: Balanced weights are asked for and a class has no example.
    """
    weight_real, weight_fake = _class_weights(loss, counts)

    def objective(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        output: dict[str, Tensor] = model(**{name: batch[name] for name in inputs})
        logit_B = output["logit"]
        logit_BM = output.get("member_logits", logit_B[:, None])
        label_B = batch["label"]
        weight_B = torch.where(label_B > 0.5, weight_fake, weight_real)
        loss_BM = fake_loss(logit_BM, label_B[:, None], loss)
        total = (weight_B * loss_BM.mean(1)).mean()
        if "mask_logit" in output and ALPHA in batch:
            told = boundary_loss(output["mask_logit"], batch[ALPHA], batch[ALPHA_KNOWN])
            total = total + loss.mask_weight * told
        return {"loss": total, "logit": logit_B.detach()}

    return objective


def reconstruction(inputs: tuple[str, ...], loss: Loss, counts: tuple[int, int]) -> Objective:
    """Return the objective of reproducing real media, and of failing on fakes where there are any.

    The model returns ``error`` [B], ``divergence`` [B] in nats and, beside them, ``logit`` [B]. The loss is
    the mean error of the real examples and a small share of their divergence; examples of fakes add the
    classification loss of all, so that their error has to lie above that of the real ones. The model notes
    the errors of real examples, from which its logit is reckoned. Results as for ``classification``.
    """
    weight_real, weight_fake = _class_weights(loss, counts)

    def objective(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        output: dict[str, Tensor] = model(**{name: batch[name] for name in inputs})
        label_B = batch["label"]
        real_B, fakes = label_B < 0.5, bool((label_B > 0.5).any())
        share = real_B.float() / real_B.sum().clamp_min(1)
        total = (share * (output["error"] + DIVERGENCE * output["divergence"])).sum()
        if fakes:
            weight_B = torch.where(real_B, weight_real, weight_fake)
            total = total + (weight_B * fake_loss(output["logit"], label_B, loss)).mean()
        if real_B.any():
            network: Any = getattr(model, "module", model)  # DistributedDataParallel wraps it
            network.note(output["error"].detach()[real_B])
        return {"loss": total, "logit": output["logit"].detach()}

    return objective


def synchrony(inputs: tuple[str, ...], loss: Loss, counts: tuple[int, int]) -> Objective:
    """Return the objective of telling a mouth's own sound from any other; every example counts as real.

    The model is asked with ``contrast=True`` for ``match`` [B, T, C], how well the mouth at each of T
    moments fits C sounds, of which the one in column ``own`` is its own and the others are the same clip's
    at other times and other clips' at the same time; for ``share`` [B, T], what each moment counts in
    its clip; and for ``logit`` [B] and ``parted_logit`` [B, P], what it says of a mouth with its own and
    with other sound. The loss is the cross-entropy of the matches (InfoNCE; van den Oord, Li and Vinyals,
    2018) plus the classification loss of the logits, both kinds of which weigh alike.

    Its results are ``loss``, the mean over the batch, and ``logit``, float32 [B], detached.

    Args:
        inputs: Columns of the batch that the model takes as keyword arguments.
        loss: The loss of the logits; the class weights do not matter.
        counts: Real and fake examples of the training split; they do not matter either.
    """

    def objective(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        output: dict[str, Tensor] = model(**{name: batch[name] for name in inputs}, contrast=True)
        logit_B, parted_BP = output["logit"], output["parted_logit"]
        surprise_BT = -output["match"].log_softmax(2)[:, :, output["own"]]
        contrast_B = (output["share"] * surprise_BT).sum(1)
        own_B = fake_loss(logit_B, torch.zeros_like(logit_B), loss)
        parted_B = fake_loss(parted_BP, torch.ones_like(parted_BP), loss).mean(1)
        return {"loss": (contrast_B + (own_B + parted_B) / 2).mean(), "logit": logit_B.detach()}

    return objective


def fake_loss(logit_B: Tensor, label_B: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each example, float32 [B], at least 0, finite for any finite logit.

    With P = P(fake) and target t: ``-t (1-P)^g log P - (1-t) P^g log(1-P)``, that is binary
    cross-entropy for g = 0 and the focal loss without its class factor (Lin et al., ICCV 2017, eq. 4)
    for g > 0. All powers and logarithms are taken through softplus, so that none of them meets a
    probability rounded to 0 or 1.

    Args:
        logit_B: Float [B], > 0 for fake.
        label_B: Float [B], 1 = fake, 0 = real.
        loss: Name, exponent and label smoothing; the class weights are left to the objective.
    """
    gamma = loss.gamma if loss.name == "focal" else 0.0
    target_B = label_B * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    surprise_fake_B = functional.softplus(-logit_B)
    surprise_real_B = functional.softplus(logit_B)
    of_fake_B = target_B * torch.exp(-gamma * surprise_real_B) * surprise_fake_B
    of_real_B = (1 - target_B) * torch.exp(-gamma * surprise_fake_B) * surprise_real_B
    return of_fake_B + of_real_B


def boundary_loss(mask_logit_Bhw: Tensor, alpha_BHW: Tensor, known_B: Tensor) -> Tensor:
    """Return how badly a model tells where two pictures were blended, a scalar of at least 0.

    The target of a cell is ``4 m (1 - m)``, where m in [0, 1] is the mean share of the other picture in it:
    1 where both are as strong, 0 where there is only one (Li et al., "Face X-ray", CVPR 2020, equation 2).
    The loss is the binary cross-entropy with it, averaged over the cells of the examples that are known.

    Args:
        mask_logit_Bhw: Float [B, h, w], the cells of an even grid over the picture.
        alpha_BHW: uint8 [B, H, W], 255 times the share of the other picture.
        known_B: Float [B], 0 where nobody knows what was altered, else 1.
    """
    rows, columns = mask_logit_Bhw.shape[1:]
    share_Bhw = functional.adaptive_avg_pool2d(alpha_BHW.float() / 255, (rows, columns))
    target_Bhw = 4 * share_Bhw * (1 - share_Bhw)
    loss_Bhw = functional.binary_cross_entropy_with_logits(mask_logit_Bhw, target_Bhw, reduction="none")
    loss_B = loss_Bhw.mean((1, 2))
    return (known_B * loss_B).sum() / known_B.sum().clamp_min(1)


def _class_weights(loss: Loss, counts: tuple[int, int]) -> tuple[float, float]:
    if loss.class_weights == "none":
        return 1.0, 1.0
    real, fake = counts
    if min(real, fake) < 1:
        msg = (
            f"Balanced class weights need examples of both classes; the training split has {real} real"
            f" and {fake} fake. Add the missing class, or set loss.class_weights=none."
        )
        raise TrainingError(msg)
    # Each class gets half of the weight, and the mean weight over the split is 1.
    return (real + fake) / (2 * real), (real + fake) / (2 * fake)
