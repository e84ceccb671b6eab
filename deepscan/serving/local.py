"""Verdicts in this very process: the lowest latency on one machine, and the routes without Ray."""

import itertools
import pathlib
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.ensemble import select
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.models.catalog import load_plugin
from deepscan.serving.api import build_api
from deepscan.serving.backend import ModelFacts
from deepscan.serving.batching import Batching
from deepscan.serving.config import ServeArgs, require_free
from deepscan.serving.ensemble import Ensemble, Judgement, Panel, Wish
from deepscan.serving.jobs import Jobs
from deepscan.serving.judging import Judges
from deepscan.serving.memory import LocalMemory, Remembering
from deepscan.serving.preparing import Workbench


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
    policy: FusionPolicy | None = None,
    bench: Workbench | None = None,
    batching: Batching | None = None,
) -> Ensemble:
    """Return a Backend over loaded detectors.

    Args:
        detectors: Those that vote.
        policy: How their votes are fused; None = the defaults of ``FusionPolicy``.
        bench: Where files are prepared; None = the defaults of ``Workbench``.
        batching: How the files of several callers go through a model together.
    """
    bench, batching = bench or Workbench(), batching or Batching()
    by_prep = itertools.groupby(sorted(detectors, key=_digest), key=_digest)
    groups = [LocalGroup(list(members), bench, batching) for _, members in by_prep]
    ids = frozenset(detector.bundle.card.id for detector in detectors)
    return Ensemble(groups, {"": Panel(bundles=ids, policy=policy or FusionPolicy())}, bench.testify)


def _digest(detector: Detector) -> str:
    return detector.prep.digest


def build(args: ServeArgs) -> FastAPI:
    """Load the bundles and build the routes over them.

    Raises:
        BundleError: A bundle or ensemble cannot be used.
        ConfigError: A setting of the fusion is wrong.
    """
    for plugin in args.plugins:
        load_plugin(pathlib.Path(plugin))
    chosen = select([pathlib.Path(path) for path in args.bundles], args.fusion)
    detectors = [Detector.load(path, args.device) for path in chosen.bundles]
    batching = Batching(size=args.batch_size, wait_s=args.batch_wait_s, max_queued=args.replica.max_queued)
    bench = Workbench(max_queued=args.prepare.max_queued, cache_bytes=args.prepared_cache_bytes)
    ensemble = local_ensemble(detectors, chosen.policy, bench, batching)
    memory = LocalMemory(args.verdict_cache_bytes)
    ids = tuple(sorted(detector.bundle.card.id for detector in detectors))
    backend = Remembering(ensemble, memory, ids)
    return build_api(backend, Jobs(backend), args.rules())


def serve(args: ServeArgs, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The port is taken.
    """
    require_free(host, port)
    uvicorn.run(build(args), host=host, port=port, log_level="warning")
