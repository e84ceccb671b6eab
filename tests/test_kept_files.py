"""What comes again is neither decoded nor judged again; how many Examples a model is given at a time."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.errors import CorruptMediaError, MediaTooLargeError, StorageError
from deepscan.formats import batches
from deepscan.formats.batches import USUAL, best_size, keep_size
from deepscan.media.assets import places
from deepscan.media.source import Limits, Media
from deepscan.pipeline import Kept, analyze, prepared_bytes
from deepscan.verdict import Evidence
from tests.test_cli import run
from tests.test_pipeline import CountingPrep
from tests.tiny_bundles import FACES, PLUGIN, WHOLE, media, noise, tiny_bundle


class CountingRunner:
    """A runner that notes how many Examples it was given each time."""

    def __init__(self, runner):
        self.runner, self.sizes = runner, []

    def __call__(self, inputs):
        self.sizes.append(len(inputs["pixels"]))
        return self.runner(inputs)


def counted(detector):
    return dataclasses.replace(
        detector, prep=CountingPrep(detector.prep), runner=CountingRunner(detector.runner)
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("kept") / "bundle")


@pytest.fixture
def detector(bundle):
    return counted(Detector.load(bundle.path, "cpu"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_file_that_comes_again_is_neither_decoded_nor_judged_again(detector):
    kept = Kept(1_000_000)
    first, again, other = (analyze(media(n), [detector], kept=kept) for n in (0, 0, 1))
    assert again.scores == first.scores
    assert other.scores != first.scores
    assert (detector.prep.runs, detector.runner.sizes) == (2, [1, 1])
    analyze(media(0), [detector])
    assert detector.prep.runs == 3, "nothing is kept unless it is asked for"


def test_a_reason_to_abstain_is_kept_too(tmp_path):
    faces = counted(Detector.load(tiny_bundle(tmp_path, 1, FACES).path, "cpu"))
    kept = Kept(1_000_000)
    said = [analyze(media(), [faces], kept=kept).abstentions for _ in range(2)]
    assert said[0] == said[1] != ()
    assert faces.prep.runs == 1


def test_another_detector_judges_what_was_prepared_for_the_first(detector, tmp_path):
    second = Detector.load(tiny_bundle(tmp_path, 7).path, "cpu")
    second = dataclasses.replace(counted(second), prep=detector.prep)
    kept = Kept(1_000_000)
    analyze(media(), [detector], kept=kept)
    both = analyze(media(), [detector, second], kept=kept)
    assert detector.prep.runs == 1
    assert second.runner.sizes == [1]
    assert len({score.probability for score in both.scores}) == 2


def test_what_a_detector_looked_at_is_shown_again(detector):
    kept = Kept(1_000_000)

    def explain(*_):
        return (Evidence(analyzer="eye", summary=".", measurements={}, limits="", group="model"),)

    shown = [analyze(media(), [detector], explain=explain, kept=kept).evidence for _ in range(2)]
    assert [len(each) for each in shown] == [1, 1]
    assert (detector.prep.runs, detector.runner.sizes) == (1, [1])


def test_a_failure_is_not_kept(detector):
    def fail(_):
        raise CorruptMediaError("broken")

    kept = Kept(1_000_000)
    broken = dataclasses.replace(detector, prep=CountingPrep(detector.prep.prep))
    broken.prep.prep = fail
    for _ in range(2):
        with pytest.raises(CorruptMediaError):
            analyze(media(), [broken], kept=kept)
    assert broken.prep.runs == 2
    assert analyze(media(), [detector], kept=kept).scores


def test_no_more_is_kept_than_there_is_room_for(detector):
    examples = WHOLE(media())
    assert prepared_bytes(examples) > sum(array.nbytes for array in examples[0].values())
    kept = Kept(2 * prepared_bytes(examples))
    for number in (0, 1, 2, 0):
        analyze(media(number), [detector], kept=kept)
    assert detector.prep.runs == 4


def test_predict_decodes_a_copy_of_a_file_once(bundle, tmp_path, monkeypatch):
    for name in ("a.png", "copy.png", "b.png"):
        (tmp_path / name).write_bytes(noise(name == "b.png"))
    seen = []

    def prepare(prep, each):
        seen.append(each.facts.name)
        return prep(each)

    monkeypatch.setattr("deepscan.pipeline.prepare", prepare)
    words = ("predict", "--bundle", bundle.path, "--plugin", PLUGIN, "--device", "cpu", "--json")
    done = run(*words, *(tmp_path / name for name in ("a.png", "copy.png", "b.png")))
    assert done.exit_code == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert seen == ["a.png", "b.png"]
    assert told[0]["probability"] == told[1]["probability"]
    assert told[1]["media"]["name"] == "copy.png"


def test_what_the_same_bytes_were_is_remembered(tmp_path, monkeypatch):
    kept, asked = Kept(1_000_000), []
    real = pipeline.probe

    def probe(data, name, limits):
        asked.append(name)
        return real(data, name, limits)

    monkeypatch.setattr(pipeline, "probe", probe)
    first = kept.probe(noise(), "folder/a.png")
    assert kept.probe(noise(), "b.png") == dataclasses.replace(first, name="b.png")
    assert first == real(noise(), "a.png")
    kept.probe(noise(1), "c.png")
    assert asked == ["a.png", "c.png"]
    for _ in range(2):
        with pytest.raises(MediaTooLargeError):
            kept.probe(noise(), "a.png", Limits(max_pixels=10))
    assert len(asked) == 4, "other limits may refuse it, and what was refused is not kept"
    (tmp_path / "d.png").write_bytes(noise())
    assert Media.from_path(tmp_path / "d.png", probing=kept.probe).facts.name == "d.png"
    assert len(asked) == 4


# --- Examples at a time ----------------------------------------------------------------------------


def test_a_detector_runs_as_many_examples_at_a_time_as_were_found_best(bundle, home):
    keep_size(bundle.card.id, "cpu", 3)
    detector = counted(Detector.load(bundle.path, "cpu"))
    examples = WHOLE(media()) * 7
    outputs = detector.run(examples)
    assert detector.runner.sizes == [3, 3, 1]
    assert len(outputs["logit"]) == 7
    np.testing.assert_array_equal(detector.run(examples, 7)["logit"].shape, outputs["logit"].shape)
    assert detector.runner.sizes[3:] == [7]


def test_without_a_measurement_the_number_is_the_usual_one(bundle, home):
    assert Detector.load(bundle.path, "cpu").batch_size == best_size("x", "cpu") == USUAL == 32


def test_a_number_is_for_one_bundle_processor_and_count_of_threads(home, monkeypatch):
    keep_size("a", "cpu", 4)
    keep_size("b", "cpu", 8)
    assert (best_size("a", "cpu"), best_size("b", "cpu")) == (4, 8)
    with monkeypatch.context() as patch:
        patch.setattr(batches, "computing_threads", lambda: 99)
        assert best_size("a", "cpu") == USUAL
    with monkeypatch.context() as patch:
        patch.setattr(batches, "hardware", lambda device: "another")
        assert best_size("a", "cpu") == USUAL
    assert best_size("a", "cpu") == 4
    assert [each.name for each in home.iterdir()] == ["batch_sizes.json"] == [places().batches.name]


@pytest.mark.parametrize("text", ["", "[1]", "nothing", '{"a on x, 1 threads": "many"}'])
def test_a_file_that_is_broken_counts_as_none(home, monkeypatch, text):
    monkeypatch.setattr(batches, "hardware", lambda device: "x")
    monkeypatch.setattr(batches, "computing_threads", lambda: 1)
    home.mkdir()
    places().batches.write_text(text)
    assert best_size("a", "cpu") == USUAL
    keep_size("a", "cpu", 2)
    assert best_size("a", "cpu") == 2


def test_where_nothing_can_be_written_the_error_says_so(home):
    home.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="DEEPSCAN_HOME"):
        keep_size("a", "cpu", 2)


def test_the_processor_has_the_name_that_its_maker_gave_it(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_CPU_INFO", tmp_path / "cpuinfo")
    batches.hardware.cache_clear()
    assert batches.hardware("cpu")
    batches.hardware.cache_clear()
    (tmp_path / "cpuinfo").write_text("vendor_id\t: V\nmodel name\t: Some CPU @ 2 GHz\n")
    assert batches.hardware("cpu") == "Some CPU @ 2 GHz"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert batches.hardware("cuda:1") == "GPU cuda:1"
    batches.hardware.cache_clear()
