import collections
import logging

import numpy as np
import pyarrow as pa
import pytest

from deepscan.datasets.split import assign, check_leaks
from deepscan.errors import ConfigError, DataError


def manifest(rows):
    """Make a manifest of (label, split, source, generator), with made-up paths."""
    label, *texts = zip(*rows, strict=True)
    columns = dict(zip(("split", "source", "generator"), texts, strict=True))
    paths = [f"/{i}" for i in range(len(rows))]
    return pa.table({"path": paths, "label": pa.array(label, pa.int8()), **columns})


def singles(real, fake, generators=("g",)):
    return manifest(
        [(0, "", f"r{i}", "") for i in range(real)]
        + [(1, "", f"f{i}", generators[i % len(generators)]) for i in range(fake)]
    )


def pairs(count, fakes=1):
    """Sources with one real file and several fakes of different generators each."""
    return manifest(
        [
            row
            for i in range(count)
            for row in [(0, "", f"s{i}", ""), *((1, "", f"s{i}", f"g{j}") for j in range(fakes))]
        ]
    )


def tally(table, *columns):
    return collections.Counter(tuple(row.values()) for row in table.select(columns).to_pylist())


def spread(table):
    found = collections.defaultdict(set)
    for row in table.to_pylist():
        found[row["source"]].add(row["split"])
    return found


def test_many_small_sources_meet_the_fractions_of_each_label_and_generator():
    found = tally(assign(singles(200, 400, ("a", "b", "c", "d"))), "label", "generator", "split")
    for stratum, size in (((0, ""), 200), *(((1, name), 100) for name in "abcd")):
        for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            assert found[(*stratum, split)] == pytest.approx(share * size, abs=1.5)


def test_labels_stay_balanced_with_many_tiny_generators():
    found = tally(assign(singles(60, 60, [f"g{i}" for i in range(30)])), "label", "split")
    for label in (0, 1):
        assert [found[label, split] for split in ("train", "val", "test")] == pytest.approx([42, 9, 9], abs=1)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_media_meets_the_fractions(seed):
    rows, kinds = [], []
    for kind, count in (("image", 200), ("video", 20), ("av", 14)):
        for i in range(count):
            rows += [(0, "", f"{kind}-{i}", ""), (1, "", f"{kind}-{i}", "g")]
            kinds += [kind] * 2
    found = tally(
        assign(manifest(rows).append_column("modality", pa.array(kinds)), seed=seed), "modality", "split"
    )
    for kind, size in (("image", 400), ("video", 40), ("av", 28)):
        for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            assert found[kind, split] == pytest.approx(share * size, abs=2)


def test_every_source_is_in_one_split_only():
    rng = np.random.default_rng(0)
    drawn = zip(rng.integers(0, 2, 500).tolist(), rng.geometric(0.1, 500), strict=True)
    table = manifest([(label, "", f"s{source}", "g" * label) for label, source in drawn])
    out = assign(table)
    assert all(len(splits) == 1 for splits in spread(out).values())
    check_leaks(out)
    found = tally(out, "label", "split")
    for label in (0, 1):
        size = sum(found[label, split] for split in ("train", "val", "test"))
        assert found[label, "train"] / size == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize(("table", "sources"), [(pairs(3, fakes=3), 3), (singles(3, 3), 6)])
def test_three_sources_a_label_are_enough(table, sources):
    found = tally(assign(table), "label", "split")
    assert all(found[label, split] for label in (0, 1) for split in ("train", "val", "test"))
    assert len(spread(table)) == sources


@pytest.mark.parametrize("seed", range(20))
def test_every_split_has_both_labels_whenever_three_sources_a_label_exist(seed):
    rng = np.random.default_rng(seed)
    rows = []
    both, real, fake = next(c for c in rng.integers(0, 4, (100, 3)) if c[0] + c[1] >= 3 and c[0] + c[2] >= 3)
    for kind, count in (("both", both), ("real", real), ("fake", fake)):
        for i in range(count):
            labels = {"both": [0, 1], "real": [0], "fake": [1]}[kind]
            rows += [
                (label, "", f"{kind}{i}", "g" * label) for label in labels for _ in range(rng.integers(1, 30))
            ]
    found = tally(assign(manifest(rows), seed=seed), "label", "split")
    assert all(found[label, split] for label in (0, 1) for split in ("train", "val", "test"))


