"""Steps in which nothing goes wrong: comparison, batches, remembered answers, steady memory."""

import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.serving import systems
from benchmarks.serving.figures import goal, ratio
from benchmarks.serving.material import fresh_bundle
from benchmarks.serving.plan import Plan
from benchmarks.serving.processes import memory_bytes, sending
from benchmarks.serving.systems import System, running
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.modalities import Example
from deepscan.pipeline import prepare

SYSTEMS = ("bare", "litserve", "local", "serve", "production")
GAINS = 1.5
"""How many times as many Examples a second a model must judge in a batch for batches to be worth it."""

SAMPLE_S = 2.0
BATCH_SIZE, BUSY_CONNECTIONS = 8, 16
ONE_PROCESS = {"cpus": 0.8, "min_replicas": 1, "max_replicas": 1, "max_ongoing": 16, "max_queued": 64}
"""The model in one process with the CPUs that production gives to two."""

SOUND_MODEL, UNITS = "gru-attention", 512
"""A model of many steps, each of which reads all weights of its GRU: for one file or for eight."""


def compare(plan: Plan) -> dict[str, Any]:
    """Measure all systems at all numbers of connections, in turns."""
    rows, skipped, said = [], {}, {}
    for number in range(plan.rounds):
        for name in plan.systems:
            if reason := systems.absent(name):
                skipped[name] = reason
                continue
            with running(name, plan.bundle) as system:
                plan.warm(system)
                for connections in plan.connections:
                    row, outcome = plan.measure(system, connections)
                    rows.append({"round": number} | row)
                    said.setdefault(name, {}).update(outcome.probabilities)
    for reason in skipped.values():
        print(reason)
    speeds = medians(rows)
    goals = [*_speed_goals(speeds), _same_answers(said)]
    return {"model": plan.model, "rows": rows, "per_s": speeds, "skipped": skipped, "goals": goals}


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return requests a second by system and connections, the median of the rounds."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["system"], {}).setdefault(str(row["connections"]), []).append(row["per_s"])
    return {
        name: {count: statistics.median(each) for count, each in counts.items()}
        for name, counts in found.items()
    }


