"""Plans, judging, and the whole, with a detector whose answers can be computed by hand."""

import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepscan.calibration import OperatingPoint
from deepscan.detector import Detector
from deepscan.errors import ConfigError, DataError, UnknownNameError
from deepscan.evaluation import Judging
from deepscan.media import deliveries
from deepscan.media.deliveries import DELIVERIES, Delivery
from deepscan.media.deliveries.catalog import load_builtin
from deepscan.media.deliveries.pictures import write_png
from deepscan.media.source import Media
from deepscan.modalities.image import ImagePrep
from deepscan.models.catalog import load_plugin
from deepscan.operating import DELIVERY
from deepscan.recipe import Recipe
from deepscan.robustness import run
from deepscan.robustness.assess import assess_robustness
from deepscan.robustness.judging import judge, through
from deepscan.robustness.plan import CLEAN, Asked, plan, subset
from deepscan.robustness.run import judge_all
from deepscan.robustness.validation import after_deliveries, check_deliveries
from deepscan.watch import LogWatch
from tests.material import encoded
from tests.tiny_bundles import fresh_bundle

PLUGIN = pathlib.Path(__file__).parents[1] / "plugins" / "bright.py"
JUDGING = Judging(device="cpu", plugin=PLUGIN, replicates=50)
LEVELS = (20, 60, 98, 104, 160, 240)
"""Of the pictures: the bundle calls them real, real, inconclusive, inconclusive, fake, fake."""


