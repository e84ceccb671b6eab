"""The detectors that ship: small, complete, and ready to judge where nothing else is installed or fetched."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deepscan import cli, ensemble
from deepscan.bundle import Bundle
from deepscan.ensemble import Ensemble, select, shipped, shipped_path
from deepscan.errors import BundleError
from jobs import make_zoo
from jobs.make_zoo import MEMBERS
from tests.material import shared

ROOT = pathlib.Path(__file__).parents[2]
LIMIT_BYTES = 25_000_000


def bundles():
    return [Bundle.read(path) for path in Ensemble.load(shipped()).bundles(shipped())]


def predict(*arguments):
    done = CliRunner().invoke(cli.app, ["predict", *map(str, arguments), "--json"])
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_all_that_ships_is_small():
    files = [path for path in shipped_path().parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES


def test_what_ships_was_made_by_the_job_with_its_settings():
    made = {bundle.card.name: bundle.card for bundle in bundles()}
    assert set(made) == {member.name for member in MEMBERS}
    for member in MEMBERS:
        card = made[member.name]
        assert card.model == member.model
        kept = {"recipe": card.recipe, "prep": card.prep, "model": card.model_config}
        for setting in member.settings:
            dotted, _, value = setting.partition("=")
            section, *names = dotted.split(".")
            found = kept[section]
            for name in names:
                found = found[name]
            assert str(found) == value or found == json.loads(value), setting
        assert card.data["digest"]
        assert card.recipe["seed"] == 0
        assert card.operating.max_error_rate == member.max_error_rate
        assert not card.operating.shortfall
        assert card.seen, "so that nobody measures it on what trained it"


def test_a_member_can_be_trained_without_what_it_is_then_measured_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(make_zoo, "connected", contextlib.nullcontext)
    monkeypatch.setattr(make_zoo, "make", lambda *given: asked.append(given) or bundles()[0])
    line = ["--media", str(tmp_path), "--out", str(tmp_path), "--only", "voices", "--without", "*HiFiGAN*"]
    monkeypatch.setattr(sys, "argv", ["make_zoo.py", *line])
    assert make_zoo.main() == 0
    [(member, _, out, _, _)] = asked
    assert member.where == ("modality=audio", "generator!=*HiFiGAN*")
    assert out == tmp_path / "without-HiFiGAN"
    monkeypatch.setattr(sys, "argv", ["make_zoo.py", *line, "--install"])
    with pytest.raises(SystemExit):
        make_zoo.main()
    assert len(asked) == 1, "what does not know all is not what ships"
    monkeypatch.setattr(sys, "argv", ["make_zoo.py", *line[:-1], "source=libri*"])
    assert make_zoo.main() == 0
    assert asked[1][0].where == ("modality=audio", "source!=libri*")
    assert asked[1][2] == tmp_path / "without-sourcelibri"


def test_a_member_begins_with_the_weights_of_those_before_it(monkeypatch, tmp_path):
    trained = []

    def train(order, watch):
        trained.append((order.name, order.init))
        return types.SimpleNamespace(bundle=types.SimpleNamespace(path=order.out / "bundle"))

    monkeypatch.setattr(make_zoo, "train", train)
    monkeypatch.setattr(make_zoo, "make_stills", lambda stills, out: out / "manifest.csv")
    clips = make_zoo.without(MEMBERS[1], "*GAN*")
    make_zoo.train_member(clips, tmp_path / "media", tmp_path / "out", 0, "1/1")
    assert trained == [
        ("blended-faces-first", ""),
        ("blended-faces", str(tmp_path / "out" / "blended-faces-first" / "bundle")),
        ("blended-clips", str(tmp_path / "out" / "blended-faces" / "bundle")),
    ]
    assert clips.begins.begins.where[-1] == "generator!=*GAN*", "nor have those seen it whose weights it has"


def test_members_are_calibrated_and_measured():
    for bundle in bundles():
        assert bundle.card.weights_format == "onnx"
        assert bundle.card.reliability is not None
        assert 0 < bundle.card.metrics["test"]["figures"]["auc"]["value"] <= 1


def test_nobody_named_means_those_that_ship():
    assert select(()) == select((shipped(),))


def test_an_installation_without_detectors_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(ensemble, "shipped_path", lambda: tmp_path / "ensemble.json")
    with pytest.raises(BundleError, match="name a bundle with --bundle"):
        select(())


def test_predict_needs_no_bundle_no_asset_no_torch_and_no_ray(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    code = (
        "import sys\nfrom deepscan.cli import app\n"
        "try:\n    app(['predict', sys.argv[1], '--json'])\n"
        "finally:\n    print(sorted({'torch', 'ray'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "noise.png")],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "DEEPSCAN_ASSETS": str(tmp_path / "none")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict, imported = done.stdout.splitlines()
    assert json.loads(verdict)["label"] == "inconclusive"
    assert imported == "[]"


@pytest.mark.media
def test_three_files_of_real_media_are_judged():
    media = shared("media")
    files = [
        next((media / "image/real/ffhq-256").glob("*.jpg")),
        next((media / "video/real").rglob("*.mp4")),
        next((media / "audio/real").rglob("*.flac")),
    ]
    code, lines = predict(*files)
    assert code == 0
    assert [line["media"]["name"] for line in lines] == [path.name for path in files]
    kinds = {bundle.card.modality for bundle in bundles()}
    for kind, line in zip(("image", "video", "audio"), lines, strict=True):
        assert line["label"] in {"real", "fake", "inconclusive"}
        assert bool(line["scores"]) == (kind in kinds)


def test_the_page_tells_of_every_member():
    page = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == [member.name for member in MEMBERS]
