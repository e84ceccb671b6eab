"""The moments of a clip or a recording that a report shows: bars over time, and the most suspicious ones."""

import dataclasses
from collections.abc import Iterable

from deepscan.verdict import Box, Score

SUSPICIOUS = 0.5
MOST, MOST_BELOW = 6, 3
"""How many are highlighted: of those that look fake, and where none does."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What one detector says of one stretch of time.

    Attributes:
        detector: Its name.
        start_s: Begin in seconds.
        end_s: End in seconds.
        probability: Calibrated P(fake) of the most suspicious face or window in it, in [0, 1].
        box: Where that is, as fractions of the picture; None = all of it.
        faces: How many there were.
    """

    detector: str
    start_s: float
    end_s: float
    probability: float
    box: Box | None = None
    faces: int = 1

    @property
    def middle_s(self) -> float:
        """When to look at it."""
        return round((self.start_s + self.end_s) / 2, 2)


def moments(score: Score) -> list[Moment]:
    """Return what a detector says over time, in order; faces of one moment are one, the most suspicious."""
    found: dict[tuple[float, float], Moment] = {}
    for part in score.parts:
        start_s = part.region.start_s
        if start_s is None:
            continue
        end_s = start_s if part.region.end_s is None else part.region.end_s
        key = round(start_s, 3), round(end_s, 3)
        known = found.get(key)
        if known and known.probability >= part.probability:
            found[key] = dataclasses.replace(known, faces=known.faces + 1)
            continue
        found[key] = Moment(
            detector=score.detector,
            start_s=start_s,
            end_s=end_s,
            probability=part.probability,
            box=part.region.box,
            faces=known.faces + 1 if known else 1,
        )
    return sorted(found.values(), key=lambda moment: moment.start_s)


def highlights(scores: Iterable[Score], duration_s: float) -> list[Moment]:
    """Return the most suspicious moments of all detectors, in order of time and some way apart.

    Those that are at least as probably fake as not, or else the few that come nearest to that.
    """
    ranked = sorted((m for score in scores for m in moments(score)), key=lambda m: -m.probability)
    suspicious = [moment for moment in ranked if moment.probability >= SUSPICIOUS]
    most = MOST if suspicious else MOST_BELOW
    apart_s = duration_s / (most * 2.5)
    chosen: list[Moment] = []
    for moment in suspicious or ranked:
        if len(chosen) < most and all(abs(each.start_s - moment.start_s) >= apart_s for each in chosen):
            chosen.append(moment)
    return sorted(chosen, key=lambda moment: moment.start_s)
