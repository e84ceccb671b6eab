"""Pruning: weights or whole channels of a bundle go, the rest may be fine-tuned, and both are compared."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.seen import remember
from deepscan.detector import Detector, pick_device
from deepscan.errors import ConfigError, FormatError
from deepscan.evaluation import Judging, calibrate, predictions
from deepscan.formats import eager
from deepscan.formats.tracing import example_of
from deepscan.nn.structure import CHANNELS
from deepscan.onlooking import prep_reference
from deepscan.optimize.channels import shrink
from deepscan.optimize.figures import Figures, figures_of
from deepscan.optimize.finetune import fine_tune, require_splits, with_pseudo_fakes
from deepscan.optimize.held_out import Agreement, compare, sample_of
from deepscan.optimize.sibling import OPTIMIZED, load_first, require_free, size_bytes, write_sibling
from deepscan.robustness.validation import after_deliveries
from deepscan.watch import LogWatch, Watch

Method = Literal["l1", "global", "channels"]
PRUNED = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pruning:
    """What is taken out, and what is done then.

    Attributes:
        method: ``l1`` zeroes the weights of the least magnitude in each layer, ``global`` those of all layers
            together, ``channels`` takes out whole channels, so that tensors get smaller.
        amount: Share that goes, in (0, 1).
        epochs: Epochs of fine-tuning; 0 = none.
        max_auc_loss: By how much the AUC may fall; None = by anything.
        examples: Most Examples of the test split to compare on.
        judging: Device of fine-tuning, and the plug-in of the model.
    """

    method: Method = "channels"
    amount: float = 0.3
    epochs: int = 0
    max_auc_loss: float | None = None
    examples: int = 512
    judging: Judging = Judging()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        if not 0 < self.amount < 1:
            msg = f"The amount to prune is a share between 0 and 1, it cannot be {self.amount:g}."
            raise ConfigError(msg)
        if self.epochs < 0 or self.examples < 1:
            msg = f"Epochs begin at 0 and Examples at 1; given were {self.epochs} and {self.examples}."
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What pruning came to.

    Attributes:
        bundle: The new bundle.
        before: Figures of the first one.
        after: Those of the new one.
        agreement: How the two do on the test split.
    """

    bundle: Bundle
    before: Figures
    after: Figures
    agreement: Agreement


class Masked(nn.Module):
    """Keeps the weights at 0 where a mask is 0, whatever an optimiser does to them."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        """Take the mask, 1 where a weight stays."""
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights of which some are 0."""
        return weight * self.mask


def prune(path: pathlib.Path, data: DataSet, out: pathlib.Path, pruning: Pruning, watch: Watch) -> Pruned:
    """Write a bundle with fewer weights, or with fewer channels, and compare what the two say.

    The calibration stays, unless it was fine-tuned: then it is fitted anew on the validation split.

    Args:
        path: Bundle whose weights are those of PyTorch in float32.
        data: Data prepared as the bundle's are; the test split is compared on, fine-tuning takes the others.
        out: Folder of the new bundle; it must not be there, or be empty.
        pruning: What to take out.
        watch: Follows the work.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``out`` holds something.
        DataError: A split that is needed has no usable file.
        FormatError: Nothing can be taken out, or the AUC fell by too much; nothing is left in ``out``.
        TrainingError: Fine-tuning failed.
    """
    require_free(out)
    first, module = load_first(path)
    inputs, card = first.prep.inputs, first.bundle.card
    data = with_pseudo_fakes(first.bundle, data)
    if pruning.epochs:
        require_splits(data)
    sample = sample_of(data, "test", pruning.examples)
    before = figures_of(module, inputs, size_bytes(first.bundle))
    watch.stage(f"Pruning {pruning.amount:g} of {card.name} by {pruning.method}")
    steps = take_out(module, pruning, example_of(inputs))
    if pruning.epochs:
        watch.stage("Fine-tuning")
        device = torch.device(pick_device(pruning.judging.device))
        fine_tune(module, first.bundle, data, pruning.epochs, device, watch)
    settle(module)
    told: list[tuple[Figures, Agreement]] = []
    # Loaded anew, since ``module`` is the first detector's own.
    original = Detector.load(path, "cpu")

    def check(made: Bundle) -> None:
        watch.stage("Comparing both")
        if pruning.epochs:
            made = recalibrated(made, data, pruning.judging)
        seen = compare(original, Detector.load(made.path, "cpu"), sample)
        require_auc(seen, pruning.max_auc_loss)
        after = figures_of(module, inputs, size_bytes(made))
        told.append((after, seen))
        made.amend(metrics={OPTIMIZED: as_metrics(before, after, seen)})

    made = write_sibling(
        first.bundle,
        out,
        lambda folder: eager.write(module, folder, inputs),
        check,
        change={
            "step": "prune",
            "method": pruning.method,
            "amount": pruning.amount,
            "epochs": pruning.epochs,
        },
        structure=(*card.structure, *steps),
        metrics={},
    )
    return Pruned(bundle=Bundle.read(made.path), before=before, after=told[0][0], agreement=told[0][1])


