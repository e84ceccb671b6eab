"""What a trial of one process reads and reports; needs no cluster."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from deepscan.datasets.plan import Chunk, Plan, Shape
from deepscan.datasets.reader import Reader, chunks
from deepscan.datasets.store import Store, prepare_file
from deepscan.datasets.stream import TrainingStream
from deepscan.media.source import Limits
from deepscan.modalities.catalog import load_builtin
from deepscan.modalities.image import ImagePrep
from deepscan.objectives import classification
from deepscan.recipe import Augment, Optimizer, Recipe
from deepscan.training import loop, state
from deepscan.tuning import trial
from tests.material import encoded

CPU = torch.device("cpu")
FILES, BATCH = 45, 4


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Prepared pictures whose first pixel is their number: their chunks and their reader."""
    folder = tmp_path_factory.mktemp("held")
    prep = ImagePrep(region="whole", size_px=32)
    store, rows = Store(folder / "store", prep), []
    for number in range(FILES):
        path = folder / f"{number:02}.png"
        path.write_bytes(encoded(np.full((32, 32, 3), number, np.uint8)))
        rows += prepare_file(str(path), prep, Limits())
    store.write(rows, "examples")
    manifest = {
        "path": [row.path for row in rows],
        "label": [number % 2 for number in range(FILES)],
        "split": ["val"] * FILES,
    }
    parts = chunks(pa.table(manifest), "val", store.index("examples"))
    return parts, Reader(store, prep, Limits(), prep.needs)


def test_validation_has_every_example_once_with_its_label_and_file(held):
    parts, reader = held
    batches = list(trial.held_out(parts, reader, CPU))
    sizes = [len(batch["label"]) for batch in batches]
    assert sum(sizes) == FILES
    assert len(batches) > 1
    assert min(sizes[:-1]) >= trial.VALIDATION_BATCH
    file = torch.cat([batch["file"] for batch in batches])
    assert sorted(file.tolist()) == list(range(FILES))
    assert torch.equal(torch.cat([batch["pixels"] for batch in batches])[:, 0, 0, 0].long(), file)
    assert torch.equal(torch.cat([batch["label"] for batch in batches]).long(), file % 2)


def test_no_validation_examples_are_no_batches(held):
    assert list(trial.held_out([], held[1], CPU)) == []


def test_a_trial_reads_the_epochs_that_it_was_asked_for_in_the_order_of_the_plan(held):
    parts, reader = held
    plan = Plan(parts, Shape(world=1, batch_size=BATCH, example_bytes=4 * 2**20), seed=3)
    assert plan.cut.units > 1
    source = TrainingStream(
        plan=plan, reader=reader, modality=load_builtin().get("image"), augment=Augment(level="none")
    )
    batches = list(trial.batches(source, range(1, 3), CPU))
    assert len(batches) == 2 * plan.cut.steps
    assert {len(batch["label"]) for batch in batches} == {BATCH}
    seen = torch.cat([batch["pixels"] for batch in batches])[:, 0, 0, 0].tolist()
    planned = [
        plan.locate(int(e)) for u in range(plan.cut.units, 3 * plan.cut.units) for e in plan.unit(u)[1]
    ]
    assert seen == [part.files[position] for part, position in planned]


def test_chunks_of_many_parts_are_not_divided():
    big = Chunk("a", -1, tuple(range(40)), (0,) * 40, (0,) * 40)
    small = Chunk("b", -1, (0,), (1,), (1,))
    assert list(trial._grouped([small, big, small, small])) == [[small, big], [small, small]]


def trainer_of(optimizer, states=None):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)
    recipe = Recipe(optimizer=optimizer)
    task = loop.Task(
        module=module,
        trunk=None,
        objective=classification(("x",), recipe.loss, (1, 1)),
        inputs=("x",),
        aggregate=max,
        recipe=recipe,
        steps_per_epoch=1,
        device=CPU,
    )
    return loop.Trainer(task, states)


def test_a_state_that_is_taken_over_goes_on_with_the_settings_of_the_trial():
    before = trainer_of(Optimizer(lr=0.1, weight_decay=0.5, momentum=0.8))
    before.optimizer.param_groups[0]["params"][0].grad = torch.ones(1, 3)
    before.optimizer.step()
    after = trainer_of(Optimizer(lr=0.2, weight_decay=0.25, momentum=0.6), before.state_dict())
    trial._renew(after)
    decayed, free = after.optimizer.param_groups
    assert (decayed["weight_decay"], decayed["lr"], decayed["betas"][0]) == (0.25, 0.2, 0.6)
    assert free["weight_decay"] == 0
    moments = after.optimizer.state_dict()["state"][0]
    assert moments["exp_avg"].flatten().tolist() == pytest.approx([0.2] * 3), "what was learnt is kept"


@pytest.mark.parametrize(("epoch", "finished"), [(1, False), (2, True)])
def test_ray_tune_is_told_the_best_and_the_present_figures(epoch, finished):
    recipe = Recipe(epochs=2)
    progress = state.Progress(epoch=epoch, best_auc=0.9, best_epoch=1)
    metrics = {"epoch": float(epoch), "val_auc": 0.8, "val_loss": 0.4}
    told = trial._figures(progress, recipe, metrics, {"a": 1})
    assert (told["val_auc"], told["best_auc"], told["finished"]) == (0.8, 0.9, finished)
    assert (told["settings"], told["metrics"]) == ({"a": 1}, metrics)
