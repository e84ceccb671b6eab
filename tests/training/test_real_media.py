"""Training on real media: FFHQ faces against StyleGAN, from scratch, split by source."""

import pathlib

import pytest

from deepscan.datasets.dataset import Origin
from deepscan.training.run import Order, train
from deepscan.watch import LogWatch
from tests.material import shared

pytestmark = [pytest.mark.media, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_registered_model_learns_to_tell_generated_faces_within_minutes(ray_cluster, tmp_path):
    """Five of fifteen epochs; far from chance, well below what the whole recipe reaches."""
    manifest: pathlib.Path = shared("media") / "manifest.tsv"
    origin = Origin(
        path=manifest,
        where=("modality=image", "path!=image/real-pool/*"),
        store=tmp_path / "store",
    )
    order = Order(
        model="statistics",
        origin=origin,
        out=tmp_path / "run",
        workers=2,
        overrides=("recipe.epochs=5", "recipe.batch_size=16"),
    )
    outcome = train(order, LogWatch())
    refused = outcome.account.get("out-of-domain", 0)
    assert outcome.account["used"] + refused == 2000
    assert refused <= 0.02 * 600, "the gate refuses about one in a hundred of those held out"
    assert 300 - refused <= outcome.evaluation.counts.sources <= 300
    assert outcome.evaluation.overall["auc"].value > 0.75
    assert set(outcome.evaluation.by_generator) == {"StyleGAN1-256"}
