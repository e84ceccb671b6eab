"""The whole way on a small made-up data set: synthesize, train, calibrate, measure, serve, ask.

It is the short form of what a user does with data of their own, through the same functions.
"""

import dataclasses
import pathlib
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from deepscan.cluster import connected
from deepscan.datasets.dataset import Origin
from deepscan.datasets.store import USED
from deepscan.datasets.synthesize import synthesize
from deepscan.errors import ConfigError
from deepscan.evaluation import Outcome
from deepscan.serving.app import serve, stop
from deepscan.serving.config import ServeArgs
from deepscan.training.run import Order, train
from deepscan.watch import Watch

HOST = "127.0.0.1"
DATA = "data"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Demo:
    """Settings of the demo.

    Attributes:
        out: Folder for everything: absent, empty, or that of an earlier demo, which is replaced.
        files: Pictures to make.
        size_px: Their side.
        workers: Training processes.
        epochs: Passes over the training split.
        seed: Seed of everything.
    """

    out: pathlib.Path
    files: int = 600
    size_px: int = 128
    workers: int = 2
    epochs: int = 10
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the demo came to.

    Attributes:
        outcome: The trained bundle and its figures.
        answers: The service's answer for a real and a fake file of the test split, by path.
        seconds: Duration of each stage.
    """

    outcome: Outcome
    answers: dict[str, dict[str, object]]
    seconds: dict[str, float]


def run(demo: Demo, watch: Watch) -> Result:
    """Run the demo from nothing to an answer over HTTP.

    Raises:
        ConfigError: The folder holds something that is no earlier demo.
    """
    _clear(demo.out)
    seconds: dict[str, float] = {}
    with connected():
        with _timed("synthesize", seconds):
            watch.stage(f"Synthesizing {demo.files} camera-like pictures and known manipulations")
            synthesize(demo.out / DATA, demo.files, demo.size_px, demo.seed, watch.advance)
        with _timed("prepare, train, calibrate, measure", seconds):
            outcome = train(_order(demo), watch)
        with _timed("serve and ask", seconds):
            answers = _ask(outcome, watch)
    return Result(outcome=outcome, answers=answers, seconds=seconds)


def _clear(out: pathlib.Path) -> None:
    """Remove an earlier demo, and nothing else that somebody may keep in a folder."""
    if not out.exists():
        return
    if any(out.iterdir()) and not (out / DATA / "synthesize.json").is_file():
        msg = f"{out} holds something that is no earlier demo; give --out a folder that is new or empty."
        raise ConfigError(msg)
    shutil.rmtree(out)


def _order(demo: Demo) -> Order:
    return Order(
        model="statistics",
        origin=Origin(path=demo.out / DATA, store=demo.out / "prepared", seed=demo.seed),
        out=demo.out,
        workers=demo.workers,
        name="demo",
        overrides=(
            f"prep.size_px={demo.size_px}",
            f"recipe.epochs={demo.epochs}",
            f"recipe.seed={demo.seed}",
            "recipe.batch_size=16",
        ),
    )


def _ask(outcome: Outcome, watch: Watch) -> dict[str, dict[str, object]]:
    """Serve the bundle on Ray Serve and send it one real and one fake file of the test split."""
    watch.stage("Serving the bundle with Ray Serve and asking it over HTTP")
    card = outcome.bundle.card
    url = serve(ServeArgs(bundles=(str(outcome.bundle.path),)), HOST, _free_port(), blocking=False)
    try:
        return {path: _post(f"{url}/api/predict/{card.modality}", path) for path in _one_of_each(outcome)}
    finally:
        stop()


def _one_of_each(outcome: Outcome) -> list[str]:
    rows = [row for row in outcome.judged.to_pylist() if row["status"] == USED]
    return [next(row["path"] for row in rows if row["label"] == label) for label in (0, 1)]


def _post(url: str, path: str) -> dict[str, object]:
    with open(path, "rb") as file:
        answer = httpx.post(url, files={"file": (pathlib.Path(path).name, file)}, timeout=60, trust_env=False)
    answer.raise_for_status()
    verdict: dict[str, object] = answer.json()
    return verdict


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start_s = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start_s
