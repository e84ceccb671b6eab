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

from deepscan.allocator import keep_memory
from deepscan.errors import ConfigError, DeepscanError
from deepscan.experiment import Entry, Feedback
from deepscan.media.source import Media
from deepscan.modalities import Prep
from deepscan.monitor.records import Record
from deepscan.serving.backend import Answer, ModelFacts, Progress, Question
from deepscan.serving.batching import Batched, Batching
from deepscan.serving.books import Bookkeeping, Form, LocalBooks
from deepscan.serving.config import ServeArgs
from deepscan.serving.ensemble import Ensemble, Group, Judgement, Panel, Preparation, Testify, Wish
from deepscan.serving.judging import judge, run_together, wanted
from deepscan.serving.memory import LocalMemory
from deepscan.serving.preparing import stage_bench
from deepscan.verdict import Evidence


class Prepare:
    """Runs one Prep; detectors that share it share this work."""

    def __init__(self, prep: Prep, args: ServeArgs) -> None:
        """Keep the Prep.

        Raises:
            AssetError: It needs an asset that is not on this machine; the service never gets ready.
        """
        self._prep = prep.resolved()
        self._bench = stage_bench(args, args.prepared_cache_bytes)

    async def ready(self) -> None:
        """Answer, which only a process that has started can."""

    async def __call__(self, media: Media, frames: int | None = None) -> Preparation:
        """Decode and prepare a file, with so many frames of a clip if that is set."""
        return await self._bench.prepare(self._prep, media, frames)


class Replica:
    """Runs the models of one modality that share a Prep, on the parts of several requests at a time.

    Requests come together in ``Batched``. ``serve.batch`` closes a batch before the last one has run, so
    that without a wait every request is a batch of its own, however many queue.
    """

    def __init__(self, bundles: Mapping[str, str], args: ServeArgs) -> None:
        """Load the bundles, unless they are loaded when they are asked for.

        Args:
            bundles: Their directories, by id.
            args: Of the service: plugins, device, and the CPUs that Ray reserved for this process; torch
                uses as many threads.
        """
        # Here and not above, because a process of Prepare has no use for torch.
        import torch

        from deepscan.detector import Detector
        from deepscan.models.catalog import load_plugin

        keep_memory()
        torch.set_num_threads(max(1, math.ceil(args.replica.cpus)))
        for plugin in args.plugins:
            load_plugin(pathlib.Path(plugin))

        async def load(bundle: str) -> Detector:
            return await asyncio.to_thread(Detector.load, pathlib.Path(bundles[bundle]), args.device)

        self._held = (
            serve.multiplexed(max_num_models_per_replica=args.resident)(load) if args.resident else None
        )
        paths = () if args.resident else tuple(bundles.values())
        self._detectors = [Detector.load(pathlib.Path(path), args.device) for path in paths]
        for detector in self._detectors:
            detector.warm_up()
        self._outputs = Batched(run_together, _batching(args, args.batch_size, args.batch_wait_s))
        self._args = args

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take batch size and wait; Serve calls this at the start and when they change.

        Raises:
            ConfigError: They make no sense.
        """
        self._outputs.batching = _batching(self._args, user_config["batch_size"], user_config["batch_wait_s"])

    async def ready(self) -> None:
        """Answer, which only a process that has loaded its bundles can."""

    async def __call__(self, preparation: Preparation, wish: Wish) -> Judgement:
        """Let the detectors that are wanted judge a prepared file, or pass on why it could not be."""
        detectors = self._detectors
        if self._held:
            detectors = [await self._held(bundle) for bundle in sorted(wish.bundles)]
        return await judge(wanted(detectors, wish), preparation, wish, self._outputs)


def _batching(args: ServeArgs, size: int, wait_s: float) -> Batching:
    """Return how requests come together in a replica, in which Serve lets so many be and no more."""
    return Batching(size=size, wait_s=wait_s, max_queued=max(size, args.replica.max_ongoing))


class Analyze:
    """Lets every analyzer measure a file."""

    def __init__(self, args: ServeArgs) -> None:
        """Start what decodes files."""
        self._bench = stage_bench(args)

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


class Bookkeeper:
    """The books that all processes share."""

    def __init__(self, keeping: Bookkeeping) -> None:
        """Open them."""
        self._books = LocalBooks(keeping)

    async def enter(self, records: Sequence[Record], entries: Sequence[Entry]) -> None:
        """See ``Books``."""
        await self._books.enter(records, entries)

    async def stats(self) -> dict[str, Any]:
        """See ``Books``."""
        return await self._books.stats()

    async def metrics(self) -> bytes:
        """See ``Books``."""
        return await self._books.metrics()

    async def history(self, form: Form) -> str:
        """See ``Books``."""
        return await self._books.history(form)

    async def feedback(self, feedback: Feedback) -> ConfigError | None:
        """See ``Books``."""
        try:
            await self._books.feedback(feedback)
        except ConfigError as error:
            return error
        return None

    def __del__(self) -> None:
        """Write what the log has not written yet: Serve calls this where it ends the process."""
        self._books.close()
