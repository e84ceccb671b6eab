"""Held-out Examples, on which a bundle and its sibling are compared."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.calibration import decide
from deepscan.datasets.dataset import DataSet
from deepscan.detector import Detector
from deepscan.errors import DataError
from deepscan.metrics import auc
from deepscan.modalities import Example

BATCH = 16


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Examples of files whose truth is known.

    Attributes:
        inputs: What a model reads, arrays with the Examples first.
        label: 1 = fake, 0 = real, of each Example, float32 [N].
        file: Number of the file that each Example is a part of, int64 [N].
    """

    inputs: Example
    label: NDArray[np.float32]
    file: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of Examples."""
        return len(self.label)

    def batches(self, size: int = BATCH) -> Iterator[Example]:
        """Yield what a model reads, so many Examples at a time; the last may be fewer."""
        for start in range(0, len(self), size):
            yield {name: column[start : start + size] for name, column in self.inputs.items()}

    def take(self, count: int) -> "Sample":
        """Return the first so many Examples."""
        inputs = {name: column[:count] for name, column in self.inputs.items()}
        return Sample(inputs=inputs, label=self.label[:count], file=self.file[:count])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How a sibling does beside the bundle that it was made of, on the same files.

    Attributes:
        files: Files that both judged.
        auc: Its ROC AUC in [0, 1]; None where all files are of one class.
        auc_before: That of the first bundle.
        largest_gap: Largest difference of calibrated P(fake) of a file.
        mean_gap: Mean of these differences.
        same_labels: Share of the files with the same label, in [0, 1].
    """

    files: int
    auc: float | None
    auc_before: float | None
    largest_gap: float
    mean_gap: float
    same_labels: float

    @property
    def auc_loss(self) -> float:
        """By how much the AUC fell; negative where it rose, 0 where there is none."""
        return 0.0 if self.auc is None or self.auc_before is None else self.auc_before - self.auc


def sample_of(data: DataSet, split: str, examples: int, seed: int = 0) -> Sample:
    """Return up to so many Examples of a split, those of files that are drawn at random, classes in turn.

    Raises:
        DataError: The split has no usable file.
    """
    chunks, label_of = data.held_out(split), dict[int, int]()
    parts = Counter(file for chunk in chunks for file in chunk.files)
    for chunk in chunks:
        label_of.update(zip(chunk.files, map(int, chunk.labels), strict=True))
    if not label_of:
        msg = f"The {split} split has no usable file to compare on; name another data set."
        raise DataError(msg)
    chosen, count = set[int](), 0
    for file in _in_turn(label_of, np.random.default_rng(seed)):
        if chosen and count + parts[file] > examples:
            break
        chosen.add(file)
        count += parts[file]
    wanted = [kept for chunk in chunks if (kept := chunk.without(label_of.keys() - chosen)).rows]
    read = data.reader.labelled(wanted)
    inputs = {name: read[name] for name in data.reader.prep.inputs}
    return Sample(inputs=inputs, label=read["label"], file=read["file"])


def samples_of(data: DataSet, split: str, examples: int, learns: bool = False) -> tuple[Sample, Sample]:
    """Return Examples of the train split, and of the split that is judged.

    Where there are no train files, both are of the latter, unless somebody ``learns`` from the first.

    Raises:
        DataError: A split that is needed has no usable file.
    """
    held_out = sample_of(data, split, examples)
    seen = learns or sum(data.counts("train")) > 0
    return (sample_of(data, "train", examples) if seen else held_out), held_out


def _in_turn(label_of: dict[int, int], rng: np.random.Generator) -> list[int]:
    """Return the files in random order, a real one and a fake one in turn as long as there are both."""
    shuffled = rng.permutation(sorted(label_of)).tolist()
    place: dict[int, int] = {}
    seen = {0: 0, 1: 0}
    for file in shuffled:
        place[file] = seen[label_of[file]]
        seen[label_of[file]] += 1
    return sorted(shuffled, key=lambda file: (place[file], label_of[file]))


def probabilities(detector: Detector, sample: Sample, batch: int = BATCH) -> NDArray[Any]:
    """Return calibrated P(fake) of every file of a sample, float64 [F], in the order of their numbers."""
    logit_N = np.concatenate([detector.runner(each)["logit"] for each in sample.batches(batch)])
    logit_F = [detector.modality.aggregate(logit_N[sample.file == file]) for file in np.unique(sample.file)]
    return detector.bundle.card.calibration.apply(np.asarray(logit_F))


def compare(first: Detector, second: Detector, sample: Sample) -> Agreement:
    """Let a bundle and its sibling judge a sample."""
    return agreement(first, probabilities(first, sample), probabilities(second, sample), sample)


def agreement(first: Detector, before_F: NDArray[Any], after_F: NDArray[Any], sample: Sample) -> Agreement:
    """Compare P(fake) of a sample's files as two detectors give it, by the operating point of the first."""
    label_F = np.asarray([sample.label[sample.file == file][0] for file in np.unique(sample.file)])
    gap_F, point = np.abs(before_F - after_F), first.bundle.card.operating
    pairs = list(zip(before_F.tolist(), after_F.tolist(), strict=True))
    return Agreement(
        files=len(label_F),
        auc=auc(label_F, after_F),
        auc_before=auc(label_F, before_F),
        largest_gap=float(gap_F.max()),
        mean_gap=float(gap_F.mean()),
        same_labels=float(np.mean([decide(a, point) == decide(b, point) for a, b in pairs])),
    )
