"""The same detector served by LitServe, with batches.

    python -m benchmarks.serving.litserve_app BUNDLE PORT

A process of its own: ``import litserve`` lifts the upload limits of the web framework for the whole process.
"""

import pathlib
import sys
import time
from typing import Any

import litserve
from starlette.requests import Request

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.fusion import FusionPolicy
from deepscan.media.source import Media
from deepscan.modalities import Prepared
from deepscan.serving import judging
from deepscan.verdict import MediaFacts, to_dict

BATCH_SIZE, BATCH_WAIT_S = 8, 0.002

Asked = tuple[float, MediaFacts, Prepared]


class Faces(litserve.LitAPI):
    """Prepares in threads and judges in batches, in LitServe's worker process."""

    def __init__(self, bundle: pathlib.Path) -> None:
        super().__init__(max_batch_size=BATCH_SIZE, batch_timeout=BATCH_WAIT_S, api_path="/api/predict/image")
        self._bundle = bundle

    def setup(self, device: str) -> None:
        """Load the bundle in the worker."""
        self._detector = Detector.load(self._bundle, device)

    def decode_request(self, request: Request) -> Asked:
        """Decode and prepare an upload."""
        start_s = time.perf_counter()
        upload = request["file"]
        media = Media.from_bytes(upload.file.read(), upload.filename or "upload")
        return start_s, media.facts, pipeline.prepare(self._detector.prep, media)

    def batch(self, inputs: list[Asked]) -> list[Asked]:
        """Leave the list as it is."""
        return inputs

    def predict(self, x: list[Asked]) -> list[dict[str, Any]]:
        """Judge those in which something was found together."""
        found = [
            judging.Asked(prepared, (self._detector,)) for *_, prepared in x if isinstance(prepared, list)
        ]
        outputs = iter(judging.run_together(found) if found else [])
        return [self._verdict(asked, outputs) for asked in x]

    def _verdict(self, asked: Asked, outputs: Any) -> dict[str, Any]:
        start_s, facts, prepared = asked
        if isinstance(prepared, list):
            outcome = self._detector.judge(prepared, next(outputs)[0])
        else:
            outcome = self._detector.abstain(prepared)
        return to_dict(pipeline.conclude(facts, [outcome], FusionPolicy(), start_s))

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave the list as it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Faces(pathlib.Path(sys.argv[1])), accelerator="cpu", healthcheck_path="/api/health"
    )
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
