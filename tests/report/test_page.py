"""The report holds every figure, fetches nothing and survives hostile names."""

import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from deepscan import verdict as v
from deepscan.calibration import OperatingPoint
from deepscan.metrics import Predictions, evaluate
from deepscan.report import FIGURES, Example, Page, render, to_json
from tests.report.reading import Reader

HOSTILE = '"><script>alert("x")</script>&.jpg'


def evaluation(labels=(0, 1), n=200):
    rng = np.random.default_rng(0)
    label = rng.choice(labels, n)
    logit = rng.normal(2.0 * label - 1)
    predictions = Predictions(
        label=label,
        logit=logit,
        probability=1 / (1 + np.exp(-logit)),
        source=np.array([f"p{i}" for i in rng.integers(0, 40, n)]),
        generator=np.where(label == 1, np.array(["swap", HOSTILE])[rng.integers(0, 2, n)], ""),
        groups={"codec <b>": np.array(["png", HOSTILE])[rng.integers(0, 2, n)]},
    )
    return evaluate(predictions, 0.5, rng, 50)


def example(label="fake", probability=0.93, thumbnail_jpeg=None):
    names = {"detector": HOSTILE, "bundle": "b1", "modality": "image"}
    voted = probability is not None
    given = v.Verdict(
        label=label,
        probability=probability,
        uncertainty=v.Uncertainty(low=0.81, high=0.97, files=53) if voted else None,
        scores=(v.Score(**names, logit=2.0, probability=probability, label=label),) if voted else (),
        abstentions=() if voted else (v.Abstention(**names, reason="no-face", message="No face was found."),),
        evidence=(v.Evidence(analyzer="ela", summary="Nothing <i>odd</i>.", measurements={}, limits=""),),
        media=v.MediaFacts(name=HOSTILE, kind="image", container="jpeg", bytes=10, sha256="00"),
        bundles=("b1",),
        elapsed_ms=12.0,
    )
    return Example(verdict=v.to_dict(given), thumbnail_jpeg=thumbnail_jpeg)


def jpeg():
    data = io.BytesIO()
    Image.new("RGB", (16, 12), (200, 90, 40)).save(data, "jpeg")
    return data.getvalue()


@pytest.fixture(scope="module")
def page():
    return Page(
        title=f"Test {HOSTILE}",
        facts={"bundle": "a1b2", "note": HOSTILE, "files": 200},
        evaluation=evaluation(),
        point=OperatingPoint(threshold=0.5, low=0.31, high=0.72),
        ledger={"used": 200, "no-face": 12, "corrupt": 0, HOSTILE: 3},
        history=[
            {"epoch": e, "train_loss": 1 / (e + 1), "val_auc": None if e == 0 else 0.8, HOSTILE: e}
            for e in range(4)
        ],
        examples=[example(thumbnail_jpeg=jpeg()), example("inconclusive", None)],
    )


@pytest.fixture(scope="module")
def text(page):
    return render(page)


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def test_the_page_fetches_nothing_and_runs_nothing(text, read):
    assert "http://" not in text
    assert "https://" not in text
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(read.tags)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    sources = [value for _, name, value in read.attributes if name in ("src", "href", "xlink:href")]
    assert [value[:23] for value in sources] == ["data:image/jpeg;base64,"]
    assert "url(" not in text
    assert "@import" not in text
    policy = [value for tag, name, value in read.attributes if tag == "meta" and name == "content"]
    assert any("default-src 'none'" in value for value in policy)


def test_names_from_outside_are_text_and_never_markup(text, read):
    assert "<script" not in text
    assert "<i>odd" not in text
    assert "codec <b>" not in text
    # Title (head and heading), fact, generator, group, ledger, history, two files, score and abstention.
    assert read.words.count(HOSTILE) >= 10


