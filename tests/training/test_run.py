"""What a run refuses before any work; needs no cluster."""

import dataclasses
import types

import pyarrow as pa
import pytest

from deepscan.config import override
from deepscan.datasets.dataset import Origin
from deepscan.errors import BundleError, ConfigError, ResourceError
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Recipe
from deepscan.training import run
from deepscan.training.run import Order, class_counts, opened, train
from deepscan.training.settings import settle
from deepscan.watch import LogWatch


def test_overrides_reach_the_part_that_they_name():
    settings = settle(
        load_builtin().get("cnn"),
        ("recipe.optimizer.lr=0.5", "model.dropout=0.1", "prep.size_px=64", "prep.finder=haar"),
    )
    assert settings.recipe.optimizer.lr == 0.5
    assert settings.model.dropout == 0.1
    assert (settings.prep.size_px, settings.prep.finder) == (64, "haar")


@pytest.mark.parametrize("wrong", ["epochs=3", "recipes.epochs=3", "recipe.epochs", "recipe.epoch=3"])
def test_an_override_that_names_nothing_is_refused(wrong):
    with pytest.raises(ConfigError):
        settle(load_builtin().get("cnn"), (wrong,))


def test_the_finder_is_settled_before_a_run():
    assert settle(load_builtin().get("cnn"), ()).prep.finder in {"yunet", "tiny"}


def test_weights_that_do_not_exist_are_refused_before_the_data_are_looked_at(tmp_path):
    origin = Origin(path=tmp_path / "nowhere", store=tmp_path)
    order = Order(model="cnn", origin=origin, out=tmp_path / "out", overrides=("prep.finder=haar",))
    with pytest.raises(ConfigError, match="no ImageNet weights"):
        train(dataclasses.replace(order, init="imagenet"), LogWatch())
    with pytest.raises(BundleError, match="is no bundle"):
        train(dataclasses.replace(order, init=str(tmp_path / "gone")), LogWatch())


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ((), (10, 6)),
        (("learns_from=real",), (10, 6)),
        (("pseudo.kind=self-blended",), (5, 11)),
        (("pseudo.kind=self-blended", "learns_from=real"), (5, 5)),
    ],
)
def test_class_weights_are_reckoned_from_what_training_sees(settings, counts):
    data = types.SimpleNamespace(counts={"train": (10, 6)}.get)
    assert class_counts(override(Recipe(), settings), data) == counts


@pytest.mark.parametrize(
    ("device", "stock", "gpus"),
    [("auto", (8, 2), 1), ("auto", (8, 1), 0), ("cpu", (8, 2), 0), ("cuda", (8, 2), 1)],
)
def test_the_device_decides_whether_workers_get_gpus(monkeypatch, tmp_path, device, stock, gpus):
    monkeypatch.setattr(run, "available", lambda: stock)
    monkeypatch.setattr(run, "node_cpus", lambda: [8.0])
    origin = Origin(path=tmp_path, store=tmp_path)
    order = Order(model="cnn", origin=origin, out=tmp_path, workers=2, device=device)
    assert run.resources_of(order).worker_gpus == gpus
    assert all(("GPU" in each) == (device == "cuda") for each in run.machines(order)[:2])


def test_gpus_that_were_asked_for_and_are_not_there_are_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "available", lambda: (8, 1))
    origin = Origin(path=tmp_path, store=tmp_path)
    order = Order(model="cnn", origin=origin, out=tmp_path, workers=2, device="cuda")
    with pytest.raises(ResourceError, match="2 workers with a GPU each do not fit into a cluster of 1 GPUs"):
        run.resources_of(order)


def test_the_card_counts_sources_that_splits_share(tmp_path):
    table = pa.table({"split": ["train", "test", "val"], "source": ["a", "a", "b"], "status": ["used"] * 3})
    data = types.SimpleNamespace(ledger=table, digest="0", reader=types.SimpleNamespace(pseudo=None))
    order = Order(model="cnn", origin=Origin(path=tmp_path, store=tmp_path), out=tmp_path)
    settings = settle(load_builtin().get("cnn"), ("prep.finder=haar",))
    assert run._card(order, settings, data).data["shared_sources"] == 1
    data.ledger = table.set_column(1, "source", pa.array(["a", "c", "b"]))
    assert "shared_sources" not in run._card(order, settings, data).data


def test_a_column_to_keep_the_error_rate_by_is_missed_before_anything_is_prepared(tmp_path):
    (tmp_path / "data" / "real").mkdir(parents=True)
    (tmp_path / "data" / "real" / "a.png").write_bytes(b"")
    order = Order(
        model="cnn",
        origin=Origin(path=tmp_path / "data", store=tmp_path / "store"),
        out=tmp_path / "out",
        overrides=("recipe.error_rate_by=camera",),
    )
    with pytest.raises(ConfigError, match="no column 'camera'"):
        opened(order, settle(load_builtin().get("cnn"), order.overrides), LogWatch())
    assert not (tmp_path / "store").exists()


def test_pseudo_fakes_that_a_modality_lacks_are_refused_before_the_data_are_looked_at(tmp_path):
    origin = Origin(path=tmp_path / "nowhere", store=tmp_path)
    order = Order(
        model="cnn", origin=origin, out=tmp_path / "out", overrides=("recipe.pseudo.kind=self-blend",)
    )
    with pytest.raises(ConfigError, match="Did you mean 'self-blended'"):
        train(order, LogWatch())
    assert not (tmp_path / "out").exists()
