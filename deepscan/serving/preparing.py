"""Where files are decoded: so many at a time, none of them twice, and no more waiting than may."""

import time
from collections.abc import Callable
from typing import TypeVar

import anyio

from deepscan import pipeline
from deepscan.cache import Cache
from deepscan.errors import AbstainError, MediaError, OverloadedError
from deepscan.evidence.catalog import load_builtin as load_analyzers
from deepscan.media.source import Media
from deepscan.modalities import Prep, Prepared
from deepscan.serving.ensemble import Preparation
from deepscan.verdict import Evidence

T = TypeVar("T")

ENTRY_BYTES = 512
"""What an entry of the cache takes beside its arrays."""


class Workbench:
    """Prepares and measures files beside the event loop."""

    def __init__(self, at_once: int = 2, max_queued: int = 64, cache_bytes: int = 0) -> None:
        """Begin empty.

        Args:
            at_once: Files that are worked on at the same time.
            max_queued: Files that may wait for that; more are refused.
            cache_bytes: Room for prepared files, which are not prepared again; 0 = keep none.
        """
        self._turns = anyio.CapacityLimiter(at_once)
        self._max_queued = max_queued
        self._prepared: Cache[tuple[str, str], Prepared] = Cache(cache_bytes)

    async def prepare(self, prep: Prep, media: Media, frames: int | None = None) -> Preparation:
        """Prepare a file; what is wrong with it comes back as a value.

        Args:
            prep: What prepares it.
            media: The file.
            frames: So many frames of a clip in place of those of the Prep; None = those.

        Raises:
            OverloadedError: ``max_queued`` files wait already.
        """
        start_s = time.perf_counter()
        prep = prep if frames is None else pipeline.with_frames(prep, frames)
        prepared: Prepared | MediaError
        try:
            prepared = await self._prepared_once(prep, media)
        except MediaError as error:
            prepared = error
        return Preparation(prepared=prepared, elapsed_ms=(time.perf_counter() - start_s) * 1000)

    async def testify(self, media: Media) -> tuple[Evidence, ...]:
        """Let every analyzer measure a file.

        Raises:
            OverloadedError: ``max_queued`` files wait already.
        """
        return await self._run(lambda: pipeline.testify(media, load_analyzers()))

    async def _prepared_once(self, prep: Prep, media: Media) -> Prepared:
        key = media.facts.sha256, prep.digest
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = await self._run(lambda: pipeline.prepare(prep, media))
            self._prepared.put(key, prepared, _size_bytes(prepared))
        return prepared

    async def _run(self, work: Callable[[], T]) -> T:
        if self._turns.statistics().tasks_waiting >= self._max_queued:
            msg = f"{self._max_queued} files wait already, as many as may; ask again later."
            raise OverloadedError(msg)
        return await anyio.to_thread.run_sync(work, limiter=self._turns)


def _size_bytes(prepared: Prepared) -> int:
    if isinstance(prepared, AbstainError):
        return ENTRY_BYTES
    return ENTRY_BYTES + sum(array.nbytes for example in prepared for array in example.values())
