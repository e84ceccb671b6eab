"""A bundle with a gate, wherever files are judged: one by one, many together, over HTTP, in evaluation."""

import asyncio
import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from deepscan import evaluation, pipeline
from deepscan.bundle import Bundle
from deepscan.datasets.dataset import DataSet, Origin, open_dataset
from deepscan.datasets.described import TRAITS, Described, statistics_of
from deepscan.datasets.pseudo import PseudoFakes
from deepscan.datasets.reader import Reader, ledger
from deepscan.datasets.store import Store, prepare_file
from deepscan.detector import Detector, admit
from deepscan.domain import gate as gates
from deepscan.domain import traits
from deepscan.errors import BundleError, DataError, NoFaceError
from deepscan.evaluation import Judging
from deepscan.fusion import FusionPolicy, Vote
from deepscan.media.source import Limits, Media
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.onlooking import fit_gate
from deepscan.optimize.export import export
from deepscan.optimize.fold import fold
from deepscan.optimize.gating import Gating, fitted, with_gate
from deepscan.recipe import Pseudo
from deepscan.robustness import judging as delivered
from deepscan.scoring.judge import judge, look
from deepscan.serving import judging
from deepscan.serving.batching import Batching
from deepscan.serving.ensemble import Preparation, Wish
from deepscan.serving.judging import Judges
from deepscan.training.run import Order, train
from deepscan.verdict import Abstention
from tests.domain.files import drawing, noise, scene
from tests.material import encoded
from tests.test_cli import run
from tests.tiny_bundles import PLUGIN, WHOLE, tiny_bundle

JUDGING = Judging(device="cpu", replicates=0)


@pytest.fixture(scope="module")
def gate():
    told = [traits.of_example({"pixels": scene(seed)}, WHOLE.needs) for seed in range(150)]
    columns = {name: [each[name] for each in told] for name in told[0]}
    return gates.fit(columns, [str(number) for number in range(150)], 0.01)


@pytest.fixture(scope="module")
def bundles(gate, tmp_path_factory):
    """The same weights with a gate and without."""
    folder = tmp_path_factory.mktemp("gated")
    return [tiny_bundle(folder / "gated", name="t", gate=gate), tiny_bundle(folder / "open", name="t")]


@pytest.fixture(scope="module")
def detectors(bundles):
    return [Detector.load(bundle.path, "cpu") for bundle in bundles]


def media(picture, name="a.png"):
    return Media.from_bytes(encoded(picture), name)


def test_a_gated_file_is_an_abstention_and_the_model_is_not_asked(detectors, monkeypatch):
    gated, open_ = detectors
    prepared = gated.prep(media(noise(0)))
    assert isinstance(open_.vote(prepared), Vote)
    asked = []
    monkeypatch.setattr(Detector, "run", lambda *given: asked.append(given))
    said = gated.vote(prepared)
    assert isinstance(said, Abstention)
    assert said.reason == "out-of-domain"
    assert "Farthest out is pixels." in said.message
    assert asked == []


def test_a_file_like_those_of_validation_is_judged_as_without_a_gate(detectors):
    gated, open_ = (detector.vote(detector.prep(media(scene(500)))) for detector in detectors)
    assert isinstance(gated, Vote)
    assert gated.score.logit == open_.score.logit


def test_another_reason_to_abstain_comes_first(detectors):
    error = NoFaceError("no face")
    assert admit(detectors, error) == [error, error]
    assert detectors[0].vote(error).reason == "no-face"


def test_the_verdict_on_a_gated_file_is_inconclusive(detectors):
    verdict = pipeline.analyze(media(drawing(0)), detectors[:1])
    assert (verdict.label, verdict.probability, verdict.scores) == ("inconclusive", None, ())
    assert [each.reason for each in verdict.abstentions] == ["out-of-domain"]
    assert pipeline.analyze(media(scene(500)), detectors[:1]).probability is not None


def test_members_of_an_ensemble_abstain_each_by_its_own_gate(detectors):
    verdict = pipeline.analyze(media(noise(0)), detectors)
    assert [score.bundle for score in verdict.scores] == [detectors[1].bundle.card.id]
    assert [each.bundle for each in verdict.abstentions] == [detectors[0].bundle.card.id]


