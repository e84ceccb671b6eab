"""One answered request in figures; never a file's name or content."""

import dataclasses
from typing import Self

from deepscan.verdict import Label, Verdict


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is remembered of one answered request.

    Attributes:
        time_s: When it was answered, in seconds since 1970.
        route: Path of the route, as the program spells it; never a path that a client made up.
        status: HTTP status.
        elapsed_ms: From the request to the answer.
        error: Class of the error; None = it was answered with a verdict.
        label: Label of the verdict; None = there is none.
        probability: Its P(fake) in [0, 1]; None = there is none.
        scores: P(fake) that each detector gave, by id of its bundle.
        abstentions: Id of the bundle and reason, for each detector that could not judge.
        stages_ms: How long each stage of the work took.
        cached: The verdict was at hand already.
        variant: Name of the variant that answered, where several share the requests.
        prep: Statistics of the prepared file by id of the bundle; see ``prep_statistics``.
    """

    time_s: float
    route: str
    status: int
    elapsed_ms: float
    error: str | None = None
    label: Label | None = None
    probability: float | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    abstentions: tuple[tuple[str, str], ...] = ()
    stages_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    cached: bool = False
    variant: str | None = None
    prep: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    def telling(self, verdict: Verdict) -> Self:
        """Return the record with what a verdict says."""
        return dataclasses.replace(
            self,
            label=verdict.label,
            probability=verdict.probability,
            scores={score.bundle: score.probability for score in verdict.scores},
            abstentions=tuple((each.bundle, each.reason) for each in verdict.abstentions),
        )
