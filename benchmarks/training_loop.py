"""Pictures a second of the training run beside a plain PyTorch ``DataLoader`` loop, in one run.

    python benchmarks/training_loop.py --data FOLDER --model residual --out benchmarks/results

Both train the same model from the same files for the same number of steps with the same optimiser and the
same number of processes. The baseline is what most people write: every process decodes, prepares and
augments in ``DataLoader`` workers and averages gradients by ``DistributedDataParallel``. The first epoch,
which holds start-up and, for deepscan, the preparation, is reported apart from the ones after it.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from deepscan.datasets import layout, split
from deepscan.datasets.dataset import Origin
from deepscan.media.source import Media
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin
from deepscan.objectives import classification
from deepscan.training.run import Order, train
from deepscan.training.settings import settle
from deepscan.training.state import MovingAverage, build_optimizer, parameter_groups
from deepscan.watch import LogWatch


@dataclasses.dataclass(frozen=True)
class Settings:
    """What both sides do."""

    data: pathlib.Path
    where: tuple[str, ...]
    model: str
    overrides: tuple[str, ...]
    workers: int
    epochs: int
    port: int


class Files(Dataset[dict[str, Any]]):
    """Decodes, prepares and augments one file at a time."""

    def __init__(self, settings: Settings) -> None:
        manifest = split.assign(layout.scan(settings.data, where=settings.where))
        rows = [row for row in manifest.to_pylist() if row["split"] == "train"]
        self.paths, self.labels = [row["path"] for row in rows], [row["label"] for row in rows]
        self.spec = load_builtin().get(settings.model)
        self.settled = settle(self.spec, settings.overrides)
        self.augment = load_modalities().get(self.spec.modality).augment

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.settled.prep(Media.from_path(pathlib.Path(self.paths[index])))[0]
        rng = np.random.default_rng(torch.randint(2**31, ()).item())
        example = self.augment(example, self.settled.recipe.augment, rng)
        return {"pixels": torch.from_numpy(example["pixels"]), "label": np.float32(self.labels[index])}


def baseline_worker(rank: int, settings: Settings, results: Any) -> None:
    """Train one rank of the baseline; rank 0 returns its pictures a second by epoch."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(settings.port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=settings.workers)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.workers))
    files = Files(settings)
    recipe = files.settled.recipe
    torch.manual_seed(recipe.seed)
    module = files.spec.build(files.settled.model).to(memory_format=torch.channels_last)
    model = DistributedDataParallel(module)
    optimizer = build_optimizer(parameter_groups(module, None, recipe.optimizer), recipe.optimizer)
    average = MovingAverage(module, recipe.ema_decay) if recipe.ema_decay else None
    objective = classification(files.settled.prep.inputs, recipe.loss, (1, 1))
    sampler: DistributedSampler[Any] = DistributedSampler(files, settings.workers, rank, seed=recipe.seed)
    loader = DataLoader(
        files,
        recipe.batch_size,
        sampler=sampler,
        num_workers=1,
        drop_last=True,
        persistent_workers=True,
        prefetch_factor=4,
    )
    for epoch in range(settings.epochs):
        sampler.set_epoch(epoch)
        start_s, seen = time.perf_counter(), 0
        for batch in loader:
            loss = objective(model, batch)["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm or float("inf"))
            optimizer.step()
            if average:
                average.update(module)
            seen += len(batch["label"]) * settings.workers
        if rank == 0:
            results.put(seen / (time.perf_counter() - start_s))
    torch.distributed.destroy_process_group()


def run_baseline(settings: Settings) -> list[float]:
    """Return the baseline's pictures a second by epoch."""
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(baseline_worker, (settings, results), nprocs=settings.workers)
    return [results.get() for _ in range(settings.epochs)]


def run_deepscan(settings: Settings, folder: pathlib.Path) -> list[float]:
    """Return the pictures a second of each epoch of a training run."""
    order = Order(
        model=settings.model,
        origin=Origin(path=settings.data, where=settings.where, store=folder / "store"),
        out=folder / "run",
        overrides=settings.overrides,
        workers=settings.workers,
    )
    return [epoch["examples_per_s"] for epoch in train(order, LogWatch()).history]


def main() -> None:
    """Run both sides in turn and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--where", action="append", default=[])
    parser.add_argument("--model", default="residual")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--port", type=int, default=29511)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    settings = Settings(
        given.data,
        tuple(given.where),
        given.model,
        (*given.overrides, f"recipe.epochs={given.epochs}"),
        given.workers,
        given.epochs,
        given.port,
    )
    baseline = run_baseline(settings)
    with tempfile.TemporaryDirectory() as folder:
        ours = run_deepscan(settings, pathlib.Path(folder))
    steady = [statistics.median(speeds[1:] or speeds) for speeds in (ours, baseline)]
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "model": given.model,
        "overrides": list(settings.overrides),
        "workers": given.workers,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "deepscan_pictures_per_s": ours,
        "dataloader_pictures_per_s": baseline,
        "ratio": steady[0] / steady[1],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    name = f"training_loop-{given.model}-{given.workers}.json"
    (given.out / name).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