def test_a_file_that_is_delivered_may_be_gated_too(detectors, tmp_path):
    path = tmp_path / "noise.png"
    path.write_bytes(encoded(noise(0)))
    gated, open_ = (delivered.judge(detector, str(path), None, ()) for detector in detectors)
    assert (gated["status"], gated["reason"], gated["logit"]) == ("abstained", "out-of-domain", None)
    assert open_["status"] == "judged"


def test_scoring_many_files_gates_the_same_ones(detectors, tmp_path):
    for name, picture in {"a.png": scene(500), "b.png": noise(0), "c.png": drawing(0)}.items():
        (tmp_path / name).write_bytes(encoded(picture))
    looks = [look(i, str(tmp_path / f"{name}.png"), detectors[:1]) for i, name in enumerate("abc")]
    rows = list(judge(looks, detectors[:1], FusionPolicy()))
    assert [row["status"] for row in rows] == ["scored", "abstained", "abstained"]
    assert [each["reason"] for row in rows for each in row["abstentions"]] == ["out-of-domain"] * 2


def served(detectors, prepared, facts, batching=None):
    async def asked():
        judges = Judges(detectors, batching or Batching())
        wish = Wish(bundles=frozenset(each.bundle.card.id for each in detectors))
        found = await judges(Preparation(prepared=prepared, facts=facts, elapsed_ms=1.0), wish)
        await judges.close()
        return found.outcomes

    return asyncio.run(asyncio.wait_for(asked(), 60))


def test_the_service_gates_the_same_ones(detectors):
    for picture in (scene(500), noise(0), drawing(0)):
        given = media(picture)
        prepared = detectors[0].prep(given)
        outcomes = served(tuple(detectors), prepared, given.facts)
        for outcome, detector in zip(outcomes, detectors, strict=True):
            alone = detector.vote(prepared)
            assert type(outcome) is type(alone)
            if isinstance(alone, Abstention):
                assert outcome == alone
            else:
                assert outcome.score.logit == pytest.approx(alone.score.logit, abs=1e-5)


def test_a_file_that_every_gate_refuses_does_not_wait_for_the_models(detectors, monkeypatch):
    monkeypatch.setattr(judging, "run_together", None)
    given = media(noise(0))
    prepared, alone = detectors[0].prep(given), tuple(detectors[:1])
    (outcome,) = served(alone, prepared, given.facts, Batching(size=2, wait_s=100))
    assert outcome.reason == "out-of-domain"


def dataset(folder, pictures, split="val", kept=True):
    folder.mkdir(parents=True, exist_ok=True)
    rows, store = [], Store(folder / "store", WHOLE)
    for number, picture in enumerate(pictures):
        path = folder / f"{number:03}.png"
        path.write_bytes(encoded(picture))
        rows += prepare_file(str(path), WHOLE, Limits())
    if not kept:
        rows = [dataclasses.replace(row, example=None) for row in rows]
    store.write(rows, "examples" if kept else "ledger")
    columns = {"path": [row.path for row in rows], "label": [i % 2 for i in range(len(rows))]}
    columns |= {"split": [split] * len(rows), "source": [str(i) for i in range(len(rows))]}
    columns["generator"] = ["g"] * len(rows)
    index = store.index("examples" if kept else "ledger")
    reader = Reader(store, WHOLE, Limits(), WHOLE.needs)
    return DataSet(ledger=ledger(pa.table(columns), index), index=index, reader=reader, digest="")


PICTURES = [scene(500), noise(0), scene(501), drawing(0), scene(502), scene(503)]


