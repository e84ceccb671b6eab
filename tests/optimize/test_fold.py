"""A folded bundle says what it said, without its norms."""

import pytest
import torch
from torch import nn

from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.formats import eager, network_of
from deepscan.models.catalog import load_builtin
from deepscan.optimize import fold as folding
from deepscan.optimize.export import export, largest_gap
from deepscan.optimize.fold import fold, fold_norms
from tests.heatmaps.subjects import small_detector
from tests.test_cli import run
from tests.tiny_bundles import tiny_bundle


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    return small_detector(tmp_path_factory.mktemp("first") / "bundle", load_builtin().get("residual"))


@pytest.fixture(scope="module")
def folded(residual, tmp_path_factory):
    return fold(residual.bundle.path, tmp_path_factory.mktemp("folded") / "bundle")


def norms_of(module):
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


def test_the_folded_bundle_loads_without_norms_and_says_the_same(residual, folded):
    second = Detector.load(folded.bundle.path, "cpu")
    network = network_of(second.runner)
    assert len(norms_of(network_of(residual.runner))) - len(norms_of(network)) == folded.norms > 0
    assert largest_gap(residual, second.runner) == folded.gap <= 1e-4
    assert folded.after.parameters < folded.before.parameters
    assert folded.after.flops == folded.before.flops
    card = folded.bundle.card
    assert (card.parent, card.change) == (residual.bundle.card.id, {"step": "fold"})
    assert card.calibration == residual.bundle.card.calibration
    assert Bundle.read(folded.bundle.path).card == card


def test_the_first_bundle_was_settled_so_that_folding_had_something_to_do(residual):
    norm = norms_of(network_of(residual.runner))[0]
    assert not torch.allclose(norm.running_var, torch.ones(()), atol=0.01)


def test_a_folded_bundle_can_be_exported(folded, tmp_path):
    made = export(folded.bundle.path, "onnx", tmp_path / "onnx")
    assert made.gap <= 1e-4
    assert made.bundle.card.parent == folded.bundle.card.id


def test_what_has_no_norm_to_fold_any_more_is_refused(folded, tmp_path):
    with pytest.raises(FormatError, match="no batch norm right after"):
        fold(folded.bundle.path, tmp_path / "again")
    with pytest.raises(ConfigError, match="holds something"):
        fold(tiny_bundle(tmp_path / "tiny").path, folded.bundle.path)


def test_a_fold_that_says_something_else_is_not_kept(tmp_path, monkeypatch):
    first = tiny_bundle(tmp_path / "first")
    monkeypatch.setattr(folding, "largest_gap", lambda *_: float("nan"))
    with pytest.raises(FormatError, match="says something else"):
        fold(first.path, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["first"]


class Mixed(nn.Module):
    """Norms of every kind of place."""

    def __init__(self):
        super().__init__()
        self.plain, self.after_plain = nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3)
        self.flat, self.after_flat = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.shared, self.one, self.other = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.twice, self.after_twice = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.stray = nn.BatchNorm1d(4)
        self.momentary, self.unknown = nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x):
        x = self.after_plain(self.plain(x)).mean(2)
        x = self.after_flat(self.flat(x))
        x = self.shared(x)
        x = self.one(x) + self.other(x)
        x = self.after_twice(self.twice(x)) + self.twice(x)
        return {"logit": self.unknown(self.momentary(self.stray(x.relu()))).sum(1)}


def test_only_a_norm_that_alone_reads_one_layer_is_folded():
    torch.manual_seed(0)
    module, inputs = Mixed(), {"x": torch.randn(8, 2, 9)}
    module(**inputs)
    module.eval()
    with torch.no_grad():
        for norm in (each for each in module.modules() if isinstance(each, nn.BatchNorm1d)):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
        expected = module(**inputs)["logit"]
        assert fold_norms(module, inputs) == {"after_plain": "plain", "after_flat": "flat"}
        torch.testing.assert_close(module(**inputs)["logit"], expected)


def test_a_layer_that_is_read_besides_its_norm_makes_the_bundle_say_something_else():
    """So the comparison at the end of ``fold`` refuses it."""

    class Skipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)

        def forward(self, x):
            x = self.conv(x)
            return {"logit": (x * self.norm(x)).mean((1, 2))}

    torch.manual_seed(0)
    module, inputs = Skipped(), {"x": torch.randn(8, 2, 9)}
    module(**inputs)
    module.eval()
    with torch.no_grad():
        expected = module(**inputs)["logit"]
        fold_norms(module, inputs)
        assert not torch.allclose(module(**inputs)["logit"], expected, atol=1e-4)


def test_the_command_tells_what_became_of_it(residual, tmp_path):
    done = run("fold", residual.bundle.path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    rows = {line.split("│")[1].strip(): line for line in done.stdout.splitlines() if "│" in line}
    assert {"parameters", "FLOPs", "size", "norms folded", "largest difference of P(fake)"} <= set(rows)
    assert eager.WEIGHTS in Bundle.read(tmp_path / "out").card.files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "mobilenet-v2", "xception", "resnet-50", "avsync"])
def test_models_say_the_same_when_folded(name, tmp_path):
    first = small_detector(tmp_path / "first", load_builtin().get(name))
    done = fold(first.bundle.path, tmp_path / "out")
    assert done.norms > 0
    assert done.gap <= 1e-4
