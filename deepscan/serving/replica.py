"""The working stages of the Serve graph: Prepare decodes a file, Replica runs the models on it.

What is wrong with a user's file is an answer, not a failure of the process that found it. It
therefore travels as a value, keeps its type on the way, and Ray neither wraps it nor logs it.
"""

import asyncio
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from deepscan import pipeline
from deepscan.errors import AbstainError, DeepscanError, MediaError
from deepscan.media.source import Media
from deepscan.modalities import Example, Outputs, Prep, Prepared
from deepscan.pipeline import Failure, Outcome
from deepscan.serving.api import ModelFacts

if TYPE_CHECKING:
    from deepscan.detector import Detector


class Prepare:
    """Runs one Prep; detectors that share it share this work."""

    def __init__(self, prep: Prep) -> None:
        """Keep the Prep.

        Raises:
            AssetError: It needs an asset that is not on this machine; the service never gets ready.
        """
        self._prep = prep.resolved()

    async def ready(self) -> None:
        """Answer, which only a process that has started can."""

    async def __call__(self, media: Media) -> Prepared | MediaError:
        """Decode and prepare a file, beside the event loop."""
        try:
            return await asyncio.to_thread(pipeline.prepare, self._prep, media)
        except MediaError as error:
            return error


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

    async def models(self) -> tuple[ModelFacts, ...]:
        """Tell what is loaded; a replica that answers has loaded it."""
        return tuple(ModelFacts.of(detector.bundle.card) for detector in self._detectors)

    async def __call__(self, prepared: Prepared | MediaError) -> list[Outcome]:
        """Let every detector judge a prepared file; what kept it from being prepared is passed on."""
        if isinstance(prepared, MediaError):
            return [Failure(detector.abstain(prepared), prepared) for detector in self._detectors]
        if isinstance(prepared, AbstainError):
            return [detector.abstain(prepared) for detector in self._detectors]
        outputs = await self._outputs(prepared)
        return [
            Failure(detector.abstain(each), each)
            if isinstance(each, DeepscanError)
            else detector.judge(prepared, each)
            for detector, each in zip(self._detectors, outputs, strict=True)
        ]

    @serve.batch
    async def _outputs(self, requests: list[list[Example]]) -> list[list[Outputs | DeepscanError]]:
        """Return, for each request, what each detector's model says of its parts."""
        return await asyncio.to_thread(self._outputs_of, requests)

    def _outputs_of(self, requests: list[list[Example]]) -> list[list[Outputs | DeepscanError]]:
        together = [example for examples in requests for example in examples]
        ends = np.cumsum([len(examples) for examples in requests])[:-1]
        by_detector = [_run(detector, together, ends) for detector in self._detectors]
        return [list(outputs) for outputs in zip(*by_detector, strict=True)]


def _run(
    detector: "Detector", together: list[Example], ends: NDArray[np.int64]
) -> Sequence[Outputs | DeepscanError]:
    """Run a detector on the parts of several requests; where it fails, it does so for each of them."""
    count = len(ends) + 1
    try:
        return _split(detector.run(together), ends, count)
    except DeepscanError as error:
        return [error] * count


def _split(outputs: Outputs, ends: NDArray[np.int64], count: int) -> list[Outputs]:
    pieces = {name: np.split(values, ends) for name, values in outputs.items()}
    return [{name: values[i] for name, values in pieces.items()} for i in range(count)]
