"""From bytes to a Verdict, in one process and without Ray.

Serve makes the same calls, each in a replica of its own: ``plan``, ``prepare``,
``Detector.vote``, ``conclude``.
"""

import dataclasses
import hashlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deepscan import config
from deepscan.cache import Cache
from deepscan.errors import AbstainError, ConfigError, DeepscanError, MediaError
from deepscan.evidence import Analyzer
from deepscan.evidence.catalog import load_builtin as load_analyzers
from deepscan.fusion import FusionPolicy, Vote, fuse
from deepscan.media.probe import bare_name, probe
from deepscan.media.source import Limits, Media, Sampling
from deepscan.modalities import Prep, Prepared
from deepscan.verdict import FAILED, Abstention, Evidence, MediaFacts, Verdict

if TYPE_CHECKING:
    # A stage of Serve that only plans or concludes has no use for torch, which comes with Detector.
    from deepscan.detector import Detector


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A detector that could not finish, and why; the others decide without it."""

    abstention: Abstention
    error: DeepscanError


Outcome = Vote | Abstention | Failure
"""What one detector says of a file."""

ENTRY_BYTES = 512
"""What a kept file, or a part of what was said of it, takes beside its arrays."""

Explain = Callable[["Detector", MediaFacts, Prepared], tuple[Evidence, ...]]
"""Shows what a detector looked at in a prepared file, such as ``heatmaps.explain_quickly``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Detectors that look at a file through one Prep, so that it is prepared once."""

    prep: Prep
    detectors: "tuple[Detector, ...]"


def plan(media: Media, detectors: "Sequence[Detector]") -> list[Group]:
    """Choose the detectors whose modality accepts the file, grouped by Prep digest."""
    able = sorted((d for d in detectors if d.modality.accepts(media)), key=_digest)
    groups = (tuple(members) for _, members in itertools.groupby(able, key=_digest))
    return [Group(members[0].prep, members) for members in groups]


def prepare(prep: Prep, media: Media) -> Prepared:
    """Run a Prep; a reason to abstain is returned as a value, since it is an answer.

    Raises:
        MediaError: The media does not decode.
    """
    try:
        return prep(media)
    except AbstainError as error:
        return error


class Kept:
    """What files are, were prepared as and were said to be, by content, in at most so many bytes.

    A file that comes again is not decoded again, and not judged again by a detector that did before. Names
    of files are no part of their content: a reason to abstain is told in the words of the first time.
    Failures are not kept. Threads may share it.
    """

    def __init__(self, max_bytes: int) -> None:
        """Begin empty; with 0 bytes nothing is ever kept.

        Raises:
            ConfigError: ``max_bytes`` is negative.
        """
        self._cache: Cache[tuple[str, str], Prepared | Vote | Abstention | MediaFacts] = Cache(max_bytes)

    def probe(self, data: bytes, name: str, limits: Limits | None = None) -> MediaFacts:
        """Return what bytes are, as ``probe.probe`` does; what the same bytes were before is remembered.

        Raises:
            MediaError: The file is empty, unsupported, too large or has a broken header.
        """
        name = bare_name(name)
        key = hashlib.sha256(data).hexdigest(), f"{pathlib.PurePath(name).suffix} {limits}"
        facts = self._cache.get(key)
        if not isinstance(facts, MediaFacts):
            facts = probe(data, name, limits)
            self._cache.put(key, facts, ENTRY_BYTES)
        return dataclasses.replace(facts, name=name)

    def prepared(self, prep: Prep, media: Media, work: Callable[[Prep, Media], Prepared]) -> Prepared:
        """Return a file as a Prep made it; where that is not kept, let ``work`` make it and keep it.

        Raises:
            MediaError: What ``work`` raises.
        """
        found = self.find(prep, media)
        if found is None:
            found = work(prep, media)
            self.keep(prep, media, found)
        return found

    def find(self, prep: Prep, media: Media) -> Prepared | None:
        """Return a file as a Prep made it, or None."""
        found = self._cache.get((media.facts.sha256, prep.digest))
        return found if isinstance(found, list | AbstainError) else None

    def keep(self, prep: Prep, media: Media, prepared: Prepared) -> None:
        """Keep a file as a Prep made it."""
        self._cache.put((media.facts.sha256, prep.digest), prepared, prepared_bytes(prepared))

    def said(self, media: Media, detectors: "Sequence[Detector]") -> list[Outcome] | None:
        """Return what these detectors said of a file; None where that of one of them is not kept."""
        said: list[Outcome] = []
        for detector in detectors:
            one = self._cache.get((media.facts.sha256, detector.bundle.card.id))
            if not isinstance(one, Vote | Abstention):
                return None
            said.append(one)
        return said

    def hear(self, media: Media, detectors: "Sequence[Detector]", said: Sequence[Outcome]) -> None:
        """Keep what detectors said of a file, each in its turn."""
        for detector, one in zip(detectors, said, strict=True):
            if not isinstance(one, Failure):
                parts = len(one.score.parts) if isinstance(one, Vote) else 0
                size_bytes = ENTRY_BYTES * (2 + parts)
                self._cache.put((media.facts.sha256, detector.bundle.card.id), one, size_bytes)


def prepared_bytes(prepared: Prepared) -> int:
    """Return about how much memory a prepared file takes, in bytes."""
    if isinstance(prepared, AbstainError):
        return ENTRY_BYTES
    return ENTRY_BYTES + sum(array.nbytes for example in prepared for array in example.values())


def analyze(
    media: Media,
    detectors: "Sequence[Detector]",
    policy: FusionPolicy | None = None,
    analyzers: Iterable[Analyzer] = (),
    explain: Explain | None = None,
    kept: Kept | None = None,
) -> Verdict:
    """Let every able detector judge a file and fuse their votes; let analyzers testify beside them.

    Args:
        media: The file.
        detectors: Those that may judge it.
        policy: How their votes become one answer; None = the defaults.
        analyzers: Those that measure it.
        explain: Shows what each detector that voted looked at; None = nothing is shown.
        kept: What is known of files that came before; what is learnt of this one is added. None = nothing is.

    Raises:
        DeepscanError: No detector could finish; a MediaError where the media does not decode.
    """
    start_s = time.perf_counter()
    outcomes: list[Outcome] = []
    maps: list[Evidence] = []
    for group in plan(media, detectors):
        said, seen = _judged(group, media, explain, kept or Kept(0))
        outcomes.extend(said)
        maps.extend(seen)
    evidence = (*maps, *testify(media, analyzers))
    return conclude(media.facts, outcomes, policy or FusionPolicy(), start_s, evidence)


def _judged(
    group: Group, media: Media, explain: Explain | None, kept: Kept
) -> tuple[list[Outcome], list[Evidence]]:
    """Return what the detectors of a group say of a file, and what they looked at."""
    said = kept.said(media, group.detectors)
    if said is not None and explain is None:
        return said, []
    try:
        prepared = kept.prepared(group.prep, media, prepare)
    except MediaError as error:
        return [Failure(detector.abstain(error), error) for detector in group.detectors], []
    said = said or [vote(detector, prepared) for detector in group.detectors]
    kept.hear(media, group.detectors, said)
    return said, shown(group.detectors, said, media.facts, prepared, explain)


def shown(
    detectors: "Sequence[Detector]",
    said: Sequence[Outcome],
    facts: MediaFacts,
    prepared: Prepared,
    explain: Explain | None,
) -> list[Evidence]:
    """Return what the detectors that voted looked at; those that abstained or failed have nothing to show."""
    if explain is None:
        return []
    voted = (detector for detector, each in zip(detectors, said, strict=True) if isinstance(each, Vote))
    return [evidence for detector in voted for evidence in explain(detector, facts, prepared)]


def testify(media: Media, analyzers: Iterable[Analyzer]) -> tuple[Evidence, ...]:
    """Let the analyzers that accept a file measure it; one that cannot says why."""
    return tuple(_testimony(analyzer, media) for analyzer in analyzers if analyzer.accepts(media))


def testify_all(media: Media) -> tuple[Evidence, ...]:
    """Let every analyzer of this package measure a file; see ``testify``."""
    return testify(media, load_analyzers())


def testify_none(media: Media, error: MediaError) -> tuple[Evidence, ...]:
    """Return what stands in the place of all evidence where measuring the file ended whoever did it."""
    return tuple(silence(analyzer, error) for analyzer in load_analyzers() if analyzer.accepts(media))


def _testimony(analyzer: Analyzer, media: Media) -> Evidence:
    start_s = time.perf_counter()
    try:
        evidence = analyzer.testify(media)
    except (AbstainError, MediaError) as error:
        evidence = silence(analyzer, error)
    elapsed_ms = (time.perf_counter() - start_s) * 1000
    return dataclasses.replace(evidence, group=analyzer.group, elapsed_ms=elapsed_ms)


def silence(analyzer: Analyzer, error: AbstainError | MediaError) -> Evidence:
    """Return what stands in the place of evidence where an analyzer could not measure."""
    return Evidence(
        analyzer=analyzer.name,
        group=analyzer.group,
        summary=str(error),
        measurements={},
        limits="",
        finding="none",
        reason=error.reason if isinstance(error, AbstainError) else FAILED,
    )


def vote(detector: "Detector", prepared: Prepared) -> Outcome:
    """Let a detector judge a prepared file; that it fails is an answer too."""
    try:
        return detector.vote(prepared)
    except DeepscanError as error:
        return Failure(detector.abstain(error), error)


def conclude(
    facts: MediaFacts,
    outcomes: Sequence[Outcome],
    policy: FusionPolicy,
    start_s: float,
    evidence: tuple[Evidence, ...] = (),
) -> Verdict:
    """Fuse what the detectors said into the Verdict.

    Those that failed are named among the abstentions, with the reason ``failed``.

    Args:
        facts: What the file is.
        outcomes: What each detector that was asked said.
        policy: How votes become one answer.
        start_s: When the work began, a ``time.perf_counter`` reading.
        evidence: What the analyzers said.

    Raises:
        DeepscanError: All of them failed; it is what the first one failed with.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if failures and len(failures) == len(outcomes):
        raise failures[0].error
    votes = [outcome for outcome in outcomes if isinstance(outcome, Vote)]
    named = (outcome.abstention if isinstance(outcome, Failure) else outcome for outcome in outcomes)
    abstentions = tuple(outcome for outcome in named if isinstance(outcome, Abstention))
    probability, uncertainty, label = fuse(votes, policy)
    return Verdict(
        label=label,
        probability=probability,
        uncertainty=uncertainty,
        scores=tuple(vote.score for vote in votes),
        abstentions=abstentions,
        evidence=evidence,
        media=facts,
        bundles=tuple(sorted([vote.score.bundle for vote in votes] + [a.bundle for a in abstentions])),
        elapsed_ms=(time.perf_counter() - start_s) * 1000,
    )