def darker(media, rng):
    """Halve a picture: 10, 30, 49, 52, 80, 120: only the last one stays fake, all others become real."""
    if media.picture_HWC.mean() < 30:
        return b"this is no picture"
    return write_png(media.picture_HWC // 2)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The registry with one more delivery, in which the test can look as ``judge_all`` does."""
    items = dict(load_builtin()._items)
    items["darker"] = Delivery(
        name="darker", family="dark", severity=1, setting="half", kinds=("image",), make=darker
    )
    monkeypatch.setattr(DELIVERIES, "_items", items)
    return DELIVERIES


@pytest.fixture
def bundle(tmp_path):
    load_plugin(PLUGIN)
    prep = ImagePrep(region="whole", size_px=32)
    point = OperatingPoint(threshold=0.5, low=0.3, high=0.7)
    return fresh_bundle(tmp_path / "bundle", "bright", prep, plugin=PLUGIN.name, operating=point)


@pytest.fixture
def judged(tmp_path):
    """Grey pictures, the brighter half fake, two of each source."""
    rows = []
    for at, level in enumerate(LEVELS):
        path = tmp_path / f"{level}.png"
        path.write_bytes(encoded(np.full((40, 40, 3), level, np.uint8)))
        rows.append({"path": str(path), "label": int(at >= 3), "source": f"s{at % 3}", "logit": 0.0})
    return pa.Table.from_pylist(rows)


def planned(bundle, judged, tmp_path, *names, **asked):
    return plan(bundle, judged, Asked(deliveries=names, **asked), JUDGING, tmp_path / "out")


# --- plans -----------------------------------------------------------------------------------------


def test_files_without_a_logit_are_left_out(bundle, judged, tmp_path):
    blind = judged.set_column(3, "logit", pa.array([0.0, None, 0.0, None, 0.0, None]))
    files = planned(bundle, blind, tmp_path, "darker").files
    assert [pathlib.Path(path).stem for path in files["path"].to_pylist()] == ["20", "98", "160"]
    assert files["kind"].to_pylist() == ["image"] * 3


def test_without_files_there_is_no_plan(bundle, judged, tmp_path):
    blind = judged.set_column(3, "logit", pa.array([None] * 6, pa.float64()))
    with pytest.raises(DataError, match="None of the 6 files"):
        planned(bundle, blind, tmp_path, "all")


def test_what_the_machine_cannot_make_is_told(bundle, judged, tmp_path, monkeypatch):
    monkeypatch.setattr(deliveries, "can_encode", lambda coder: coder != "nobodys")
    needy = dataclasses.replace(DELIVERIES.get("darker"), name="needy", coders=("nobodys",))
    DELIVERIES._items["needy"] = needy
    made = planned(bundle, judged, tmp_path, "darker", "needy")
    assert made.names == (CLEAN, "darker")
    assert list(made.unavailable) == ["needy"]
    assert "nobodys" in made.unavailable["needy"]


def test_a_subset_takes_turns_over_classes_and_sources():
    rows = (
        [{"label": 0, "source": "a"}] * 8 + [{"label": 0, "source": "b"}] + [{"label": 1, "source": "c"}] * 3
    )
    for seed in range(5):
        taken = [rows[at] for at in subset(rows, 4, seed)]
        assert [each["label"] for each in taken] == [0, 0, 1, 1]
        assert {each["source"] for each in taken} == {"a", "b", "c"}
    assert subset(rows, 6, 1) == subset(rows, 6, 1)
    assert len({tuple(subset(rows, 2, seed)) for seed in range(20)}) > 3
    assert subset(rows, None, 0) == subset(rows, 12, 0) == list(range(12))
    # Where a class has no more, the other goes on.
    assert sum(rows[at]["label"] for at in subset(rows, 10, 0)) == 3


def test_validation_files_are_judged_once_more_after_the_deliveries_of_the_recipe(bundle, judged, tmp_path):
    """But not what is no file, nor what is not judged any more."""
    paths = judged["path"].to_pylist()
    told = judged.set_column(0, "path", pa.array([*paths[:5], f"{paths[5]}#blended"]))
    told = told.append_column("generator", pa.array(["", "", "", "gan", "gan", "blended"]))
    asked = bundle.amend(recipe={"error_rate_under": ["darker"]})
    again = after_deliveries(asked, told, JUDGING, tmp_path / "out", LogWatch())
    assert [pathlib.Path(path).stem for path in again["path"].to_pylist()] == ["60", "98", "104", "160"]
    assert again["label"].to_pylist() == [0, 0, 1, 1]
    assert set(again[DELIVERY].to_pylist()) == {"darker"}
    detector = Detector.load(bundle.path, "cpu")
    halves = (30, 49, 52, 80)
    expected = [judge(detector, str(grey(tmp_path, level)), None, ())["logit"] for level in halves]
    assert again["logit"].to_pylist() == pytest.approx(expected)
    assert after_deliveries(bundle, told, JUDGING, tmp_path / "none", LogWatch()) is None


def grey(folder, level):
    path = folder / f"half-{level}.png"
    path.write_bytes(encoded(np.full((40, 40, 3), level, np.uint8)))
    return path


def test_a_recipe_of_unknown_deliveries_is_refused():
    check_deliveries(Recipe(error_rate_under=("quick", "darker")))
    with pytest.raises(UnknownNameError, match="Did you mean 'darker'"):
        check_deliveries(Recipe(error_rate_under=("darkr",)))


# --- judging ---------------------------------------------------------------------------------------


def test_a_file_is_judged_by_what_arrives(bundle, judged, known):
    detector = Detector.load(bundle.path, "cpu")
    path = judged["path"][4].as_py()
    assert judge(detector, path, None, ())["logit"] == pytest.approx(6.0, abs=1e-4)
    said = judge(detector, path, known.get("darker"), ())
    assert said == {"status": "judged", "logit": pytest.approx(-2.0), "ensemble": None, "reason": ""}


def test_what_does_not_arrive_is_a_failure_with_its_reason(bundle, judged, known):
    said = judge(Detector.load(bundle.path, "cpu"), judged["path"][0].as_py(), known.get("darker"), ())
    assert (said["status"], said["logit"]) == ("failed", None)
    assert said["reason"].startswith("UnsupportedMediaError: ")


def test_a_detector_that_finds_nothing_to_judge_abstains(tmp_path, judged, make_bundle):
    detector = Detector.load(make_bundle("faces", region="face").path, "cpu")
    said = judge(detector, judged["path"][3].as_py(), None, ())
    assert said == {"status": "abstained", "logit": None, "ensemble": None, "reason": "no-face"}


def test_the_ensemble_is_the_mean_logit_over_what_can_be_judged(bundle, judged, known):
    detector = Detector.load(bundle.path, "cpu")
    media = Media.from_path(pathlib.Path(judged["path"][4].as_py()))
    mild = [known.get("darker"), known.get("downscale-0.5"), known.get("mp3-128")]
    assert through(detector, media, 6.0, mild) == pytest.approx((6 - 2 + 6) / 3, abs=1e-4)
    dark = Media.from_path(pathlib.Path(judged["path"][0].as_py()))
    assert through(detector, dark, -8.0, [known.get("darker")]) == -8.0


# --- the run ---------------------------------------------------------------------------------------


@pytest.fixture
def figures(bundle, judged, tmp_path):
    asked = Asked(deliveries=("darker", "downscale-0.5"))
    return assess_robustness(bundle, judged, asked, JUDGING, tmp_path, LogWatch())


def test_flips_are_those_that_a_hand_finds(figures):
    clean, downscaled, dark = figures.rows
    assert (clean.name, downscaled.name, dark.name) == (CLEAN, "downscale-0.5", "darker")
    assert (downscaled.single.flipped, downscaled.single.changed) == (0, 0)
    assert (downscaled.single.auc_change.value, downscaled.single.shift) == (0, pytest.approx(0, abs=1e-6))
    # Level 20 fails. 60 stays real; 98 and 104 become real, 160 flips, 240 stays fake.
    assert (dark.files, dark.judged, dark.abstained, dark.failed) == (6, 5, 0, 1)
    assert (dark.single.pairs, dark.single.flipped, dark.single.changed) == (5, 1 / 5, 3 / 5)
    assert dark.single.crossed == 2 / 5  # 104 and 160
    [(reason, count)] = dark.reasons.items()
    assert count == 1
    assert "UnsupportedMediaError" in reason
    assert dark.single.auc.value == dark.single.auc_change.value + 1 == 1  # it still ranks them right
    before, after = (
        1 / (1 + np.exp(-(np.array(levels) - 100) / 10)) for levels in (LEVELS[1:], (30, 49, 52, 80, 120))
    )
    assert dark.single.shift == pytest.approx(np.abs(before - after).mean(), abs=1e-4)


def test_figures_are_written_for_programs_and_people(figures, tmp_path):
    told = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in told["rows"]] == [CLEAN, "downscale-0.5", "darker"]
    assert told["rows"][2]["single"]["flipped"] == 0.2
    assert told["mean"]["single"]["flipped"] == pytest.approx(0.1)
    assert "darker" in (tmp_path / "robustness.html").read_text(encoding="utf-8")


