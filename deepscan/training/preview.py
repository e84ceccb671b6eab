"""What a run would take and write, before anything is begun: the answer to ``--dry-run``."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from deepscan.cluster import Resources, connected
from deepscan.datasets.dataset import divide
from deepscan.datasets.store import Store, file_id
from deepscan.modalities import Column
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.recipe import Recipe
from deepscan.robustness.validation import check_deliveries
from deepscan.training.memory import kept_bytes, recompute
from deepscan.training.record import BEST, RAY_RUN
from deepscan.training.run import LEDGER, Order, origin_of, prepared_alike, resources_of
from deepscan.training.settings import Settings, settle
from deepscan.training.start import check_init
from deepscan.training.ways import amp_dtype

PROBE = 2
"""Examples in the batch whose forward pass is measured."""

CHECKPOINTS = 2
MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes that a training worker needs beside Python and its libraries.

    Attributes:
        weights: Parameters and buffers, with their moving average where there is one.
        gradients: One number a parameter.
        optimizer: What the optimiser remembers of each parameter.
        batch: Inputs of the batches that wait and the one that is trained on.
        kept: What a forward pass keeps for the backward pass, measured on a small batch on the CPU.
    """

    weights: int
    gradients: int
    optimizer: int
    batch: int
    kept: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.batch + self.kept


def preview(order: Order) -> dict[str, str]:
    """Return what a run would do, in words by subject; nothing is prepared or written.

    Raises:
        ConfigError: The order contradicts itself.
        DataError: The data cannot be used.
        ResourceError: The cluster is too small.
    """
    if order.plugin:
        load_plugin(order.plugin)
    spec = load_builtin().get(order.model)
    settings = prepared_alike(settle(spec, order.overrides), order)
    check_deliveries(settings.recipe)
    order.place.check(order.resume)
    taken = check_init(spec, settings.model, order.init)
    manifest = divide(origin_of(order, settings))
    with connected(order.address):
        resources = resources_of(order)
    memory = needed(spec, settings)
    return {
        "data": _of_data(manifest),
        "starts from": taken or order.init or "fresh weights",
        **_of_resources(resources),
        "steps": _of_steps(manifest, settings.recipe, order),
        "memory": _of_memory(memory, settings.recipe),
        "prepared": _of_store(order, settings, manifest["path"].to_pylist()),
        "written": _of_folder(order, memory, settings.recipe),
    }


def needed(spec: ModelSpec, settings: Settings) -> Memory:
    """Work out what a worker needs; the forward pass of a small batch is run to see what it keeps."""
    recipe = settings.recipe
    module: nn.Module = spec.build(settings.model).train()
    inputs = settings.prep.inputs
    if recipe.recompute:
        recompute(module)
    objective = spec.objective(tuple(inputs), recipe.loss, (1, 1))
    batch = {name: _ones(column) for name, column in inputs.items()} | {"label": torch.arange(PROBE) % 2.0}
    dtype = amp_dtype(recipe.amp, torch.device("cpu"))

    def forward() -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            return objective(module, batch)["loss"]

    weights = sum(_bytes(value) for value in module.state_dict().values())
    parameters = sum(_bytes(value) for value in module.parameters())
    row = sum(math.prod(c.shape) * np.dtype(c.dtype).itemsize for c in inputs.values())
    return Memory(
        weights=weights * (2 if recipe.ema_decay else 1),
        gradients=parameters,
        optimizer=parameters * {"adamw": 2, "sgd": 1}[recipe.optimizer.name],
        batch=row * recipe.batch_size * 3,
        kept=kept_bytes(forward) * recipe.batch_size // PROBE,
    )


def _ones(column: Column) -> Tensor:
    return torch.from_numpy(np.ones((PROBE, *column.shape), dtype=column.dtype))


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()


def _of_data(manifest: pa.Table) -> str:
    counts = Counter(zip(*(manifest[name].to_pylist() for name in ("split", "label")), strict=True))
    parts = [
        f"{split} {counts[split, 0]} real and {counts[split, 1]} fake"
        for split in ("train", "val", "test")
        if counts[split, 0] + counts[split, 1]
    ]
    return f"{len(manifest)} files: {', '.join(parts)}"


def _of_resources(resources: Resources) -> Mapping[str, str]:
    gpu = "one GPU and " if resources.worker_gpus else ""
    fewer = "" if resources.least is None else f", at least {resources.least} of them"
    return {
        "workers": f"{resources.workers}{fewer}, each with {gpu}{resources.worker_cpus:g} logical CPUs and "
        f"{resources.threads} threads",
        "data stream": f"{resources.data_cpus:g} logical CPUs, {resources.task_cpus:g} a task",
    }


def _of_steps(manifest: pa.Table, recipe: Recipe, order: Order) -> str:
    rows = zip(*(manifest[name].to_pylist() for name in ("split", "label")), strict=True)
    files = sum(split == "train" and (recipe.learns_from == "both" or not label) for split, label in rows)
    steps = max(1, round(files / (order.workers * recipe.batch_size)))
    return (
        f"{recipe.epochs} epochs of {steps} or more, {recipe.batch_size} Examples a worker and step; more "
        "where a file gives several Examples, fewer where files give none"
    )


def _of_memory(memory: Memory, recipe: Recipe) -> str:
    parts = dataclasses.asdict(memory)
    told = ", ".join(f"{name} {_mib(value)}" for name, value in parts.items())
    return f"{_mib(memory.total)} a worker beside its libraries ({told}); at most, with {recipe.amp=}"


def _of_store(order: Order, settings: Settings, paths: Sequence[str]) -> str:
    store = Store(order.origin.store, settings.prep)
    looked_at = set(store.index("examples", "ledger")["id"].to_pylist())
    known = sum(file_id(path) in looked_at for path in paths)
    columns = settings.prep.columns.values()
    row = sum(math.prod(c.shape) * np.dtype(c.dtype).itemsize for c in columns)
    kept = f"up to {_mib(row)} an Example" if order.origin.keep else "the ledger only"
    return f"{known} of {len(paths)} files are accounted for in {store.path}; the others will be: {kept}"


def _of_folder(order: Order, memory: Memory, recipe: Recipe) -> str:
    one = memory.weights // (2 if recipe.ema_decay else 1)
    checkpoint = memory.weights + one + memory.optimizer
    return (
        f"{order.out / BEST} {_mib(one)}, {order.out / RAY_RUN} {CHECKPOINTS} checkpoints of "
        f"{_mib(checkpoint)}, {LEDGER}, history, TensorBoard, report and predictions"
    )


def _mib(count: int) -> str:
    return f"{count / MIB:.1f} MiB"
