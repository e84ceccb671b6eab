"""The central promise: a file gets the same P(fake) whoever asks.

The command line, Ray Data (folders and data sets) and Ray Serve all run the same Prep, model and
calibration; a difference above 1e-6 is a second preprocessing that crept in. Every bundle is asked alone
for its own files; the folder and the service have all of them at once, as an ensemble.
"""

import dataclasses
import functools
import io
import json
import pathlib
import socket
from collections.abc import Callable
from typing import Any

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
from deepscan.ensemble import Ensemble, entry, select
from deepscan.evaluation import Judging, predictions
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media, Sampling
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import Example
from deepscan.modalities.audio import AudioPrep
from deepscan.modalities.av import AvPrep
from deepscan.modalities.image import ImagePrep
from deepscan.modalities.video import VideoPrep
from deepscan.pipeline import analyze
from deepscan.scoring.parts import read_scores
from deepscan.scoring.plan import Work
from deepscan.scoring.run import open_task, score
from deepscan.verdict import Verdict
from tests.clips import clip, faces_clip, spoken
from tests.material import DrawnFace, draw
from tests.sounds import silence, speech, wav
from tests.tiny_bundles import fresh_bundle

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]
TOLERANCE = 1e-6
SPREAD = 50 * TOLERANCE
"""So far apart are the answers to different files at least, or to be equal would prove little."""


class Silent:
    def stage(self, title): ...
    def advance(self, done, total): ...
    def epoch(self, metrics): ...


# --- files of many kinds ---------------------------------------------------------------------------


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def pictures() -> dict[str, bytes]:
    """Pictures of many encodings, with one face, two faces and none."""
    one = Image.fromarray(draw(DrawnFace(tilt_deg=12)))
    two = Image.fromarray(draw(DrawnFace(x_px=110, radius_px=70), DrawnFace(x_px=290, radius_px=60)))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 131, 3), dtype=np.uint8))
    return {
        "real/one.jpg": encoded(one, "JPEG", quality=88),
        "real/turned.jpg": encoded(one.rotate(90, expand=True), "JPEG", exif=turned()),
        "real/grey.png": encoded(one.convert("L"), "PNG"),
        "real/alpha.webp": encoded(two.convert("RGBA"), "WEBP", lossless=True),
        "fake/two.jpg": encoded(two, "JPEG", quality=95),
        "fake/palette.gif": encoded(two.convert("P"), "GIF"),
        "fake/cmyk.tiff": encoded(one.convert("CMYK"), "TIFF"),
        "fake/noise.bmp": encoded(noise, "BMP"),
    }


def shot(frames: int, seed: int, size_px: tuple[int, int] = (200, 160)) -> list[np.ndarray]:
    """A face that moves to and fro, seen through a grain that differs from shot to shot."""
    rng = np.random.default_rng(seed)
    drawn = [draw(DrawnFace(x_px=85 + i % 7, y_px=80, radius_px=48), size_px=size_px) for i in range(frames)]
    grain = rng.normal(0, 3 + 9 * seed, (8, *drawn[0].shape))
    return [np.clip(each + grain[i % 8], 0, 255).astype(np.uint8) for i, each in enumerate(drawn)]


def clips() -> dict[str, bytes]:
    """Clips with one face, two faces and none, of even and uneven times, odd sides and few frames."""
    first, *others = map(Image.fromarray, shot(6, seed=0))
    faces = [(DrawnFace(x_px=60 + i, y_px=80, radius_px=45), DrawnFace(x_px=230, y_px=80)) for i in range(8)]
    return {
        "real/even.mp4": clip(shot(12, seed=1)),
        "real/uneven.mp4": clip(shot(5, seed=2), times_s=(0, 0.04, 0.5, 1.1, 3.0)),
        "real/animation.gif": encoded(first, "GIF", save_all=True, append_images=others, duration=100),
        "fake/two.mp4": faces_clip(*faces, size_px=(320, 160)),
        "fake/odd.mp4": clip(shot(9, seed=3, size_px=(199, 161))),
        "fake/few.mp4": clip(shot(2, seed=0)),
        "fake/nobody.mp4": clip([np.full((64, 80, 3), 90, np.uint8)] * 5),
    }


