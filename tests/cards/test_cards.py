"""Model cards: what is known is told, what is not known is said to be so, no private path gets out."""

import dataclasses
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deepscan import cli, config
from deepscan.bundle import Bundle
from deepscan.calibration import OperatingPoint
from deepscan.cards import facts, failures, figures, given, table, write
from deepscan.datasets.judged import as_predictions
from deepscan.ensemble import Ensemble, entry
from deepscan.errors import ConfigError, DataError, StorageError
from deepscan.fusion import FusionPolicy
from deepscan.metrics import Figure, Predictions, evaluate
from deepscan.metrics.examination import examine
from deepscan.metrics.paired import Against, compare
from deepscan.modalities.catalog import load_builtin
from deepscan.report.card import (
    CardPage,
    Items,
    Section,
    Table,
    Text,
    card_markdown,
    render_card,
    table_markdown,
)
from deepscan.report.robustness import Measured as Delivered
from deepscan.report.robustness import RobustnessPage, Row, robustness_json
from deepscan.training import told
from tests.report.reading import Reader
from tests.tiny_bundles import tiny_bundle

POINT = OperatingPoint(threshold=0.5, low=0.3, high=0.7, real=40, fake=50)
DATA = {
    "digest": "0123456789abcdef",
    "files": {"train": 6, "val": 2, "test": 2},
    "status": {"used": 9, "no-face": 1},
    "split_seed": 11,
    "counts": {
        "train": {
            "files": 6,
            "sources": 5,
            "real": 3,
            "fake": 3,
            "generators": {"StyleGAN": 2, "SD | XL": 1},
        },
        "val": {"files": 2, "sources": 2, "real": 1, "fake": 1, "generators": {"StyleGAN": 1}},
        "test": {"files": 2, "sources": 2, "real": 1, "fake": 1, "generators": {"StyleGAN": 1}},
    },
}
TEST = {
    "counts": {"files": 240, "sources": 80, "real": 100, "fake": 140},
    "figures": {
        "auc": {"value": 0.912, "low": 0.871, "high": 0.944},
        "eer": {"value": 0.152, "low": 0.12, "high": 0.19},
    },
    "verdicts": {
        "real": {"real": 80, "fake": 4, "inconclusive": 10, "abstained": 6},
        "fake": {"real": 7, "fake": 103, "inconclusive": 30, "abstained": 0},
    },
}


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def full(tmp_path):
    """A bundle of which everything is known."""
    return tiny_bundle(
        tmp_path / "full",
        operating=POINT,
        data=DATA,
        metrics={"validation": {"epoch": 4.0, "val_auc": 0.9}, "test": TEST, "optimized": {"largest": 1e-5}},
        training={"time_s": 3725.4, "workers": 2, "epochs": 9, "resumed": True},
        recipe={"seed": 7, "optimizer": {"lr": 0.25}},
        software={"deepscan": "0.1.0"},
    )