@pytest.mark.parametrize("kept", [True, False])
def test_evaluation_gates_the_same_ones_and_counts_them(bundles, detectors, tmp_path, monkeypatch, kept):
    monkeypatch.setattr(evaluation, "alone", lambda: True)
    monkeypatch.setattr(evaluation, "_few", lambda *given: True)
    data = dataset(tmp_path, PICTURES, "test", kept)
    judged = evaluation.predictions(bundles[0], data, ("test",), JUDGING)
    said = [detectors[0].vote(detectors[0].prep(media(picture))) for picture in PICTURES]
    expected = [each.score.logit if isinstance(each, Vote) else None for each in said]
    assert [each is None for each in expected] == [False, True, False, True, False, False]
    for found, wanted in zip(judged["logit"].to_pylist(), expected, strict=True):
        assert found == (wanted and pytest.approx(wanted, abs=1e-5))
    assert judged["status"].to_pylist() == ["out-of-domain" if each is None else "used" for each in expected]
    outcome = evaluation.assess(bundles[0], data, "test", judged, JUDGING)
    assert outcome.account == {"used": 4, "out-of-domain": 2}
    assert outcome.evaluation.counts.files == 4
    ungated = evaluation.predictions(bundles[1], data, ("test",), JUDGING)
    assert set(ungated["status"].to_pylist()) == {"used"}
    assert None not in ungated["logit"].to_pylist()


def test_a_described_batch_is_a_batch_with_statistics(gate, tmp_path):
    data = dataset(tmp_path, PICTURES)
    (chunk,) = data.chunks("val")
    plain, told = data.reader.labelled([chunk]), Described.of(data.reader, gate).labelled([chunk])
    assert set(told) == {*plain, TRAITS}
    assert all((told[name] == plain[name]).all() for name in plain)
    expected = [gate.values([{"pixels": picture}], WHOLE.needs) for picture in PICTURES]
    np.testing.assert_allclose(told[TRAITS], expected)
    assert set(Described.of(data.reader, None).labelled([chunk])) == set(plain)


@pytest.fixture(scope="module")
def natural(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("natural"), [scene(seed) for seed in range(60)])


def test_a_gate_is_fitted_to_the_files_of_a_split_and_nothing_else(natural):
    fresh = fit_gate(natural, JUDGING, 0.05)
    told = [traits.of_example({"pixels": scene(seed)}, WHOLE.needs) for seed in range(60)]
    names = statistics_of(WHOLE)
    assert set(names) == set(told[0])
    columns = {name: [each[name] for each in told] for name in names}
    assert fresh == gates.fit(columns, [str(number) for number in range(60)], 0.05)
    assert fit_gate(natural, JUDGING, 0.05, "train") is None
    assert fit_gate(natural, JUDGING, 0.0) is None


