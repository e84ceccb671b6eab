"""What is pruned stays pruned, the rest may be trained, and the bundle is as good as any other."""

import dataclasses

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from deepscan import heatmaps
from deepscan.bundle import Bundle
from deepscan.calibration import Calibration
from deepscan.datasets.seen import overlap
from deepscan.detector import Detector
from deepscan.errors import ConfigError, DataError, FormatError
from deepscan.formats import network_of
from deepscan.formats.tracing import example_of
from deepscan.models.catalog import load_builtin
from deepscan.nn.structure import size_of
from deepscan.optimize import prune as pruning_module
from deepscan.optimize.export import export
from deepscan.optimize.finetune import RATE, batches, fine_tune, settings_of
from deepscan.optimize.fold import fold
from deepscan.optimize.prune import PRUNED, Pruning, magnitude_masks, prune, settle, take_out
from deepscan.optimize.sibling import load_first
from deepscan.training.teach import Teacher
from deepscan.watch import LogWatch
from tests.heatmaps.subjects import example_of as an_example
from tests.heatmaps.subjects import facts_of, small_detector
from tests.optimize.material import small_data
from tests.optimize.splits import split_data
from tests.test_cli import run
from tests.tiny_bundles import tiny_bundle

CPU = torch.device("cpu")
WATCH = LogWatch()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return split_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def shrunk(tiny, data, tmp_path_factory):
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")
    out = tmp_path_factory.mktemp("shrunk") / "bundle"
    return prune(tiny.path, data, out, Pruning(method="channels", amount=0.5), WATCH)


def weights_of(module):
    return {name: each.weight for name, each in module.named_modules() if isinstance(each, PRUNED)}


@pytest.mark.parametrize("method", ["l1", "global"])
def test_the_least_weights_go(method, tiny):
    _, module = load_first(tiny.path)
    before = {name: weight.detach().clone() for name, weight in weights_of(module).items()}
    masks = magnitude_masks(module, method, 0.4)
    gone = {name: int((mask == 0).sum()) for name, mask in masks.items()}
    if method == "l1":
        assert gone == {name: round(0.4 * weight.numel()) for name, weight in before.items()}
        for name, mask in masks.items():
            assert before[name][mask == 0].abs().max() <= before[name][mask == 1].abs().min()
    else:
        every = torch.cat([weight.flatten().abs() for weight in before.values()])
        kept = torch.cat([mask.flatten() for mask in masks.values()])
        assert sum(gone.values()) == round(0.4 * len(every))
        assert every[kept == 0].max() <= every[kept == 1].min()
    assert not any("mask" in name or "orig" in name for name in module.state_dict())


def test_zeros_stay_zero_in_training_and_the_rest_learns(tiny, data):
    first, module = load_first(tiny.path)
    names = set(module.state_dict())
    take_out(module, Pruning(method="l1", amount=0.5), example_of(first.prep.inputs))
    before = {name: weight.detach().clone() for name, weight in weights_of(module).items()}
    fine_tune(module, first.bundle, data, 2, CPU, WATCH)
    settle(module)
    assert set(module.state_dict()) == names
    for name, weight in weights_of(module).items():
        assert torch.equal(weight == 0, before[name] == 0)
        assert not torch.equal(weight, before[name])
    assert not module.training


def test_fine_tuning_goes_through_every_training_file_and_keeps_the_best_epoch(tiny, data, monkeypatch):
    first, module = load_first(tiny.path)
    seen, states = [], []

    class Follower(LogWatch):
        def epoch(self, metrics):
            seen.append(metrics)
            states.append({name: value.clone() for name, value in module.state_dict().items()})

    fine_tune(module, first.bundle, data, 3, CPU, Follower())
    assert [each["epoch"] for each in seen] == [1, 2, 3]
    ranks = [(each["val_auc"], -each["val_loss"]) for each in seen]
    best = states[ranks.index(max(ranks))]
    assert all(torch.equal(value, best[name]) for name, value in module.state_dict().items())


