"""Measurements of analyzers as the Example of a model: how evidence comes to vote.

What an analyzer finds is nobody's probability. A model that was trained and calibrated on its measurements
has one, like any other detector.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deepscan import config
from deepscan.errors import AbstainError, ConfigError, NothingMeasuredError
from deepscan.evidence import Analyzer
from deepscan.evidence.catalog import load_builtin as load_analyzers
from deepscan.media.source import Media
from deepscan.modalities import MODALITIES, Column, Example, Modality
from deepscan.recipe import Augment
from deepscan.verdict import MediaFacts, Region

PREP_VERSION = 1
"""Part of every digest; goes up with any change of code that changes an Example."""

SLOTS = 512
"""Room for measurements; a model does not change when an analyzer is added."""

LEFT_OUT = frozenset({"provenance", "metadata"})
"""Groups that vote only if they are named: in most data sets they tell where a file was downloaded."""

LARGEST = 1e12
"""Measurements beyond are cut, so that float32 holds their squares."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ForensicPrep:
    """Media of any kind to measurements: one Example a file.

    Columns: ``measures`` float32 [512], the measurements of the analyzers one after the other, each in its
    unit and cut to 1e12 either way; 0 where there is none; ``known`` uint8 [512], 1 where there is one;
    ``length_s`` float32 [], 0 for media without time. The model reads the first two. No names must be
    replaced by ``resolved()`` before a Prep has a digest or runs.

    Attributes:
        analyzers: Names of those that are asked, in this order; none = all that do not read metadata.
    """

    analyzers: tuple[str, ...] = ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        return {
            "measures": Column(shape=(SLOTS,), dtype="float32"),
            "known": Column(shape=(SLOTS,), dtype="uint8"),
            "length_s": Column(shape=(), dtype="float32"),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("measures", "known")

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: the measurements as they are."""
        return {name: self.columns[name] for name in self.needs}

    @property
    def digest(self) -> str:
        """Hex digest of the settings, the version of this code and the names of all measurements.

        Raises:
            ConfigError: No analyzer is named, or one is unknown.
        """
        told = f"{config.digest(self)} {PREP_VERSION} {','.join(self.names)}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in the slots, as ``analyzer.measurement``; the rest of them is empty.

        Raises:
            ConfigError: No analyzer is named, one is unknown, or there is not enough room.
        """
        return tuple(f"{each.name}.{name}" for each in _asked(self.analyzers) for name in each.measures)

    def resolved(self) -> "ForensicPrep":
        """Return the Prep with its analyzers named; call it once a run.

        Raises:
            ConfigError: An analyzer is unknown.
        """
        if self.analyzers:
            _asked(self.analyzers)
            return self
        every = tuple(each.name for each in load_analyzers() if each.group not in LEFT_OUT)
        return dataclasses.replace(self, analyzers=every)

    def features(self, example: Example) -> Example:
        """Return the measurements; the model brings them to one scale."""
        return {name: example[name] for name in self.needs}

    def __call__(self, media: Media) -> list[Example]:
        """Measure a file.

        Raises:
            NothingMeasuredError: No analyzer found anything to measure.
            ConfigError: No analyzer is named, or one is unknown.
            MediaError: The media does not decode.
        """
        measures_N, known_N = np.zeros(SLOTS, np.float32), np.zeros(SLOTS, np.uint8)
        begin, reasons = 0, []
        for analyzer in _asked(self.analyzers):
            end = begin + len(analyzer.measures)
            try:
                if analyzer.accepts(media):
                    measures_N[begin:end] = _values(analyzer, media)
                    known_N[begin:end] = 1
            except AbstainError as error:
                reasons.append(f"{analyzer.name}: {error}")
            begin = end
        if not known_N.any():
            msg = f"Nothing in {media.facts.name!r} could be measured. {' '.join(reasons)}".rstrip()
            raise NothingMeasuredError(msg)
        length_s = np.array(media.facts.duration_s or 0, np.float32)
        return [{"measures": measures_N, "known": known_N, "length_s": length_s}]


def _values(analyzer: Analyzer, media: Media) -> NDArray[np.float32]:
    measured = analyzer.testify(media).measurements
    values_N = np.array([measured[name] for name in analyzer.measures])
    clipped_N: NDArray[np.float32] = np.clip(values_N, -LARGEST, LARGEST).astype(np.float32)
    return clipped_N


@functools.cache
def _asked(names: tuple[str, ...]) -> tuple[Analyzer, ...]:
    if not names:
        msg = "Which analyzers are asked depends on the version of deepscan; take resolved(), or name them."
        raise ConfigError(msg)
    registry = load_analyzers()
    found = tuple(registry.get(name) for name in names)
    if (count := sum(len(each.measures) for each in found)) > SLOTS:
        msg = f"{count} measurements do not fit into {SLOTS} slots; name fewer analyzers."
        raise ConfigError(msg)
    return found


JITTER = 0.02
"""By how much measurements are changed in training, as a share of each."""

FORGET = {"none": 0.0, "flip": 0.0, "basic": 0.05, "advanced": 0.15, "delivery": 0.05, "rough": 0.15}
"""How often a measurement is left out in training, by the level of augmentation."""


def augment_measures(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example with measurements changed a little, and some of them forgotten."""
    share = FORGET[augment.level]
    if share == 0:
        return dict(example)
    known_N = example["known"] * (rng.random(SLOTS) >= share).astype(np.uint8)
    factor_N = 1 + JITTER * rng.standard_normal(SLOTS, np.float32)
    return {**example, "measures": example["measures"] * factor_N * known_N, "known": known_N}


def _locate(example: Example) -> Region:
    """Return all of the file: what was measured says nothing of a place."""
    length_s = float(example["length_s"])
    return Region(start_s=0.0, end_s=length_s) if length_s > 0 else Region()


MODALITIES.register(
    "forensic",
    Modality(
        name="forensic",
        summary="Measurements of analyzers, whatever the file holds.",
        accepts=lambda media: True,
        prep=ForensicPrep,
        augment=augment_measures,
        aggregate=lambda logits: float(np.mean(logits)),
        locate=_locate,
        limits=(
            "Its measurements are of the file: every tool that writes it anew leaves and removes traces.",
            "An edited file is no deepfake, and a deepfake stored like other files may look ordinary.",
            "It looks at no faces and at no voices.",
        ),
        example=MediaFacts(
            name="photo.jpg",
            kind="image",
            container="jpeg",
            bytes=482113,
            sha256="0" * 64,
            width_px=1280,
            height_px=960,
        ),
    ),
)