def test_files_of_one_source_are_held_out_together(natural):
    table = natural.ledger
    place = table.column_names.index("source")
    grouped = table.set_column(place, "source", pa.array([str(number // 30) for number in range(60)]))
    fresh = fit_gate(dataclasses.replace(natural, ledger=grouped), JUDGING, 0.05)
    assert fresh.threshold != fit_gate(natural, JUDGING, 0.05).threshold


def test_pseudo_fakes_are_among_them_with_the_source_of_their_reals(natural, monkeypatch):
    table = natural.ledger
    labels = pa.array([0] * len(table), table["label"].type)
    reals = table.set_column(table.column_names.index("label"), "label", labels)
    pseudo = PseudoFakes.of(load_modalities().get("image"), WHOLE, Pseudo(kind="self-blended"), 0)
    forged = dataclasses.replace(natural, ledger=reals).with_pseudo_fakes(pseudo)
    seen = []
    monkeypatch.setattr(gates, "fit", lambda told, source, rate: seen.append((told, source)))
    fit_gate(forged, JUDGING, 0.05)
    ((told, source),) = seen
    assert {len(values) for values in told.values()} == {120}
    assert sorted(source) == sorted([str(number) for number in range(60)] * 2)


def test_deepscan_gate_puts_one_on_and_takes_it_off(natural, bundles, tmp_path):
    first = bundles[1]
    fresh = fitted(natural, Gating(rate=0.05))
    made = with_gate(first.path, fresh, tmp_path / "gated")
    again = Bundle.read(made.path)
    assert again.card.gate == fresh
    assert (again.card.parent, again.card.change) == (first.card.id, {"step": "gate", "rate": 0.05})
    assert again.card.calibration == first.card.calibration
    assert Detector.load(made.path, "cpu").vote(WHOLE(media(noise(0)))).reason == "out-of-domain"
    done = run("gate", str(made.path), "--rate", "0", "--out", str(tmp_path / "off"))
    assert done.exit_code == 0, done.stderr
    assert Bundle.read(tmp_path / "off").card.gate is None
    assert isinstance(Detector.load(tmp_path / "off", "cpu").vote(WHOLE(media(noise(0)))), Vote)


def test_too_few_files_and_a_gate_without_files_are_refused(natural, bundles, tmp_path):
    with pytest.raises(DataError, match="The split test holds 0 files"):
        fitted(natural, Gating(split="test"))
    done = run("gate", str(bundles[1].path), "--out", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert "--data" in done.stderr


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_the_command_fits_a_gate_to_files(bundles, tmp_path):
    for number in range(60):
        folder = tmp_path / "data" / ("real", "fake")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encoded(scene(number)))
    words = ["--data", str(tmp_path / "data"), "--store", str(tmp_path / "s"), "--split", "test"]
    done = run("gate", str(bundles[1].path), *words, "--out", str(tmp_path / "o"), "--plugin", str(PLUGIN))
    assert done.exit_code == 0, done.stderr
    assert "60 files" in done.stdout
    assert Bundle.read(tmp_path / "o").card.gate.files == 60


class Silent:
    """A Watch that says nothing."""

    def stage(self, title):
        """Be told what begins."""

    def advance(self, done, total):
        """Be told how far it is."""

    def epoch(self, metrics):
        """Be told what an epoch came to."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_training_fits_the_gate_that_the_recipe_asks_for(tmp_path, monkeypatch):
    for number in range(64):
        folder = tmp_path / "data" / ("real", "fake")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02}.png").write_bytes(encoded(scene(number)))
    monkeypatch.setattr(gates, "FEWEST", 8)
    origin = Origin(path=tmp_path / "data", store=tmp_path / "s", fractions=(0.5, 0.25, 0.25))
    overrides = ("recipe.gate=0.2", "recipe.epochs=1")
    order = Order(model="tiny", plugin=PLUGIN, origin=origin, out=tmp_path / "run", overrides=overrides)
    outcome = train(order, Silent())
    card = outcome.bundle.card
    assert (card.gate.rate, card.gate.files, card.recipe["gate"]) == (0.2, 16, 0.2)
    statuses = outcome.said["status"].to_pylist()
    assert [each is None for each in outcome.said["logit"].to_pylist()] == [
        each == "out-of-domain" for each in statuses
    ]
    assert card.operating.real + card.operating.fake == statuses[:16].count("used")
    data = open_dataset(origin, WHOLE, tmp_path / "ledger.parquet", 1.0, Silent())
    here = evaluation.file_logits(outcome.bundle, data.reader, data.chunks("test"), Judging(plugin=PLUGIN))
    monkeypatch.setattr(evaluation, "FEW", 0)
    there = evaluation.file_logits(outcome.bundle, data.reader, data.chunks("test"), Judging(plugin=PLUGIN))
    assert [each is None for each in here.values()] == [each is None for each in there.values()]


def test_siblings_keep_the_gate(bundles, gate, tmp_path):
    exported = export(bundles[0].path, "torchscript", tmp_path / "script")
    assert exported.bundle.card.gate == gate
    said = Detector.load(tmp_path / "script", "cpu").vote(WHOLE(media(noise(0))))
    assert said.reason == "out-of-domain"
    assert fold(bundles[0].path, tmp_path / "folded").bundle.card.gate == gate


def test_the_id_follows_the_gate_and_bundles_without_one_keep_theirs(bundles, gate):
    gated, open_ = (bundle.card for bundle in bundles)
    assert gated.id != open_.id
    assert dataclasses.replace(gated, gate=None).id == open_.id
    other = dataclasses.replace(gate, threshold=9.0)
    assert dataclasses.replace(gated, gate=other).id != gated.id


def test_a_card_without_a_gate_loads_and_one_of_another_version_is_refused(bundles, tmp_path):
    card = json.loads((bundles[0].path / "bundle.json").read_text())
    for file in bundles[0].path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    del card["gate"]
    (tmp_path / "bundle.json").write_text(json.dumps(card))
    assert Bundle.read(tmp_path).card.gate is None
    card = json.loads((bundles[0].path / "bundle.json").read_text())
    card["gate"]["version"] = 99
    (tmp_path / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="statistics of version 99"):
        Bundle.read(tmp_path)
