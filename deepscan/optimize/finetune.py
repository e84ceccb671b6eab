"""Fine-tuning a network that was changed, by the one training loop, in this process."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.datasets.dataset import DataSet
from deepscan.datasets.plan import Shape
from deepscan.datasets.stream import TrainingStream
from deepscan.errors import DataError
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin as load_models
from deepscan.recipe import Recipe
from deepscan.training import loop
from deepscan.training.run import class_counts, pseudo_fakes, training_stream
from deepscan.training.settings import Settings
from deepscan.watch import Watch

RATE = 0.1
"""Factor on the learning rate of the bundle's recipe: its weights are good already."""

BATCH = 32


def settings_of(bundle: Bundle, epochs: int) -> Settings:
    """Return the settings that a bundle was trained with, for so many epochs at a tenth of the rate."""
    card = bundle.card
    spec = load_models().get(card.model)
    recipe: Recipe = config.from_dict(Recipe, card.recipe) if card.recipe else spec.recipe
    recipe = dataclasses.replace(
        recipe,
        epochs=epochs,
        freeze_epochs=0,
        compile=False,
        speed="set",
        sync_norm=False,
        optimizer=dataclasses.replace(recipe.optimizer, lr=RATE * recipe.optimizer.lr),
    )
    settings = config.from_dict(spec.config, card.model_config)
    return Settings(spec=spec, recipe=recipe, model=settings, prep=bundle.prep().resolved())


def with_pseudo_fakes(bundle: Bundle, data: DataSet) -> DataSet:
    """Return the data with the pseudo-fakes that the bundle was trained on, if there were any."""
    pseudo = pseudo_fakes(settings_of(bundle, 1))
    return data if pseudo is None else data.with_pseudo_fakes(pseudo)


def require_splits(data: DataSet) -> None:
    """Check that there is something to train and to validate on.

    Raises:
        DataError: There is not.
    """
    empty = [name for name in ("train", "val") if not data.chunks(name)]
    if empty:
        msg = (
            f"Fine-tuning needs the splits train and val, and {' and '.join(empty)} have no usable file; "
            "give the ledger.parquet of the run that trained the bundle, or leave --epochs out."
        )
        raise DataError(msg)


def fine_tune(
    module: nn.Module, bundle: Bundle, data: DataSet, epochs: int, device: torch.device, watch: Watch
) -> None:
    """Train a network on the training split; leave it as it was after its best epoch by validation.

    Args:
        module: The network, whose weights may be parametrised; on the CPU before and afterwards.
        bundle: The bundle that it comes from, which tells how it was trained.
        data: Data with the splits ``train`` and ``val``.
        epochs: Passes over the training split, at least 1.
        device: Where to train.
        watch: Told of every epoch.

    Raises:
        DataError: There is nothing to train or to validate on.
        TrainingError: Training diverged, or validation holds one class.
    """
    require_splits(data)
    settings = settings_of(bundle, epochs)
    spec, recipe = settings.spec, settings.recipe
    shape = Shape(world=1, batch_size=recipe.batch_size, example_bytes=data.reader.example_bytes)
    stream = training_stream(settings, data, data.chunks("train"), shape)
    inputs = tuple(settings.prep.inputs)
    module.requires_grad_(True)
    task = loop.Task(
        module=module.to(device),
        trunk=spec.trunk(module) if spec.trunk else None,
        objective=spec.objective(inputs, recipe.loss, class_counts(recipe, data)),
        inputs=inputs,
        aggregate=load_modalities().get(spec.modality).aggregate,
        recipe=recipe,
        steps_per_epoch=stream.plan.cut.steps,
        device=device,
    )
    best: dict[str, Any] = {}

    def keep(trainer: loop.Trainer, report: loop.Report) -> None:
        watch.epoch(report.metrics)
        if report.is_best:
            best.update(copy.deepcopy(trainer.kept.state_dict()))

    trainer = loop.Trainer(task)
    trainer.run(batches(stream, epochs, device), lambda: validation(data, device), keep)
    module.load_state_dict(best)
    module.eval().cpu()


def batches(stream: TrainingStream, epochs: int, device: torch.device) -> Iterator[loop.Batch]:
    """Yield the batches of some epochs in their order, as the stream of one worker on Ray has them."""
    size = stream.plan.shape.batch_size
    for number in range(epochs * stream.plan.cut.units):
        unit = stream.unit(number)
        for start in range(0, len(unit["label"]), size):
            yield {
                name: torch.from_numpy(column[start : start + size]).to(device)
                for name, column in unit.items()
            }


def validation(data: DataSet, device: torch.device) -> Iterator[loop.Batch]:
    """Yield the Examples of the validation split with ``label`` and ``file``."""
    for chunk in data.held_out("val"):
        examples = data.reader.labelled([chunk])
        for start in range(0, len(chunk.rows), BATCH):
            yield {
                name: torch.from_numpy(column[start : start + BATCH]).to(device)
                for name, column in examples.items()
            }
