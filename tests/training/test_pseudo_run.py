"""Training from real files alone, on Ray: pairs in every batch, and pseudo-fakes to judge on."""

import json
import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepscan.datasets.dataset import Origin
from deepscan.training.run import Order, recall, train
from deepscan.watch import LogWatch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]
PLUGIN = pathlib.Path(__file__).parents[1] / "plugins" / "tiny.py"
FILES = 48


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    """Pictures of noise that all say real."""
    folder = tmp_path_factory.mktemp("reals")
    (folder / "real").mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        picture = np.clip(rng.normal(128, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "real" / f"{number:02}.png")
    return folder


def order_of(folder, out, *overrides, model="tiny", **changes):
    origin = Origin(path=folder, store=out.parent / "store", fractions=(0.5, 0.25, 0.25))
    settings = ("recipe.pseudo.kind=self-blended", "recipe.epochs=2", *overrides)
    plugin = PLUGIN if model == "tiny" else None
    return Order(model=model, plugin=plugin, origin=origin, out=out, overrides=settings, **changes)


@pytest.fixture(scope="module")
def finished(ray_cluster, reals, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, train(order_of(reals, out, workers=2), LogWatch())


def test_real_files_alone_make_a_detector(finished):
    _, outcome = finished
    assert [epoch["epoch"] for epoch in outcome.history] == [1, 2]
    assert outcome.account == {"used": FILES}
    counts = outcome.evaluation.counts
    assert (counts.files, counts.sources) == (FILES // 2, FILES // 4)
    assert set(outcome.evaluation.by_generator) == {"self-blended"}
    assert 0 <= outcome.evaluation.overall["auc"].value <= 1
    assert outcome.bundle.card.reliability is not None, "it was calibrated on both classes"


def test_the_card_says_what_was_learnt_from_and_judged_on_pseudo_fakes(finished):
    _, outcome = finished
    told = {"kind": "self-blended", "splits": ["train", "val", "test"]}
    assert outcome.bundle.card.data["pseudo_fakes"] == told


def test_predictions_tell_pseudo_fakes_from_files(finished):
    out, outcome = finished
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    made = [row for row in rows if row["label"]]
    assert len(made) == len(rows) / 2 == FILES / 2
    paths = {row["path"]: row for row in rows if not row["label"]}
    for row in made:
        path, _, kind = row["path"].partition("#")
        assert kind == row["generator"] == "self-blended"
        assert (paths[path]["source"], paths[path]["split"]) == (row["source"], row["split"])
        assert paths[path]["logit"] != row["logit"]
    assert recall(out).judged.equals(outcome.judged)


def test_the_same_seed_makes_the_same_pseudo_fakes(finished, reals):
    """From one store, since the order of Examples is that in which they were prepared."""
    out, outcome = finished
    again = train(order_of(reals, out.with_name("again"), workers=2), LogWatch())
    figures = ("train_loss", "val_loss", "val_auc")
    assert [[epoch[name] for name in figures] for epoch in again.history] == [
        [epoch[name] for name in figures] for epoch in outcome.history
    ]


def test_a_data_set_with_fakes_is_judged_on_its_own(ray_cluster, reals, tmp_path):
    folder = tmp_path / "both"
    (folder / "fake").mkdir(parents=True)
    (folder / "real").symlink_to(reals / "real")
    for number in range(FILES // 2):
        flat = np.full((32, 32, 3), 100 + number, np.uint8)
        Image.fromarray(flat).save(folder / "fake" / f"{number}.png")
    order = order_of(folder, tmp_path / "run", "recipe.learns_from=real", "recipe.epochs=1")
    outcome = train(order, LogWatch())
    assert outcome.bundle.card.data["pseudo_fakes"]["splits"] == ["train"]
    assert set(outcome.evaluation.by_generator) <= {"", "unknown"}
    assert outcome.evaluation.counts.files == (FILES + FILES // 2) // 4


def test_the_boundary_model_learns_from_masks_through_the_stream(ray_cluster, reals, tmp_path):
    settings = (
        "prep.region=whole", "prep.size_px=32", "model.channels=[4,8]", "recipe.batch_size=8",
        "recipe.optimizer.sam_rho=0.05",
    )  # fmt: skip
    out = tmp_path / "run"
    outcome = train(order_of(reals, out, *settings, model="boundary", workers=2), LogWatch())
    kept = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert kept["recipe"]["optimizer"]["sam_rho"] == 0.05
    # A classification loss alone would begin near ln 2 = 0.69; the map's comes on top.
    assert outcome.history[0]["train_loss"] > 0.9