def test_batches_are_those_of_the_training_split(tiny, data):
    from deepscan.datasets.plan import Shape
    from deepscan.training.run import training_stream

    settings = settings_of(tiny, 2)
    shape = Shape(world=1, batch_size=4, example_bytes=data.reader.example_bytes)
    stream = training_stream(settings, data, data.chunks("train"), shape)
    made = list(batches(stream, 2, CPU))
    assert len(made) == 2 * stream.plan.cut.steps
    assert all(len(each["label"]) == 4 for each in made)
    darkness = torch.cat([each["pixels"].float().mean((1, 2, 3)) for each in made])
    label = torch.cat([each["label"] for each in made])
    assert torch.equal(darkness > 128, label == 1)
    assert stream.plan.examples == 12


def test_fine_tuning_takes_the_settings_of_the_bundle_at_a_tenth_of_the_rate(tmp_path):
    spec = load_builtin().get("cnn")
    recipe = {"epochs": 9, "freeze_epochs": 3, "compile": True, "optimizer": {"name": "sgd", "lr": 0.5}}
    detector = small_detector(tmp_path / "bundle", spec, recipe=recipe)
    found = settings_of(detector.bundle, 2).recipe
    assert (found.epochs, found.freeze_epochs, found.compile) == (2, 0, False)
    assert (found.optimizer.name, found.optimizer.lr) == ("sgd", RATE * 0.5)


@pytest.mark.parametrize("method", ["l1", "global"])
def test_a_pruned_bundle_names_what_was_done_and_how_good_it_is(method, tiny, data, tmp_path):
    done = prune(tiny.path, data, tmp_path / "out", Pruning(method=method, amount=0.5), WATCH)
    card = Bundle.read(tmp_path / "out").card
    assert done.bundle.card == card
    assert card.parent == tiny.card.id
    assert card.change == {"step": "prune", "method": method, "amount": 0.5, "epochs": 0}
    assert card.structure == ()
    assert done.before.nonzero == 1
    assert done.after.nonzero == pytest.approx(0.5, abs=0.01)
    assert done.after.parameters == done.before.parameters
    assert done.agreement.files == 12
    told = card.metrics["optimized"]
    assert set(card.metrics) == {"optimized"}
    assert told["after"]["nonzero"] == done.after.nonzero
    assert told["test"]["auc"] == done.agreement.auc
    module = network_of(Detector.load(tmp_path / "out", "cpu").runner)
    zero = sum(int((weight == 0).sum()) for weight in weights_of(module).values())
    assert zero == sum(weight.numel() for weight in weights_of(module).values()) // 2


def test_a_bundle_with_fewer_channels_is_smaller_and_works_as_any_other(tiny, shrunk, data, tmp_path):
    assert shrunk.after.parameters < 0.6 * shrunk.before.parameters
    assert shrunk.after.flops < 0.6 * shrunk.before.flops
    assert shrunk.after.bytes < shrunk.before.bytes
    second = Detector.load(shrunk.bundle.path, "cpu")
    assert size_of(network_of(second.runner).layers[0]) == [4, 3, 1]
    example = an_example(second.prep)
    assert second.judge([example], second.run([example])).score.bundle == shrunk.bundle.card.id
    assert Teacher.load(shrunk.bundle.path, CPU).module.layers[0].out_channels == 4
    (shown,) = heatmaps.explain(second, facts_of(second), [example], ["grad-cam"])
    assert not shown.reason
    for name in ("onnx", "openvino"):
        assert export(shrunk.bundle.path, name, tmp_path / name).gap <= 1e-4


