"""A service without models: the routes that the page speaks with, and verdicts chosen by the file's name."""

import asyncio
import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from deepscan.evidence.exhibits import heat_map
from deepscan.serving.page import add_page
from deepscan.verdict import (
    Abstention,
    Curve,
    Evidence,
    MediaFacts,
    Part,
    Region,
    Score,
    Uncertainty,
    Verdict,
    to_dict,
)

KEY = "open sesame"
FACE = (0.275, 0.2, 0.725, 0.75)
CLIP_S = 4.0
TESTED = {"counts": {"files": 400}, "figures": {"auc": {"value": 0.93, "low": 0.9, "high": 0.95}}}
FACES = {"id": "faces-1", "name": "faces", "modality": "image", "operating": {"low": 0.3, "high": 0.7}}
BUNDLES = [
    FACES | {"metrics": {"test": TESTED}},
    {"id": "voices-1", "name": "voices", "modality": "audio", "operating": {"low": 0.4, "high": 0.4}},
]
ABSTENTION = Abstention(
    detector="faces",
    bundle="faces-1",
    modality="image",
    reason="no-face",
    message="No face of 32 px or more.",
)
VOICE = Evidence(
    analyzer="voice", summary="A voice of about 140 Hz.", limits="Rooms and microphones change all of these.",
    measurements={"pitch_median_hz": 140.25, "shimmer_percent_spread": 2.0}, group="voice", finding="unusual",
    curves=(
        Curve(
            name="pitch", caption="The pitch of the voice.", x=(0.0, 1.0, 2.0, 3.0, 4.0),
            y=(130.0, 150.0, None, 140.0, 120.0), x_unit="s", unit="hz", spans=((3.0, 9.0),),
        ),
    ),
)  # fmt: skip
SIGNED = Evidence(
    analyzer="credentials", summary="A signature holds.", limits="Whoever has the key signs.",
    measurements={}, group="provenance", finding="telling",
    declaration="Example Corp. says: <b>made</b> by a generator.",
    facts={"signed_by": "Example <i>Corp.</i>"},
)  # fmt: skip
SILENT = Evidence(
    analyzer="blinks", summary="No eye was seen.", limits="", measurements={}, group="face", finding="none",
    reason="no-face",
)  # fmt: skip


def score(detector: str, probability: float, parts: tuple[Part, ...]) -> Score:
    return Score(
        detector=detector, bundle=f"{detector}-1", modality="image" if detector == "faces" else "audio",
        logit=0.0, probability=probability, label="fake" if probability > 0.7 else "real", parts=parts,
    )  # fmt: skip


def verdict(facts: MediaFacts, label: str, probability: float | None, *scores: Score) -> Verdict:
    sure = Uncertainty(low=0.74, high=0.96, files=120) if probability is not None else None
    return Verdict(
        label=label, probability=probability, uncertainty=sure, scores=scores,
        abstentions=() if scores else (ABSTENTION,), evidence=(), media=facts,
        bundles=("faces-1",), elapsed_ms=48.0,
    )  # fmt: skip


def of_picture(facts: MediaFacts) -> Verdict:
    parts = (
        Part(probability=0.87, region=Region(box=FACE)),
        Part(probability=0.12, region=Region(box=(0.8, 0.8, 0.95, 0.98))),
    )
    return verdict(facts, "fake", 0.87, score("faces", 0.87, parts))


def of_clip(facts: MediaFacts) -> Verdict:
    seen = tuple(
        Part(probability=p, region=Region(box=FACE, start_s=number * 0.5, end_s=number * 0.5 + 0.5))
        for number, p in enumerate((0.1, 0.3, 0.55, 0.93, 0.88, 0.6, 0.2, 0.1))
    )
    heard = tuple(
        Part(probability=p, region=Region(start_s=number * 2.0, end_s=number * 2.0 + 2.0))
        for number, p in enumerate((0.2, 0.45))
    )
    facts = dataclasses.replace(facts, duration_s=CLIP_S, has_sound=True, kind="video", container="matroska")
    if "sound" in facts.name:
        facts = dataclasses.replace(facts, width_px=None, height_px=None, kind="audio", container="wav")
        return verdict(facts, "fake", 0.78, score("voices", 0.35, heard))
    return verdict(facts, "fake", 0.78, score("faces", 0.9, seen), score("voices", 0.35, heard))