def test_what_was_judged_is_not_judged_again(bundle, judged, tmp_path, monkeypatch):
    whole = planned(bundle, judged, tmp_path, "darker", "downscale-0.5")
    first = judge_all(whole, LogWatch())
    (tmp_path / "out" / "robustness" / "darker.parquet").unlink()
    asked = []
    real = run.judge
    monkeypatch.setattr(run, "judge", lambda *given: asked.append(given[2].name) or real(*given))
    again = judge_all(whole, LogWatch())
    assert asked == ["darker"] * 6
    assert {name: table.to_pylist() for name, table in again.items()} == {
        name: table.to_pylist() for name, table in first.items()
    }


def test_an_interrupted_run_keeps_the_deliveries_that_are_complete(bundle, judged, tmp_path, monkeypatch):
    whole = planned(bundle, judged, tmp_path, "darker", "downscale-0.5")
    real = run.judge

    def interrupted(detector, path, delivery, mild):
        if delivery is not None and delivery.name == "darker":
            raise KeyboardInterrupt
        return real(detector, path, delivery, mild)

    monkeypatch.setattr(run, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        judge_all(whole, LogWatch())
    kept = {path.stem for path in (tmp_path / "out" / "robustness").iterdir()}
    assert kept == {CLEAN, "downscale-0.5"}


@pytest.mark.parametrize("change", ["files", "bundle", "ensemble"])
def test_another_question_is_answered_anew(bundle, judged, tmp_path, change):
    whole = planned(bundle, judged, tmp_path, "downscale-0.5")
    judge_all(whole, LogWatch())
    assert whole.kept(CLEAN) is not None
    if change == "files":
        pathlib.Path(judged["path"][0].as_py()).write_bytes(encoded(np.full((9, 9, 3), 50, np.uint8)))
    other = {
        "bundle": {"bundle": bundle.amend(operating=OperatingPoint(threshold=0.4, low=0.4, high=0.4))},
        "ensemble": {"mild": (DELIVERIES.get("jpeg-90"),)},
        "files": {},
    }[change]
    assert dataclasses.replace(whole, **other).kept(CLEAN) is None


def test_the_ensemble_has_figures_of_its_own(bundle, judged, tmp_path):
    asked = Asked(deliveries=("darker",), ensemble=True)
    page = assess_robustness(bundle, judged, asked, JUDGING, tmp_path, LogWatch())
    assert page.facts["judged through"] == "jpeg-90, downscale-0.75, crop-0.9"
    for row in page.rows:
        # Mild deliveries leave the brightness of grey pictures as it is.
        assert row.ensemble.auc == row.single.auc
        assert row.ensemble.changed == row.single.changed


def test_a_file_that_is_gone_is_counted(bundle, judged, tmp_path):
    pathlib.Path(judged["path"][5].as_py()).unlink()
    whole = planned(bundle, judged, tmp_path, "downscale-0.5")
    said = judge_all(whole, LogWatch())
    assert [row["status"] for row in said[CLEAN].to_pylist()] == ["judged"] * 5 + ["failed"]
    assert whole.numbers("downscale-0.5") == [0, 1, 2, 3, 4]


@pytest.mark.ray
@pytest.mark.slow
def test_many_files_are_judged_on_ray_alike(ray_cluster, bundle, judged, tmp_path, monkeypatch):
    whole = planned(bundle, judged, tmp_path, "jpeg-30", "crop-0.5", ensemble=True)
    here = judge_all(whole, LogWatch())
    monkeypatch.setattr(run, "FEW", 0)
    there = judge_all(dataclasses.replace(whole, out=tmp_path / "ray"), LogWatch())
    assert list(there) == list(here) == [CLEAN, "jpeg-30", "crop-0.5"]
    for name in here:
        assert there[name].drop_columns(["logit", "ensemble"]) == here[name].drop_columns(
            ["logit", "ensemble"]
        )
        for column in ("logit", "ensemble"):
            np.testing.assert_allclose(there[name][column], here[name][column], atol=1e-6)
    assert pq.read_table(tmp_path / "ray" / "robustness" / "jpeg-30.parquet").num_rows == 6


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_does_it_all(ray_cluster, bundle, judged, tmp_path):
    from typer.testing import CliRunner

    from deepscan.cli import app

    for row in judged.to_pylist():
        path = pathlib.Path(row["path"])
        folder = tmp_path / "data" / ("real", "fake")[row["label"]]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    words = ["evaluate", "--bundle", bundle.path, "--data", tmp_path / "data", "--out", tmp_path / "out"]
    words += ["--store", tmp_path / "store", "--plugin", PLUGIN, "--robustness", "--device", "cpu"]
    words += ["--deliveries", "quick", "--deliveries", "jpeg-30", "--files", "4", "--ensemble"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "jpeg-30" in done.output
    assert "through mild deliveries" in done.output
    told = json.loads((tmp_path / "out" / "robustness.json").read_text(encoding="utf-8"))
    assert told["rows"][0]["files"] == 4
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_options_go_together():
    from deepscan.cli.robustness import asked_of

    assert asked_of(False, None, None, False) is None
    assert asked_of(True, None, None, False) == Asked()
    assert asked_of(True, ["quick"], 7, True) == Asked(deliveries=("quick",), files=7, ensemble=True)
    for given in ((["all"], None, False), (None, 3, False), (None, None, True)):
        with pytest.raises(ConfigError, match="goes with --robustness"):
            asked_of(False, *given)