def check_frames(sampling: Iterable[bool], policy: FusionPolicy) -> None:
    """Check that the number of frames may be set.

    Args:
        sampling: Of each detector that is asked, whether it looks at a number of frames of a clip.
        policy: How their votes are fused.

    Raises:
        ConfigError: None of them does, or the policy was fitted to the frames that they look at.
    """
    if not any(sampling):
        msg = "None of these bundles looks at several frames of a clip; leave out the number of frames."
        raise ConfigError(msg)
    if policy.operating is not None:
        msg = "An ensemble was fitted to the frames that its bundles look at; leave out their number, or it."
        raise ConfigError(msg)


def resample(
    detectors: "Sequence[Detector]", frames: int, policy: FusionPolicy | None = None
) -> "list[Detector]":
    """Return the detectors, those that look at several frames of a clip with another number of them.

    Their Prep is another then, and so is the id that they have in verdicts. Calibration and operating
    point stay those of the number that they were trained with.

    Raises:
        ConfigError: As ``check_frames``.
    """
    check_frames((samples_frames(detector.prep) for detector in detectors), policy or FusionPolicy())
    return [resampled(each, frames) if samples_frames(each.prep) else each for each in detectors]


def samples_frames(prep: Prep) -> bool:
    """Tell whether a Prep looks at a number of frames of a clip that can be set."""
    return isinstance(getattr(prep, "sampling", None), Sampling)


def with_frames(prep: Prep, frames: int) -> Prep:
    """Return a Prep that samples frames with another number of them."""
    old: Any = prep
    again: Prep = dataclasses.replace(old, sampling=dataclasses.replace(old.sampling, count=frames))
    return again


def resampled(detector: "Detector", frames: int) -> "Detector":
    """Return a detector that samples frames with another number of them, and with an id that says so."""
    prep = with_frames(detector.prep, frames)
    card = dataclasses.replace(detector.bundle.card, prep=config.to_dict(prep), prep_digest=prep.digest)
    return dataclasses.replace(detector, prep=prep, bundle=dataclasses.replace(detector.bundle, card=card))


def _digest(detector: "Detector") -> str:
    return detector.prep.digest
