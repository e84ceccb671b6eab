"""The middle of the service: chooses who looks at a file, asks them together, fuses the answers.

It makes the calls of ``pipeline.analyze``, each of them wherever its group lives: in this process
(``local``) or in replicas of Ray Serve (``handles``). It knows neither Ray nor HTTP nor torch.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from deepscan import pipeline
from deepscan.errors import ConfigError, MediaError, UnsupportedMediaError
from deepscan.fusion import FusionPolicy, Vote
from deepscan.media.source import Media, facts_together
from deepscan.modalities import Prepared
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.pipeline import Outcome
from deepscan.serving.backend import Answer, ModelFacts, Progress, Question, Settings, last
from deepscan.verdict import Evidence, MediaFacts

PREPARE, MODEL, EVIDENCE = "prepare", "model", "evidence"
"""Names of the stages: a file is decoded and prepared, models run on it, analyzers measure it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is wanted of a group.

    Attributes:
        bundles: Ids of those that are to vote.
        frames: By so many frames of a clip; None = as many as their Prep takes.
        explain: Whether they show what they looked at.
    """

    bundles: frozenset[str]
    frames: int | None = None
    explain: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """A file as the models see it, or why they cannot; what the file is, and what that took."""

    prepared: Prepared | MediaError | ConfigError
    facts: MediaFacts
    elapsed_ms: float
    statistics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What the bundles of a group say of a file.

    Attributes:
        outcomes: One of each bundle that was wanted.
        stages_ms: Milliseconds by stage.
        statistics: What the prepared file was like, figures by name.
        evidence: What those that voted looked at, where that is wanted.
    """

    outcomes: tuple[Outcome, ...]
    stages_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    statistics: dict[str, float] = dataclasses.field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()


class Group(Protocol):
    """Bundles of one modality that share a Prep, so that a file is prepared once for all of them."""

    @property
    def models(self) -> tuple[ModelFacts, ...]:
        """What each of its bundles is."""

    @property
    def samples_frames(self) -> bool:
        """Whether its Prep looks at a number of frames that can be set."""

    async def ready(self) -> None:
        """Return once the group can judge.

        Raises:
            ServiceError: It cannot yet.
        """

    async def judge(self, media: Media, wish: Wish) -> Judgement:
        """Prepare a file and let the bundles that are wanted vote on it.

        Raises:
            ServiceError: The group is full, or its processes died.
        """


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Who judges, and how their votes become one answer."""

    bundles: frozenset[str]
    policy: FusionPolicy = FusionPolicy()


Testify = Callable[[Media], Awaitable[tuple[Evidence, ...]]]
"""Lets the analyzers measure a file."""


class Ensemble:
    """A Backend over groups of detectors."""

    def __init__(self, groups: Sequence[Group], panels: Mapping[str, Panel], testify: Testify) -> None:
        """Take the groups in the order of their Prep digests, as ``pipeline.plan`` orders them.

        Args:
            groups: Who can judge.
            panels: Who does, by the name of the variant.
            testify: Asks the analyzers.
        """
        self._groups = tuple(groups)
        self._panels = dict(panels)
        self._testify = testify
        self._facts = tuple(facts for group in groups for facts in group.models)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that some detector serves."""
        return tuple(dict.fromkeys(facts.modality for facts in self._facts))

    async def models(self) -> tuple[ModelFacts, ...]:
        """Tell what is loaded, once every group is ready.

        Raises:
            ServiceError: One is not.
        """
        await asyncio.gather(*(group.ready() for group in self._groups))
        return self._facts

    async def judge(self, question: Question) -> Answer:
        """Judge media; see ``Backend.judge``."""
        return await last(self.steps(question))

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """Judge media and tell on the way how far that is; see ``Backend.steps``."""
        start_s = time.perf_counter()
        panel = self._panels[question.variant]
        calls = self._calls(question, panel)
        evidence = [asyncio.ensure_future(self._timed_evidence(media)) for media in _to_explain(question)]
        judging = [asyncio.ensure_future(group.judge(media, wish)) for group, media, wish in calls]
        try:
            total = len(judging) + len(evidence)
            for done, finished in enumerate(asyncio.as_completed([*judging, *evidence]), start=1):
                await finished
                yield Progress(done=done, total=total)
        finally:
            for task in (*judging, *evidence):
                task.cancel()
        judgements = [task.result() for task in judging]
        testimony = [task.result() for task in evidence]
        verdict = pipeline.conclude(
            facts_together([media.facts for media in question.media]),
            [outcome for judgement in judgements for outcome in judgement.outcomes],
            _policy(panel, question),
            start_s,
            _all_evidence(judgements, [found for found, _ in testimony]),
        )
        stages = [judgement.stages_ms for judgement in judgements]
        stages += [{EVIDENCE: elapsed_ms} for _, elapsed_ms in testimony]
        yield Answer(
            verdict=verdict,
            stages_ms=_longest(stages),
            statistics=_by_bundle(judgements),
            variant=question.variant,
        )

    def _calls(self, question: Question, panel: Panel) -> list[tuple[Group, Media, Wish]]:
        """Return who is asked about which file for what.

        Raises:
            ConfigError: Frames are set, and nobody who is asked looks at a number of them.
            UnsupportedMediaError: Nobody looks at such a file.
        """
        chosen = panel.bundles if question.settings.ensemble else panel.bundles & best(self._facts)
        able = [
            (group, media, ids)
            for media in question.media
            for group in self._groups
            if (ids := chosen & {facts.id for facts in group.models}) and _looks_at(group, media, question)
        ]
        for media in question.media:
            if not any(media is asked for _, asked, _ in able):
                raise UnsupportedMediaError(_nobody(media, question))
        if question.settings.frames is not None:
            pipeline.check_frames((group.samples_frames for group, _, _ in able), panel.policy)
        return [(group, media, _wish(group, ids, question.settings)) for group, media, ids in able]

    async def _timed_evidence(self, media: Media) -> tuple[tuple[Evidence, ...], float]:
        start_s = time.perf_counter()
        found = await self._testify(media)
        return found, (time.perf_counter() - start_s) * 1000


