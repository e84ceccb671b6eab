"""The stages of the Serve graph, each a class of which Serve makes replicas.

What is wrong with a user's file is an answer, not a failure of the process that found it. It
therefore travels as a value, keeps its type on the way, and Ray neither wraps it nor logs it.
"""

import asyncio
import math
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ray import serve

from deepscan.errors import DeepscanError
from deepscan.media.source import Media
from deepscan.modalities import Prep
from deepscan.serving.backend import Answer, Backend, ModelFacts, Progress, Question
from deepscan.serving.ensemble import Ensemble, Group, Judgement, Panel, Preparation, Testify, Wish
from deepscan.serving.jobs import Job, Jobs
from deepscan.serving.judging import Answers, Asked, judge, run_together, wanted
from deepscan.serving.memory import LocalMemory, Memory, Remembering
from deepscan.serving.preparing import Workbench
from deepscan.verdict import Evidence


class Prepare:
    """Runs one Prep; detectors that share it share this work."""

    def __init__(self, prep: Prep, at_once: int, cache_bytes: int) -> None:
        """Keep the Prep; see ``Workbench`` for the rest.

        Raises:
            AssetError: It needs an asset that is not on this machine; the service never gets ready.
        """
        self._prep = prep.resolved()
        # Serve counts what waits for a replica, so that nothing has to wait in it.
        self._bench = Workbench(at_once, cache_bytes=cache_bytes)

    async def ready(self) -> None:
        """Answer, which only a process that has started can."""

    async def __call__(self, media: Media, frames: int | None = None) -> Preparation:
        """Decode and prepare a file, with so many frames of a clip if that is set."""
        return await self._bench.prepare(self._prep, media, frames)


class Replica:
    """Runs the models of one modality that share a Prep, on the parts of several requests at a time."""

    def __init__(self, bundles: Sequence[str], plugins: Sequence[str], device: str, cpus: float) -> None:
        """Load the bundles.

        Args:
            bundles: Their directories.
            plugins: Python files that define their models.
            device: As for ``Detector.load``.
            cpus: What Ray reserved for this process; torch uses as many threads.
        """
        # Here and not above, because a process of Prepare has no use for torch.
        import torch

        from deepscan.detector import Detector
        from deepscan.models.catalog import load_plugin

        torch.set_num_threads(max(1, math.ceil(cpus)))
        for plugin in plugins:
            load_plugin(pathlib.Path(plugin))
        self._detectors = [Detector.load(pathlib.Path(bundle), device) for bundle in bundles]

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take batch size and wait; Serve calls this at the start and when they change."""
        self._outputs.set_max_batch_size(user_config["batch_size"])  # type: ignore[attr-defined]
        self._outputs.set_batch_wait_timeout_s(user_config["batch_wait_s"])  # type: ignore[attr-defined]

    async def ready(self) -> None:
        """Answer, which only a process that has loaded its bundles can."""

    async def __call__(self, preparation: Preparation, wish: Wish) -> Judgement:
        """Let the detectors that are wanted judge a prepared file, or pass on why it could not be."""
        return await judge(wanted(self._detectors, wish), preparation, self._outputs)

    @serve.batch
    async def _outputs(self, files: list[Asked]) -> list[Answers]:
        """Return, for each file, what the model of each detector that is wanted says of its parts."""
        return await asyncio.to_thread(run_together, files)


class Analyze:
    """Lets every analyzer measure a file."""

    def __init__(self, at_once: int) -> None:
        """Measure so many files at a time."""
        self._bench = Workbench(at_once)

    async def __call__(self, media: Media) -> tuple[Evidence, ...]:
        """Measure a file."""
        return await self._bench.testify(media)


class Planner:
    """Plans who looks at a file and fuses what they say: an ``Ensemble`` in a process of its own."""

    def __init__(self, groups: Sequence[Group], panels: Mapping[str, Panel], testify: Testify) -> None:
        """Take what an ``Ensemble`` takes."""
        self._ensemble = Ensemble(groups, panels, testify)

    async def models(self) -> tuple[ModelFacts, ...] | DeepscanError:
        """Tell what is loaded."""
        try:
            return await self._ensemble.models()
        except DeepscanError as error:
            return error

    async def judge(self, question: Question) -> Answer | DeepscanError:
        """Judge media."""
        try:
            return await self._ensemble.judge(question)
        except DeepscanError as error:
            return error

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer | DeepscanError]:
        """Judge media and tell on the way how far that is."""
        try:
            async for step in self._ensemble.steps(question):
                yield step
        except DeepscanError as error:
            yield error


class Remembered(LocalMemory):
    """The memory that all processes share."""


class Desk:
    """The jobs of the service, of which there is one process: whoever asks for a job finds it here."""

    def __init__(self, backend: Backend, memory: Memory, bundles: tuple[str, ...]) -> None:
        """Judge jobs by a backend, nothing twice."""
        self._jobs = Jobs(Remembering(backend, memory, bundles))

    async def submit(self, question: Question) -> Job | DeepscanError:
        """Take a question."""
        try:
            return await self._jobs.submit(question)
        except DeepscanError as error:
            return error

    async def job(self, job_id: str) -> Job | DeepscanError:
        """Return a job as it is now."""
        try:
            return await self._jobs.job(job_id)
        except DeepscanError as error:
            return error
