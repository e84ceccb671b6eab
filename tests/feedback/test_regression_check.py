"""``evaluate --regression``: which files are right, what is a regression, what an interrupted run leaves."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from deepscan import cli
from deepscan.calibration import OperatingPoint
from deepscan.datasets.seen import remember
from deepscan.ensemble import Ensemble, entry
from deepscan.errors import ConfigError, DataError, RegressionError, StorageError
from deepscan.feedback import judging, regression
from deepscan.feedback.judging import Judge, Judged, judge_all
from deepscan.feedback.regression import Check, accept, check, refuse
from deepscan.feedback.store import RegressionSet, sound, stored_path
from deepscan.fusion import FusionPolicy
from deepscan.watch import LogWatch
from tests.feedback.test_regression_set import case, picture
from tests.sounds import speech, wav
from tests.tiny_bundles import tiny_bundle

ALL_FAKE = OperatingPoint(threshold=0.0, low=0.0, high=0.0)
ALL_REAL = OperatingPoint(threshold=1.0, low=1.0, high=1.0)
NO_ANSWER = OperatingPoint(threshold=0.5, low=0.0, high=1.0)


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def bundle(folder, point, **fields):
    return tiny_bundle(folder, operating=point, **fields)


@pytest.fixture
def kept(tmp_path):
    """Two fakes and a real picture."""
    found = RegressionSet(tmp_path / "set")
    for seed, label in ((0, 1), (1, 1), (2, 0)):
        media = picture(seed, f"{seed}.png")
        found.add(media, case(media, label, source=f"person-{seed}"))
    return found


@pytest.fixture
def bundles(tmp_path):
    points = {"fake": ALL_FAKE, "real": ALL_REAL, "none": NO_ANSWER}
    return {name: bundle(tmp_path / name, point) for name, point in points.items()}


def checked(kept, path, against=None):
    return check(Check(kept=kept, bundle=path, against=against, device="cpu"), LogWatch())


def test_the_outcome_of_every_file_is_told(kept, bundles):
    for name, outcomes in {
        "fake": ["right", "right", "wrong"],
        "real": ["wrong", "wrong", "right"],
        "none": ["abstained"] * 3,
    }.items():
        report, _ = checked(kept, bundles[name].path)
        assert [each.now.outcome for each in report.files] == outcomes
        assert (report.against, report.regressions) == ("", ())
    assert report.counts == {"right": 0, "wrong": 0, "abstained": 3, "failed": 0}
    assert {each.now.why for each in report.files} == {"between its thresholds"}


def test_what_was_right_and_is_wrong_is_a_regression_once_a_bundle_was_accepted(kept, bundles):
    first, judge = checked(kept, bundles["fake"].path)
    refuse(first)
    accept(first, judge, kept)
    report, _ = checked(kept, bundles["real"].path)
    assert (report.against, report.since) == (bundles["fake"].card.id, regression.today())
    assert [each.change for each in report.files] == ["regression", "regression", "better"]
    assert [each.before.outcome for each in report.files] == ["right", "right", "wrong"]
    with pytest.raises(RegressionError, match="wrong about 2 of 3 files"):
        refuse(report)
    silent, _ = checked(kept, bundles["none"].path)
    assert [each.change for each in silent.files] == ["worse", "worse", "same"]
    refuse(silent)


def test_files_that_came_later_and_labels_that_changed_are_no_regressions(kept, bundles):
    accept(*checked(kept, bundles["fake"].path), kept)
    media = picture(0)
    kept.add(media, case(media, 0), replace=True)
    kept.add(picture(7), case(picture(7), 1))
    report, _ = checked(kept, bundles["real"].path)
    assert [each.change for each in report.files] == ["new", "regression", "better", "new"]


def test_another_bundle_is_compared_with_instead_of_the_accepted_one(kept, bundles):
    accept(*checked(kept, bundles["real"].path), kept)
    report, _ = checked(kept, bundles["none"].path, against=bundles["fake"].path)
    assert (report.against, report.since) == (bundles["fake"].card.id, "")
    assert [each.change for each in report.files] == ["worse", "worse", "same"]
    with pytest.raises(ConfigError, match="are the same"):
        checked(kept, bundles["fake"].path, against=bundles["fake"].path)


def test_a_file_that_cannot_be_judged_failed_and_is_a_regression_if_it_was_right(kept, bundles):
    accept(*checked(kept, bundles["fake"].path), kept)
    first, second, _ = kept.cases()
    (kept.folder / first.path).write_bytes(picture(50).data)
    (kept.folder / second.path).unlink()
    report, _ = checked(kept, bundles["fake"].path)
    assert [each.now.outcome for each in report.files] == ["failed", "failed", "wrong"]
    assert "not the file that was added" in report.files[0].now.why
    assert [each.change for each in report.files] == ["regression", "regression", "same"]


def test_an_interrupted_run_goes_on_where_it_was(kept, bundles, monkeypatch):
    asked = []
    honest = judging.judged

    def counted(judge, folder, each):
        if len(asked) == 2:
            asked.append("interrupted")
            raise KeyboardInterrupt
        asked.append(each.sha256)
        return honest(judge, folder, each)

    monkeypatch.setattr(judging, "judged", counted)
    judge = Judge.load(bundles["fake"].path, "cpu")
    with pytest.raises(KeyboardInterrupt):
        judge_all(judge, kept, kept.cases(), LogWatch())
    (left,) = kept.folder.glob("unfinished-*")
    with left.open("a") as file:
        file.write('{"sha256": "half a li')
    found = judge_all(judge, kept, kept.cases(), LogWatch())
    digests = [each.sha256 for each in kept.cases()]
    assert asked == [*digests[:2], "interrupted", digests[2]]
    assert [found[digest].outcome for digest in digests] == ["right", "right", "wrong"]
    assert not list(kept.folder.glob("unfinished-*"))


def test_a_bundle_that_learnt_from_a_file_says_so(kept, bundles, tmp_path):
    import pyarrow as pa

    cases = kept.cases()
    rows = {
        "path": [str(kept.folder / each.path) for each in cases[:2]],
        "source": ["a", "b"],
        "split": ["train", "val"],
    }
    told = bundles["fake"].amend(seen=remember(pa.table(rows)))
    report, _ = checked(kept, told.path)
    assert [each.seen for each in report.files] == ["train", "val", ""]
    assert "2 of 3 files are among those that trained or chose the detector" in report.doubts[0]
    assert [row["seen"] for row in report.plain()["files"]] == ["train", "val", ""]


def test_files_of_another_kind_are_abstained_from_and_records_are_kept_by_modality(kept, bundles, tmp_path):
    path = tmp_path / "voice.wav"
    path.write_bytes(wav(speech(1.0)))
    voice = sound(path)
    kept.add(voice, case(voice, 1))
    assert stored_path(voice).endswith(".wav")
    report, judge = checked(kept, bundles["fake"].path)
    assert report.files[-1].now == Judged(
        outcome="abstained", label=1, said="inconclusive", why="it does not look at such files"
    )
    accepted = accept(report, judge, kept)
    assert accepted.name == f"accepted-{bundles['fake'].card.modality}.json"


def test_an_ensemble_is_one_judge_with_an_id_of_its_own(kept, bundles, tmp_path):
    path = tmp_path / "both.json"
    policy = FusionPolicy(method="mean", threshold=0.01)
    Ensemble(entries=tuple(entry(bundles[name], path) for name in ("fake", "real")), policy=policy).save(path)
    report, judge = checked(kept, path)
    assert report.bundle.startswith("both-")
    assert len(judge.detectors) == 2
    assert [each.now.outcome for each in report.files] == ["right", "right", "wrong"]
    again = dataclasses.replace(Ensemble.load(path), policy=FusionPolicy(method="mean", threshold=0.99))
    again.save(path)
    assert checked(kept, path)[0].bundle != report.bundle


def test_an_empty_set_and_a_broken_record_are_refused(kept, bundles, tmp_path):
    with pytest.raises(DataError, match="no files in"):
        checked(RegressionSet(tmp_path / "other"), bundles["fake"].path)
    accepted = accept(*checked(kept, bundles["fake"].path), kept)
    accepted.write_text('{"bundle": "x"}')
    with pytest.raises(StorageError, match="accept a bundle anew"):
        checked(kept, bundles["fake"].path)


# --- the command -----------------------------------------------------------------------------------


def test_the_command_refuses_a_regression_with_a_code_of_its_own_and_takes_it_when_told(
    kept, bundles, tmp_path
):
    words = ("evaluate", "--regression", "--set-dir", kept.folder, "--device", "cpu", "--bundle")
    done = run(*words, bundles["fake"].path, "--accept")
    assert done.exit_code == 0, done.output
    assert "2 right, 1 wrong, 0 abstained, 0 failed" in done.stdout
    done = run(*words, bundles["real"].path, "--json", "--out", tmp_path / "out")
    assert done.exit_code == 11
    assert "RegressionError" in done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == json.loads((tmp_path / "out" / "regression.json").read_text())
    assert told["counts"] == {"right": 1, "wrong": 2, "abstained": 0, "failed": 0}
    assert [row["change"] for row in told["files"]] == ["regression", "regression", "better"]
    assert told["regressions"] == [each.sha256 for each in kept.cases()[:2]]
    assert run(*words, bundles["real"].path, "--accept").exit_code == 0
    done = run(*words, bundles["real"].path)
    assert done.exit_code == 0
    assert f"Compared with {bundles['real'].card.id}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--regression", "--data", "x"), "--data does not go with --regression"),
        (("--regression", "--seen", "count"), "--seen does not go with --regression"),
        (("--accept", "--data", "x", "--out", "o"), "--accept needs --regression"),
        (("--json", "--data", "x", "--out", "o"), "--json needs --regression"),
        (("--data", "x"), "--out"),
        ((), "--data"),
    ],
)
def test_options_of_a_data_set_and_of_the_regression_set_are_not_mixed(bundles, words, message):
    done = run("evaluate", "--bundle", bundles["fake"].path, *words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