def sounds() -> dict[str, bytes]:
    """Voices of one window and several, mono and stereo, at three rates, and silence."""
    stereo = np.stack([speech(1.5), speech(1.5, seed=1)], axis=1)
    return {
        "real/voice.wav": wav(speech(1.1)),
        "real/long.wav": wav(speech(4.3, seed=2)),
        "fake/stereo.wav": wav(stereo, rate_hz=44_100),
        "fake/slow.wav": wav(speech(0.8, seed=3), rate_hz=11_025),
        "fake/silence.wav": wav(silence(1.0)),
    }


def talking() -> dict[str, bytes]:
    """Clips with a voice, of one window and of two, and a clip whose sound is silence."""
    return {
        "real/talk.mkv": spoken(clip(shot(22, seed=1), rate_hz=10), speech(2.2)),
        "real/longer.mkv": spoken(clip(shot(33, seed=2), rate_hz=12), speech(2.8, seed=1)),
        "fake/other.mkv": spoken(clip(shot(53, seed=0)), speech(2.3, seed=2)),
        "fake/mute.mkv": spoken(clip(shot(22, seed=0), rate_hz=10), silence(2.2)),
    }


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with a small Prep, the files it is asked for, and those among them that it cannot judge."""

    model: str
    prep: Any
    files: Any
    abstains: frozenset[str] = frozenset()

    def examples(self, root: pathlib.Path) -> list[Example]:
        """What is made of the files that it judges."""
        paths = [path for path in files_of(root / self.files.__name__) if path.name not in self.abstains]
        return [example for path in paths for example in self.prep(Media.from_path(path))]


CASES = {
    "picture": Case("cnn", ImagePrep(region="whole", size_px=64), pictures),
    "face": Case("cnn", ImagePrep(finder="haar", size_px=64), pictures, frozenset({"noise.bmp"})),
    "clip": Case(
        "residual-gru",
        VideoPrep(sampling=Sampling(count=4), size_px=32, finder="haar"),
        clips,
        frozenset({"few.mp4", "nobody.mp4"}),
    ),
    "voice": Case(
        "gru-light",
        AudioPrep(front_end=FrontEnd(kind="mfcc"), window_s=1.0, hop_s=0.5),
        sounds,
        frozenset({"silence.wav"}),
    ),
    "lips": Case(
        "avsync",
        AvPrep(window_s=2.0, max_windows=2, size_px=24, finder="haar"),
        talking,
        frozenset({"mute.mkv"}),
    ),
}
FOLDERS = {"pictures": pictures, "clips": clips, "sounds": sounds, "talking": talking}


@pytest.fixture(scope="module")
def media_root(tmp_path_factory) -> pathlib.Path:
    """All files, one folder a kind."""
    root = tmp_path_factory.mktemp("media")
    for kind, make in FOLDERS.items():
        for name, data in make().items():
            path = root / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*.*") if path.is_file())


# --- who judges them -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, media_root) -> dict[str, Bundle]:
    """By case; calibrated and with a decision somewhere, so that all of it is compared."""
    root = tmp_path_factory.mktemp("bundles")
    return {
        name: fresh_bundle(
            root / name, case.model, case.prep, seen=case.examples(media_root), name=name
        ).amend(
            calibration=Calibration(kind="temperature", temperature=0.6),
            operating=OperatingPoint(threshold=0.5, low=0.49, high=0.51),
        )
        for name, case in CASES.items()
    }


@pytest.fixture(scope="module")
def ensemble(bundles, tmp_path_factory) -> pathlib.Path:
    """The file of an ensemble of all of them, whose policy has something of its own to say."""
    path = tmp_path_factory.mktemp("ensembles") / "all.json"
    policy = FusionPolicy(
        method="mean",
        weights={bundles["face"].card.id: 3.0, bundles["lips"].card.id: 2.0},
        calibration=Calibration(kind="temperature", temperature=0.5),
        operating=OperatingPoint(threshold=0.5, low=0.45, high=0.55),
    )
    Ensemble(entries=tuple(entry(each, path) for each in bundles.values()), policy=policy).save(path)
    return path


@pytest.fixture(scope="module")
def detectors(bundles) -> dict[str, Detector]:
    return {name: Detector.load(bundle.path, "cpu") for name, bundle in bundles.items()}


@pytest.fixture(scope="module")
def verdict_on(ensemble, detectors) -> Callable[..., Verdict]:
    """Returns what one process says of a file: the ensemble, or those of its detectors of a modality."""
    policy = select([ensemble]).policy

    @functools.cache
    def judged(path: pathlib.Path, names: tuple[str, ...]) -> Verdict:
        return analyze(Media.from_path(path), [detectors[name] for name in names], policy)

    def verdict(path: pathlib.Path, modality: str | None = None) -> Verdict:
        media = Media.from_path(path)
        able = [name for name, detector in detectors.items() if detector.modality.accepts(media)]
        return judged(path, tuple(n for n in able if modality in (None, detectors[n].modality.name)))

    return verdict


@pytest.fixture(scope="module", params=CASES)
def case(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(case, media_root) -> pathlib.Path:
    return media_root / CASES[case].files.__name__


@pytest.fixture(scope="module")
def expected(case, folder, detectors) -> dict[str, float | None]:
    """What one process says, by file name; None is an abstention."""
    found = {p.name: analyze(Media.from_path(p), [detectors[case]]).probability for p in files_of(folder)}
    assert {name for name, probability in found.items() if probability is None} == CASES[case].abstains
    answers = sorted(probability for probability in found.values() if probability is not None)
    assert len(answers) >= 3
    assert answers[-1] - answers[0] > SPREAD, "the files differ in their answers"
    return found


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, probability in expected.items():
        if probability is None:
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(probability, abs=TOLERANCE), name


def assert_verdict(line: dict[str, Any], verdict: Verdict) -> None:
    """Check a Verdict in JSON against one of this process, detector by detector."""
    assert line["label"] == verdict.label
    assert_same({"fused": line["probability"]}, {"fused": verdict.probability})
    said = {score["detector"]: score["probability"] for score in line["scores"]}
    assert_same(said, {score.detector: score.probability for score in verdict.scores})
    passed = {(each["detector"], each["reason"]) for each in line["abstentions"]}
    assert passed == {(each.detector, each.reason) for each in verdict.abstentions}
    assert line["media"]["sha256"] == verdict.media.sha256


def predict(*words: object) -> list[dict[str, Any]]:
    """What the command prints, one dict a file."""
    result = CliRunner().invoke(app, ["predict", "--device", "cpu", "--json", *map(str, words)])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- one bundle ------------------------------------------------------------------------------------


def test_the_command_line(case, bundles, folder, expected):
    lines = predict("--bundle", bundles[case].path, *files_of(folder))
    assert_same({pathlib.Path(line["file"]).name: line["probability"] for line in lines}, expected)


@pytest.mark.parametrize("keep", [True, False])
def test_ray_data_over_a_data_set(ray_cluster, case, bundles, folder, expected, tmp_path, keep):
    origin = Origin(path=folder, store=tmp_path / "store", fractions=None, keep=keep)
    data = open_dataset(origin, bundles[case].prep(), tmp_path / "ledger.parquet", 1.0, Silent())
    judged = predictions(bundles[case], data, ("test",), Judging(device="cpu")).to_pylist()
    assert_same({pathlib.Path(row["path"]).name: row["probability"] for row in judged}, expected)


# --- all of them, as an ensemble -------------------------------------------------------------------


def test_content_chooses_the_detectors_of_an_ensemble(ensemble, media_root):
    names = ("talking/real/talk.mkv", "sounds/real/voice.wav", "pictures/real/one.jpg", "clips/real/even.mp4")
    lines = predict("--bundle", ensemble, *(media_root / name for name in names))
    assert [{score["detector"] for score in line["scores"]} for line in lines] == [
        {"clip", "voice", "lips"},
        {"voice"},
        {"picture", "face"},
        {"clip"},
    ]


@pytest.mark.parametrize("prepare_cpus", [0, 1])
def test_ray_data_over_a_folder(ray_cluster, ensemble, verdict_on, media_root, tmp_path, prepare_cpus):
    """By actors that do it all, and by those that prepare and those that hold the models."""
    work = Work(device="cpu", actors=1, prepare_cpus=prepare_cpus)
    score(open_task(str(media_root), str(tmp_path), select([ensemble]), work, Silent()), Silent())
    lines = {line["path"]: line for line in read_scores(tmp_path)}
    assert lines.keys() == {str(path.resolve()) for path in files_of(media_root)}
    for path, line in lines.items():
        assert_verdict(line, verdict_on(pathlib.Path(path)))


def test_ray_serve(ray_cluster, ensemble, verdict_on, detectors, media_root):
    from deepscan.serving.app import serve, stop
    from deepscan.serving.config import ServeArgs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = serve(ServeArgs(bundles=(str(ensemble),), device="cpu"), "127.0.0.1", port, blocking=False)
    try:
        for path in files_of(media_root):
            assert_verdict(upload(f"{url}/api/predict", file=path), verdict_on(path))
            for modality in sorted({score.modality for score in verdict_on(path).scores}):
                one_way = upload(f"{url}/api/predict/{modality}", file=path)
                assert_verdict(one_way, verdict_on(path, modality))
        video, audio = halves(media_root)
        joined = upload(f"{url}/api/predict/multimodal", file=video, sound=audio)
        media, policy = apart(media_root), select([ensemble]).policy
        assert_verdict(joined, analyze(media, list(detectors.values()), policy))
        assert "lips" in {score["detector"] for score in joined["scores"]}
    finally:
        stop()


def upload(url: str, **files: pathlib.Path) -> dict[str, Any]:
    form = {field: (path.name, path.read_bytes()) for field, path in files.items()}
    answer = httpx.post(url, files=form, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- a clip and its sound in two files -------------------------------------------------------------


def halves(root: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write pictures and sound of ``talk.mkv`` to files of their own, without loss, beside ``root``."""
    folder = root.parent / f"{root.name}-halves"
    folder.mkdir(exist_ok=True)
    video, audio = folder / "a.mp4", folder / "a.wav"
    video.write_bytes(clip(shot(22, seed=1), rate_hz=10))
    audio.write_bytes(wav(np.rint(speech(2.2) * 32767) / 32768))
    return video, audio


def apart(root: pathlib.Path) -> Media:
    video, audio = halves(root)
    return Media.joined(Media.from_path(video), Media.from_path(audio))


@pytest.mark.parametrize("judge", ["lips", "ensemble"])
def test_a_clip_and_its_sound_are_judged_as_the_file_that_holds_both(judge, bundles, ensemble, media_root):
    video, audio = halves(media_root)
    judges = ("--bundle", ensemble if judge == "ensemble" else bundles[judge].path)
    [both] = predict(*judges, media_root / "talking/real/talk.mkv")
    [joined] = predict(*judges, "--video", video, "--audio", audio)
    assert joined["media"]["name"] == "a.mp4 + a.wav"
    assert [score["detector"] for score in joined["scores"]] == [s["detector"] for s in both["scores"]]
    for one, other in zip(joined["scores"], both["scores"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=TOLERANCE)
    assert joined["probability"] == pytest.approx(both["probability"], abs=TOLERANCE)