def take_out(module: nn.Module, pruning: Pruning, inputs: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Take weights or channels out of a network, in place; return the changes of its structure.

    Weights that are 0 now stay so under training, until ``settle``.

    Raises:
        FormatError: There is nothing to take out.
    """
    if pruning.method == CHANNELS:
        return [{"step": CHANNELS, "sizes": shrink(module, inputs, pruning.amount)}]
    masks = magnitude_masks(module, pruning.method, pruning.amount)
    for name, mask in masks.items():
        parametrize.register_parametrization(module.get_submodule(name), "weight", Masked(mask))
    return []


def magnitude_masks(module: nn.Module, method: Method, amount: float) -> dict[str, Tensor]:
    """Return 0 for the weights of the least magnitude and 1 for the others, by the name of the layer.

    Args:
        module: A network.
        method: ``l1`` takes the same share of each layer, ``global`` one of all layers together.
        amount: The share, in (0, 1).

    Raises:
        FormatError: The network has no convolution and no linear layer.
    """
    by_norm: Any = torch_prune  # its functions have no annotations
    layers: dict[str, Any] = {n: each for n, each in module.named_modules() if isinstance(each, PRUNED)}
    if not layers:
        msg = f"{type(module).__name__} has no convolution and no linear layer whose weights could be pruned."
        raise FormatError(msg)
    module.to(memory_format=torch.contiguous_format)  # flat views are sorted
    if method == "global":
        weights = [(layer, "weight") for layer in layers.values()]
        by_norm.global_unstructured(weights, torch_prune.L1Unstructured, amount=amount)
    else:
        for layer in layers.values():
            by_norm.l1_unstructured(layer, "weight", amount)
    masks = {name: layer.weight_mask.clone() for name, layer in layers.items()}
    for layer in layers.values():
        by_norm.remove(layer, "weight")
    return masks


def settle(module: nn.Module) -> None:
    """Make the zeros of a network part of its plain weights."""
    for layer in module.modules():
        told: Any = getattr(layer, "parametrizations", {})
        if "weight" in told and isinstance(told["weight"][0], Masked):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def recalibrated(bundle: Bundle, data: DataSet, judging: Judging) -> Bundle:
    """Fit the calibration of a bundle anew to the validation split, of the kind that it has."""
    judged = predictions(bundle, data, ("val",), judging)
    with tempfile.TemporaryDirectory() as folder:
        delivered = after_deliveries(bundle, judged, judging, pathlib.Path(folder), LogWatch())
    kind = bundle.card.calibration.kind
    bundle = calibrate(bundle, judged, kind, prep_reference(data, judging), delivered)
    return bundle.amend(seen=remember(data.ledger, bundle.card.seen))


def require_auc(seen: Agreement, allowed: float | None) -> None:
    """Refuse a bundle whose AUC fell by more than is allowed.

    Raises:
        FormatError: It did.
    """
    if allowed is not None and seen.auc_loss > allowed:
        msg = (
            f"The AUC on {seen.files} files fell by {seen.auc_loss:.4f} to {seen.auc:.4f}; allowed "
            f"is {allowed:g}. Take out less, or fine-tune for more --epochs."
        )
        raise FormatError(msg)


def as_metrics(before: Figures, after: Figures, agreement: Agreement) -> dict[str, Any]:
    """Return what a card keeps of an optimisation."""
    return {
        "before": config.to_dict(before),
        "after": config.to_dict(after),
        "test": config.to_dict(agreement),
    }