def judged_rows(root):
    """Twenty files: sure mistakes in both classes, and one file that could not be judged."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(20):
        label = number % 2
        logit = float(rng.normal(2.0 * label - 1, 1.0))
        rows.append(
            {
                "path": f"{root}/{'fake' if label else 'real'}/{number:02}.png",
                "label": label,
                "split": "test",
                "source": f"{root}/people/{number // 4}",
                "generator": "<b>GAN</b>" if label else "",
                "phone": "old" if number < 10 else "new",
                "status": "used",
                "logit": logit,
            }
        )
    rows[0]["logit"], rows[1]["logit"] = 6.0, -7.0
    rows[2]["logit"], rows[2]["status"] = None, "no-face"
    for row in rows:
        row["probability"] = None if row["logit"] is None else float(1 / (1 + np.exp(-row["logit"])))
    return rows


@pytest.fixture
def evaluation(tmp_path, full):
    """A folder as ``deepscan evaluate`` leaves it."""
    folder, root = tmp_path / "runs" / "others", tmp_path / "secret" / "data"
    folder.mkdir(parents=True)
    ledger = pa.Table.from_pylist(judged_rows(root))
    pq.write_table(ledger, folder / "predictions.parquet")
    scored = as_predictions(ledger.filter(pa.array([v is not None for v in ledger["logit"].to_pylist()])))
    values = {
        "title": "tiny on the test split",
        "facts": {"bundle": full.card.id},
        "evaluation": dataclasses.asdict(evaluate(scored, 0.5, np.random.default_rng(0), 20)),
        "examination": dataclasses.asdict(examine(scored, POINT, np.random.default_rng(0), 20)),
        "warnings": [f"1 sources have names of sources that trained it ({root}/people/0)."],
    }
    (folder / "evaluation.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def robust(tmp_path, full):
    """A folder as ``evaluate --robustness`` leaves it."""
    figure = Figure(value=0.81, low=0.72, high=0.9)
    change = Figure(value=-0.031, low=-0.06, high=0.01)
    said = Delivered(
        auc=figure, auc_change=change, ece=0.04, pairs=9, flipped=0.125, changed=0.2, crossed=0.1, shift=0.0
    )
    row = Row(
        name="as-is", family="as-is", setting="as-is", severity=0, files=10, judged=9, abstained=1, failed=0,
        reasons={}, single=said, ensemble=said,
    )  # fmt: skip
    delivered = dataclasses.replace(row, name="jpeg-70", severity=1)
    page = RobustnessPage(
        title="t",
        facts={"bundle": full.card.id, "files": "4 real, 6 fake", "sources": 5},
        rows=[row, delivered],
        unavailable={"vp9": "no encoder at /usr/lib/private/libvpx.so"},
    )
    (tmp_path / "robust").mkdir()
    (tmp_path / "robust" / "robustness.json").write_text(robustness_json(page))
    return tmp_path / "robust"


def whole(bundle, evaluations=(), robustness=(), note=""):
    return write.card_of(bundle.path, given.read(list(evaluations), list(robustness), note))


def section(page, title):
    (found,) = [each for each in page.sections if each.title == title]
    return card_markdown(CardPage(title="", facts={}, sections=(found,))).replace("\\", "")


def test_the_card_tells_purpose_judge_data_protocol_and_training(full):
    page = whole(full)
    judge, data = section(page, "Who judges"), section(page, "Data")
    size_bytes = sum((full.path / name).stat().st_size for name in full.card.files)
    count = sum(each.numel() for each in full.module().parameters())
    for words in (
        f"| parameters | {count:,} |",
        f"{size_bytes:,} bytes",
        "eager, float32",
        full.card.prep_digest,
    ):
        assert words in judge
    assert f"| prep.size_px | {full.card.prep['size_px']} |" in judge
    assert all(digest in judge for digest in full.card.files.values())
    assert "0123456789abcdef" in data
    assert "| train | 6 | 5 | 3 | 3 |" in data
    assert "| StyleGAN | 2 | 1 | 1 |" in data
    assert "| SD | XL | 1 | 0 | 0 |" in data
    assert "used 9, no-face 1" in data
    protocol, training = section(page, "Protocol"), section(page, "Training")
    assert "with seed 11" in protocol
    assert "epoch 4, by the best AUC" in protocol
    assert "40 real files, 50 fakes" in protocol
    assert "1:02:05, without what was done before it was resumed" in training
    assert "| recipe.optimizer.lr | 0.25 |" in training
    assert "| seed | 7 |" in training
    purpose = section(page, "What it is for")
    assert load_builtin().get(full.card.modality).summary in purpose
    assert all(words in purpose for words in facts.NOT_FOR)
    limits = section(page, "Limits of use")
    assert all(words in limits for words in load_builtin().get(full.card.modality).limits)
    assert "It was shown fakes of: StyleGAN, SD | XL." in limits


def test_every_modality_says_what_its_detectors_are_not_to_be_relied_on_for():
    assert [each.name for each in load_builtin() if len(each.limits) < 2] == []


def test_all_figures_of_the_bundle_are_told_with_their_intervals(full):
    told_of = section(whole(full), "Its own figures")
    assert "| AUC | 0.912 (0.871 to 0.944) |" in told_of
    assert "| Equal error rate | 0.152 (0.120 to 0.190) |" in told_of
    assert "240 files, 80 sources, 100 real, 140 fake" in told_of
    assert "| val_auc | 0.9 |" in told_of
    assert "| largest | 1e-05 |" in told_of
    # Of 100 real files 4 were called fake; Wilson's interval by hand.
    assert (
        "| real files | 100 | 0.040 (0.016 to 0.098) | 0.100 (0.055 to 0.174) | 0.060 (0.028 to 0.125) |"
        in told_of
    )


def test_licences_are_those_of_the_data_else_what_the_user_says_else_not_stated(full):
    assert "Licences: not stated." in section(whole(full), "Data")
    assert "says of the data: faces: CC BY" in section(whole(full, note="faces: CC BY"), "Data")
    told_of = full.amend(data=DATA | {"licences": {"CC0": 7, "": 3}})
    data = section(whole(told_of), "Data")
    assert "| CC0 | 7 |" in data
    assert "| not stated | 3 |" in data
    assert "Licences: not stated" not in data


def test_what_nobody_wrote_down_is_said_to_be_not_known(tmp_path):
    page = whole(tiny_bundle(tmp_path / "bare"))
    assert "Digest of the data: not known." in section(page, "Data")
    assert "Counts by label, source and generator: not known" in section(page, "Data")
    assert "with a seed that is not known" in section(page, "Protocol")
    assert "| time from the start to the figures | not known |" in section(page, "Training")
    assert "none are known" in section(page, "Its own figures")
    assert "not measured" in section(page, "Robustness")
    assert "Not known" in section(page, "Known failures")
    assert "rely on no answer of it" in section(page, "Limits of use")
    assert not re.search(r"\b0\.\d{3} \(", card_markdown(page)), "no figure is invented"


def test_a_plug_in_that_is_not_here_leaves_the_parameters_unknown(full):
    stranger = full.amend(model="nobody", plugin="mine.py")
    assert "not known: its model is not registered here" in section(whole(stranger), "Who judges")


def test_what_makes_figures_doubtful_is_told(full):
    doubtful = full.amend(
        data=DATA | {"shared_sources": 3, "pseudo_fakes": {"kind": "blend", "splits": ["train", "val"]}},
        change={"step": "quantize"},
        parent="tiny-0",
    )
    page = whole(doubtful)
    assert "3 sources are in more than one split: figures are too good." in section(page, "Protocol")
    assert "made of tiny-0 by the step 'quantize'" in section(page, "Protocol")
    assert "kind blend were made of real files in: train, val" in section(page, "Data")
    few = full.amend(metrics={"test": TEST | {"counts": {"files": 12, "sources": 3}}})
    assert "12 files of 3 sources" in section(whole(few), "Limits of use")


def test_a_detector_that_calls_no_file_real_says_why(full):
    said = "It calls no file real: it was taught one kind of forgery"
    assert said in section(
        whole(full.amend(recipe=full.card.recipe | {"calls_real": False})), "Limits of use"
    )
    assert said not in section(
        whole(full.amend(recipe=full.card.recipe | {"calls_real": True})), "Limits of use"
    )


def test_an_evaluation_is_told_whole(full, evaluation):
    told_of = section(whole(full, [evaluation]), "Measured: others")
    values = json.loads((evaluation / "evaluation.json").read_text())
    overall = values["evaluation"]["overall"]
    for name, each in overall.items():
        assert (
            f"| {figures.NAMES[name]} | {each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f}) |"
            in told_of
        )
    assert "| <b>GAN</b> | 10 | 9 |" in told_of
    assert "By phone" in told_of
    cells = values["evaluation"]["confusion"]
    assert f"| is fake | {cells['fake_called_real']} | {cells['fake_called_fake']} |" in told_of
    assert "difference of AUC" not in told_of
    assert "Decisions by source: the lowest of" in told_of
    assert "Differences by phone" in told_of
    cllr = values["examination"]["costs"]["cllr"]
    assert f"| Cllr | {cllr['value']:.3f} " in told_of


def test_a_comparison_with_another_bundle_is_told(full, evaluation):
    labels, rng = np.arange(40) % 2, np.random.default_rng(1)
    logits = [labels + rng.normal(size=40) * spread for spread in (0.5, 2.0)]
    names = np.asarray([str(number // 2) for number in range(40)])
    files = [
        Predictions(
            label=labels, logit=each, probability=1 / (1 + np.exp(-each)), source=names, generator=names
        )
        for each in logits
    ]
    compared = compare(files[0], files[1], (0.5, 0.5), rng, 50)
    against = Against(bundle="older-1", only_first=0, only_second=0, comparison=compared)
    path = evaluation / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"against": dataclasses.asdict(against)}))
    told_of = section(whole(full, [evaluation]), "Measured: others")
    difference = compared.delong.figure
    assert "This one less older-1, on the 40 files that both judged" in told_of
    assert f"| difference of AUC, DeLong | {difference.value:.3f} ({difference.low:.3f} to" in told_of
    assert f"Right here only: {compared.mcnemar.only_first} files" in told_of


def test_mistakes_are_the_surest_ones_described_by_their_rows(full, evaluation):
    told_of = section(whole(full, [evaluation]), "Known failures")
    lines = [line for line in told_of.splitlines() if ".png" in line]
    assert lines[0] == "| real/00.png | 0.9975 | fake | people/0 | - | old |"
    wrong_fakes = [line for line in lines if line.startswith("| fake/")]
    assert wrong_fakes[0] == "| fake/01.png | 0.0009 | real | people/0 | <b>GAN</b> | old |"
    assert all(
        len(part) <= failures.MOST_MISTAKES for part in (wrong_fakes, lines[: len(lines) - len(wrong_fakes)])
    )


def test_files_without_an_answer_are_counted_by_label_generator_and_reason(full, evaluation):
    told_of = section(whole(full, [evaluation]), "Where it does not answer")
    rows = [row for row in judged_rows("/r") if row["label"] == 0]
    between = sum(row["probability"] is not None and 0.3 <= row["probability"] < 0.7 for row in rows)
    line = next(line for line in told_of.splitlines() if line.startswith("| real files"))
    assert line.startswith("| real files | 10 | ")
    assert f"| {between / 10:.3f} (" in line
    assert line.endswith("| 0.100 (0.018 to 0.404) |")
    assert "| No face was found (no-face) | 1 |" in told_of
    assert "| <b>GAN</b> | 10 |" in told_of


def test_no_private_path_gets_into_a_card(full, evaluation, robust, tmp_path):
    page = whole(full, [evaluation], [robust])
    for text in (card_markdown(page).replace("\\", ""), render_card(page)):
        assert str(tmp_path) not in text
        assert "secret" not in text
        assert "/usr/lib/private" not in text
        assert "libvpx.so" in text
        assert "real/00.png" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/faces/1.png", "1.png"),
        ("see /home/ann/x.png and /srv/y.png", "see x.png and y.png"),
        (r"C:\Users\ann\1.png", "1.png"),
        ("fake/warped/1.png", "fake/warped/1.png"),
        ("CC BY 4.0/MIT", "CC BY 4.0/MIT"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("AC/DC", "AC/DC"),
    ],
)
def test_absolute_paths_lose_their_folders_and_nothing_else_does(text, expected):
    assert given.public(text) == expected


def test_robustness_is_told_for_every_delivery(full, robust):
    told_of = section(whole(full, [], [robust]), "Robustness")
    line = "| jpeg-70 | 10 | 9 | 0.810 (0.720 to 0.900) | -0.031 (-0.060 to 0.010) | 0.040 | 12.5% |"
    assert told_of.count(line) == 2, "the detector alone, and through mild deliveries"
    assert "4 real, 6 fake of 5 sources" in told_of


def test_figures_of_another_bundle_are_refused(full, evaluation, robust, tmp_path):
    other = tiny_bundle(tmp_path / "other", seed=3)
    for measured in (([evaluation], []), ([], [robust])):
        with pytest.raises(ConfigError, match="no part of the card"):
            whole(other, *measured)


def test_folders_without_figures_are_refused(full, evaluation, tmp_path):
    with pytest.raises(DataError, match=r"evaluation\.json cannot be read"):
        given.read([tmp_path], [], "")
    with pytest.raises(DataError, match=r"robustness\.json cannot be read"):
        given.read([], [tmp_path], "")
    (evaluation / "predictions.parquet").unlink()
    with pytest.raises(DataError, match=r"predictions\.parquet cannot be read"):
        given.read([evaluation], [], "")
    (evaluation / "evaluation.json").write_text("[]")
    with pytest.raises(DataError, match="has no 'evaluation'"):
        given.read([evaluation], [], "")


def test_of_a_training_run_the_test_split_is_told(evaluation, full):
    rows = pq.read_table(evaluation / "predictions.parquet").to_pylist()
    both = rows + [row | {"split": "val", "path": row["path"] + ".val.png"} for row in rows]
    pq.write_table(pa.Table.from_pylist(both), evaluation / "predictions.parquet")
    assert "| real files | 10 |" in section(whole(full, [evaluation]), "Where it does not answer")


def test_the_page_stands_alone_and_escapes_what_comes_from_outside(full, evaluation, robust):
    page = render_card(whole(full, [evaluation], [robust], note="<script>alert(1)</script>"))
    read = Reader(page)
    assert len(read.ids) == len(set(read.ids))
    assert "script" not in read.tags
    assert "<b>GAN" not in page
    assert "&lt;b&gt;GAN" in page
    assert [link for link in read.of("href", "src") if not link.startswith("#")] == []
    assert set(read.of("href")) == {f"#{each}" for each in read.ids if each.startswith("section-")}
    assert "default-src 'none'" in page
    assert "0.912 (0.871 to 0.944)" in read.words


def test_markdown_keeps_text_from_outside_as_text():
    rows = (("a|b", "`x` <i>", "two\nlines"),)
    text = table_markdown(Table(columns=("", "*", "c"), rows=rows, numbers=(2,)))
    assert text.splitlines() == [
        "|   | \\* | c |",
        "| --- | --- | ---: |",
        "| a\\|b | \\`x\\` \\<i\\> | two lines |",
    ]
    blocks = (Text(text="# no", is_warning=True), Items(items=("[x](y)",)))
    page = CardPage(title="t", facts={"f": "_v_"}, sections=(Section(title="s", blocks=blocks),))
    assert card_markdown(page) == "# t\n\n- **f**: \\_v\\_\n\n## s\n\n**\\# no**\n\n- \\[x\\](y)\n"


# --- ensembles and the table -----------------------------------------------------------------------


@pytest.fixture
def ensemble(full, tmp_path):
    other = tiny_bundle(tmp_path / "other", seed=3, name="second")
    path = tmp_path / "both.json"
    policy = FusionPolicy(method="mean", min_models=2)
    metrics = {"ensemble": TEST, full.card.id: TEST}
    entries = tuple(entry(each, path) for each in (full, other))
    Ensemble(entries=entries, policy=policy, data={"digest": "fed"}, metrics=metrics).save(path)
    return path


def test_an_ensemble_has_a_section_for_each_member_with_what_was_measured_of_it(ensemble, full, evaluation):
    page = write.card_of(ensemble, given.read([evaluation], [], ""))
    members = [each.title for each in page.sections if each.title.startswith("Member: ")]
    assert members == ["Member: tiny", "Member: second"]
    together = section(page, "Who judges together")
    assert f"| tiny | {full.card.id} |" in together
    assert "| method | mean |" in together
    assert "| digest | fed |" in together
    assert "| AUC | 0.912 (0.871 to 0.944) |" in section(page, "Figures of ensemble")
    first, second = (section(page, title) for title in members)
    assert "### Known failures" in first
    assert "real/00.png" in first
    assert "real/00.png" not in second
    Reader(render_card(page))


def test_the_table_has_a_row_for_each_with_its_figures(full, ensemble, tmp_path):
    text = table.table([full.path, ensemble], {full.card.id: 41.6})
    begin, head, _, one, both, end = text.splitlines()
    assert (begin, end) == (table.BEGIN, table.END)
    assert (
        head
        == "| bundle | modality | model | size | test AUC | EER | real called fake | abstained | ms a file |"
    )
    cells = [cell.strip() for cell in one.strip("|").split("|")]
    assert cells[0] == full.card.id
    assert cells[4:] == [
        "0.912 (0.871 to 0.944)",
        "0.152 (0.120 to 0.190)",
        "0.040 (0.016 to 0.098)",
        "0.192 (0.147 to 0.246)",
        "42",
    ]
    assert "| 0.912 (0.871 to 0.944) |" in both
    assert "2 bundles, mean" in both
    assert (
        table.table([tiny_bundle(tmp_path / "bare").path], {})
        .splitlines()[3]
        .endswith("| - | - | - | - | - |")
    )


def test_figures_of_the_parent_are_marked_in_the_table(full):
    assert "\\*" not in table.table([full.path], {})
    made = full.amend(change={"step": "quantize"}, parent="tiny-0")
    text = table.table([made.path], {})
    assert "| 0.912 (0.871 to 0.944) \\* |" in text
    assert text.endswith(f"\n\n\\* measured on the bundle that this one was made of.\n{table.END}")


def test_the_table_replaces_what_stands_between_the_markers(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"head\n\n{table.BEGIN}\nold\n{table.END}\n\ntail\n")
    for _ in range(2):
        table.put_into(page, f"{table.BEGIN}\nnew\n{table.END}")
        assert page.read_text() == f"head\n\n{table.BEGIN}\nnew\n{table.END}\n\ntail\n"
    for text in (
        "none",
        table.BEGIN,
        f"{table.END}\n{table.BEGIN}",
        f"{table.BEGIN}{table.BEGIN}{table.END}",
    ):
        page.write_text(text)
        with pytest.raises(ConfigError, match="no place for the table"):
            table.put_into(page, "x")
        assert page.read_text() == text
    with pytest.raises(StorageError):
        table.put_into(tmp_path / "absent.md", "x")


def test_times_are_those_of_whole_files(tmp_path):
    rows = [
        {"bundle": "a", "stages": {"whole": 12.5}},
        {"bundle": "a", "stages": None},
        {"bundle": "b", "stages": None},
    ]
    (tmp_path / "speed.json").write_text(json.dumps({"rows": rows}))
    assert given.read_speeds(tmp_path / "speed.json") == {"a": 12.5}
    (tmp_path / "speed.json").write_text(json.dumps({"rows": rows[1:]}))
    with pytest.raises(DataError, match="has no times of files"):
        given.read_speeds(tmp_path / "speed.json")


# --- what training writes down ---------------------------------------------------------------------


def test_training_counts_what_a_data_set_is_made_of():
    rows = [
        {"label": 1, "split": "train", "source": "a", "generator": "GAN", "License": "CC0"},
        {"label": 1, "split": "train", "source": "a", "generator": "GAN", "License": " "},
        {"label": 0, "split": "train", "source": "b", "generator": "", "License": "CC0"},
        {"label": 1, "split": "test", "source": "c", "generator": "SD", "License": None},
    ]
    found = told.composition(pa.Table.from_pylist(rows), 5)
    assert found["counts"]["train"] == {
        "files": 3,
        "sources": 2,
        "real": 1,
        "fake": 2,
        "generators": {"GAN": 2},
    }
    assert found["counts"]["val"]["files"] == 0
    assert found["counts"]["test"]["generators"] == {"SD": 1}
    assert (found["split_seed"], found["licences"]) == (5, {"CC0": 2, "": 2})
    assert "licences" not in told.composition(pa.Table.from_pylist(rows).drop(["License"]), 5)


def test_training_counts_verdicts_at_the_operating_point():
    judged = {"label": [0, 0, 0, 0, 1, 1], "probability": [0.1, 0.5, 0.9, None, 0.7, 0.2]}
    assert told.verdicts(pa.table(judged), POINT) == {
        "real": {"real": 1, "fake": 1, "inconclusive": 1, "abstained": 1},
        "fake": {"real": 1, "fake": 1, "inconclusive": 0, "abstained": 0},
    }


def test_what_is_told_of_a_run_leaves_the_id_of_a_bundle_as_it_was(full):
    bare = dataclasses.replace(full.card, training={}, data={}, metrics={})
    assert bare.id == full.card.id
    assert Bundle.read(full.path).card == full.card
    assert config.to_dict(full.card)["training"]["workers"] == 2


# --- the command -----------------------------------------------------------------------------------


def test_the_command_writes_both_files_beside_the_bundle_or_where_it_is_told(full, evaluation, tmp_path):
    done = run(
        "card", full.path, "--evaluation", evaluation, "--data-note", "mine", "--out", tmp_path / "card"
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"Card: {tmp_path / 'card' / name}" for name in ("card.md", "card.html")
    ]
    assert "mine" in (tmp_path / "card" / "card.md").read_text()
    assert run("card", full.path).exit_code == 0
    assert (full.path / "card.html").read_text().startswith("<!doctype html>")
    assert Bundle.read(full.path) == full


def test_the_command_prints_the_table_or_puts_it_into_a_page(full, tmp_path):
    done = run("card", "--table", full.path)
    assert done.stdout.strip() == table.table([full.path], {})
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}{table.END}")
    assert run("card", "--table", full.path, "--into", page).exit_code == 0
    assert page.read_text() == table.table([full.path], {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--into", "x.md"), "--into goes with --table only"),
        (("--speed", "x.json"), "--speed goes with --table only"),
        (("--table", "--evaluation", "x"), "--evaluation goes with a card only"),
        (("--table", "--out", "x"), "--out goes with a card only"),
        (("other",), "one bundle or ensemble"),
    ],
)
def test_options_of_a_card_and_of_the_table_are_not_mixed(full, words, message):
    done = run("card", full.path, *words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