def test_changes_of_the_structure_add_up(shrunk, data, tmp_path):
    folded = fold(shrunk.bundle.path, tmp_path / "folded")
    again = prune(folded.bundle.path, data, tmp_path / "again", Pruning(method="channels", amount=0.5), WATCH)
    assert [step["step"] for step in again.bundle.card.structure] == ["channels", "fold", "channels"]
    module = network_of(Detector.load(tmp_path / "again", "cpu").runner)
    assert size_of(module.layers[0]) == [2, 3, 1]
    assert isinstance(module.layers[1], torch.nn.Identity)


def test_too_great_a_loss_is_refused_and_leaves_nothing(tiny, data, tmp_path, monkeypatch):
    agreement = pruning_module.compare

    def worse(*given):
        return dataclasses.replace(agreement(*given), auc=0.5, auc_before=0.75)

    monkeypatch.setattr(pruning_module, "compare", worse)
    with pytest.raises(FormatError, match=r"fell by 0\.2500 to 0\.5000; allowed is 0\.2"):
        prune(tiny.path, data, tmp_path / "out", Pruning(method="l1", max_auc_loss=0.2), WATCH)
    assert list(tmp_path.iterdir()) == []
    prune(tiny.path, data, tmp_path / "out", Pruning(method="l1", max_auc_loss=0.25), WATCH)


def test_data_without_the_splits_are_refused_before_any_work(tiny, tmp_path):
    tests_only = small_data(tmp_path / "data", split="test")
    with pytest.raises(DataError, match=r"train and val have no usable file; give the ledger\.parquet"):
        prune(tiny.path, tests_only, tmp_path / "out", Pruning(method="l1", epochs=1), WATCH)
    unmeasured = small_data(tmp_path / "other", split="train")
    with pytest.raises(DataError, match="test split"):
        prune(tiny.path, unmeasured, tmp_path / "out", Pruning(method="l1"), WATCH)


@pytest.mark.parametrize("wrong", [{"amount": 0.0}, {"amount": 1.0}, {"epochs": -1}, {"examples": 0}])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"given were|between 0 and 1"):
        Pruning(**wrong)


def test_a_model_without_weights_to_prune_is_refused():
    with pytest.raises(FormatError, match="no convolution and no linear layer"):
        magnitude_masks(torch.nn.ReLU(), "l1", 0.5)


@pytest.mark.ray
@pytest.mark.slow
def test_a_fine_tuned_bundle_is_calibrated_anew(ray_cluster, data, tmp_path):
    first = tiny_bundle(tmp_path / "first", calibration=Calibration(kind="temperature", temperature=7.0))
    done = prune(first.path, data, tmp_path / "out", Pruning(method="l1", amount=0.3, epochs=2), WATCH)
    card = done.bundle.card
    assert card.calibration.kind == "temperature"
    assert card.calibration.temperature != 7.0
    assert (card.reference[0].figure, card.reference[0].count) == ("score", 12)
    learnt = data.ledger.filter(pc.field("split") != "test")
    assert set(overlap(card.seen, data.ledger, same_data=False).files) >= set(learnt["path"].to_pylist())
    assert np.isfinite(done.agreement.largest_gap)


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_prunes_by_the_ledger_of_a_run(ray_cluster, data, tmp_path):
    import pyarrow.parquet as pq

    first = tiny_bundle(tmp_path / "first")
    pq.write_table(data.ledger, tmp_path / "ledger.parquet")
    plugin = ("--plugin", "tests/plugins/tiny.py", "--store", tmp_path / "store", "--device", "cpu")
    words = ("prune", first.path, "--data", tmp_path / "ledger.parquet", "--out", tmp_path / "out", *plugin)
    done = run(*words, "--method", "global", "--amount", 0.4, "--epochs", 1, "--max-auc-loss", 1)
    assert done.exit_code == 0, done.stderr
    rows = {line.split("│")[1].strip(): line for line in done.stdout.splitlines() if "│" in line}
    assert {"parameters", "FLOPs", "size", "weights that are not 0", "AUC"} <= set(rows)
    assert "59.8%" in rows["weights that are not 0"]
    assert Bundle.read(tmp_path / "out").card.change["epochs"] == 1
