"""What a bundle and its sibling are compared on, and how."""

import dataclasses

import numpy as np
import pytest

from deepscan.detector import Detector
from deepscan.errors import ConfigError, DataError, FormatError
from deepscan.optimize.held_out import Sample, agreement, compare, probabilities, sample_of, samples_of
from deepscan.optimize.sibling import write_sibling
from tests.optimize.material import small_data
from tests.tiny_bundles import tiny_bundle


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return Detector.load(tiny_bundle(tmp_path_factory.mktemp("held") / "bundle").path, "cpu")


def pictures(detector, files=(0, 0, 1, 2, 3)):
    """Examples of noise; files of odd numbers are fake."""
    rng = np.random.default_rng(0)
    shape = (len(files), *detector.prep.inputs["pixels"].shape)
    file = np.asarray(files)
    return Sample(
        inputs={"pixels": rng.integers(0, 256, shape, np.uint8)},
        label=(file % 2).astype(np.float32),
        file=file,
    )


def test_probabilities_are_those_of_files_not_of_their_parts(detector):
    sample = pictures(detector)
    told = probabilities(detector, sample, batch=2)
    logit = detector.runner(sample.inputs)["logit"]
    first = detector.modality.aggregate(logit[:2])
    expected = detector.bundle.card.calibration.apply(np.asarray([first, *logit[2:]]))
    np.testing.assert_allclose(told, expected, atol=1e-6)


def test_a_bundle_agrees_with_itself(detector):
    same = compare(detector, detector, pictures(detector))
    assert (same.largest_gap, same.mean_gap, same.same_labels, same.auc_loss) == (0, 0, 1, 0)
    assert same.files == 4


def test_agreement_counts_gaps_labels_and_the_loss_of_auc(detector):
    sample = pictures(detector, (0, 1, 2, 3))
    before, after = np.asarray([0.0, 1.0, 0.1, 0.9]), np.asarray([0.0, 1.0, 0.95, 0.9])
    seen = agreement(detector, before, after, sample)
    assert seen.largest_gap == pytest.approx(0.85)
    assert seen.mean_gap == pytest.approx(0.85 / 4)
    assert seen.same_labels == 0.75
    assert (seen.auc_before, seen.auc) == (1.0, 0.75)
    assert seen.auc_loss == 0.25


def test_files_of_one_class_have_no_auc(detector):
    sample = dataclasses.replace(pictures(detector), label=np.zeros(5, np.float32))
    seen = compare(detector, detector, sample)
    assert (seen.auc, seen.auc_loss) == (None, 0)


def test_a_sample_has_whole_files_of_both_classes_and_no_more_than_asked_for(tmp_path):
    data = small_data(tmp_path, 12)
    sample = sample_of(data, "val", 6)
    assert len(sample) == 6
    assert sample.label.sum() == 3
    np.testing.assert_array_equal(sample.label, sample.file % 2)
    darkness = sample.inputs["pixels"].mean((1, 2, 3)) > 128
    np.testing.assert_array_equal(darkness, sample.label == 1)
    assert sorted(sample_of(data, "val", 100).file) == list(range(12))
    assert [len(each["pixels"]) for each in sample.batches(4)] == [4, 2]
    assert len(sample.take(2)) == 2
    with pytest.raises(DataError, match="test split has no usable file"):
        sample_of(data, "test", 6)


def test_a_sibling_that_is_refused_leaves_nothing(detector, tmp_path):
    def refuse(made):
        raise FormatError("worse")

    def write(folder):
        (folder / "weights.safetensors").write_bytes(b"some")
        return ("weights.safetensors",)

    with pytest.raises(FormatError, match="worse"):
        write_sibling(detector.bundle, tmp_path / "out", write, refuse, change={"step": "none"})
    assert list(tmp_path.iterdir()) == []
    made = write_sibling(detector.bundle, tmp_path / "out", write, lambda _: None, change={"step": "none"})
    assert made.path == tmp_path / "out"
    assert made.card.parent == detector.bundle.card.id
    assert "torch" in made.card.software
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ConfigError, match="holds something"):
        write_sibling(detector.bundle, tmp_path / "out", write, lambda _: None, change={"step": "none"})


def test_without_training_files_both_samples_are_of_the_split_that_is_judged(tmp_path):
    data = small_data(tmp_path, 12)
    seen, held_out = samples_of(data, "val", 6)
    assert seen is held_out
    with pytest.raises(DataError, match="train split has no usable file"):
        samples_of(data, "val", 6, learns=True)
