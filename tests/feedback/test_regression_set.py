"""The regression set: what is kept of a file, once, by its content; what is refused."""

import csv
import dataclasses
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deepscan import cli
from deepscan.datasets import layout
from deepscan.errors import ConfigError, CorruptMediaError, DataError, StorageError, UnsupportedMediaError
from deepscan.feedback.store import (
    COLUMNS,
    LABELS,
    SUFFIXES,
    Case,
    RegressionSet,
    key_of,
    sound,
    stored_path,
)
from deepscan.media.assets import places
from deepscan.media.signatures import FORMATS
from deepscan.media.source import Media
from tests.sounds import speech, wav
from tests.tiny_bundles import noise, tiny_bundle


@pytest.fixture
def kept(tmp_path):
    return RegressionSet(tmp_path / "set")


def case(media, label=1, **fields):
    told = {"name": media.facts.name, "added": "2026-05-01"} | fields
    return Case(sha256=media.facts.sha256, path=stored_path(media), label=label, **told)


def picture(seed=0, name="photo.png"):
    return Media.from_bytes(noise(seed), name)


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_a_file_is_kept_under_its_digest_with_a_row_that_reads_back(kept):
    media = picture()
    told = case(
        media,
        source="ann",
        generator="StyleGAN",
        note='says "no", twice,\nin two lines',
        said_by="cnn-0",
        said="real",
        said_probability=0.25,
    )
    assert kept.add(media, told) == (told, True)
    assert kept.cases() == [told]
    assert (kept.folder / told.path).read_bytes() == media.data
    assert told.path == f"files/{media.facts.sha256}.png"


def test_the_set_is_a_data_set_for_every_other_command(kept):
    for seed, label in ((0, 0), (1, 1)):
        kept.add(picture(seed), case(picture(seed), label, source=f"person-{seed}", note="a, b"))
    table = layout.scan(kept.folder)
    rows = {row["source"]: row for row in table.to_pylist()}
    assert {name: row["label"] for name, row in rows.items()} == {"person-0": 0, "person-1": 1}
    assert rows["person-1"]["note"] == "a, b"
    assert rows["person-1"]["path"] == str(kept.folder / kept.cases()[1].path)


def test_the_same_content_is_there_once_and_what_is_told_later_is_added(kept):
    media = picture()
    kept.add(media, case(media, source="ann", note="first"))
    again = case(
        picture(name="other.png"), generator="SD", note="second", added="2026-06-01", said_by="b", said="fake"
    )
    stored, is_new = kept.add(picture(name="other.png"), again)
    assert not is_new
    assert kept.cases() == [stored]
    assert (stored.name, stored.added, stored.source) == ("photo.png", "2026-05-01", "ann")
    assert (stored.generator, stored.note, stored.said) == ("SD", "second", "fake")


def test_another_label_is_refused_unless_the_old_one_is_to_be_forgotten(kept):
    media = picture()
    kept.add(media, case(media, 1, generator="SD", note="n"))
    with pytest.raises(DataError, match=r"in the set as fake .* say --replace if it is real"):
        kept.add(media, case(media, 0))
    assert kept.cases()[0].label == 1
    stored, is_new = kept.add(media, case(media, 0), replace=True)
    assert (stored.label, stored.generator, stored.note, is_new) == (0, "", "", False)
    assert kept.cases() == [stored]


def test_a_file_is_removed_by_digits_of_its_digest_or_by_itself(kept, tmp_path):
    media = [picture(seed) for seed in range(3)]
    for each in media:
        kept.add(each, case(each))
    path = tmp_path / "copy.bin"
    path.write_bytes(media[1].data)
    gone = kept.remove([media[0].facts.sha256[:8], key_of(str(path))])
    assert [each.sha256 for each in gone] == [each.facts.sha256 for each in media[:2]]
    assert [each.sha256 for each in kept.cases()] == [media[2].facts.sha256]
    assert [path.name for path in (kept.folder / "files").iterdir()] == [f"{media[2].facts.sha256}.png"]


def test_what_names_no_file_or_several_removes_nothing(kept, monkeypatch):
    media = picture()
    kept.add(media, case(media))
    for key, message in (("ab", "at least 4 digits"), ("photo.png", "is no file"), ("0000", "0 files")):
        with pytest.raises(ConfigError, match=message):
            kept.remove([media.facts.sha256, key])
    twins = [case(media), dataclasses.replace(case(media), sha256=media.facts.sha256[:8] + "0" * 56)]
    monkeypatch.setattr(RegressionSet, "cases", lambda self: twins)
    with pytest.raises(ConfigError, match="2 files"):
        kept.remove([media.facts.sha256[:8]])
    assert (kept.folder / case(media).path).is_file()


