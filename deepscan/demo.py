"""The whole way on small made-up data of every kind: synthesize, train, fuse, measure, serve, ask.

It is the short form of what a user does with data of their own, through the same functions.
"""

import dataclasses
import json
import pathlib
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from deepscan.cluster import connected
from deepscan.datasets import layout
from deepscan.datasets.dataset import Origin
from deepscan.datasets.store import USED
from deepscan.datasets.synthetic import KINDS
from deepscan.datasets.synthetic import Order as Made
from deepscan.errors import ConfigError
from deepscan.evaluation import Outcome
from deepscan.media.encode import AUDIO
from deepscan.series import ENSEMBLE, Result, Series, train_all
from deepscan.serving.app import serve, stop
from deepscan.serving.config import ServeArgs
from deepscan.training.run import Order
from deepscan.watch import Watch

HOST = "127.0.0.1"
MARK = "demo.json"
SIZE_PX = 128

MODELS = {
    "statistics": ("recipe.epochs=6", "recipe.batch_size=16", f"prep.size_px={SIZE_PX}"),
    "clip-statistics": ("recipe.epochs=10", "prep.size_px=64"),
    "cnn-gru": ("recipe.epochs=6",),
    "avsync": ("recipe.epochs=4", "prep.min_face_px=40"),
}
"""The models, and how they are made to fit into some minutes on two cores."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Demo:
    """Settings of the demo.

    Attributes:
        out: Folder for everything: absent, empty, or that of an earlier demo, which is replaced.
        counts: How many files of each kind are made; see ``deepscan.datasets.synthetic.KINDS``.
        models: Settings of each model, by its name.
        workers: Training processes.
        seed: Seed of everything.
    """

    out: pathlib.Path
    counts: dict[str, int] = dataclasses.field(
        default_factory=lambda: dict(zip(KINDS, (240, 40, 100, 40), strict=False))
    )
    models: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: dict(MODELS))
    workers: int = 2
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the demo came to.

    Attributes:
        result: The trained bundles, the ensemble and their figures.
        answers: The service's answer for a real and a fake file of each model's test split, by path.
        seconds: Duration of each stage.
    """

    result: Result
    answers: dict[str, dict[str, object]]
    seconds: dict[str, float]


def run(demo: Demo, watch: Watch) -> Told:
    """Run the demo from nothing to answers over HTTP.

    Raises:
        ConfigError: The folder holds something that is no earlier demo.
    """
    _claim(demo)
    seconds: dict[str, float] = {}
    with connected():
        with _timed("synthesize", seconds):
            data = _make(demo, watch)
        with _timed("prepare, train, calibrate, fuse, measure", seconds):
            result = train_all(_series(demo, data), watch)
        with _timed("serve and ask", seconds):
            answers = _ask(demo.out / ENSEMBLE, list(result.outcomes.values()), watch)
    return Told(result=result, answers=answers, seconds=seconds)


def _claim(demo: Demo) -> None:
    """Remove an earlier demo, and nothing else that somebody may keep in a folder; leave a mark."""
    out = demo.out
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).is_file():
            msg = f"{out} holds something that is no earlier demo; give --out a folder that is new or empty."
            raise ConfigError(msg)
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    kept = {"counts": demo.counts, "models": demo.models, "workers": demo.workers, "seed": demo.seed}
    (out / MARK).write_text(json.dumps(kept) + "\n", encoding="utf-8")


def _make(demo: Demo, watch: Watch) -> pathlib.Path:
    """Make files of every kind; return a manifest of all of them that tells for which models they are."""
    tables = []
    for kind, count in demo.counts.items():
        watch.stage(f"Synthesizing {kind}: camera-like recordings and known manipulations")
        size_px = None if kind == AUDIO else SIZE_PX
        order = Made(out=demo.out / "data" / kind, count=count, size_px=size_px, seed=demo.seed)
        made = layout.scan(KINDS[kind](order, watch.advance))
        # Sources of different kinds have nothing but their numbers in common.
        sources = pa.array([f"{kind}-{source}" for source in made.column("source").to_pylist()])
        made = made.set_column(made.column_names.index("source"), "source", sources)
        tables.append(made.append_column("modality", pa.array([kind] * len(made))))
    path = demo.out / "data" / "manifest.parquet"
    pq.write_table(pa.concat_tables(tables, promote_options="default"), path)
    return path


def _series(demo: Demo, data: pathlib.Path) -> Series:
    own = tuple(f"{model}:{text}" for model, settings in demo.models.items() for text in settings)
    order = Order(
        model="",
        origin=Origin(path=data, store=demo.out / "prepared", seed=demo.seed),
        out=demo.out,
        workers=demo.workers,
        overrides=(f"recipe.seed={demo.seed}", *own),
    )
    return Series(models=tuple(demo.models), order=order)


def _ask(ensemble: pathlib.Path, outcomes: list[Outcome], watch: Watch) -> dict[str, dict[str, object]]:
    """Serve the ensemble on Ray Serve and send it a real and a fake test file for each of its models."""
    watch.stage("Serving the ensemble with Ray Serve and asking it over HTTP")
    url = serve(ServeArgs(bundles=(str(ensemble),)), HOST, _free_port(), blocking=False)
    try:
        return {
            path: _post(f"{url}/api/predict/{outcome.bundle.card.modality}", path)
            for outcome in outcomes
            for path in _one_of_each(outcome)
        }
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
