import json

import pyarrow.parquet as pq

from deepscan.demo import Demo, run
from deepscan.ensemble import Ensemble
from deepscan.watch import LogWatch

SMALL = Demo.__dataclass_fields__["models"].default_factory()

ONE_STEP = ("recipe.epochs=8", "recipe.batch_size=32")
"""Epochs of a single step, whose units of the stream are as small as can be: they once waited for ever."""


def test_the_demo_goes_from_nothing_to_answers_over_http(ray_cluster, tmp_path):
    """Two kinds of media instead of four, one epoch, a few files; the same way."""
    demo = Demo(
        out=tmp_path / "demo",
        counts=dict(zip(("image", "audio"), (72, 40), strict=True)),
        models={"statistics": (*SMALL["statistics"], "recipe.epochs=1"), "gru-light": ONE_STEP},
        workers=2,
    )
    told = run(demo, LogWatch())
    assert sorted(told.result.outcomes) == ["gru-light", "statistics"]
    assert told.result.left_out == {}
    manifest = pq.read_table(demo.out / "manifest.parquet").to_pylist()
    assert len(manifest) == 112
    assert {(row["modality"], row["split"]) for row in manifest} == {
        (kind, split) for kind in demo.counts for split in ("train", "val", "test")
    }
    labels = {row["path"]: row["label"] for row in manifest}
    assert sorted(labels[path] for path in told.answers) == [0, 0, 1, 1]
    for answer in told.answers.values():
        assert answer["label"] in {"real", "fake", "inconclusive"}
        assert len(answer["scores"]) == 1
    ensemble = Ensemble.load(demo.out / "ensemble.json")
    assert list(ensemble.metrics)[-1] == "ensemble"
    assert json.loads((demo.out / "statistics" / "evaluation.json").read_text())
    assert "their ensemble" in (demo.out / "report.html").read_text()
    assert set(told.seconds) == {"synthesize", "prepare, train, calibrate, fuse, measure", "serve and ask"}
