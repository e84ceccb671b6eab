"""Bundles in int8: a quarter of the room, judged beside the bundle that they are made of.

Three ways lead there. ``quantize_static`` measures on a few Examples what range each layer reads and computes
in int8 throughout; ``quantize_dynamic`` needs no ranges, since linear and recurrent layers find theirs while
they run; ``quantize_aware`` lets the weights get used to being rounded first (``optimize/qat.py``).
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from deepscan import config, formats
from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.formats import INT8, onnx
from deepscan.modalities import Column
from deepscan.optimize import quantize_onnx, quantize_openvino
from deepscan.optimize.held_out import Agreement, Sample, agreement, probabilities
from deepscan.optimize.qat import Lesson, teach
from deepscan.optimize.sibling import OPTIMIZED, load_first, require_free, size_bytes, write_sibling

MAX_AUC_LOSS = 0.02
"""By how much the AUC may fall unless the caller says otherwise."""

Write = Callable[[pathlib.Path, pathlib.Path], tuple[str, ...]]
"""``(graph of ONNX in float32, folder) -> names of the files``."""

STATIC: Mapping[str, Callable[[pathlib.Path, pathlib.Path, Sample], tuple[str, ...]]] = {
    "onnx": quantize_onnx.static,
    "openvino": quantize_openvino.static,
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Quantized:
    """What quantising came to.

    Attributes:
        bundle: The new bundle.
        bytes: Size of its files and of those of the first one.
        agreement: How both judge held-out files.
    """

    bundle: Bundle
    bytes: tuple[int, int]
    agreement: Agreement


def quantize_static(
    path: pathlib.Path,
    sample: Sample,
    out: pathlib.Path,
    format_name: str = "onnx",
    calibration: Sample | None = None,
    max_auc_loss: float = MAX_AUC_LOSS,
) -> Quantized:
    """Write a bundle whose weights and activations are int8, by ranges that are measured beforehand.

    Args:
        path: Bundle whose weights are those of PyTorch in float32.
        sample: Held-out Examples on which both bundles are compared.
        out: Folder of the new bundle; it must not be there, or be empty.
        format_name: ``onnx`` or ``openvino``.
        calibration: Examples on which the ranges are measured, best of the training split; None = ``sample``.
            Their labels do not matter.
        max_auc_loss: By how much the AUC may fall at most.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``out`` holds something, or the format has no static int8.
        FormatError: A package is not installed, the model cannot be written so, or the new bundle judges
            too differently; nothing is left in ``out``.
    """
    write = _static(format_name)
    require_free(out)
    first, network = load_first(path)
    seen = calibration or sample
    change = {"step": "quantize", "method": "static", "format": format_name, "examples": len(seen)}
    work = Work(first, sample, max_auc_loss)
    return work.write(network, out, lambda graph, folder: write(graph, folder, seen), change)


def quantize_dynamic(
    path: pathlib.Path,
    sample: Sample,
    out: pathlib.Path,
    format_name: str = "onnx",
    max_auc_loss: float = MAX_AUC_LOSS,
) -> Quantized:
    """Write a bundle whose linear and recurrent layers are int8, by ranges that are found while it runs.

    Arguments and errors are those of ``quantize_static``; the only format is ``onnx``. A model whose work
    is all in convolutions has nothing to gain and is refused with a FormatError.
    """
    if format_name != "onnx":
        msg = f"Dynamic int8 is written as 'onnx', not as {format_name!r}; or use --method static."
        raise ConfigError(msg)
    require_free(out)
    first, network = load_first(path)
    change = {"step": "quantize", "method": "dynamic", "format": format_name}
    return Work(first, sample, max_auc_loss).write(network, out, quantize_onnx.dynamic, change)


def quantize_aware(
    path: pathlib.Path,
    sample: Sample,
    out: pathlib.Path,
    format_name: str,
    lesson: Lesson,
    max_auc_loss: float = MAX_AUC_LOSS,
) -> Quantized:
    """Train a bundle for a few epochs with weights and activations rounded, then quantise it statically.

    ``lesson`` says on what and how; its Examples give the ranges too. The epoch that judges ``sample``
    most nearly as the bundle does is written, the start among them. The other arguments and errors are
    those of ``quantize_static``.

    Raises:
        TrainingError: The training diverged, or ``sample`` holds one class only.
    """
    write = _static(format_name)
    require_free(out)
    first, network = load_first(path)
    taught = teach(first, network, lesson, sample)
    change = {
        "step": "quantize",
        "method": "aware",
        "format": format_name,
        "examples": len(lesson.sample),
        "epochs": lesson.epochs,
        "best_epoch": taught.best_epoch,
        "lr": lesson.lr,
    }
    work = Work(first, sample, max_auc_loss, (first.bundle.card.id,))
    return work.write(taught.module, out, lambda graph, folder: write(graph, folder, lesson.sample), change)


def _static(format_name: str) -> Callable[[pathlib.Path, pathlib.Path, Sample], tuple[str, ...]]:
    """Return what writes static int8 in a format.

    Raises:
        ConfigError: There is no such thing.
    """
    if format_name not in STATIC:
        msg = f"int8 is written as {' or '.join(map(repr, STATIC))}, not as {format_name!r}; see --format."
        raise ConfigError(msg)
    return STATIC[format_name]


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What every way of quantising shares.

    Attributes:
        first: The detector that the new one is made of.
        sample: What both judge.
        max_auc_loss: By how much the AUC may fall at most.
        teachers: Ids of the bundles that the weights have learnt from since.
    """

    first: Detector
    sample: Sample
    max_auc_loss: float
    teachers: tuple[str, ...] = ()

    def write(
        self, network: nn.Module, out: pathlib.Path, write: Write, change: Mapping[str, Any]
    ) -> Quantized:
        """Write a network in int8 and keep it if it judges as well as the first one."""
        first, name = self.first.bundle, str(change["format"])
        agreed: list[Agreement] = []

        def check(made: Bundle) -> None:
            agreed.append(self._compare(made))
            made.amend(metrics=first.card.metrics | {OPTIMIZED: config.to_dict(agreed[0])})

        write_sibling(
            first,
            out,
            lambda folder: _through_onnx(network, self.first.prep.inputs, folder, write),
            check,
            weights_format=name,
            precision=INT8,
            change=dict(change),
            teachers=self.teachers or first.card.teachers,
        )
        made = Bundle.read(out)
        return Quantized(bundle=made, bytes=(size_bytes(made), size_bytes(first)), agreement=agreed[0])

    def _compare(self, made: Bundle) -> Agreement:
        """Compare a new bundle with the first one.

        Raises:
            FormatError: It judges too differently.
        """
        form = formats.get(made.card.weights_format)
        runner = form.load(made.module, made.path, "cpu", INT8)
        second = dataclasses.replace(self.first, runner=runner)
        before_F, after_F = (probabilities(each, self.sample) for each in (self.first, second))
        seen = agreement(self.first, before_F, after_F, self.sample)
        name, allowed = self.first.bundle.card.name, form.tolerance(INT8)
        if seen.auc_loss > self.max_auc_loss:
            msg = (
                f"In int8, {name!r} judges worse: its AUC fell from {seen.auc_before:.4f} to {seen.auc:.4f}, "
                f"and a loss of {self.max_auc_loss:g} is allowed. Give more --examples, use --method aware, "
                "or allow more by --max-auc-loss."
            )
            raise FormatError(msg)
        if seen.mean_gap > allowed:
            msg = (
                f"In int8, {name!r} says something else: P(fake) differs by {seen.mean_gap:.2g} on average, "
                f"and {allowed:g} is allowed. Give more --examples, or use --method aware."
            )
            raise FormatError(msg)
        return seen


def _through_onnx(
    network: nn.Module, inputs: Mapping[str, Column], folder: pathlib.Path, write: Write
) -> tuple[str, ...]:
    """Write a network into a folder by way of its ONNX graph in float32, which is not kept."""
    with tempfile.TemporaryDirectory() as temporary:
        onnx.write(network, pathlib.Path(temporary), inputs)
        return write(pathlib.Path(temporary) / onnx.GRAPH, folder)