def _speed_goals(speeds: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    goals = []
    for count, per_s in speeds.get("local", {}).items():
        if "bare" in speeds:
            goals.append(goal(f"local / bare at {count}", ratio(per_s, speeds["bare"][count]), least=0.95))
        if "litserve" in speeds:
            goals.append(
                goal(f"local / litserve at {count}", ratio(per_s, speeds["litserve"][count]), least=1.0)
            )
    if "16" in speeds.get("production", {}) and "bare" in speeds:
        share = ratio(speeds["production"]["16"], speeds["bare"]["16"])
        goals.append(goal("production / bare at 16", share, least=0.7))
    return goals


def _same_answers(said: dict[str, dict[str, float | None]]) -> dict[str, Any]:
    """Compare what the systems said of the same pictures: speed counts where the work is the same."""
    base = next(iter(said.values()), {})
    gaps = [
        abs(answers[picture] - base[picture]) if None not in (answers[picture], base[picture]) else 1.0
        for answers in said.values()
        for picture in set(answers) & set(base)
        if answers[picture] != base[picture]
    ]
    return goal("largest difference of P(fake) between systems", max(gaps, default=0.0), most=1e-5)


def batching(plan: Plan) -> dict[str, Any]:
    """Measure ``serve --local`` and production without and with batches, for pictures and for sound.

    What a batch can bring at most is what it brings to the model alone, measured beside (``model_gain``).
    On Ray Serve one process runs the model: two on two cores would part batches and cores between them.
    """
    rows, goals = [], []
    cases = {plan.model: (plan.bundle, plan.pictures)}
    if plan.sounds:
        wide = fresh_bundle(plan.folder / "wide", SOUND_MODEL, hidden=UNITS)
        cases[f"{SOUND_MODEL} of {UNITS} units"] = wide, plan.sounds
    for model, (bundle, files) in cases.items():
        gain = model_gain(bundle, files)
        for name in [name for name in ("local", "production") if name in plan.systems]:
            per_s = {}
            for size in (1, BATCH_SIZE):
                args: dict[str, Any] = {"batch_size": size, "batch_wait_s": 0.0}
                if name == "production":
                    args["replica"] = ONE_PROCESS
                with running(name, bundle, **args) as system:
                    plan.warm(system, BUSY_CONNECTIONS, files=files)
                    row, _ = plan.measure(system, BUSY_CONNECTIONS, files=files)
                rows.append({"model": model, "batch_size": size, "model_gain": gain} | row)
                per_s[size] = row["per_s"]
            if gain >= GAINS:
                gained = ratio(per_s[BATCH_SIZE], per_s[1])
                goals.append(goal(f"{model}, {name}: with / without batches", gained, least=GAINS))
    return {"rows": rows, "goals": goals}


def model_gain(bundle: pathlib.Path, files: Sequence[str]) -> float:
    """Return how many times as many Examples a second the model judges in batches as one by one."""
    detector = Detector.load(bundle, "cpu")
    prepared = [prepare(detector.prep, Media.from_path(pathlib.Path(path))) for path in files]
    examples = [example for each in prepared if isinstance(each, list) for example in each][: 4 * BATCH_SIZE]
    spent_s = {size: min(_pass_s(detector, examples, size) for _ in range(3)) for size in (1, BATCH_SIZE)}
    return round(spent_s[1] / spent_s[BATCH_SIZE], 2)


def _pass_s(detector: Detector, examples: list[Example], size: int) -> float:
    start_s = time.perf_counter()
    detector.run(examples, batch_size=size)
    return time.perf_counter() - start_s


def cached(plan: Plan) -> dict[str, Any]:
    """Measure files that are judged for the first time beside the same files again, one connection."""
    rows, goals = [], []
    for name in [name for name in ("local", "production") if name in plan.systems]:
        with running(name, plan.bundle) as system:
            plan.warm(system)
            fresh, _ = plan.measure(system, 1)
            plan.measure(system, 1, fresh=False, count=len(plan.pictures))
            again, _ = plan.measure(system, 1, fresh=False)
        rows += [{"files": "fresh"} | fresh, {"files": "again"} | again]
        goals.append(goal(f"{name}: p50 again / fresh", ratio(again["p50_ms"], fresh["p50_ms"]), most=0.5))
    return {"model": plan.model, "rows": rows, "goals": goals}


def soak(plan: Plan) -> dict[str, Any]:
    """Hold a steady load and weigh the service; the first fifth of the time is for getting warm."""
    rows, goals, curves = [], [], {}
    for name in [name for name in ("local", "production") if name in plan.systems]:
        with running(name, plan.bundle) as system:
            plan.warm(system, BUSY_CONNECTIONS)
            with sending(plan.load(system, BUSY_CONNECTIONS, time_s=plan.soak_s)) as outcome:
                curve = _weigh(system, plan.soak_s)
                figures = outcome().figures()
        grown = growth(curve)
        curves[name] = [[round(at_s, 1), round(bytes_ / 2**20, 1)] for at_s, bytes_ in curve]
        rows.append({"system": name, "soak_s": plan.soak_s, "memory_mib": curves[name][-1][1]} | figures)
        goals.append(goal(f"{name}: memory after / before", grown, most=1.05))
        goals.append(goal(f"{name}: errors", figures["errors"], most=0))
    return {"model": plan.model, "rows": rows, "memory_mib": curves, "goals": goals}


def _weigh(system: System, time_s: float) -> list[tuple[float, int]]:
    start_s, curve = time.monotonic(), []
    while (at_s := time.monotonic() - start_s) < time_s:
        curve.append((at_s, memory_bytes(system.members())))
        time.sleep(min(SAMPLE_S, time_s / 10))
    return curve


def growth(curve: Sequence[tuple[float, int]]) -> float:
    """Return the memory of the last fifth of a time over that of the second fifth, medians."""
    fifth_s = curve[-1][0] / 5
    early = [bytes_ for at_s, bytes_ in curve if fifth_s <= at_s <= 2 * fifth_s]
    late = [bytes_ for at_s, bytes_ in curve if at_s >= 4 * fifth_s]
    return round(statistics.median(late) / statistics.median(early), 4)
