import pytest
from typer.testing import CliRunner

from deepscan import cli
from deepscan.datasets.known import LAYOUTS
from deepscan.datasets.layout import scan
from tests.datasets.test_known import TREES, files, plant


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["import", *map(str, arguments)])


def test_without_a_name_all_known_data_sets_are_listed():
    done = run()
    assert done.exit_code == 0
    assert [name for name in LAYOUTS.names() if f" {name} " not in done.stdout] == []


def test_a_manifest_is_written_that_every_command_reads(tmp_path):
    plant(tmp_path / "set", TREES["celeb-df"])
    done = run("celeb-df", tmp_path / "set", "--out", tmp_path / "new" / "celeb.parquet")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith(f"Manifest: {tmp_path}/new/celeb.parquet\n")
    assert done.stderr == ""
    assert scan(tmp_path / "new" / "celeb.parquet")["label"].to_pylist() == [0, 0, 1, 1, 0]


def test_what_is_amiss_is_told_and_the_splits_can_be_left_out(tmp_path):
    plant(tmp_path, files("Celeb-real/id4_0003.mp4", "Celeb-synthesis/id4_id1_0003.mp4"))
    plant(tmp_path, {"List_of_testing_videos.txt": "1 Celeb-real/id4_0003.mp4\n1 Celeb-real/id9_0001.mp4\n"})
    done = run("celeb-df", tmp_path, "--out", tmp_path / "a.parquet")
    absent, leaks = done.stderr.splitlines()
    assert absent == "Note: 1 are listed but not in the folder (Celeb-real/id9_0001.mp4)."
    assert leaks.startswith("Note: 1 are sources that the authors' splits divide")
    assert "--no-splits" in leaks
    done = run("celeb-df", tmp_path, "--out", tmp_path / "a.parquet", "--no-splits")
    assert done.stderr == f"{absent}\n"
    assert set(scan(tmp_path / "a.parquet")["split"].to_pylist()) == {""}


def test_files_without_a_split_are_told(tmp_path):
    plant(tmp_path, TREES["faceforensics++"])
    plant(tmp_path, files("FaceForensics/original_sequences/youtube/c23/videos/333.mp4"))
    done = run("faceforensics++", tmp_path, "--out", tmp_path / "a.parquet")
    assert "1 files have no split while others have" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("celeb-fd", ".", "--out", "a.parquet"), 2, "Did you mean 'celeb-df'?"),
        (("dfdc",), 2, "deepscan import dfdc FOLDER --out manifest.parquet"),
        (("dfdc", "."), 2, "Give the folder and the manifest"),
        (("dfdc", ".", "--out", "a.csv"), 2, "manifest.parquet"),
        (("dfdc", "nowhere", "--out", "a.parquet"), 5, "is no folder"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, monkeypatch, words, code, says):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert (done.exit_code, list(tmp_path.iterdir())) == (code, [])
    assert says in done.stderr
