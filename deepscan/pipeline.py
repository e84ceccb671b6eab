"""From bytes to a Verdict, in one process and without Ray.

Serve makes the same calls, each in a replica of its own: ``plan``, ``prepare``,
``Detector.vote``, ``conclude``.
"""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepscan.errors import AbstainError
from deepscan.fusion import FusionPolicy, Vote, fuse
from deepscan.media.source import Media
from deepscan.modalities import Prep, Prepared
from deepscan.verdict import Abstention, MediaFacts, Verdict

if TYPE_CHECKING:
    # A stage of Serve that only plans or concludes has no use for torch, which comes with Detector.
    from deepscan.detector import Detector

Outcome = Vote | Abstention
"""What one detector says of a file."""


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


def analyze(media: Media, detectors: "Sequence[Detector]", policy: FusionPolicy | None = None) -> Verdict:
    """Let every able detector judge a file and fuse their votes.

    Raises:
        MediaError: The media does not decode.
    """
    start_s = time.perf_counter()
    outcomes: list[Outcome] = []
    for group in plan(media, detectors):
        prepared = prepare(group.prep, media)
        outcomes.extend(detector.vote(prepared) for detector in group.detectors)
    return conclude(media.facts, outcomes, policy or FusionPolicy(), start_s)


def conclude(facts: MediaFacts, outcomes: Sequence[Outcome], policy: FusionPolicy, start_s: float) -> Verdict:
    """Fuse what the detectors said into the Verdict; ``start_s`` is a ``time.perf_counter`` reading."""
    votes = [outcome for outcome in outcomes if isinstance(outcome, Vote)]
    abstentions = tuple(outcome for outcome in outcomes if isinstance(outcome, Abstention))
    probability, uncertainty, label = fuse(votes, policy)
    return Verdict(
        label=label,
        probability=probability,
        uncertainty=uncertainty,
        scores=tuple(vote.score for vote in votes),
        abstentions=abstentions,
        evidence=(),
        media=facts,
        bundles=tuple(sorted([vote.score.bundle for vote in votes] + [a.bundle for a in abstentions])),
        elapsed_ms=(time.perf_counter() - start_s) * 1000,
    )


def _digest(detector: "Detector") -> str:
    return detector.prep.digest