def best(models: Sequence[ModelFacts]) -> frozenset[str]:
    """Return the id of the best bundle of each modality: of the largest validation AUC, then the least id."""
    ranked = sorted(models, key=lambda facts: (-facts.val_auc, facts.id))
    first: dict[str, str] = {}
    for facts in ranked:
        first.setdefault(facts.modality, facts.id)
    return frozenset(first.values())


def _looks_at(group: Group, media: Media, question: Question) -> bool:
    name = group.models[0].modality
    if question.modality is not None and name != question.modality:
        return False
    return load_modalities().get(name).accepts(media)


def _wish(group: Group, bundles: frozenset[str], settings: Settings) -> Wish:
    frames = settings.frames if group.samples_frames else None
    return Wish(bundles=bundles, frames=frames, explain=settings.explain)


def _nobody(media: Media, question: Question) -> str:
    who = f"no detector for {question.modality}" if question.modality else "no detector"
    held = f"{media.facts.name!r} holds {media.facts.kind} ({media.facts.container})"
    return f"{held}, which {who} here looks at; GET /api/models lists what is loaded."


def _to_explain(question: Question) -> tuple[Media, ...]:
    return question.media if question.settings.explain else ()


def _all_evidence(
    judgements: Sequence[Judgement], testimony: Sequence[tuple[Evidence, ...]]
) -> tuple[Evidence, ...]:
    maps = (judgement.evidence for judgement in judgements)
    return tuple(each for found in (*maps, *testimony) for each in found)


def _policy(panel: Panel, question: Question) -> FusionPolicy:
    if question.settings.threshold is None:
        return panel.policy
    return dataclasses.replace(panel.policy, threshold=question.settings.threshold)


def _longest(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in stages for name in each)
    return {name: max(each.get(name, 0.0) for each in stages) for name in names}


def _by_bundle(judgements: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    return {
        outcome.score.bundle: judgement.statistics
        for judgement in judgements
        for outcome in judgement.outcomes
        if isinstance(outcome, Vote) and judgement.statistics
    }
