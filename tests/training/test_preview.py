import contextlib
import dataclasses
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from deepscan.datasets.dataset import Origin
from deepscan.datasets.store import Row, Store
from deepscan.errors import ConfigError, DataError, ResourceError
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Optimizer
from deepscan.training import preview as subject
from deepscan.training import run
from deepscan.training.preview import needed, preview
from deepscan.training.record import RAY_RUN
from deepscan.training.run import Order
from deepscan.training.settings import settle

FILES = 40


@pytest.fixture
def order(tmp_path, monkeypatch):
    """Pictures of both classes, two a source, and a cluster of 4 CPUs that need not be started."""
    monkeypatch.setattr(subject, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(run, "available", lambda: (4.0, 0.0))
    monkeypatch.setattr(run, "node_cpus", lambda: [4.0])
    for i in range(FILES):
        folder = tmp_path / "data" / ("real", "fake")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / f"{i:03}.png")
    origin = Origin(path=tmp_path / "data", store=tmp_path / "store", fractions=(0.5, 0.25, 0.25))
    settings = ("prep.region=whole", "prep.size_px=32", "recipe.epochs=7", "recipe.batch_size=5")
    return Order(model="cnn", origin=origin, out=tmp_path / "run", overrides=settings, workers=2)


def test_a_dry_run_tells_all_and_writes_nothing(order, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    told = preview(order)
    assert sorted(tmp_path.rglob("*")) == before
    assert told["data"] == (
        "40 files: train 10 real and 10 fake, val 5 real and 5 fake, test 5 real and 5 fake"
    )
    assert told["starts from"] == "fresh weights"
    assert told["workers"] == "2, each with 1.5 logical CPUs and 2 threads"
    assert told["data stream"] == "1 logical CPUs, 1 a task"
    assert told["steps"].startswith("7 epochs of 2 or more, 5 Examples a worker")
    assert told["prepared"].startswith("0 of 40 files")
    assert str(order.out) in told["written"]


def test_what_is_prepared_of_other_data_does_not_count(order, tmp_path):
    spec = load_builtin().get(order.model)
    prep = settle(spec, order.overrides).prep
    own = sorted(str(path) for path in order.origin.path.rglob("*.png"))[:3]
    strange = tmp_path / "strange.png"
    strange.write_bytes(pathlib.Path(own[0]).read_bytes())
    rows = [Row(path, 0, "corrupt", "", None) for path in [*own, str(strange)]]
    Store(order.origin.store, prep).write(rows, "ledger")
    assert preview(order)["prepared"].startswith("3 of 40 files")


def settings_of(name, *overrides):
    spec = load_builtin().get(name)
    return spec, settle(spec, overrides)


def test_the_memory_of_weights_is_counted_exactly():
    spec, settings = settings_of("cnn", "prep.size_px=32", "prep.finder=haar", "recipe.ema_decay=0.9")
    module = spec.build(settings.model)
    parameters = sum(p.numel() * 4 for p in module.parameters())
    memory = needed(spec, settings)
    assert memory.gradients == parameters
    assert memory.optimizer == 2 * parameters
    assert memory.weights == 2 * sum(v.numel() * v.element_size() for v in module.state_dict().values())
    assert memory.batch == 3 * settings.recipe.batch_size * 32 * 32 * 3
    sgd = dataclasses.replace(settings.recipe, optimizer=Optimizer(name="sgd"))
    assert needed(spec, dataclasses.replace(settings, recipe=sgd)).optimizer == parameters


def test_what_a_forward_pass_keeps_grows_with_the_batch_and_shrinks_by_recomputing():
    spec, settings = settings_of("cnn", "prep.size_px=64", "prep.finder=haar", "recipe.batch_size=8")
    plain = needed(spec, settings)
    double = dataclasses.replace(settings.recipe, batch_size=16)
    lean = dataclasses.replace(settings.recipe, recompute=True)
    assert needed(spec, dataclasses.replace(settings, recipe=double)).kept == 2 * plain.kept
    assert needed(spec, dataclasses.replace(settings, recipe=lean)).kept < 0.7 * plain.kept


@pytest.mark.parametrize("name", ["residual-gru", "cnn-gru", "autoencoder", "avsync", "voice"])
def test_models_of_every_kind_can_be_measured(name):
    spec, settings = settings_of(name)
    torch.manual_seed(0)
    memory = needed(spec, settings)
    assert memory.kept > 0
    assert memory.total > memory.kept


def test_what_would_be_refused_is_refused_now(order):
    with pytest.raises(ConfigError, match="Unknown setting"):
        preview(dataclasses.replace(order, overrides=("recipe.epoch=3",)))
    with pytest.raises(ResourceError, match="100 workers"):
        preview(dataclasses.replace(order, workers=100))
    with pytest.raises(ConfigError, match="no column 'camera'"):
        preview(dataclasses.replace(order, overrides=("recipe.error_rate_by=camera",)))
    nowhere = dataclasses.replace(order.origin, path=pathlib.Path("/nowhere"))
    with pytest.raises(DataError, match="does not exist"):
        preview(dataclasses.replace(order, origin=nowhere))
    (order.out / RAY_RUN).mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds a training run"):
        preview(order)
