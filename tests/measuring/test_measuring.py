"""`deepscan evaluate`, whole: what is refused, marked, compared and told, in this process."""

import contextlib
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deepscan import cluster, evaluation, measuring
from deepscan.calibration import OperatingPoint
from deepscan.cli import app
from deepscan.datasets import dataset, layout, seen
from deepscan.datasets.dataset import Origin, open_dataset
from deepscan.datasets.store import Store, prepare_file
from deepscan.errors import ConfigError, DataError, SeenDataError
from deepscan.evaluation import Asked, Judging
from deepscan.measuring import Measuring
from deepscan.media.source import Limits
from deepscan.metrics.costs import Verifier
from deepscan.watch import LogWatch
from tests.material import encoded
from tests.tiny_bundles import PLUGIN, tiny_bundle

FAST = Judging(device="cpu", replicates=50)
POINT = OperatingPoint(threshold=0.5, low=0.45, high=0.55)


def picture(seed, bright):
    rng = np.random.default_rng(seed)
    return encoded(rng.integers(90 * bright, 160 + 90 * bright, (40, 48, 3), dtype=np.uint8))


@pytest.fixture
def here(monkeypatch):
    """Prepare and judge in this process, as small data are where nobody else works."""

    def prepare(paths, prep, store, work, advance):
        rows = [row for path in paths for row in prepare_file(path, prep, Limits())]
        store.write(rows, "examples")
        return store.index("examples", "ledger")

    monkeypatch.setattr(dataset.stream, "prepare", prepare)
    monkeypatch.setattr(evaluation, "alone", lambda: True)


@pytest.fixture
def data(tmp_path):
    """24 pictures: each of two folders has files of the same names, of two files a person."""
    rows = []
    for folder, split in (("one", "train"), ("two", "test")):
        for number in range(12):
            path = tmp_path / folder / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(picture(100 * (folder == "two") + number, number % 2))
            source = f"{folder}-{number // 2}"
            rows.append(
                {
                    "path": str(path),
                    "label": "fake" if number % 2 else "real",
                    "split": split,
                    "source": source,
                    "generator": "swap" if number % 2 else "",
                    "tone": "dark" if number < 6 else "light",
                    "serial": str(number),
                }
            )
    manifest = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    return manifest


@pytest.fixture
def bundle(tmp_path, data):
    return remembering(tmp_path / "bundle", data, 0)


def remembering(folder, data, seed):
    table = layout.scan(data)
    made = tiny_bundle(folder, seed, operating=POINT, data={"digest": layout.digest(table)})
    return made.amend(seen=seen.remember(table))


def order(bundle, data, tmp_path, **changes):
    origin = Origin(path=data, store=tmp_path / "store", fractions=None)
    return Measuring(
        **{"bundle": bundle.path, "origin": origin, "out": tmp_path / "out", "judging": FAST} | changes
    )


def measured(given):
    return measuring.measure(given, measuring.look(given), LogWatch())


def test_the_test_split_is_measured_without_a_word(here, bundle, data, tmp_path):
    outcome = measured(order(bundle, data, tmp_path))
    assert outcome.evaluation.counts.files == 12
    assert outcome.seen.sentences == ()
    assert outcome.against is None
    assert set(outcome.examination.disparities) == {"tone", "serial"}
    assert set(outcome.examination.by_generator) == {"swap"}


