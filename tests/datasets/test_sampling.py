import numpy as np
import pyarrow as pa
import pytest

from deepscan.datasets.plan import Chunk, Plan, Shape
from deepscan.datasets.sampling import weights
from deepscan.errors import ConfigError
from deepscan.recipe import Sampling

GENERATORS = ["", "", "", "", "", "", "gan-a", "gan-a", "gan-b", "gan-b"]
LABELS = [0] * 6 + [1] * 4
MANIFEST = pa.table({"path": [f"/d/{i}.png" for i in range(10)], "generator": GENERATORS})
CHUNKS = [
    Chunk("file", 0, (0, 1, 2, 3), (9, 1, 2, 3), (1, 0, 0, 0)),
    Chunk("file", 1, (0, 1, 2, 3, 4, 5, 6), (0, 4, 5, 6, 6, 7, 8), (0, 0, 0, 1, 1, 1, 1)),
]
FILES = [file for chunk in CHUNKS for file in chunk.files]
LABEL_E = np.array([LABELS[file] for file in FILES])


def test_without_settings_nothing_is_weighted():
    assert weights(CHUNKS, MANIFEST, Sampling()) is None


def test_a_condition_weighs_the_examples_of_its_files():
    found = weights(CHUNKS, MANIFEST, Sampling(mix=("generator=gan-a:3", "generator=gan-*:0.5")))
    assert found.tolist() == [{"": 1, "gan-a": 1.5, "gan-b": 0.5}[GENERATORS[file]] for file in FILES]


def test_balanced_classes_have_equal_weight_and_keep_the_mix():
    found = weights(CHUNKS, MANIFEST, Sampling(classes="balanced", mix=("generator=gan-a:3",)))
    assert found[LABEL_E == 0].sum() == pytest.approx(found[LABEL_E == 1].sum())
    assert found[FILES.index(6)] == pytest.approx(3 * found[FILES.index(8)])


@pytest.mark.parametrize(
    ("mix", "match"),
    [
        ("generator=gan-a", "column=value:weight"),
        ("generator=gan-a:much", "column=value:weight"),
        ("generator=gan-a:-1", "column=value:weight"),
        ("generator=gan-a:inf", "column=value:weight"),
        ("maker=gan-a:2", "There are: path, generator"),
        ("path=*:0", "no Example to be seen"),
    ],
)
def test_a_wrong_weight_is_refused(mix, match):
    with pytest.raises(ConfigError, match=match):
        weights(CHUNKS, MANIFEST, Sampling(mix=(mix,)))


def test_a_class_that_is_absent_cannot_be_balanced():
    with pytest.raises(ConfigError, match="real and fake"):
        weights(CHUNKS, MANIFEST, Sampling(classes="balanced", mix=("generator=gan-*:0",)))


def seen(weight_E, epochs):
    plan = Plan(CHUNKS, Shape(world=1, batch_size=1, example_bytes=1), 0, weight_E)
    assert plan.cut.steps == 11
    return np.array([np.bincount(plan.permuted(epoch), minlength=11) for epoch in range(epochs)])


def test_an_epoch_shows_as_many_examples_as_there_are_in_the_shares_asked_for():
    weight_E = weights(CHUNKS, MANIFEST, Sampling(classes="balanced", mix=("generator=gan-a:3",)))
    times = seen(weight_E, 400)
    wanted = weight_E / weight_E.sum() * 11
    assert (times.sum(1) == 11).all()
    assert (np.abs(times - wanted) < 1).all(), "never further than one from what is asked for"
    np.testing.assert_allclose(times.mean(0), wanted, atol=0.1)


def test_weighted_epochs_are_a_function_of_the_seed_and_differ():
    weight_E = np.arange(1.0, 12.0)
    assert np.array_equal(seen(weight_E, 3), seen(weight_E, 3))
    assert len({tuple(row) for row in seen(weight_E, 20).tolist()}) > 1


def test_equal_weights_show_every_example_once():
    assert (seen(np.ones(11), 5) == 1).all()
