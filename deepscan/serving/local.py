"""Verdicts in this very process: the lowest latency on one machine, and the routes without Ray."""

import pathlib
from collections.abc import Sequence

import anyio
import uvicorn
from fastapi import FastAPI

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.ensemble import select
from deepscan.errors import OverloadedError
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.models.catalog import load_plugin
from deepscan.serving.api import ModelFacts, build_api
from deepscan.serving.config import ServeArgs, require_free
from deepscan.verdict import Verdict


class LocalBackend:
    """Judges media in threads beside the event loop."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        policy: FusionPolicy | None = None,
        workers: int = 2,
        max_queued: int = 64,
    ) -> None:
        """Serve loaded detectors.

        Args:
            detectors: Those that vote.
            policy: How their votes are fused; None = the defaults of ``FusionPolicy``.
            workers: Files that are judged at the same time.
            max_queued: Files that may wait for that; more are refused.
        """
        self._detectors = tuple(detectors)
        self._policy = policy
        self._workers = anyio.CapacityLimiter(workers)
        self._max_queued = max_queued

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that some detector serves."""
        return tuple(dict.fromkeys(detector.modality.name for detector in self._detectors))

    async def models(self) -> tuple[ModelFacts, ...]:
        """Tell what is loaded, which is everything: detectors come here loaded."""
        return tuple(ModelFacts.of(detector.bundle.card) for detector in self._detectors)

    async def predict(self, media: Media, modality: str) -> Verdict:
        """Judge media with all detectors of a modality.

        Raises:
            MediaError: The media does not decode.
            OverloadedError: ``max_queued`` files wait already.
        """
        if self._workers.statistics().tasks_waiting >= self._max_queued:
            msg = f"{self._max_queued} files wait already, as many as may; ask again later."
            raise OverloadedError(msg)
        able = [detector for detector in self._detectors if detector.modality.name == modality]
        return await anyio.to_thread.run_sync(
            pipeline.analyze, media, able, self._policy, limiter=self._workers
        )


def build(args: ServeArgs) -> FastAPI:
    """Load the bundles and build the routes over them; stages and batches do not apply here.

    Raises:
        BundleError: A bundle or ensemble cannot be used.
        ConfigError: A setting of the fusion is wrong.
    """
    for plugin in args.plugins:
        load_plugin(pathlib.Path(plugin))
    chosen = select([pathlib.Path(path) for path in args.bundles], args.fusion)
    detectors = [Detector.load(path, args.device) for path in chosen.bundles]
    backend = LocalBackend(detectors, chosen.policy, max_queued=args.prepare.max_queued)
    return build_api(backend, args.limits, args.retry_after_s)


def serve(args: ServeArgs, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The port is taken.
    """
    require_free(host, port)
    uvicorn.run(build(args), host=host, port=port, log_level="warning")
