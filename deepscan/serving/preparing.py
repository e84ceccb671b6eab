"""Where files are decoded: so many at a time, none of them twice, and no more waiting than may."""

import time
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio

from deepscan import pipeline
from deepscan.errors import ConfigError, MediaError, OverloadedError
from deepscan.isolation.decoders import Decoders
from deepscan.media.source import Limits, Media
from deepscan.modalities import Prep, Prepared
from deepscan.monitor.drift import prep_statistics
from deepscan.pipeline import Kept
from deepscan.serving.config import ServeArgs
from deepscan.serving.ensemble import Preparation
from deepscan.verdict import Evidence

P = ParamSpec("P")
T = TypeVar("T")

DECODING_THREADS = 2
"""Files that are decoded at the same time where no processes do that."""


class Workbench:
    """Prepares and measures files beside the event loop."""

    def __init__(
        self,
        at_once: int = DECODING_THREADS,
        max_queued: int | None = 64,
        cache_bytes: int = 0,
        decoders: Decoders | None = None,
    ) -> None:
        """Begin empty.

        Args:
            at_once: Files that are worked on at the same time.
            max_queued: Files that may wait for that; more are refused. None = any number.
            cache_bytes: Room for prepared files, which are not prepared again; 0 = keep none.
            decoders: Processes that decode; None = threads of this process.
        """
        self._turns = anyio.CapacityLimiter(at_once)
        self._max_queued = max_queued
        self.decoders = decoders
        self._kept = Kept(cache_bytes)

    async def probe(self, data: bytes, name: str, limits: Limits) -> Media:
        """Read what a file is.

        Raises:
            MediaError: It is nothing that can be judged.
        """
        if self.decoders:
            return await self.decoders.run(self.decoders.probe, data, name, limits)
        return await anyio.to_thread.run_sync(Media.from_bytes, data, name, limits)

    def close(self) -> None:
        """End the processes that decode."""
        if self.decoders:
            self.decoders.close()

    async def prepare(self, prep: Prep, media: Media, frames: int | None = None) -> Preparation:
        """Prepare a file; what is wrong with it, or with the frames asked for, comes back as a value.

        Args:
            prep: What prepares it.
            media: The file.
            frames: So many frames of a clip in place of those of the Prep; None = those.

        Raises:
            OverloadedError: ``max_queued`` files wait already.
        """
        start_s = time.perf_counter()
        prepared: Prepared | MediaError | ConfigError
        try:
            prep = prep if frames is None else pipeline.with_frames(prep, frames)
            prepared = await self._prepared_once(prep, media)
        except (MediaError, ConfigError) as error:
            prepared = error
        examples = prepared if isinstance(prepared, list) else []
        return Preparation(
            prepared=prepared,
            facts=media.facts,
            elapsed_ms=(time.perf_counter() - start_s) * 1000,
            statistics=prep_statistics(examples, prep.needs) if examples else {},
        )

    async def testify(self, media: Media) -> tuple[Evidence, ...]:
        """Let every analyzer measure a file; where its decoder dies of it, each says so.

        Raises:
            OverloadedError: ``max_queued`` files wait already.
        """
        try:
            return await self._run(self.decoders.testify if self.decoders else pipeline.testify_all, media)
        except MediaError as error:
            return pipeline.testify_none(media, error)

    async def _prepared_once(self, prep: Prep, media: Media) -> Prepared:
        prepared = self._kept.find(prep, media)
        if prepared is None:
            work = self.decoders.prepare if self.decoders else pipeline.prepare
            prepared = await self._run(work, prep, media)
            self._kept.keep(prep, media, prepared)
        return prepared

    async def _run(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        waiting = self._turns.statistics().tasks_waiting
        if self._max_queued is not None and waiting >= self._max_queued:
            msg = f"{self._max_queued} files wait already, as many as may; ask again later."
            raise OverloadedError(msg)
        return await anyio.to_thread.run_sync(partial(work, *args, **named), limiter=self._turns)


def local_bench(args: ServeArgs) -> Workbench:
    """Return the Workbench of a service that does everything in one process."""
    processes = args.decoding.processes
    return Workbench(
        at_once=processes or DECODING_THREADS,
        max_queued=args.prepare.max_queued,
        cache_bytes=args.prepared_cache_bytes,
        decoders=Decoders(processes, args.decoding.allowance()) if processes else None,
    )


def stage_bench(args: ServeArgs, cache_bytes: int = 0) -> Workbench:
    """Return the Workbench of one replica on Ray Serve, which has one decoder beside it and no spare.

    Serve counts what waits for a replica, so that any number may wait in it.
    """
    apart = args.decoding.processes > 0
    return Workbench(
        at_once=1 if apart else DECODING_THREADS,
        max_queued=None,
        cache_bytes=cache_bytes,
        decoders=Decoders(1, args.decoding.allowance(), spares=0) if apart else None,
    )
