"""The central promise: a file gets the same P(fake) whoever asks.

The command line, Ray Data (folders and data sets) and Ray Serve all run the same Prep, model and
calibration; a difference above 1e-6 is a second preprocessing that crept in.
"""

import io
import json
import pathlib
import socket

import httpx
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deepscan.bundle import Bundle
from deepscan.calibration import Calibration, OperatingPoint
from deepscan.cli import app
from deepscan.datasets.dataset import Origin, open_dataset
from deepscan.detector import Detector
from deepscan.ensemble import select
from deepscan.evaluation import Judging, predictions
from deepscan.media.source import Media
from deepscan.pipeline import analyze
from deepscan.scoring import read_verdicts, score_folder
from tests.material import DrawnFace, draw

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]
TOLERANCE = 1e-6


class Silent:
    def stage(self, title): ...
    def advance(self, done, total): ...
    def epoch(self, metrics): ...


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of many encodings, with one face, two faces and none."""
    root = tmp_path_factory.mktemp("pictures")
    one = Image.fromarray(draw(DrawnFace(tilt_deg=12)))
    two = Image.fromarray(draw(DrawnFace(x_px=110, radius_px=70), DrawnFace(x_px=290, radius_px=60)))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 131, 3), dtype=np.uint8))
    files = {
        "real/one.jpg": encoded(one, "JPEG", quality=88),
        "real/turned.jpg": encoded(one.rotate(90, expand=True), "JPEG", exif=turned()),
        "real/grey.png": encoded(one.convert("L"), "PNG"),
        "real/alpha.webp": encoded(two.convert("RGBA"), "WEBP", lossless=True),
        "fake/two.jpg": encoded(two, "JPEG", quality=95),
        "fake/palette.gif": encoded(two.convert("P"), "GIF"),
        "fake/cmyk.tiff": encoded(one.convert("CMYK"), "TIFF"),
        "fake/noise.bmp": encoded(noise, "BMP"),
    }
    for name, data in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module", params=["whole", "face"])
def bundle(request, make_bundle):
    """A bundle that is calibrated and decides somewhere, so that all of it is compared."""
    made = make_bundle(f"parity-{request.param}", region=request.param)
    return made.amend(
        calibration=Calibration(kind="temperature", temperature=0.3),
        operating=OperatingPoint(threshold=0.5, low=0.49, high=0.51),
    )


@pytest.fixture(scope="module")
def expected(bundle: Bundle, folder):
    """What one process says, by file name; None is an abstention."""
    detector = Detector.load(bundle.path, "cpu")
    verdicts = {p.name: analyze(Media.from_path(p), [detector]) for p in sorted(folder.rglob("*.*"))}
    found = {name: v.probability for name, v in verdicts.items()}
    abstained = {name for name, p in found.items() if p is None}
    assert abstained == ({"noise.bmp"} if "face" in bundle.card.name else set())
    assert len({p for p in found.values() if p is not None}) > 3, "the files differ in their answers"
    return found


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, probability in expected.items():
        if probability is None:
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(probability, abs=TOLERANCE), name


def test_the_command_line(bundle, folder, expected):
    paths = [str(path) for path in sorted(folder.rglob("*.*"))]
    result = CliRunner().invoke(app, ["predict", "--bundle", str(bundle.path), "--json", *paths])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert_same({pathlib.Path(line["file"]).name: line["probability"] for line in lines}, expected)


def test_ray_data_over_a_folder(ray_cluster, bundle, folder, expected, tmp_path):
    score_folder(folder, select([bundle.path]), tmp_path, Judging(device="cpu"), Silent())
    lines = list(read_verdicts(tmp_path))
    assert_same({pathlib.Path(line["file"]).name: line["probability"] for line in lines}, expected)


@pytest.mark.parametrize("keep", [True, False])
def test_ray_data_over_a_data_set(ray_cluster, bundle, folder, expected, tmp_path, keep):
    origin = Origin(path=folder, store=tmp_path / "store", fractions=None, keep=keep)
    data = open_dataset(origin, bundle.prep(), tmp_path / "ledger.parquet", 1.0, Silent())
    judged = predictions(bundle, data, ("test",), Judging(device="cpu")).to_pylist()
    assert_same({pathlib.Path(row["path"]).name: row["probability"] for row in judged}, expected)


def test_ray_serve(ray_cluster, bundle, folder, expected):
    from deepscan.serving.app import serve, stop
    from deepscan.serving.config import ServeArgs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = serve(ServeArgs(bundles=(str(bundle.path),), device="cpu"), "127.0.0.1", port, blocking=False)
    try:
        found = {}
        for path in sorted(folder.rglob("*.*")):
            with path.open("rb") as file:
                answer = httpx.post(
                    f"{url}/api/predict/{bundle.card.modality}",
                    files={"file": (path.name, file)},
                    timeout=60,
                    trust_env=False,
                )
            assert answer.status_code == 200, answer.text
            found[path.name] = answer.json()["probability"]
    finally:
        stop()
    assert_same(found, expected)
