"""The search for the fastest sibling of a bundle that is as good: a machine is asked, nothing is assumed."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Literal

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import DeepscanError, FormatError
from deepscan.formats import BFLOAT16, FLOAT16, FLOAT32, INT8
from deepscan.optimize.export import export
from deepscan.optimize.held_out import Agreement, Sample, compare
from deepscan.optimize.measure import Speed, peak_memory_bytes, speeds
from deepscan.optimize.quantize import quantize_static
from deepscan.optimize.sibling import OPTIMIZED, load_first, require_free, size_bytes, write_sibling
from deepscan.watch import Watch

Target = Literal["cpu", "gpu", "mobile"]

ALONE, TOGETHER = 1, 8
"""Numbers of Examples that are timed in one call: as a file comes, and as services gather them."""

BASELINE = "eager"
TABLE = "table.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A way in which a model may run: a weights format, and the numbers that it computes in."""

    format: str
    precision: str = FLOAT32

    @property
    def name(self) -> str:
        """Name of its row and of its folder."""
        return self.format if self.precision == FLOAT32 else f"{self.format}-{self.precision}"


CANDIDATES: Mapping[Target, tuple[Candidate, ...]] = {
    "cpu": (
        Candidate("eager", BFLOAT16),
        Candidate("torchscript"),
        Candidate("onnx"),
        Candidate("onnx", INT8),
        Candidate("openvino"),
        Candidate("openvino", BFLOAT16),
        Candidate("openvino", INT8),
        Candidate("compiled"),
        Candidate("compiled", BFLOAT16),
    ),
    "gpu": (
        Candidate("eager", BFLOAT16),
        Candidate("eager", FLOAT16),
        Candidate("compiled"),
        Candidate("compiled", BFLOAT16),
        Candidate("compiled", FLOAT16),
        Candidate("torchscript"),
        Candidate("onnx"),
        Candidate("tensorrt"),
    ),
    "mobile": (Candidate("litert"), Candidate("executorch"), Candidate("onnx"), Candidate("onnx", INT8)),
}
"""What is tried for each target beside the bundle as it is; what takes minutes to compile comes last."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is looked for.

    Attributes:
        bundle: Folder of the bundle, whose weights are those of PyTorch in float32.
        out: Folder of the new one. Candidates lie beside it until it is written, so that a search that was
            interrupted goes on where it was.
        target: Which candidates are tried, and on which device they are timed.
        max_auc_loss: By how much the AUC on the held-out files may fall.
        plugin: File that registers the model; None = built in.
    """

    bundle: pathlib.Path
    out: pathlib.Path
    target: Target = "cpu"
    max_auc_loss: float = 0.005
    plugin: pathlib.Path | None = None

    @property
    def device(self) -> str:
        """Name of the device on which candidates run."""
        return "cuda" if self.target == "gpu" else "cpu"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What a candidate came to.

    Attributes:
        name: Its format and precision; ``eager`` is the bundle as it is.
        refused: Why it cannot be chosen; empty = it can.
        bytes: Size of its files.
        memory_bytes: What a process takes at most to load it and run a batch, beyond its imports.
        alone: Speed with one Example in a call.
        together: Speed with eight.
        agreement: How it does beside the bundle on the held-out files.
    """

    name: str
    refused: str = ""
    bytes: int | None = None
    memory_bytes: int | None = None
    alone: Speed | None = None
    together: Speed | None = None
    agreement: Agreement | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        bundle: The new bundle.
        rows: What was tried, the bundle as it is first, then those that can be chosen, the fastest first.
        chosen: Name of the row that became the bundle.
    """

    bundle: Bundle
    rows: tuple[Row, ...]
    chosen: str

    @property
    def gain(self) -> float:
        """How many times as many Examples a second the chosen one judges as the bundle as it is."""
        by_name = {row.name: row for row in self.rows}
        chosen, before = by_name[self.chosen].together, by_name[BASELINE].together
        return chosen.per_s / before.per_s if chosen and before else 1.0


def optimize(order: Order, calibration: Sample, held_out: Sample, watch: Watch) -> Found:
    """Try what the machine has and write the fastest sibling that keeps its accuracy.

    Candidates are timed in turns with the bundle as it is. The fastest is the one that judges the most
    Examples a second in calls of eight, for ``mobile`` the one that answers a call of one the soonest.

    Args:
        order: What is looked for.
        calibration: Examples that quantisation sees, of other files than ``held_out``.
        held_out: Examples on which candidates are compared with the bundle.
        watch: Follows the work.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``order.out`` holds something.
        FormatError: The bundle was made of another one.
    """
    require_free(order.out)
    load_first(order.bundle)
    first = Detector.load(order.bundle, order.device)
    drafts = order.out.absolute().with_name(f".{order.out.name}.candidates")
    made = _made(order, (calibration, held_out), drafts, first.bundle, watch)
    compared = _compared(order, made, first, held_out, watch)
    rows = _timed(order, compared, first, held_out, watch)
    chosen = _fastest(rows, order.target)
    bundle = _written(order, first.bundle, drafts, rows, chosen)
    shutil.rmtree(drafts, ignore_errors=True)
    return Found(bundle=bundle, rows=tuple(rows), chosen=chosen)