def test_every_picture_has_a_title_and_a_description_and_ids_are_unique(read):
    drawn = read.tags.count("svg")
    on_pictures = [(name, value) for tag, name, value in read.attributes if tag == "svg"]
    labels = [value.split() for name, value in on_pictures if name == "aria-labelledby"]
    assert drawn == len(labels) == read.tags.count("desc")
    assert len(read.ids) == len(set(read.ids))
    assert {one for pair in labels for one in pair} <= set(read.ids)
    assert not [value for tag, name, value in read.attributes if tag == "img" and name == "alt" and not value]


def test_headings_of_rows_and_columns_are_marked_as_such(read):
    scopes = [value for tag, name, value in read.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == read.tags.count("th")
    assert {"row", "col"} == set(scopes)


def test_every_figure_stands_with_its_interval_and_meaning(page, read):
    assert set(FIGURES) == set(page.evaluation.overall)
    for name, (title, meaning) in FIGURES.items():
        figure = page.evaluation.overall[name]
        assert f"{title} {figure.value:.3f} " in read.words
        assert f"{figure.low:.3f} to {figure.high:.3f} {meaning}" in read.words


def test_the_counts_of_the_confusion_stand_in_the_summary_and_the_table(page, read):
    cells, counts = page.evaluation.confusion, page.evaluation.counts
    assert f"Of {counts.fake} fakes it calls {cells.fake_called_fake} fake; of {counts.real} " in read.words
    assert f"is real {cells.real_called_real} {cells.real_called_real / counts.real:.1%}" in read.words
    assert "below 0.310, fake from 0.720 on" in read.words


def test_each_generator_and_group_value_has_a_row(page, read):
    for part in (*page.evaluation.by_generator.values(), *page.evaluation.by_group["codec <b>"].values()):
        counts, auc = part.counts, part.figures["auc"]
        assert f"{counts.fake} {counts.real} {counts.sources} {auc.value:.3f}" in read.words


def test_the_ledger_counts_every_file(read):
    assert "215 files were given" in read.words
    assert "no-face 12 5.6%" in read.words


def test_history_draws_what_was_recorded(page, read, text):
    assert text.count('id="chart-history-') == 2 * 3
    assert "From 1 in epoch 0 to 0.25 in epoch 3." in read.words
    assert "From 0.8 in epoch 1 to 0.8 in epoch 3." in read.words


def test_verdicts_show_probability_interval_votes_and_abstentions(read):
    assert "fake P(fake) 0.930 95 % interval 0.810 to 0.970, from 53 validation files" in read.words
    assert "abstains: No face was found." in read.words


def test_a_page_of_verdicts_alone_has_no_empty_sections():
    read = Reader(render(Page(title="One file", examples=[example()])))
    assert re.findall(r"Verdicts|In short|Training|Every file", read.words) == ["Verdicts"]


@pytest.mark.parametrize("labels", [(0,), (1,)])
def test_one_class_gives_dashes_and_no_curves_but_a_page(labels):
    words = Reader(render(Page(title="One class", evaluation=evaluation(labels)))).words
    assert "AUC - no interval" in words
    assert words.count("Equal error rate -") == 2
    assert "inconclusive." not in words.split("All figures")[0].split("Scores.")[0]
    assert "Receiver operating characteristic" not in words


def test_an_empty_ledger_and_flat_or_missing_history_are_no_obstacle():
    page = Page(title="t", ledger={"used": 0}, history=[{"epoch": 0, "lr": 0.001, "val_auc": None}])
    words = Reader(render(page)).words
    assert "0 files were given" in words
    assert "lr over the epochs" in words
    assert "val_auc" not in words


def test_the_page_is_small(text):
    assert len(text.encode()) < 200_000


def test_json_holds_the_same_content_without_pictures(page):
    content = json.loads(to_json(page))
    assert content["title"] == page.title
    assert content["evaluation"]["overall"]["auc"]["value"] == page.evaluation.overall["auc"].value
    assert content["point"] == dataclasses.asdict(page.point)
    assert content["ledger"] == page.ledger
    assert content["history"] == page.history
    assert [given["label"] for given in content["verdicts"]] == ["fake", "inconclusive"]
    assert json.loads(to_json(Page(title="t")))["evaluation"] is None
