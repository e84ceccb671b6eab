import dataclasses
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from deepscan import assembly, fitting
from deepscan.assembly import Order, align, assemble, measure
from deepscan.calibration import Calibration, OperatingPoint
from deepscan.console import show_ensemble
from deepscan.datasets import seen
from deepscan.datasets.dataset import Origin
from deepscan.detector import Detector
from deepscan.ensemble import Ensemble, Entry, entry, select
from deepscan.errors import BundleError, ConfigError, DataError, SeenDataError
from deepscan.evaluation import Judging
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.pipeline import analyze
from tests.tiny_bundles import FACES, tiny_bundle

JUDGING = Judging(replicates=20)


@pytest.fixture
def bundles(tmp_path):
    return [tiny_bundle(tmp_path / "runs" / name, seed, name=name) for seed, name in enumerate("ab")]


@pytest.fixture
def file(bundles, tmp_path):
    """The ensemble file of the two bundles, in a folder beside theirs."""
    path = tmp_path / "ensembles" / "both.json"
    members = tuple(entry(bundle, path) for bundle in bundles)
    policy = FusionPolicy(method="mean", weights={bundles[0].card.id: 2.0})
    Ensemble(entries=members, policy=policy, data={"digest": "x"}, metrics={}).save(path)
    return path


# --- the file --------------------------------------------------------------------------------------


def test_an_ensemble_survives_its_file(file, bundles):
    ensemble = Ensemble.load(file)
    assert [each.path for each in ensemble.entries] == ["../runs/a", "../runs/b"]
    assert [each.bundle for each in ensemble.entries] == [bundle.card.id for bundle in bundles]
    ensemble.save(file)
    assert Ensemble.load(file) == ensemble
    assert [path.name for path in file.parent.iterdir()] == ["both.json"]


def test_the_file_and_its_bundles_move_together(file, bundles, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for folder in ("runs", "ensembles"):
        (tmp_path / folder).rename(tmp_path / "elsewhere" / folder)
    moved = tmp_path / "elsewhere" / "ensembles" / "both.json"
    assert [path.resolve() for path in select([moved]).bundles] == [
        tmp_path / "elsewhere" / "runs" / name for name in "ab"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "schema 1"),
        ('{"schema": 2}', "schema 1"),
        ('{"schema": 1, "entries": [], "policy": {"metod": "mean"}}', "Did you mean 'method'"),
        ('{"schema": 1, "entries": [], "policy": {"min_models": 0}}', "min_models"),
        ('{"schema": 1}', "Incomplete"),
    ],
)
def test_files_that_are_no_ensembles_are_refused(tmp_path, content, message):
    path = tmp_path / "e.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BundleError, match=message) as caught:
        Ensemble.load(path)
    assert str(path) in str(caught.value)


# --- what stands for a bundle ----------------------------------------------------------------------


def test_an_ensemble_file_stands_for_its_bundles_and_policy(file, bundles):
    selected = select([file])
    assert [path.resolve() for path in selected.bundles] == [bundle.path for bundle in bundles]
    assert selected.policy == Ensemble.load(file).policy


def test_directories_stand_for_themselves_and_the_default_policy(bundles):
    paths = [bundle.path for bundle in bundles]
    assert select(paths).bundles == tuple(paths)
    assert select(paths).policy == FusionPolicy()
    chosen = select(paths, ["method=maximum", "min_models=2", "weights.a=0.5"]).policy
    assert chosen == FusionPolicy(method="maximum", min_models=2, weights={"a": 0.5})


def test_of_a_fitted_policy_only_what_was_not_learnt_can_be_set(file):
    policy = select([file], ["threshold=0.7", "min_models=2"]).policy
    assert policy == dataclasses.replace(Ensemble.load(file).policy, threshold=0.7, min_models=2)
    with pytest.raises(ConfigError, match="only min_models and threshold"):
        select([file], ["method=maximum"])


def test_a_file_beside_others_is_refused(file, bundles):
    with pytest.raises(ConfigError, match="one ensemble file, or directories"):
        select([bundles[0].path, file])