def testimony(facts: MediaFacts) -> tuple[Evidence, ...]:
    """Evidence of all findings; a map where there is a picture to lie over."""
    if not facts.width_px:
        return VOICE, SILENT
    start_s, end_s = (1.0, 1.5) if facts.duration_s else (None, None)
    rising_HW = np.tile(np.linspace(0, 1, 32), (24, 1))
    where = Region(box=FACE, start_s=start_s, end_s=end_s)
    seen = heat_map("attribution", "Where the detector found its traces.", rising_HW, (0, 1), where)
    looked = Evidence(
        analyzer="faces map", summary="It looked at the right.", limits="It shows what moved the score.",
        measurements={}, group="model", pictures=(seen,),
    )  # fmt: skip
    return VOICE, looked, SILENT, SIGNED


def judged(name: str, size_bytes: int) -> Verdict:
    facts = MediaFacts(
        name=name,
        kind="image",
        container="png",
        bytes=size_bytes,
        sha256="0" * 64,
        width_px=400,
        height_px=300,
    )
    if "noface" in name:
        return verdict(facts, "inconclusive", None)
    if "undecided" in name:
        return verdict(facts, "inconclusive", 0.5, score("faces", 0.5, ()))
    return of_clip(facts) if "clip" in name else of_picture(facts)


def refusal(status: int, kind: str, message: str, **headers: str) -> JSONResponse:
    error = {"type": kind, "message": message, "request_id": "r-1"}
    return JSONResponse({"error": error}, status, headers)


class StandIn:
    """The application, and what a test may ask or set: the key it wants, and a gate for slow files."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.gate = threading.Event()
        self.forms: list[dict[str, str]] = []
        self.refused: set[str] = set()
        self.working = self.most_working = 0
        self.jobs: dict[str, tuple[Verdict, Iterator[dict[str, object]]]] = {}
        self.api = FastAPI()
        self.api.get("/api/models")(lambda: BUNDLES)
        self.api.post("/api/predict")(self.predict)
        self.api.post("/api/jobs")(self.start)
        self.api.get("/api/jobs/{job_id}")(self.follow)
        add_page(self.api)

    async def predict(self, request: Request) -> JSONResponse:
        if (refused := await self.received(request)) is not None:
            return refused
        name, size_bytes = self.forms[-1]["name"], int(self.forms[-1]["bytes"])
        if "slow" in name:
            await self.opened()
        said = self.explained(judged(name, size_bytes))
        return JSONResponse(to_dict(said) | {"field_of_tomorrow": 1})

    async def start(self, request: Request) -> JSONResponse:
        if (refused := await self.received(request)) is not None:
            return refused
        said = self.explained(judged(self.forms[-1]["name"], int(self.forms[-1]["bytes"])))
        steps = [("queued", 0), ("running", 1), ("done", 2)]
        if "lost" in said.media.name:
            steps[-1] = ("failed", 1)
        states = iter([{"status": status, "done": done, "total": 2} for status, done in steps])
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = (said, states)
        return self.told(job_id, 202)

    def explained(self, said: Verdict) -> Verdict:
        evidence = testimony(said.media) if "explain" in self.forms[-1] else ()
        return dataclasses.replace(said, evidence=evidence)

    async def follow(self, job_id: str) -> JSONResponse:
        return self.told(job_id, 200)

    def told(self, job_id: str, status: int) -> JSONResponse:
        said, states = self.jobs[job_id]
        state = next(states)
        done, failed = state["status"] == "done", state["status"] == "failed"
        body = {"id": job_id, "verdict": to_dict(said) if done else None, "error": None} | state
        if failed:
            body["error"] = {"type": "ServiceError", "message": "The machine that judged it is gone."}
        return JSONResponse(body, status, {"Location": f"/api/jobs/{job_id}"})

    async def received(self, request: Request) -> JSONResponse | None:
        if self.key and request.headers.get("x-api-key") != self.key:
            return refusal(401, "UnauthorizedError", "This service wants a key in X-API-Key.")
        form = await request.form()
        upload = form["file"]
        fields = {field: value for field, value in form.items() if isinstance(value, str)}
        name, size_bytes = upload.filename, upload.size
        if "busy" in name and name not in self.refused:
            self.refused.add(name)
            return refusal(503, "OverloadedError", "64 files wait already.", **{"Retry-After": "1"})
        self.forms.append(fields | {"name": name, "bytes": str(size_bytes)})
        if "broken" in name:
            return refusal(422, "CorruptMediaError", f"{name!r} is truncated. Get a complete copy.")
        return None

    async def opened(self) -> None:
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        self.working -= 1


@contextlib.contextmanager
def running(api: FastAPI) -> Iterator[str]:
    """Serve an application on a free port of this machine; yields its address."""
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    for _ in itertools.takewhile(lambda _: not server.started, itertools.count()):
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