def test_what_trained_the_bundle_is_refused_before_anything_is_prepared(bundle, data, tmp_path):
    with pytest.raises(SeenDataError, match=r"12 of 12 files \(12 of train"):
        measuring.look(order(bundle, data, tmp_path, split="train"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store").exists()


def test_copies_of_training_files_are_refused_in_any_data_set(bundle, data, tmp_path):
    new = tmp_path / "new"
    for name in ("real", "fake"):
        (new / name).mkdir(parents=True)
    (new / "real" / "fresh.png").write_bytes(picture(7, 0))
    (new / "fake" / "stale.png").write_bytes((tmp_path / "one" / "1.png").read_bytes())
    with pytest.raises(SeenDataError, match=r"1 of 2 files \(1 of train: .*stale.png"):
        measuring.look(order(bundle, new, tmp_path))


def test_a_bundle_that_wrote_nothing_down_is_refused_its_own_splits_by_their_digest(data, tmp_path):
    old = tiny_bundle(tmp_path / "old", data={"digest": layout.digest(layout.scan(data))})
    with pytest.raises(SeenDataError, match="This split trained"):
        measuring.look(order(old, data, tmp_path, split="train"))
    found = measuring.look(order(old, data, tmp_path))
    assert "is unknown" in found.seen.sentences[0]


def test_seen_files_are_counted_and_marked_where_that_is_asked_for(here, bundle, data, tmp_path):
    outcome = measured(order(bundle, data, tmp_path, split="train", on_seen="count"))
    assert outcome.evaluation.counts.files == 12
    evaluation.publish(outcome, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert len(told["seen"]["files"]) == 12
    assert told["seen"]["same_data"] is True
    assert "12 of 12 files" in told["warnings"][0]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "figures are too good" in page


def test_seen_files_are_left_out_where_that_is_asked_for(here, bundle, data, tmp_path):
    (tmp_path / "two" / "3.png").write_bytes((tmp_path / "one" / "1.png").read_bytes())
    outcome = measured(order(bundle, data, tmp_path, on_seen="leave-out"))
    assert outcome.evaluation.counts.files == 11
    assert str(tmp_path / "two" / "3.png") not in outcome.judged.column("path").to_pylist()
    assert "they are left out" in outcome.seen.sentences[0]
    with pytest.raises(DataError, match="No file of the split train is left"):
        measuring.look(order(bundle, data, tmp_path, split="train", on_seen="leave-out"))


def test_files_of_one_name_in_two_folders_stay_two_files(here, bundle, data, tmp_path):
    both = pq.read_table(data)
    both = both.set_column(both.column_names.index("split"), "split", pa.array(["test"] * 24))
    pq.write_table(both.drop_columns(["source"]), tmp_path / "both.parquet")
    given = order(bundle, tmp_path / "both.parquet", tmp_path, on_seen="count")
    outcome = measured(given)
    logits = dict(zip(*(outcome.judged.column(n).to_pylist() for n in ("path", "logit")), strict=True))
    assert len(logits) == outcome.evaluation.counts.files == outcome.evaluation.counts.sources == 24
    for number in range(12):
        names = [str(tmp_path / folder / f"{number}.png") for folder in ("one", "two")]
        assert logits[names[0]] != logits[names[1]]
    # Joined by name, the two detectors' answers to different files would be averaged or lost.
    other = tiny_bundle(tmp_path / "other", 1)
    data = open_dataset(given.origin, other.prep(), tmp_path / "l.parquet", 1.0, LogWatch())
    said = evaluation.predictions(other, data, ("test",), FAST)
    turned = said.take(list(range(23, -1, -1)))
    pairs = [measuring.against((bundle, other), outcome.judged, table, FAST) for table in (said, turned)]
    assert pairs[0] == pairs[1]
    assert pairs[0].comparison.counts.files == 24


def test_another_bundle_is_compared_on_the_same_files(here, bundle, data, tmp_path):
    other = remembering(tmp_path / "other", data, 1)
    outcome = measured(order(bundle, data, tmp_path, against=other.path))
    found = outcome.against
    assert found.bundle == other.card.id
    assert (found.only_first, found.only_second, found.comparison.counts.files) == (0, 0, 12)
    theirs = pq.read_table(tmp_path / "out" / measuring.PREDICTIONS_AGAINST)
    assert theirs.num_rows == 12
    first = outcome.evaluation.overall["auc"].value
    assert found.comparison.auc[0] == pytest.approx(first)
    assert found.comparison.delong.figure.value == pytest.approx(first - found.comparison.auc[1])
    evaluation.publish(outcome, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert told["against"]["comparison"]["auc"][0] == pytest.approx(first)
    assert f"Against {other.card.id}" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_what_the_other_bundle_has_seen_is_refused_too(bundle, data, tmp_path):
    table = layout.scan(data)
    every = table.set_column(table.column_names.index("split"), "split", pa.array(["val"] * 24))
    other = tiny_bundle(tmp_path / "other", 1).amend(seen=seen.remember(every))
    with pytest.raises(SeenDataError, match=other.card.id):
        measuring.look(order(bundle, data, tmp_path, against=other.path))


def test_a_bundle_is_not_compared_with_itself(bundle, data, tmp_path):
    with pytest.raises(ConfigError, match="are the same bundle"):
        measuring.look(order(bundle, data, tmp_path, against=bundle.path))


def test_a_file_that_only_one_judged_is_counted_and_not_compared(here, bundle, data, tmp_path):
    outcome = measured(order(bundle, data, tmp_path))
    column = outcome.judged.column_names.index("logit")
    logits = outcome.judged.column("logit").to_pylist()
    fewer = outcome.judged.set_column(column, "logit", pa.array([None, *logits[1:]], pa.float64()))
    found = measuring.against((bundle, bundle), outcome.judged, fewer, FAST)
    assert (found.only_first, found.only_second, found.comparison.counts.files) == (1, 0, 11)
    nothing = outcome.judged.slice(0, 1)
    with pytest.raises(DataError, match="no file in common"):
        measuring.against((bundle, bundle), nothing, outcome.judged.slice(1, 3), FAST)


def test_columns_to_measure_by_are_chosen(here, bundle, data, tmp_path):
    outcome = measured(order(bundle, data, tmp_path, asked=Asked(by=("tone",))))
    assert set(outcome.evaluation.by_group) == set(outcome.examination.disparities) == {"tone"}
    assert outcome.examination.disparities["tone"].too_small.keys() == {"dark", "light"}
    with pytest.raises(ConfigError, match="no column 'skin' to measure by: the manifest has tone, serial"):
        measuring.look(order(bundle, data, tmp_path, asked=Asked(by=("skin",))))


def test_a_column_of_too_many_values_is_refused(bundle, data, tmp_path):
    judged = pa.table({name: ["x"] * 60 for name in ("path", "source", "generator")})
    judged = judged.append_column("label", pa.array([0, 1] * 30)).append_column("id", pa.array(range(60)))
    judged = judged.append_column("logit", pa.array([0.0] * 60)).append_column(
        "probability", pa.array([0.5] * 60)
    )
    with pytest.raises(ConfigError, match="into 60 groups"):
        evaluation.measure(bundle, judged, FAST, ("id",))
    assert evaluation.measure(bundle, judged, FAST).by_group == {}


def test_the_rates_of_a_verifier_are_read(tmp_path):
    path = tmp_path / "asv.json"
    path.write_text('{"miss": 0.02, "false_alarm": 0.01, "fake_false_alarm": 0.4, "costs": {"miss": 2}}')
    found = measuring.read_verifier(path)
    assert (found.miss, found.false_alarm, found.fake_false_alarm, found.costs.miss) == (0.02, 0.01, 0.4, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds no object"),
        ('{"mis": 0.1}', "Did you mean 'miss'"),
        ('{"miss": 0.1}', "Incomplete"),
        ('{"miss": 2, "false_alarm": 0.1, "fake_false_alarm": 0.1}', "lie in"),
    ],
)
def test_rates_that_are_none_are_refused(tmp_path, text, words):
    path = tmp_path / "asv.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        measuring.read_verifier(path)


def test_the_command_tells_everything(here, bundle, data, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "connected", lambda address: contextlib.nullcontext())
    other = remembering(tmp_path / "other", data, 1)
    rates = tmp_path / "asv.json"
    rates.write_text(json.dumps({"miss": 0.02, "false_alarm": 0.01, "fake_false_alarm": 0.4}))
    words = [
        "evaluate",
        "--bundle",
        bundle.path,
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--against",
        other.path,
    ]
    words += ["--by", "tone", "--asv-rates", rates, "--plugin", PLUGIN, "--store", tmp_path / "store"]
    words += ["--split", "train", "--seen", "count", "--device", "cpu"]
    done = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for told in (
        "Cllr",
        "Least t-DCF 2021",
        "Labels not ruled out",
        "Equal error rate",
        "Largest differences by tone",
        "Equalised odds",
        "tone 'dark', 3 real",
        f"Less {other.card.id}",
        "McNemar",
        "12 of 12 files are among those",
    ):
        assert told in done.output, told
    costs = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))["examination"][
        "costs"
    ]
    assert set(costs) == {"cllr", "min_cllr", "act_dcf", "min_dcf", "min_tdcf_2019", "min_tdcf_2021"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Least t-DCF 2019" in page
    assert "Differences by tone" in page


def test_the_verifier_of_an_order_reaches_the_figures(here, bundle, data, tmp_path):
    asked = Asked(verifier=Verifier(miss=0.1, false_alarm=0.1, fake_false_alarm=0.5))
    costs = measured(order(bundle, data, tmp_path, asked=asked)).examination.costs
    assert costs["min_tdcf_2021"].value is not None
    assert pathlib.Path(tmp_path / "out" / measuring.LEDGER).is_file()
    assert Store(tmp_path / "store", bundle.prep()).path.is_dir()