def test_a_bundle_that_changed_since_the_fit_is_refused(file, bundles):
    old = bundles[1].card.id
    bundles[1].amend(calibration=Calibration(kind="temperature", temperature=2.0))
    with pytest.raises(BundleError, match=f"fitted with bundle {old}"):
        select([file])


def test_a_bundle_that_is_gone_is_refused(file, bundles):
    bundles[0].path.rename(bundles[0].path.with_name("gone"))
    with pytest.raises(BundleError, match="is no bundle"):
        select([file])


# --- fitting ---------------------------------------------------------------------------------------


def table(files=120, skill=1.5, absent=(), seed=0, prefix="v"):
    """What ``evaluation.predictions`` returns for a detector of some skill; two files a source."""
    rng = np.random.default_rng(seed)
    label = np.arange(files) % 2
    probability = 1 / (1 + np.exp(-skill * rng.normal((2 * label - 1) * skill / 2, 1)))
    return pa.table(
        {
            "path": [f"{prefix}{i}.png" for i in range(files)],
            "label": label,
            "source": [f"s{i // 2}" for i in range(files)],
            "generator": ["gan" if fake else "" for fake in label],
            "probability": pa.array([None if i in absent else p for i, p in enumerate(probability.tolist())]),
        }
    )


def test_files_are_aligned_by_path_and_abstentions_are_no_numbers(bundles):
    first, second = table(6, absent=[1]), table(6, seed=1).take([5, 4, 3, 2, 1])
    judged = align(bundles, [first, second], "digest")
    by_path = dict(
        zip(second.column("path").to_pylist(), second.column("probability").to_pylist(), strict=True)
    )
    expected = [by_path.get(path, np.nan) for path in first.column("path").to_pylist()]
    assert judged.panel.probability_NM[:, 1].tolist() == pytest.approx(expected, nan_ok=True)
    assert np.isnan(judged.panel.probability_NM).tolist() == [[i == 1, i == 0] for i in range(6)]
    assert judged.panel.label_N.tolist() == [0, 1] * 3
    assert judged.generator_N.tolist() == ["", "gan"] * 3
    assert [member.detector for member in judged.panel.members] == ["a", "b"]


def test_members_and_ensemble_are_measured_on_the_files_that_they_judged(bundles):
    bundles[0] = bundles[0].amend(operating=OperatingPoint(threshold=0.8, low=0.8, high=0.8))
    validation = align(bundles, [table(seed=1), table(seed=2)], "")
    policy = fitting.fit(validation.panel, FusionPolicy(), np.random.default_rng(0))
    tables = [table(seed=3, absent=range(20)), table(seed=4, absent=range(10))]
    evaluations = measure(align(bundles, tables, ""), policy, JUDGING)
    assert list(evaluations) == [bundles[0].card.id, bundles[1].card.id, "ensemble"]
    assert [each.counts.files for each in evaluations.values()] == [100, 110, 110]
    probability = np.array(tables[0].column("probability").to_pylist()[20:])
    right = (probability >= 0.8) == np.array(tables[0].column("label").to_pylist()[20:])
    assert evaluations[bundles[0].card.id].overall["accuracy"].value == pytest.approx(right.mean())
    aucs = [each.overall["auc"].value for each in evaluations.values()]
    assert aucs[2] > max(aucs[:2])


def test_a_member_that_judged_no_test_file_is_named(bundles):
    validation = align(bundles, [table(seed=1), table(seed=2)], "")
    policy = fitting.fit(validation.panel, FusionPolicy(), np.random.default_rng(0))
    with pytest.raises(DataError, match=f"could be judged by {bundles[1].card.id}"):
        measure(align(bundles, [table(), table(absent=range(120))], ""), policy, JUDGING)


