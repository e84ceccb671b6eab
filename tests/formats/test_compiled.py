"""The compiled format: all of a model is compiled, once for each kind of batch, or it is an error."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from deepscan.detector import Detector
from deepscan.errors import FormatError
from deepscan.formats import compiled, eager, network_of
from deepscan.formats.tracing import example_of
from deepscan.optimize.export import export, largest_gap
from tests.tiny_bundles import tiny_bundle


class Broken(nn.Module):
    """A model with a step that a compiler cannot follow."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, features):
        torch._dynamo.graph_break()
        return {"logit": (features @ self.weight).sum(1)}


@pytest.fixture
def tiny(tmp_path):
    return tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def graphs(monkeypatch):
    """Graphs that were given to the compiler, which runs them as they are: C++ takes half a minute."""
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return seen


def test_batches_of_all_sizes_take_two_graphs(tiny, graphs):
    first = Detector.load(tiny.path, "cpu")
    runner = compiled.load(tiny.module, tiny.path, "cpu")
    assert graphs == []
    for count in (1, 3, 8, 2, 5, 1):
        inputs = {name: each.numpy() for name, each in example_of(first.prep.inputs, count).items()}
        np.testing.assert_allclose(runner(inputs)["logit"], first.runner(inputs)["logit"], atol=1e-5)
    assert len(graphs) == 2


def test_half_precision_is_that_of_eager(tiny, graphs):
    inputs = {name: each.numpy() for name, each in example_of(tiny.prep().inputs, 3).items()}
    told = [form.load(tiny.module, tiny.path, "cpu", "bfloat16")(inputs) for form in (eager, compiled)]
    exact = compiled.load(tiny.module, tiny.path, "cpu")(inputs)
    np.testing.assert_allclose(told[0]["logit"], told[1]["logit"], atol=1e-2)
    assert np.abs(told[1]["logit"] - exact["logit"]).max() > 0


def test_gradients_can_be_taken_in_a_compiled_bundle(tiny, tmp_path, graphs):
    made = export(tiny.path, "compiled", tmp_path / "out")
    assert made.bundle.card.weights_format == "compiled"
    assert made.gap <= 1e-4
    assert len(graphs) == 2
    assert isinstance(network_of(Detector.load(tmp_path / "out", "cpu").runner), nn.Module)


def test_a_model_that_cannot_be_compiled_whole_is_an_error_and_does_not_run(tmp_path, graphs):
    eager.write(Broken(), tmp_path, {})
    runner = compiled.load(Broken, tmp_path, "cpu")
    with pytest.raises(FormatError, match=r"Broken cannot be compiled here: .*use the bundle that it was"):
        runner({"features": np.ones((2, 2), np.float32)})
    assert graphs == []


def test_a_compiler_that_fails_is_an_error(tiny, monkeypatch):
    def backend(graph, inputs):
        msg = "no C++ compiler"
        raise RuntimeError(msg)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    runner = compiled.load(tiny.module, tiny.path, "cpu")
    inputs = {name: each.numpy() for name, each in example_of(tiny.prep().inputs, 2).items()}
    with pytest.raises(FormatError, match=r"cannot be compiled here: .*C\+\+ compiler"):
        runner(inputs)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_the_real_compiler_makes_says_the_same(precision, tiny):
    torch._dynamo.reset()
    first = Detector.load(tiny.path, "cpu")
    runner = compiled.load(tiny.module, tiny.path, "cpu", precision)
    allowed = first.bundle.weights_format().tolerances[precision]
    assert largest_gap(first, runner) <= allowed