def test_a_few_large_sources_are_shared_sensibly():
    sizes = (60, 40, 20, 10, 5, 5, 5, 5)
    table = manifest(
        [
            (label, "", f"s{i}", "g" * label)
            for i, size in enumerate(sizes)
            for label in (0, 1)
            for _ in range(size)
        ]
    )
    found = tally(assign(table), "label", "split")
    shares = [found[1, split] for split in ("train", "val", "test")]
    assert shares == pytest.approx([105, 22.5, 22.5], abs=7.5)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (singles(3, 2), "3 sources of real and 2 of fake"),
        (singles(5, 0), "5 sources of real and 0 of fake"),
        (pairs(2, fakes=9), "2 sources of real and 2 of fake"),
    ],
)
def test_too_few_sources_are_counted(table, says):
    with pytest.raises(DataError, match=says):
        assign(table)


def test_the_result_depends_on_the_seed_and_not_on_the_order_of_rows():
    table = pairs(40)
    order = np.random.default_rng(1).permutation(table.num_rows)
    first = assign(table, seed=3)
    assert assign(table.take(order), seed=3).equals(first.take(order))
    assert assign(table, seed=3).equals(first)
    assert not assign(table, seed=4).equals(first)


def test_a_fraction_of_zero_makes_no_split():
    found = tally(assign(singles(20, 20), fractions=(0.8, 0.2, 0.0)), "label", "split")
    assert found == {(0, "train"): 16, (0, "val"): 4, (1, "train"): 16, (1, "val"): 4}


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ConfigError, match="sum to 1"):
        assign(singles(9, 9), fractions=fractions)


def given(**counts):
    return manifest(
        [
            (label, split, f"{split}{label}{i}", "g" * label)
            for split, count in counts.items()
            for label in (0, 1)
            for i in range(count)
        ]
    )


def test_complete_splits_are_kept():
    table = given(train=4, val=1, test=2)
    assert assign(table).equals(table)


def test_a_missing_val_is_carved_out_of_train():
    table = given(train=85, test=10)
    out = assign(table)
    sizes = {"train": 70, "val": 15, "test": 10}
    assert tally(out, "label", "split") == {(label, name): sizes[name] for label in (0, 1) for name in sizes}
    assert all(row["split"] == "test" for row in out.to_pylist() if row["source"].startswith("test"))


def test_val_and_test_are_carved_out_of_train_by_source():
    table = pairs(20)
    out = assign(table.set_column(2, "split", pa.array(["train"] * 40)))
    assert tally(out, "split") == {("train",): 28, ("val",): 6, ("test",): 6}
    assert all(len(splits) == 1 for splits in spread(out).values())


@pytest.mark.parametrize(
    ("table", "says"),
    [(given(train=3, none=2), "none: 4, train: 6"), (given(val=3, test=2), "No file is in the split train")],
)
def test_gaps_in_given_splits_are_refused(table, says):
    blanked = [split.replace("none", "") for split in table["split"].to_pylist()]
    with pytest.raises(DataError, match=says):
        assign(table.set_column(2, "split", pa.array(blanked)))


def leaky():
    return manifest(
        [(1, "train", "a", "g"), (0, "test", "a", ""), (0, "train", "b", ""), (0, "val", "c", "")]
    )


def test_leaks_in_given_splits_are_refused_with_examples():
    says = r"1 of 3 sources are in more than one split \(a in test, train\)"
    with pytest.raises(DataError, match=says):
        check_leaks(leaky())
    with pytest.raises(DataError, match=says):
        assign(leaky())


def test_allowed_leaks_are_kept_and_logged(caplog):
    with caplog.at_level(logging.WARNING, "deepscan.datasets.split"):
        assert assign(leaky(), allow_leaks=True).equals(leaky())
    assert "1 of 3 sources" in caplog.text


def test_real_files_alone_are_divided_only_where_fakes_are_made_of_them():
    table = singles(20, 0)
    with pytest.raises(DataError, match="real and fake"):
        assign(table)
    divided = assign(table, needs_fakes=False)
    assert collections.Counter(divided["split"].to_pylist()) == {"train": 14, "val": 3, "test": 3}


def test_where_there_are_fakes_each_split_gets_some_whether_they_are_needed_or_not():
    table = singles(9, 5)
    assert assign(table, needs_fakes=False).equals(assign(table))
    with pytest.raises(DataError, match="real and fake"):
        assign(singles(9, 1), needs_fakes=False)
