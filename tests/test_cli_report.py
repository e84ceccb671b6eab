"""``deepscan report``: what is asked for is what is written; what cannot be is refused before any work."""

import json
import shlex
import shutil
import subprocess

import pytest
import typer.main
from typer.testing import CliRunner

from deepscan import cli, verdict
from deepscan.calibration import OperatingPoint
from deepscan.errors import NoBrowserError, StorageError
from deepscan.report import printing
from tests.sounds import speech, wav
from tests.tiny_bundles import noise, tiny_bundle

POINT = OperatingPoint(threshold=0.5, low=0.4, high=0.6, real=40, fake=40)


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle"), operating=POINT).path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a photo.png"
    path.write_bytes(noise(1))
    return path


def test_a_page_and_its_json_are_written_with_the_line_that_repeats_them(picture, bundle, tmp_path):
    out = tmp_path / "made" / "photo.html"
    words = (
        "report",
        picture,
        "--bundle",
        bundle,
        "--device",
        "cpu",
        "-o",
        out,
        "--json",
        "--fusion",
        "threshold=0.4",
    )
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"Report: {out}\nReport: {out.with_suffix('.json')}\n"
    content = json.loads(out.with_suffix(".json").read_text())
    page = out.read_text(encoding="utf-8")
    assert content["media"]["sha256"] in page
    command, *repeated = shlex.split(content["command"])
    assert command == "deepscan"
    assert sorted(repeated) == sorted("--out" if word == "-o" else str(word) for word in words)
    root = typer.main.get_command(cli.app)
    root.commands["report"].make_context("report", repeated[1:])
    assert content["context"]["point"]["high"] == 0.4
    assert next(iter(content["context"]["points"].values()))["high"] == 0.6


def test_a_lone_detector_states_its_own_rate(picture, bundle, tmp_path):
    assert (
        run("report", picture, "--bundle", bundle, "--device", "cpu", "-o", tmp_path / "r.html").exit_code
        == 0
    )
    assert "at most 5\u00a0% of genuine files are called fake" in (tmp_path / "r.html").read_text()


def test_several_bundles_without_an_ensemble_state_none(picture, bundle, tmp_path):
    other = tiny_bundle(tmp_path / "other", seed=1, name="other").path
    words = (
        "report",
        picture,
        "--bundle",
        bundle,
        "--bundle",
        other,
        "--device",
        "cpu",
        "-o",
        tmp_path / "r.json",
    )
    assert run(*words).exit_code == 0
    assert json.loads((tmp_path / "r.json").read_text())["context"]["point"] is None
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".json", ".png"]


def test_evidence_is_always_in_it(bundle, tmp_path):
    (tmp_path / "voice.wav").write_bytes(wav(speech()))
    words = (
        "report",
        tmp_path / "voice.wav",
        "--bundle",
        bundle,
        "--device",
        "cpu",
        "-o",
        tmp_path / "r.json",
    )
    assert run(*words).exit_code == 0
    told = verdict.from_dict(json.loads((tmp_path / "r.json").read_text()))
    assert "voice" in {each.analyzer for each in told.evidence}


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("photo.png -o report.txt", 2, "A report ends in .html, .pdf, .json"),
        ("photo.png --video a.mp4 --audio a.wav", 2, "A report is on one case"),
        ("--video a.mp4", 2, "give both"),
        ("", 2, "nothing to judge"),
        ("no.png", 3, "cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_refused(words, code, complaint, bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run("report", "--bundle", bundle, "--device", "cpu", *words.split())
    assert done.exit_code == code
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_10(picture, bundle):
    out = picture / "report.html"
    done = run("report", picture, "--bundle", bundle, "--device", "cpu", "-o", out)
    assert done.exit_code == 10
    assert "cannot be written" in done.stderr


# --- printing --------------------------------------------------------------------------------------


def test_without_a_browser_nothing_is_judged_and_the_exit_code_is_2(picture, bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    done = run("report", picture, "--bundle", "nowhere", "--pdf", "-o", tmp_path / "r.html")
    assert done.exit_code == 2
    assert done.stderr.startswith("NoBrowserError: No browser that prints PDF was found")
    with pytest.raises(NoBrowserError):
        printing.print_pdf("<p>", tmp_path / "r.pdf")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("exit 0", "without a PDF"),
        ("echo no display >&2; exit 3", "no display"),
        ("exec sleep 9", "did not print"),
    ],
)
def test_a_browser_that_fails_is_told(script, complaint, monkeypatch, tmp_path):
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(printing, "browser", lambda: str(program))
    monkeypatch.setattr(printing, "PATIENCE_S", 1)
    with pytest.raises(StorageError, match=complaint):
        printing.print_pdf("<p>", tmp_path / "r.pdf")
    assert not (tmp_path / "r.pdf").exists()


@pytest.mark.browser
def test_a_report_is_printed(picture, bundle, tmp_path):
    if not any(map(shutil.which, printing.BROWSERS)):
        pytest.skip("chromium is not installed")
    out = tmp_path / "r.pdf"
    done = run("report", picture, "--bundle", bundle, "--device", "cpu", "-o", out)
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"%PDF-")
    assert sorted(path.name for path in tmp_path.iterdir()) == [picture.name, "r.pdf"]


@pytest.mark.browser
def test_a_pdf_is_refused_where_it_cannot_lie(tmp_path):
    if not any(map(shutil.which, printing.BROWSERS)):
        pytest.skip("chromium is not installed")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        printing.print_pdf("<!doctype html><p>x", tmp_path / "file" / "r.pdf")


def test_the_browser_is_run_without_a_shell(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(printing, "browser", lambda: "browser")
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: calls.append(command) or subprocess.CompletedProcess(command, 0),
    )
    with pytest.raises(StorageError):
        printing.print_pdf("<p>", tmp_path / "r.pdf")
    assert calls[0][0] == "browser"
    assert calls[0][-1].startswith("file://")
