import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import binomtest

from deepscan.bundle import Bundle
from deepscan.calibration import Calibration, OperatingPoint, Reliability
from deepscan.detector import Detector, pick_device
from deepscan.errors import AbstainError, BundleError, ConfigError, NoFaceError
from deepscan.formats import eager, network_of
from deepscan.modalities import batch
from deepscan.models.catalog import load_builtin as load_models
from deepscan.verdict import Abstention, Region
from tests.heatmaps.subjects import small_detector
from tests.tiny_bundles import media, tiny_bundle

BOXES = ((0.0, 0.0, 0.25, 0.5), (0.5, 0.0, 1.0, 0.5), (0.25, 0.5, 0.75, 1.0))
OUTPUTS = {"logit": np.array([0.5, 3.0, -1.0], dtype=np.float32)}
EXAMPLES = [{"pixels": np.zeros((32, 32, 3), np.uint8), "box": np.array(b, np.float32)} for b in BOXES]
TEMPERATURE = Calibration(kind="temperature", temperature=2.0)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tiny_bundle(tmp_path_factory.mktemp("tiny"), calibration=TEMPERATURE).path
    return Detector.load(path, "cpu")


def with_card(detector, **changes):
    card = dataclasses.replace(detector.bundle.card, **changes)
    return dataclasses.replace(detector, bundle=dataclasses.replace(detector.bundle, card=card))


def test_the_most_suspicious_part_speaks_for_the_file_and_is_calibrated(detector):
    score = detector.judge(EXAMPLES, OUTPUTS).score
    assert score.logit == 3.0
    assert score.probability == pytest.approx(1 / (1 + math.exp(-3.0 / 2)), abs=1e-12)
    assert (score.detector, score.bundle, score.modality) == ("tiny", detector.bundle.card.id, "image")


def test_parts_come_most_suspicious_first_with_their_places(detector):
    parts = detector.judge(EXAMPLES, OUTPUTS).score.parts
    assert [part.region for part in parts] == [Region(box=BOXES[i]) for i in (1, 0, 2)]
    assert [part.probability for part in parts] == pytest.approx(expit([1.5, 0.25, -0.5]))


def test_parts_that_look_alike_keep_their_order(detector):
    parts = detector.judge(EXAMPLES, {"logit": np.zeros(3, np.float32)}).score.parts
    assert [part.region.box for part in parts] == list(BOXES)


def test_a_score_holds_plain_numbers(detector):
    score = detector.judge(EXAMPLES, OUTPUTS).score
    assert {type(score.logit), type(score.probability), type(score.parts[0].probability)} == {float}


@pytest.mark.parametrize(
    ("low", "high", "label"),
    [(0.1, 0.2, "fake"), (0.1, 0.99, "inconclusive"), (0.9, 0.99, "real"), (0.5, 0.5, "fake")],
)
def test_the_label_follows_the_operating_point(detector, low, high, label):
    point = OperatingPoint(threshold=low, low=low, high=high)
    vote = with_card(detector, operating=point).judge(EXAMPLES, OUTPUTS)
    assert vote.score.label == label
    assert vote.point == point


@pytest.mark.parametrize(("logit", "fakes", "files"), [(3.0, 27, 30), (-3.0, 2, 20)])
def test_the_uncertainty_comes_from_validation_files_that_scored_alike(detector, logit, fakes, files):
    known = Reliability(edges=(0.5,), files=(20, 30), fakes=(2, 27))
    vote = with_card(detector, reliability=known).judge(
        EXAMPLES[:1], {"logit": np.array([logit], np.float32)}
    )
    expected = binomtest(fakes, files).proportion_ci(method="wilson")
    assert (vote.uncertainty.low, vote.uncertainty.high) == pytest.approx((expected.low, expected.high))
    assert vote.uncertainty.files == files


def test_without_validation_files_nothing_is_known(detector):
    uncertainty = detector.judge(EXAMPLES, OUTPUTS).uncertainty
    assert (uncertainty.low, uncertainty.high, uncertainty.files) == (0.0, 1.0, 0)


@pytest.mark.parametrize("error", [NoFaceError("Nobody is in it."), AbstainError("It is too dark.")])
def test_an_abstention_keeps_its_reason(detector, error):
    assert detector.vote(error) == Abstention(
        detector="tiny",
        bundle=detector.bundle.card.id,
        modality="image",
        reason=error.reason,
        message=str(error),
    )


def test_a_vote_is_the_judgement_of_the_models_own_logits(detector):
    examples = detector.prep(media())
    assert detector.vote(examples) == detector.judge(examples, detector.run(examples))


def test_logits_in_chunks_are_those_of_one_batch(detector):
    examples = [example for seed in range(5) for example in detector.prep(media(seed))]
    at_once = detector.runner(batch(examples, detector.prep))["logit"]
    assert at_once.dtype == np.float32
    assert np.ptp(at_once) > 1e-4
    for size in (1, 2, 5, 8):
        np.testing.assert_allclose(detector.run(examples, size)["logit"], at_once, atol=1e-6)


def test_a_loaded_model_is_in_evaluation_mode(detector):
    examples = detector.prep(media())
    assert not detector.runner.module.training
    assert detector.run(examples)["logit"] == detector.run(examples)["logit"]


def test_a_bundle_that_is_none_is_not_loaded(tmp_path):
    with pytest.raises(BundleError, match="is no bundle"):
        Detector.load(tmp_path, "cpu")


def test_cpu_is_always_there():
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (2, "cuda")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, gpus, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert pick_device("auto") == device


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "meta", "mps", "cuda:", "cuda:x", "cuda:-1", "cpu:0"])
def test_what_is_no_device_is_refused_with_those_that_are(name):
    with pytest.raises(ConfigError, match="auto, cpu, cuda or cuda:N") as caught:
        pick_device(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("gpus", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, gpus, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ConfigError, match=f"{name}.* sees {gpus} GPUs.*--device cpu"):
        pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_is_there_is_taken(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(name) == name


def test_a_model_may_be_loaded_when_it_is_first_asked(tmp_path, monkeypatch):
    made = tiny_bundle(tmp_path / "bundle")
    loaded = []
    load = eager.load
    form = dataclasses.replace(made.weights_format(), load=lambda *told: loaded.append(told) or load(*told))
    monkeypatch.setattr(Bundle, "weights_format", lambda _: form)
    detector = Detector.load(made.path, "cpu", lazily=True)
    assert loaded == []
    with ThreadPoolExecutor(4) as pool:
        votes = list(pool.map(lambda _: detector.vote(detector.prep(media())), range(8)))
    assert len(loaded) == 1
    assert {vote.score.probability for vote in votes} == {
        Detector.load(made.path, "cpu").vote(detector.prep(media())).score.probability
    }
    assert network_of(detector.runner) is not None


def test_warming_up_runs_the_model_once(tmp_path):
    detector = Detector.load(tiny_bundle(tmp_path / "bundle").path, "cpu")
    seen = []
    runner = detector.runner
    warmed = dataclasses.replace(detector, runner=lambda inputs: seen.append(inputs) or runner(inputs))
    warmed.warm_up()
    assert [len(each) for inputs in seen for each in inputs.values()] == [1]


@pytest.mark.parametrize("name", [spec.name for spec in load_models()])
def test_every_model_can_be_warmed_up(name, tmp_path):
    """A service that cannot warm a model does not start."""
    small_detector(tmp_path, load_models().get(name)).warm_up()