def _made(
    order: Order, samples: tuple[Sample, Sample], drafts: pathlib.Path, first: Bundle, watch: Watch
) -> dict[str, Bundle | DeepscanError]:
    """Return the candidates, or why one could not be made; those of an interrupted search are at hand."""
    watch.stage("Making candidates")
    made: dict[str, Bundle | DeepscanError] = {}
    candidates = CANDIDATES[order.target]
    for number, candidate in enumerate(candidates):
        folder = drafts / candidate.name
        try:
            made[candidate.name] = _at_hand(folder, first) or _make(candidate, order, samples, folder)
        except FormatError as error:
            made[candidate.name] = error
        watch.advance(number + 1, len(candidates))
    return made


def _at_hand(folder: pathlib.Path, first: Bundle) -> Bundle | None:
    """Return the candidate that an interrupted search made of the same bundle."""
    if not folder.is_dir():
        return None
    found = Bundle.read(folder)
    if found.card.parent == first.card.id:
        return found
    shutil.rmtree(folder)
    return None


def _make(candidate: Candidate, order: Order, samples: tuple[Sample, Sample], folder: pathlib.Path) -> Bundle:
    if candidate.precision == INT8:
        calibration, held_out = samples
        # Whatever it loses: that is judged with the others, and told in the table.
        return quantize_static(order.bundle, held_out, folder, candidate.format, calibration, 1.0).bundle
    return export(order.bundle, candidate.format, folder, candidate.precision).bundle


def _compared(
    order: Order, made: Mapping[str, Bundle | DeepscanError], first: Detector, held_out: Sample, watch: Watch
) -> dict[str, tuple[Row, Detector | None]]:
    """Return a row for each candidate, with its detector where it is good enough to be timed."""
    watch.stage("Comparing them on held-out files")
    rows: dict[str, tuple[Row, Detector | None]] = {}
    for number, (name, bundle) in enumerate(made.items()):
        rows[name] = _judged(name, bundle, order, first, held_out)
        watch.advance(number + 1, len(made))
    return rows


def _judged(
    name: str, bundle: Bundle | DeepscanError, order: Order, first: Detector, held_out: Sample
) -> tuple[Row, Detector | None]:
    if isinstance(bundle, DeepscanError):
        return Row(name=name, refused=str(bundle)), None
    try:
        detector = Detector.load(bundle.path, order.device)
        seen = compare(first, detector, held_out)
    except FormatError as error:
        return Row(name=name, refused=str(error), bytes=size_bytes(bundle)), None
    row = Row(name=name, bytes=size_bytes(bundle), agreement=seen)
    if seen.auc_loss > order.max_auc_loss:
        why = f"The AUC falls by {seen.auc_loss:.4f}; {order.max_auc_loss:g} is allowed."
        return dataclasses.replace(row, refused=why), None
    return row, detector


def _timed(
    order: Order,
    compared: Mapping[str, tuple[Row, Detector | None]],
    first: Detector,
    held_out: Sample,
    watch: Watch,
) -> list[Row]:
    """Return the rows with speeds and memory, in the order in which they are shown."""
    watch.stage("Timing them in turns")
    able = {BASELINE: first} | {name: each for name, (_, each) in compared.items() if each is not None}
    inputs = held_out.take(TOGETHER).inputs
    told = speeds({name: each.runner for name, each in able.items()}, inputs, (ALONE, TOGETHER))
    known = {BASELINE: Row(name=BASELINE, bytes=size_bytes(first.bundle))}
    known |= {name: row for name, (row, _) in compared.items()}
    rows = []
    for number, (name, row) in enumerate(known.items()):
        if name in told:
            row = dataclasses.replace(
                row,
                alone=told[name][ALONE],
                together=told[name][TOGETHER],
                memory_bytes=peak_memory_bytes(able[name].bundle.path, TOGETHER, order.device, order.plugin),
            )
        rows.append(row)
        watch.advance(number + 1, len(known))
    return rows[:1] + sorted(rows[1:], key=lambda row: (bool(row.refused), -_pace(row, order.target)))


def _pace(row: Row, target: Target) -> float:
    """Return by what the fastest row is found."""
    speed = row.alone if target == "mobile" else row.together
    return speed.per_s if speed else 0.0


def _fastest(rows: list[Row], target: Target) -> str:
    return max((row for row in rows if not row.refused), key=lambda row: _pace(row, target)).name


def _written(order: Order, first: Bundle, drafts: pathlib.Path, rows: list[Row], chosen: str) -> Bundle:
    """Write the chosen candidate, with the table that it was chosen from, into its place."""
    draft = first if chosen == BASELINE else Bundle.read(drafts / chosen)
    agreement = next(row.agreement for row in rows if row.name == chosen)
    told = [config.to_dict(row) for row in rows]

    def copy(folder: pathlib.Path) -> tuple[str, ...]:
        for name in draft.card.files:
            shutil.copy2(draft.path / name, folder / name)
        (folder / TABLE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return tuple(draft.card.files)

    change = {"step": "optimize", "target": order.target, "chosen": chosen, "by": draft.card.change}
    metrics = dict(first.card.metrics)
    if agreement:
        metrics[OPTIMIZED] = config.to_dict(agreement)
    return write_sibling(
        first,
        order.out,
        copy,
        weights_format=draft.card.weights_format,
        precision=draft.card.precision,
        metrics=metrics,
        change=change,
    )