@pytest.mark.parametrize(
    "row",
    [
        {"path": "../../secret.png"},
        {"path": "files/" + "0" * 64 + "/../../x.png"},
        {"label": "maybe"},
        {"said_probability": "1.5"},
        {"said_probability": "often"},
    ],
)
def test_rows_that_others_wrote_are_refused_with_their_line(kept, row):
    media = picture()
    kept.add(media, case(media))
    with (kept.folder / "manifest.csv").open("a", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerow(case(media).row | row)
    with pytest.raises(DataError, match="Line 3 of"):
        kept.cases()


def test_a_manifest_of_another_kind_or_none_at_all_is_told(kept):
    assert kept.cases() == []
    kept.folder.mkdir()
    (kept.folder / "manifest.csv").write_text("path,label\nx.png,real\n")
    with pytest.raises(DataError, match="has not the columns"):
        kept.cases()
    (kept.folder / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StorageError, match="cannot be read"):
        kept.cases()


def test_an_interrupted_write_leaves_the_manifest_as_it_was(kept, monkeypatch):
    media = picture()
    kept.add(media, case(media))
    before = (kept.folder / "manifest.csv").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deepscan.feedback.store.os.replace", full)
    with pytest.raises(StorageError):
        kept.add(picture(1), case(picture(1)))
    assert (kept.folder / "manifest.csv").read_text() == before
    assert not list(kept.folder.rglob("*.tmp"))


def test_processes_that_add_at_once_lose_nothing(kept):
    """Without the lock, whoever writes last would forget what the others had added."""
    code = """
import pathlib, sys
from deepscan.feedback.store import Case, RegressionSet, stored_path
from deepscan.media.source import Media
from tests.tiny_bundles import noise
kept, first = RegressionSet(pathlib.Path(sys.argv[1])), int(sys.argv[2])
for seed in range(first, first + 12):
    media = Media.from_bytes(noise(seed), f"{seed}.png")
    kept.add(media, Case(sha256=media.facts.sha256, path=stored_path(media), label=1, name=f"{seed}.png"))
"""
    words = [sys.executable, "-c", code, str(kept.folder)]
    running = [subprocess.Popen([*words, str(100 * number)]) for number in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    cases = kept.cases()
    assert len(cases) == 36
    assert all((kept.folder / each.path).is_file() for each in cases)


def test_a_file_that_does_not_decode_is_no_sound_one(tmp_path):
    whole = wav(speech(1.0))
    for name, data in (("cut.png", noise()[:900]), ("cut.wav", whole[:44])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises((CorruptMediaError, UnsupportedMediaError)):
            sound(tmp_path / name)
    (tmp_path / "voice.bin").write_bytes(whole)
    assert stored_path(sound(tmp_path / "voice.bin")).endswith(".wav")


def test_every_format_has_a_suffix_that_the_set_can_read_back():
    assert set(SUFFIXES) <= {each.name for each in FORMATS}
    assert all(SUFFIXES.get(each.name, each.name).isalnum() for each in FORMATS)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"DEEPSCAN_REGRESSION": "/a/set", "DEEPSCAN_HOME": "/home"}, "/a/set"),
        ({"DEEPSCAN_HOME": "/home"}, "/home/regression"),
        ({"XDG_DATA_HOME": "/data", "XDG_CACHE_HOME": "/cache"}, "/data/deepscan/regression"),
    ],
)
def test_where_the_set_lies(monkeypatch, variables, place):
    for name in ("DEEPSCAN_REGRESSION", "DEEPSCAN_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(places().regression) == place


# --- the commands ----------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.png"
    path.write_bytes(noise(5))
    return path


def test_add_list_and_remove_by_the_command_line(photo, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPSCAN_REGRESSION", str(tmp_path / "set"))
    bundle = tiny_bundle(tmp_path / "bundle").path
    done = run(
        "feedback", "add", photo, "--label", "fake", "--source", "ann", "--generator", "SD",
        "--note", "seen on a poster", "--bundle", bundle, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    digest = Media.from_path(photo).facts.sha256
    assert done.stdout == f"Added: {digest[:12]} a photo.png, fake, in {tmp_path / 'set'}\n"
    (told,) = map(json.loads, run("feedback", "list", "--json").stdout.splitlines())
    judged = json.loads(run("predict", photo, "--bundle", bundle, "--device", "cpu", "--json").stdout)
    assert told["said_by"] == judged["bundles"][0]
    assert told["said"] == judged["label"]
    assert told["said_probability"] == pytest.approx(judged["probability"], abs=1e-6)
    assert (told["label"], told["source"], told["generator"]) == ("fake", "ann", "SD")
    assert (told["note"], told["name"], told["sha256"]) == ("seen on a poster", "a photo.png", digest)
    assert "1 files in" in run("feedback", "list").stdout
    assert run("feedback", "remove", digest[:12]).stdout == f"Removed: {digest[:12]} a photo.png\n"
    assert RegressionSet(tmp_path / "set").cases() == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--label", "real", "--generator", "SD"), 2, "A real file has no generator"),
        (("--label", "perhaps"), 2, "perhaps"),
        ((), 2, "--label"),
    ],
)
def test_what_contradicts_itself_is_not_added(photo, tmp_path, words, code, message):
    done = run("feedback", "add", photo, *words, "--set-dir", tmp_path / "set")
    assert done.exit_code == code
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "set").exists()


def test_a_broken_file_is_not_added(tmp_path):
    (tmp_path / "half.png").write_bytes(noise()[:900])
    done = run("feedback", "add", tmp_path / "half.png", "--label", "fake", "--set-dir", tmp_path / "set")
    assert done.exit_code == 3
    assert not (tmp_path / "set").exists()


def test_the_labels_are_in_the_order_of_their_numbers():
    assert [LABELS.index(name) for name in ("real", "fake")] == [0, 1]