@pytest.fixture
def judged(monkeypatch, bundles):
    """Judging on Ray replaced by tables of 120 files a split, of which the bundles have seen nothing."""
    opened = []
    files = pa.table({"path": ["v.png", "t.png"], "source": ["v", "t"], "split": ["val", "test"]})
    for bundle in bundles:
        bundle.amend(seen=seen.remember(files.slice(0, 0)))

    def open_dataset(origin, prep, ledger, cpus, watch):
        opened.append((prep, ledger.name))
        return type("Data", (), {"digest": "d1"})

    def predictions(bundle, data, splits, judging, known):
        assert known == {}, "nothing was judged before"
        parts = []
        for number, split in enumerate(splits):
            part = table(seed=ord(bundle.card.name) + number, prefix=split)
            parts.append(part.append_column("split", pa.array([split] * len(part))))
        return pa.concat_tables(parts)

    monkeypatch.setattr(assembly, "divide", lambda origin: files)
    monkeypatch.setattr(assembly, "open_dataset", open_dataset)
    monkeypatch.setattr(assembly, "predictions", predictions)
    return opened


class Silent:
    def stage(self, title): ...
    def advance(self, done, total): ...
    def epoch(self, metrics): ...


def order_of(bundles, out, **fields):
    return Order(
        bundles=tuple(bundle.path for bundle in bundles),
        origin=Origin(path=out, store=out),
        out=out,
        judging=JUDGING,
        **fields,
    )


@pytest.mark.parametrize("method", ["log-odds", "attention", "stack"])
def test_an_ensemble_is_fitted_measured_and_written(judged, bundles, tmp_path, method):
    out = tmp_path / "made" / "e.json"
    made = assemble(order_of(bundles, out, policy=FusionPolicy(method=method), max_error_rate=0.1), Silent())
    ensemble = Ensemble.load(out)
    assert ensemble == made.ensemble
    assert ensemble.policy.method == method
    assert ensemble.policy.operating.max_error_rate == 0.1
    assert ensemble.data == {
        "digest": "d1",
        "val": {"files": 120, "real": 60, "fake": 60},
        "test": {"files": 120, "real": 60, "fake": 60},
    }
    assert set(ensemble.metrics) == {*(bundle.card.id for bundle in bundles), "ensemble"}
    assert (
        ensemble.metrics["ensemble"]["figures"]["auc"]["value"]
        == made.evaluations["ensemble"].overall["auc"].value
    )
    assert select([out]).policy == ensemble.policy


def seeing(monkeypatch, folder):
    """A file a split of real content; how the bundles remember some of them."""
    rows = []
    for number, split in enumerate(("train", "val", "val", "test", "test")):
        path = folder / f"{number}.bin"
        path.write_bytes(bytes([number]))
        rows.append({"path": str(path), "source": f"s{number}", "split": split, "label": number % 2})
    monkeypatch.setattr(assembly, "divide", lambda origin: pa.Table.from_pylist(rows).slice(1))

    def remembered(*numbers, split="train"):
        return seen.remember(pa.Table.from_pylist([rows[number] | {"split": split} for number in numbers]))

    return rows, remembered


@pytest.mark.parametrize(
    ("numbers", "split", "told"),
    [
        ([1], "train", r"1 of 2 files \(1 of train: .*1.bin\) trained b-"),
        ([3], "train", r"1 of 2 files \(1 of train: .*3.bin\) trained b-"),
        ([4], "val", r"1 of 2 files \(1 of val: .*4.bin\) trained b-"),
    ],
)
def test_files_that_a_bundle_learnt_from_are_refused(
    judged, bundles, monkeypatch, tmp_path, numbers, split, told
):
    _, remembered = seeing(monkeypatch, tmp_path)
    bundles[1].amend(seen=remembered(*numbers, split=split))
    with pytest.raises(SeenDataError, match=told):
        assemble(order_of(bundles, tmp_path / "e.json"), Silent())
    assert judged == [], "nothing was prepared or judged"


def test_validation_files_may_have_chosen_a_bundle_since_they_calibrated_it(
    judged, bundles, monkeypatch, tmp_path
):
    _, remembered = seeing(monkeypatch, tmp_path)
    for bundle in bundles:
        bundle.amend(seen=remembered(1, 2, split="val"))
    made = assemble(order_of(bundles, tmp_path / "e.json"), Silent())
    assert made.seen.sentences == ()
    assert "warnings" not in made.ensemble.data


