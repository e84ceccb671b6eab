"""The shipped finder in a bundle, as pipeline and command line use it, on a machine without assets."""

import json

import pytest
from typer.testing import CliRunner

from deepscan import cli, pipeline
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.modalities.image import ImagePrep
from tests.material import DrawnFace, draw, encoded
from tests.tiny_bundles import PLUGIN, noise, tiny_bundle


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path / "home"))
    prep = ImagePrep(size_px=32).resolved()
    assert prep.finder == "tiny"
    return tiny_bundle(tmp_path / "bundle", prep=prep).path


def portrait():
    return encoded(draw(DrawnFace(x_px=130, y_px=120, radius_px=60), size_px=(260, 240)))


def test_a_file_is_judged_by_the_face_that_it_finds_and_noise_is_not(bundle):
    detector = Detector.load(bundle, device="cpu")
    (score,) = pipeline.analyze(Media.from_bytes(portrait(), "face.png"), [detector]).scores
    left, top, right, bottom = score.parts[0].region.box
    assert left < 0.5 < right
    assert top < 0.5 < bottom
    assert right - left < 0.9
    blank = pipeline.analyze(Media.from_bytes(noise(), "noise.png"), [detector])
    assert [each.reason for each in blank.abstentions] == ["no-face"]


def test_the_command_line_predicts_with_it(bundle, tmp_path):
    (tmp_path / "face.png").write_bytes(portrait())
    words = ["predict", tmp_path / "face.png", "--bundle", bundle, "--plugin", PLUGIN]
    done = CliRunner().invoke(cli.app, [*map(str, words), "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[0])["scores"]
