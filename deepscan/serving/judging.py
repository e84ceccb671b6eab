"""How the detectors that share a Prep judge prepared files, several at a time; it knows nothing of Ray.

A Replica on Ray Serve and the service in one process both judge so; they differ in who brings the files
together.
"""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepscan import pipeline
from deepscan.domain.gate import refusals
from deepscan.errors import AbstainError, ConfigError, DeepscanError, MediaError, OutOfDomainError
from deepscan.modalities import Example, Outputs, Prepared
from deepscan.pipeline import Failure, Outcome
from deepscan.serving.batching import Batched, Batching
from deepscan.serving.ensemble import EVIDENCE, MODEL, PREPARE, Judgement, Preparation, Wish
from deepscan.verdict import Evidence

if TYPE_CHECKING:
    # A process that only prepares has no use for torch, which comes with Detector.
    from deepscan.detector import Detector

Answers = list[Outputs | DeepscanError]
"""What the model of each detector that was asked says of one file's Examples, or why it failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """The Examples of one file, and the detectors that are to judge them."""

    examples: list[Example]
    detectors: "tuple[Detector, ...]"


class Judges:
    """Detectors that share a Prep, asked about the files of several callers together."""

    def __init__(self, detectors: "Sequence[Detector]", batching: Batching) -> None:
        """Take loaded detectors; nothing is started."""
        self._detectors = tuple(detectors)
        self._outputs = Batched(run_together, batching)

    async def __call__(self, preparation: Preparation, wish: Wish) -> Judgement:
        """Return what the detectors that are wanted say of a prepared file; see ``judge``.

        Raises:
            OverloadedError: Too many files wait already.
            ServiceError: ``close`` was called before.
        """
        return await judge(wanted(self._detectors, wish), preparation, wish, self._outputs)

    async def close(self) -> None:
        """Refuse new files and finish those that were accepted."""
        await self._outputs.close()


def wanted(detectors: "Sequence[Detector]", wish: Wish) -> "tuple[Detector, ...]":
    """Return the detectors that are wanted, by the frames that are wanted of them."""
    named = (detector for detector in detectors if detector.bundle.card.id in wish.bundles)
    if wish.frames is None:
        return tuple(named)
    return tuple(pipeline.resampled(detector, wish.frames) for detector in named)


async def judge(
    detectors: "tuple[Detector, ...]",
    preparation: Preparation,
    wish: Wish,
    ask: Callable[[Asked], Awaitable[Answers]],
) -> Judgement:
    """Return what each detector says of a prepared file, or of what kept it from being prepared.

    Args:
        detectors: Those that are wanted, which share the Prep.
        preparation: What it made of the file.
        wish: Tells whether they show what they looked at.
        ask: Runs their models on its Examples, as ``run_together`` does for several files.
    """
    start_s = time.perf_counter()
    outcomes = await _outcomes(detectors, preparation.prepared, ask)
    stages_ms = {PREPARE: preparation.elapsed_ms, MODEL: _since_ms(start_s)}
    maps: tuple[Evidence, ...] = ()
    if wish.explain:
        start_s = time.perf_counter()
        maps = await asyncio.to_thread(_maps, detectors, outcomes, preparation)
        stages_ms[EVIDENCE] = _since_ms(start_s)
    return Judgement(outcomes=outcomes, stages_ms=stages_ms, statistics=preparation.statistics, evidence=maps)


def _since_ms(start_s: float) -> float:
    return (time.perf_counter() - start_s) * 1000


def _maps(
    detectors: "tuple[Detector, ...]", outcomes: tuple[Outcome, ...], preparation: Preparation
) -> tuple[Evidence, ...]:
    """Return what the detectors that voted looked at."""
    # Here and not above, because a process that only prepares has no use for torch.
    from deepscan.heatmaps import explain_quickly

    prepared = preparation.prepared
    if isinstance(prepared, DeepscanError):
        return ()
    return tuple(pipeline.shown(detectors, outcomes, preparation.facts, prepared, explain_quickly))


async def _outcomes(
    detectors: "tuple[Detector, ...]",
    prepared: Prepared | MediaError | ConfigError,
    ask: Callable[[Asked], Awaitable[Answers]],
) -> tuple[Outcome, ...]:
    if isinstance(prepared, AbstainError):
        return tuple(detector.abstain(prepared) for detector in detectors)
    if isinstance(prepared, DeepscanError):
        return tuple(Failure(detector.abstain(prepared), prepared) for detector in detectors)
    gates = [detector.bundle.card.gate for detector in detectors]
    refused: list[OutOfDomainError | None] = [None] * len(gates)
    if any(gates):
        refused = await asyncio.to_thread(refusals, gates, prepared, detectors[0].prep.needs)
    open_to = tuple(each for each, refusal in zip(detectors, refused, strict=True) if refusal is None)
    answers = iter(await ask(Asked(prepared, open_to)) if open_to else [])
    return tuple(
        detector.abstain(refusal) if refusal else _outcome(detector, prepared, next(answers))
        for detector, refusal in zip(detectors, refused, strict=True)
    )


def _outcome(detector: "Detector", examples: list[Example], answer: Outputs | DeepscanError) -> Outcome:
    if isinstance(answer, DeepscanError):
        return Failure(detector.abstain(answer), answer)
    return detector.judge(examples, answer)


def run_together(files: "Sequence[Asked]") -> list[Answers]:
    """Run the models on the Examples of several files in one go each; return the answers by file."""
    detectors = {detector.bundle.card.id: detector for asked in files for detector in asked.detectors}
    answers = {name: _run(detector, files) for name, detector in detectors.items()}
    return [
        [answers[detector.bundle.card.id][number] for detector in asked.detectors]
        for number, asked in enumerate(files)
    ]


def _run(detector: "Detector", files: "Sequence[Asked]") -> dict[int, Outputs | DeepscanError]:
    """Run a detector on the files that it is asked about; where it fails, it does so for each of them."""
    name = detector.bundle.card.id
    mine = [
        number
        for number, asked in enumerate(files)
        if name in {each.bundle.card.id for each in asked.detectors}
    ]
    together = [example for number in mine for example in files[number].examples]
    ends = np.cumsum([len(files[number].examples) for number in mine])[:-1]
    try:
        return dict(zip(mine, _split(detector.run(together), ends, len(mine)), strict=True))
    except DeepscanError as error:
        return dict.fromkeys(mine, error)


def _split(outputs: Outputs, ends: NDArray[np.int64], count: int) -> list[Outputs]:
    pieces = {name: np.split(values, ends) for name, values in outputs.items()}
    return [{name: values[i] for name, values in pieces.items()} for i in range(count)]
