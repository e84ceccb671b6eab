"""Judging delivered files: many on Ray Data; few, or where there is no cluster, in this process.

Each process decodes, delivers, prepares and judges. Rows come in the order of the deliveries, and what was
said of one is written as soon as it is complete, so that an interrupted run goes on with the next one.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch

from deepscan.allocator import keep_memory
from deepscan.cluster import alone, available
from deepscan.detector import Detector
from deepscan.evaluation import Judging
from deepscan.media.deliveries.catalog import load_builtin
from deepscan.models.catalog import load_plugin
from deepscan.robustness.judging import judge
from deepscan.robustness.plan import CLEAN, SAID, Plan
from deepscan.watch import Watch

FEW = 64
"""So many judgements are done sooner than processes for them have started."""

MOST_PER_PIECE = 16
DELIVERY = "delivery"
Piece = dict[str, Any]
"""Some files and one delivery: its name, the ``numbers`` and the ``paths`` of the files."""

PROCESSES_PER_GPU = 4
"""Decoding and delivering keeps a process busy for longer than the model does."""


def judge_all(plan: Plan, watch: Watch) -> dict[str, pa.Table]:
    """Return what the detector says of the files, as they are and after each delivery, columns of ``SAID``.

    Args:
        plan: Files and deliveries; what an earlier run judged is read and not judged again.
        watch: Follows the work.

    Raises:
        BundleError: The bundle cannot be used.
    """
    watch.stage("Judging delivered files")
    kept = {name: table for name in plan.names if (table := plan.kept(name)) is not None}
    pending = [name for name in plan.names if name not in kept]
    total = sum(len(plan.numbers(name)) for name in plan.names)
    done = sum(map(len, kept.values()))
    watch.advance(done, total)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in pending}
    for said in _judged(plan, _pieces(plan, pending)):
        rows[said.pop(DELIVERY)].append(said)
        done += 1
        watch.advance(done, total)
        for name in [name for name in rows if len(rows[name]) == len(plan.numbers(name))]:
            kept[name] = pa.Table.from_pylist(rows.pop(name), schema=SAID)
            plan.keep(name, kept[name])
    return {name: kept[name] for name in plan.names}


class Judge:
    """A detector in a process of its own, or in this one."""

    def __init__(self, bundle: str, judging: Judging, mild: Sequence[str], threads: int = 0) -> None:
        """Load the detector; ``threads`` are those of a process of its own, 0 = it shares this one."""
        if threads:
            keep_memory()
            torch.set_num_threads(threads)
        if judging.plugin:
            load_plugin(judging.plugin)
        self.detector = Detector.load(pathlib.Path(bundle), judging.device)
        self.known = load_builtin()
        self.mild = [self.known.get(name) for name in mild]

    def said(self, piece: Piece) -> list[dict[str, Any]]:
        """Return a row for each file of a piece, columns of ``SAID`` and the name of the delivery."""
        name = piece[DELIVERY]
        delivery = None if name == CLEAN else self.known.get(name)
        files = zip(piece["numbers"], piece["paths"], strict=True)
        return [
            {DELIVERY: name, "number": number, **judge(self.detector, path, delivery, self.mild)}
            for number, path in files
        ]

    def __call__(self, pieces: pa.Table) -> pa.Table:
        """Return the same for some pieces, as Ray Data hands and takes them."""
        rows = [row for piece in pieces.to_pylist() for row in self.said(piece)]
        return pa.Table.from_pylist(rows, schema=SAID.append(pa.field(DELIVERY, pa.string())))


def _pieces(plan: Plan, pending: Sequence[str]) -> list[Piece]:
    paths = plan.files.column("path").to_pylist()
    pieces: list[Piece] = []
    for name in pending:
        numbers = plan.numbers(name)
        size = max(1, min(MOST_PER_PIECE, len(numbers) // 8))
        parts = (numbers[start : start + size] for start in range(0, len(numbers), size))
        pieces += [
            {DELIVERY: name, "numbers": part, "paths": [paths[number] for number in part]} for part in parts
        ]
    return pieces


def _judged(plan: Plan, pieces: list[Piece]) -> Iterator[dict[str, Any]]:
    """Yield the rows of pieces, in the order of the pieces."""
    if not pieces:
        return
    few = sum(len(piece["paths"]) for piece in pieces) <= FEW
    bundle, mild = str(plan.bundle.path.resolve()), tuple(each.name for each in plan.mild)
    if not ray.is_initialized() or (few and not plan.judging.gpus and alone()):
        judging = Judge(bundle, plan.judging, mild)
        for piece in pieces:
            yield from judging.said(piece)
        return
    yield from _judged_on_ray(plan, pieces, (bundle, plan.judging, mild, 1))


def _judged_on_ray(plan: Plan, pieces: list[Piece], given: tuple[object, ...]) -> Iterator[dict[str, Any]]:
    cpus, gpus = available()
    actors, share = int(cpus), 0.0
    if plan.judging.gpus:
        actors, share = min(actors, PROCESSES_PER_GPU * int(gpus)), 1 / PROCESSES_PER_GPU
    actor: Any = Judge  # Ray takes the class and makes the object in the actor
    said = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        actor,
        fn_constructor_args=given,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=1,
        num_gpus=share,
        compute=ray.data.ActorPoolStrategy(size=max(1, actors)),
    )
    tables: Any = said.iter_batches(batch_size=None, batch_format="pyarrow")
    for rows in tables:
        yield from rows.to_pylist()
