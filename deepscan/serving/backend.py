"""What the routes ask and are answered, whoever answers: the words between HTTP and the detectors."""

import dataclasses
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

from deepscan import config
from deepscan.media.source import Media
from deepscan.verdict import Verdict

if TYPE_CHECKING:
    from deepscan.bundle import Card


MAIN = "main"
"""Name of the variant that a service has in any case."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What the service tells of one bundle that it has loaded.

    Attributes:
        id: Id of the bundle, as in verdicts.
        name: Name of the detector.
        model: Name of the model.
        modality: The way of looking at the media.
        prep: Digest of the preparation; bundles with the same one share the work.
        operating: Where real ends and fake begins.
        metrics: Figures by split, from the card.
    """

    id: str
    name: str
    model: str
    modality: str
    prep: str
    operating: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def of(cls, card: "Card") -> "ModelFacts":
        """Pick the facts from a bundle's card."""
        return cls(
            id=card.id,
            name=card.name,
            model=card.model,
            modality=card.modality,
            prep=card.prep_digest,
            operating=config.to_dict(card.operating),
            metrics=card.metrics,
        )

    @property
    def val_auc(self) -> float:
        """Area under the ROC curve on the validation files that chose the epoch; 0 where it is not known."""
        known = self.metrics.get("validation", {}).get("val_auc")
        return float(known) if known is not None and not math.isnan(known) else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a caller may set of one question; see ``deepscan.serving.forms.FIELDS``.

    Attributes:
        threshold: P(fake) from which on the answer is fake, in (0, 1); None = the detectors' own bands.
        frames: Frames of a clip that are looked at; None = as many as each detector was trained with.
        explain: Whether analyzers testify, and models show what they looked at.
        ensemble: Whether all detectors vote; else the best one of each modality answers.
    """

    threshold: float | None = None
    frames: int | None = None
    explain: bool = False
    ensemble: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is the verdict on this media?

    Attributes:
        media: One file, or several that are one case and get one verdict.
        modality: Name of the only modality that looks at it; None = every one that accepts it.
        settings: What the caller set.
        variant: Name of the variant that answers.
        request_id: Names the request in answers and logs.
        caller: What tells callers apart, so that one is always answered by the same variant; None = nothing.
    """

    media: tuple[Media, ...]
    modality: str | None = None
    settings: Settings = Settings()
    variant: str = MAIN
    request_id: str = ""
    caller: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A verdict and how it came about.

    Attributes:
        verdict: What is told.
        stages_ms: Milliseconds by stage of the work, the longest where several ran side by side.
        statistics: What the prepared files were like: figures by name, by bundle id.
        cached: Whether it was remembered and not judged anew.
        variant: Name of the variant that answered.
    """

    verdict: Verdict
    stages_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    statistics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    cached: bool = False
    variant: str = MAIN


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a question is: of ``total`` groups of detectors and analyzers ``done`` have answered."""

    done: int
    total: int


class Backend(Protocol):
    """Where verdicts come from."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that some detector serves."""

    async def models(self) -> tuple[ModelFacts, ...]:
        """Tell what is loaded.

        Raises:
            ServiceError: Something has not been loaded yet.
        """

    async def judge(self, question: Question) -> Answer:
        """Judge media with every detector that is asked for.

        Raises:
            ConfigError: The detectors cannot do what the settings ask for.
            MediaError: The media does not decode.
            OverloadedError: Too many requests wait already.
            UnsupportedMediaError: No detector looks at such media.
        """

    def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """Judge media and tell on the way how far that is; the last item is the Answer.

        Raises:
            DeepscanError: As ``judge``.
        """


class Around:
    """A Backend around another one, which it asks; what is special about it is its ``steps``."""

    def __init__(self, backend: Backend) -> None:
        """Wrap a backend."""
        self._backend = backend

    @property
    def modalities(self) -> tuple[str, ...]:
        """See ``Backend``."""
        return self._backend.modalities

    async def models(self) -> tuple[ModelFacts, ...]:
        """See ``Backend``."""
        return await self._backend.models()

    async def judge(self, question: Question) -> Answer:
        """See ``Backend``."""
        return await last(self.steps(question))

    def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """See ``Backend``."""
        return self._backend.steps(question)


async def last(steps: AsyncIterator[Progress | Answer]) -> Answer:
    """Return the Answer with which the steps of a question end."""
    *_, answer = [step async for step in steps]
    assert isinstance(answer, Answer)
    return answer
