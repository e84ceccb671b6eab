"""Judging files in two steps, apart or one after the other: looking at a file, and letting models vote.

The steps are those of ``pipeline.analyze``. Between them lies a Look, which travels from the processes that
prepare files to those that hold the models.
"""

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from deepscan import storage
from deepscan.bundle import Bundle
from deepscan.detector import Detector, admit
from deepscan.errors import DeepscanError, MediaError, StorageError
from deepscan.evidence import Analyzer
from deepscan.fusion import FusionPolicy
from deepscan.media.probe import check_bytes
from deepscan.media.source import Limits, Media
from deepscan.modalities import Example, Modality, Outputs, Prep, Prepared
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.pipeline import Failure, Outcome, conclude, prepare, testify
from deepscan.scoring.rows import said
from deepscan.verdict import Evidence, MediaFacts


class Eye(Protocol):
    """What looks at files: the part of a Detector that needs no model."""

    @property
    def modality(self) -> Modality:
        """Says which files are looked at."""

    @property
    def prep(self) -> Prep:
        """Says how."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lens:
    """The Eye of a bundle whose model is not loaded."""

    modality: Modality
    prep: Prep

    @classmethod
    def of(cls, path: pathlib.Path) -> "Lens":
        """Read a bundle's card.

        Raises:
            AssetError: Its Prep needs an asset that is not on this machine.
            BundleError: The bundle cannot be used.
        """
        bundle = Bundle.read(path)
        return cls(load_modalities().get(bundle.card.modality), bundle.prep().resolved())


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a file.

    Attributes:
        number: Row of the file in the inbox.
        facts: What the file is; or why it could not be looked at.
        prepared: What was made of it, or why nothing could be, by the digest of the Prep.
        spent_s: How long that took, in seconds.
        evidence: What analyzers measured.
    """

    number: int
    facts: MediaFacts | DeepscanError
    prepared: Mapping[str, Prepared | MediaError]
    spent_s: float
    evidence: tuple[Evidence, ...] = ()


def look(number: int, location: str, eyes: Iterable[Eye], analyzers: Iterable[Analyzer] = ()) -> Look:
    """Read a file, prepare it for every Eye that accepts it, and let analyzers measure it.

    Whatever is wrong with it is an answer.
    """
    start_s = time.perf_counter()
    try:
        media = _open(location)
    except (MediaError, StorageError) as error:
        return Look(number, error, {}, time.perf_counter() - start_s)
    preps = {eye.prep.digest: eye.prep for eye in eyes if eye.modality.accepts(media)}
    prepared = {digest: _prepare(prep, media) for digest, prep in preps.items()}
    evidence = testify(media, analyzers)
    return Look(number, media.facts, prepared, time.perf_counter() - start_s, evidence)


def judge(
    looks: Sequence[Look], detectors: Sequence[Detector], policy: FusionPolicy
) -> Iterator[dict[str, Any]]:
    """Yield the columns of ``rows.SAID``, and the ``number``, of several files that were looked at.

    Each model sees the parts of all these files together.
    """
    start_s = time.perf_counter()
    outcomes: dict[int, list[Outcome]] = {each.number: [] for each in looks}
    for detector in sorted(detectors, key=lambda detector: detector.prep.digest):
        asked = [each for each in looks if detector.prep.digest in each.prepared]
        prepared = [each.prepared[detector.prep.digest] for each in asked]
        for each, outcome in zip(asked, _vote(detector, prepared), strict=True):
            outcomes[each.number].append(outcome)
    share_s = (time.perf_counter() - start_s) / max(1, len(looks))
    for each in looks:
        yield {"number": each.number, **_row(each, outcomes[each.number], policy, each.spent_s + share_s)}


def _open(location: str) -> Media:
    if storage.is_local(location):
        return Media.from_path(pathlib.Path(location))
    name = storage.name(location)
    entry = storage.find(location)
    if entry.size_bytes is None:
        msg = f"{location} is not there, or is no file; list the files again."
        raise MediaError(msg)
    check_bytes(entry.size_bytes, name, Limits())
    return Media.from_bytes(storage.read(location), name)


def _prepare(prep: Prep, media: Media) -> Prepared | MediaError:
    try:
        return prepare(prep, media)
    except MediaError as error:
        return error


def _row(seen: Look, outcomes: Sequence[Outcome], policy: FusionPolicy, spent_s: float) -> dict[str, Any]:
    if isinstance(seen.facts, DeepscanError):
        return said(seen.facts, spent_s * 1000)
    try:
        verdict = conclude(seen.facts, outcomes, policy, time.perf_counter() - spent_s, seen.evidence)
    except DeepscanError as error:
        return said(error, spent_s * 1000)
    return said(verdict, verdict.elapsed_ms)


def _vote(detector: Detector, prepared: Sequence[Prepared | MediaError]) -> Iterator[Outcome]:
    """Yield what a detector says of several prepared files, whose parts go through the model together."""
    admitted = [each if isinstance(each, MediaError) else admit((detector,), each)[0] for each in prepared]
    outputs = _run(detector, [each for each in admitted if isinstance(each, list)])
    for each in admitted:
        if isinstance(each, MediaError):
            yield Failure(detector.abstain(each), each)
        elif isinstance(each, DeepscanError):
            yield detector.abstain(each)
        elif isinstance(made := next(outputs), DeepscanError):
            yield Failure(detector.abstain(made), made)
        else:
            yield detector.judge(each, made)


def _run(detector: Detector, files: Sequence[list[Example]]) -> Iterator[Outputs | DeepscanError]:
    try:
        outputs = detector.run([example for file in files for example in file]) if files else {}
    except DeepscanError as error:
        yield from itertools.repeat(error, len(files))
        return
    end = 0
    for file in files:
        start, end = end, end + len(file)
        yield {name: values[start:end] for name, values in outputs.items()}