def test_files_that_were_seen_are_left_out_or_counted_and_told(judged, bundles, monkeypatch, tmp_path):
    rows, remembered = seeing(monkeypatch, tmp_path)
    bundles[0].amend(seen=remembered(3))
    said = [row | {"split": split} for split in ("val", "test") for row in table(prefix=split).to_pylist()]
    said[-1]["path"] = rows[3]["path"]
    monkeypatch.setattr(assembly, "predictions", lambda *_: pa.Table.from_pylist(said))
    counted = assemble(order_of(bundles, tmp_path / "c.json", on_seen="count"), Silent())
    left = assemble(order_of(bundles, tmp_path / "l.json", on_seen="leave-out"), Silent())
    assert (counted.files, left.files) == (120, 119)
    for made, end in ((counted, "figures are too good"), (left, "they are left out")):
        (sentence,) = made.ensemble.data["warnings"]
        assert sentence.startswith("1 of 4 files are among those that trained or chose")
        assert sentence.endswith(f"{end}.")
        assert shown(made.ensemble).count("1 of 4 files") == 1


def shown(ensemble):
    console = Console(file=io.StringIO(), width=200)
    show_ensemble(console, ensemble)
    return console.file.getvalue()


def test_where_all_files_of_a_split_were_seen_none_can_be_left_out(judged, bundles, monkeypatch, tmp_path):
    _, remembered = seeing(monkeypatch, tmp_path)
    bundles[0].amend(seen=remembered(3, 4))
    with pytest.raises(DataError, match="No file of the split test is left"):
        assemble(order_of(bundles, tmp_path / "e.json", on_seen="leave-out"), Silent())


def test_bundles_are_judged_by_their_own_preparation(judged, bundles, tmp_path):
    faces = tiny_bundle(tmp_path / "f", prep=FACES, name="f")
    assemble(order_of([bundles[0], faces], tmp_path / "e.json"), Silent())
    assert [prep for prep, _ in judged] == [bundles[0].prep(), FACES]
    assert [name for _, name in judged] == [
        f"e-{bundles[0].card.prep_digest}-ledger.parquet",
        f"e-{FACES.digest}-ledger.parquet",
    ]


def test_one_bundle_or_the_same_one_twice_is_no_ensemble(bundles, tmp_path):
    for chosen in (bundles[:1], [bundles[0], bundles[0]]):
        with pytest.raises(ConfigError, match="two bundles or more that differ"):
            assemble(order_of(chosen, tmp_path / "e.json"), Silent())


def test_the_file_is_plain_json(file):
    values = json.loads(file.read_text())
    assert values["schema"] == 1
    assert values["policy"]["method"] == "mean"
    assert Entry(**values["entries"][0]).path == "../runs/a"


# --- the whole way ---------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_bundles_are_judged_on_ray_and_the_file_answers_as_the_fit_did(ray_cluster, make_bundle, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["path,label,split,source,generator"]
    for i in range(26):
        fake = i % 2
        picture = rng.integers(0, 90 + 160 * fake, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        split = "val" if i < 16 else "test" if i < 24 else "train"
        rows.append(f"{i}.png,{fake},{split},s{i},{'gan' if fake else ''}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    members = [make_bundle("first"), make_bundle("second", seed=1)]
    order = Order(
        bundles=tuple(member.path for member in members),
        origin=Origin(path=tmp_path / "manifest.csv", store=tmp_path / "store"),
        out=tmp_path / "e.json",
        policy=FusionPolicy(method="stack"),
        judging=Judging(device="cpu", replicates=20),
    )
    made = assemble(order, Silent())
    assert made.files == 8
    assert made.evaluations["ensemble"].counts.files == 8
    assert made.ensemble.policy.operating.shortfall.startswith("No file is called fake or real: the 8 real")
    # In this process the same files get the probabilities that were measured.
    chosen = select([order.out])
    detectors = [Detector.load(path, "cpu") for path in chosen.bundles]
    verdicts = [
        analyze(Media.from_path(tmp_path / f"{i}.png"), detectors, chosen.policy) for i in range(16, 24)
    ]
    brier = np.mean([(v.probability - i % 2) ** 2 for i, v in zip(range(16, 24), verdicts, strict=True)])
    assert made.evaluations["ensemble"].overall["brier"].value == pytest.approx(brier, abs=1e-6)
    assert {v.label for v in verdicts} == {"inconclusive"}
