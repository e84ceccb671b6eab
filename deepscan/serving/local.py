"""Verdicts in this very process: the lowest latency on one machine, and the routes without Ray."""

import asyncio
import contextlib
import itertools
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

import torch
import uvicorn
from fastapi import FastAPI

from deepscan import pipeline
from deepscan.allocator import keep_memory
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.models.catalog import load_plugin
from deepscan.serving.admission import Admitting
from deepscan.serving.api import Service, build_api
from deepscan.serving.backend import MAIN, ModelFacts
from deepscan.serving.batching import Batching
from deepscan.serving.books import LocalBooks
from deepscan.serving.config import ServeArgs, require_free
from deepscan.serving.ensemble import Ensemble, Judgement, Panel, Wish
from deepscan.serving.gate import wrap
from deepscan.serving.jobs import Jobs
from deepscan.serving.judging import Judges
from deepscan.serving.lineup import lineup
from deepscan.serving.memory import LocalMemory, Remembering
from deepscan.serving.observing import JOBS, Counted
from deepscan.serving.preparing import Workbench, local_bench
from deepscan.serving.trials import Trying

LANES = 2
"""Batches that go through a model at the same time: while one begins or ends, the other computes."""


class LocalGroup:
    """A ``Group`` in this process."""

    def __init__(self, detectors: Sequence[Detector], bench: Workbench, batching: Batching) -> None:
        """Take loaded detectors that share a Prep."""
        self._prep = detectors[0].prep
        self._bench = bench
        self._judges = Judges(detectors, batching)
        self.models = tuple(ModelFacts.of(detector.bundle.card) for detector in detectors)
        self.samples_frames = pipeline.samples_frames(self._prep)

    async def ready(self) -> None:
        """Return at once: detectors come here loaded."""

    async def judge(self, media: Media, wish: Wish) -> Judgement:
        """See ``Group``."""
        return await self._judges(await self._bench.prepare(self._prep, media, wish.frames), wish)


def local_ensemble(
    detectors: Sequence[Detector],
    panels: Mapping[str, Panel] | None = None,
    bench: Workbench | None = None,
    batching: Batching | None = None,
) -> Ensemble:
    """Return a Backend over loaded detectors.

    Args:
        detectors: Those that vote.
        panels: Which of them do under which variant, and how they are fused; None = all, by the defaults.
        bench: Where files are prepared; None = the defaults of ``Workbench``.
        batching: How the files of several callers go through a model together.
    """
    bench, batching = bench or Workbench(), batching or Batching()
    by_prep = itertools.groupby(sorted(detectors, key=_digest), key=_digest)
    groups = [LocalGroup(list(members), bench, batching) for _, members in by_prep]
    everybody = Panel(bundles=frozenset(detector.bundle.card.id for detector in detectors))
    return Ensemble(groups, panels or {MAIN: everybody}, bench.testify)


def _digest(detector: Detector) -> str:
    return detector.prep.digest


def build(args: ServeArgs) -> FastAPI:
    """Load the bundles and build the routes over them.

    Raises:
        BundleError: A bundle or ensemble cannot be used.
        ConfigError: A setting of a fusion or a variant is wrong.
    """
    for plugin in args.plugins:
        load_plugin(pathlib.Path(plugin))
    made = lineup(args)
    detectors = [Detector.load(bundle.path, args.device) for bundle in made.bundles]
    for detector in detectors:
        detector.warm_up()
    bench = local_bench(args)
    batching = Batching(
        size=args.batch_size, wait_s=args.batch_wait_s, lanes=LANES, max_queued=args.replica.max_queued
    )
    ensemble = local_ensemble(detectors, made.panels, bench, batching)
    memory, books = LocalMemory(args.verdict_cache_bytes), LocalBooks(made.keeping)
    admitting = Admitting(ensemble, args.max_wait_s)
    backend = Trying(Remembering(admitting, memory, made.digest), made.trial, books)
    service = Service(
        backend=backend,
        desk=Jobs(Counted(backend, books, JOBS)),
        books=books,
        memory=memory,
        probe=bench.probe,
    )
    api = build_api(service, args.rules())
    api.router.lifespan_context = partial(_until_the_end, books, bench)
    return api


@contextlib.asynccontextmanager
async def _until_the_end(books: LocalBooks, bench: Workbench, api: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        books.stop()
        await asyncio.to_thread(books.close)
        await asyncio.to_thread(bench.close)


def serve(args: ServeArgs, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The port is taken, or the key file cannot be used.
    """
    require_free(host, port)
    keep_memory()
    # All lanes together have the threads that torch would give one: more would wait for each other.
    torch.set_num_threads(max(1, torch.get_num_threads() // LANES))
    # Nobody before this process may say in whose name a request comes: rates count by address.
    uvicorn.run(wrap(build(args), args.gate), host=host, port=port, log_level="warning", proxy_headers=False)
