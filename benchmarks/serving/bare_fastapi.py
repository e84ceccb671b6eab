"""The baseline: what one writes by hand around a detector, FastAPI and uvicorn and nothing else.

    python -m benchmarks.serving.bare_fastapi BUNDLE PORT

No limits, no queue, no batches, no typed errors: FastAPI runs the function in its pool of threads.
"""

import pathlib
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile

from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.pipeline import analyze
from deepscan.verdict import to_dict


def build(bundle: pathlib.Path) -> FastAPI:
    """Load the bundle and build the two routes."""
    detectors, api = [Detector.load(bundle, "cpu")], FastAPI()

    @api.get("/api/health")
    def health() -> dict[str, str]:
        return {"status": "ready"}

    @api.post("/api/predict/image")
    def predict(file: UploadFile) -> dict[str, Any]:
        media = Media.from_bytes(file.file.read(), file.filename or "upload")
        return to_dict(analyze(media, detectors))

    return api


if __name__ == "__main__":
    uvicorn.run(
        build(pathlib.Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning"
    )
