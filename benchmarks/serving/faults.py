"""Steps in which something goes wrong: too much load, a dead replica, a broken deployment."""

import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

from benchmarks.serving.figures import goal, ratio
from benchmarks.serving.plan import Plan
from benchmarks.serving.processes import sending, wait_until
from benchmarks.serving.systems import System, config, running

CAPACITY_CONNECTIONS = 16
CROWD = 512
"""Connections of an open loop: enough that no request waits for one."""

SHARE_AT_REST = 0.5
"""Load at which a service is called unloaded, as a share of what it can take."""

TIMES_CAPACITY = 3
BACK_S = 20.0
JUDGES = "ServeReplica:deepscan:Replica"
"""In the title of a process of Ray that runs models."""

QUICK = {"upscale_delay_s": 2.0, "downscale_delay_s": 10.0}
"""How long more or less load lasts before replicas come or go: seconds, so that a benchmark sees both."""

DEPLOY_LIMIT_S = 180.0
QUIET_LIMIT_S = 60.0


def overload(plan: Plan) -> dict[str, Any]:
    """Send three times what the service can take, and see what those get who are let in.

    The base is the same service at half of what it can take, also in an open loop. Then ``max_wait_s`` is
    what an answer usually takes: nobody waits longer than that for those before him.
    """
    rows, goals = [], []
    for name in [name for name in ("local", "production") if name in plan.systems]:
        with running(name, plan.bundle) as system:
            plan.warm(system, CAPACITY_CONNECTIONS)
            most, _ = plan.measure(system, CAPACITY_CONNECTIONS)
            calm, _ = plan.measure(system, CROWD, rate_hz=most["per_s"] * SHARE_AT_REST)
        with running(name, plan.bundle, max_wait_s=calm["p95_ms"] / 1000) as system:
            plan.warm(system, CAPACITY_CONNECTIONS)
            full, _ = plan.measure(system, CROWD, rate_hz=most["per_s"] * TIMES_CAPACITY)
            after, _ = plan.measure(system, 1)
        for title, row in {"capacity": most, "calm": calm, "overload": full, "afterwards": after}.items():
            rows.append({"load": title} | row)
        goals += [
            goal(f"{name}: p99 of the accepted / calm", ratio(full["p99_ms"], calm["p99_ms"]), most=2.0),
            goal(f"{name}: p50 of refusals in ms", full.get("refused_p50_ms"), most=calm["p50_ms"]),
            goal(f"{name}: neither accepted nor refused", full["errors"], most=0),
            goal(f"{name}: accepted / capacity", ratio(full["per_s"], most["per_s"]), least=0.8),
        ]
    return {"model": plan.model, "rows": rows, "goals": goals}


def kill(plan: Plan) -> dict[str, Any]:
    """Kill a replica under load with the settings of production, and count who notices."""
    with running("production", plan.bundle) as system:
        plan.warm(system, CAPACITY_CONNECTIONS)
        before = system.members(JUDGES)
        with sending(plan.load(system, CAPACITY_CONNECTIONS, time_s=plan.time_s + BACK_S)) as outcome:
            time.sleep(plan.time_s / 2)
            os.kill(before[0].pid, signal.SIGKILL)
            back_s = _seconds_until(lambda: _others(system, before[0].pid) >= len(before), 2 * BACK_S)
            row = outcome().figures()
        after = _steadily_ready(system)
    rows = [{"system": "production", "replicas": len(before), "back_s": back_s} | row]
    failed = row["errors"] + row["refused"]
    goals = [
        goal("failed requests", failed, most=0),
        goal("seconds until the replica is back", back_s, most=BACK_S),
        goal("ready afterwards", int(after), least=1),
    ]
    return {"model": plan.model, "rows": rows, "goals": goals}


def _kind(message: str) -> str:
    """Return the last class of an error that a message names; the rest is about paths of this machine."""
    return next(iter(re.findall(r"\b([A-Z]\w+Error)\b", message)[::-1]), "")


def _others(system: System, dead: int) -> int:
    """Count the processes that run models, where Serve says that the service is whole."""
    if system.application().get("status") != "RUNNING":
        return 0
    return len([each for each in system.members(JUDGES) if each.pid != dead])


def broken_deploy(plan: Plan) -> dict[str, Any]:
    """Deploy a bundle whose weights are damaged, under load; what served before goes on."""
    broken = plan.folder / "broken"
    broken.mkdir()
    for path in plan.bundle.iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with running("production", plan.bundle) as system:
        plan.warm(system)
        seconds = plan.time_s + BACK_S
        with sending(plan.load(system, 4, time_s=seconds)) as outcome:
            system.deploy(config("production", broken, system.port))
            failed_s = _seconds_until(
                lambda: system.application().get("status") == "DEPLOY_FAILED", DEPLOY_LIMIT_S
            )
            message = system.application().get("message", "")
            row = outcome().figures()
        after, _ = plan.measure(system, 4)
        system.deploy(config("production", plan.bundle, system.port))
        healed_s = _seconds_until(lambda: system.application().get("status") == "RUNNING", DEPLOY_LIMIT_S)
    rows = [{"while": "the deployment fails", "failed_s": failed_s} | row]
    rows += [{"while": "it has failed", "healed_s": healed_s} | after]
    goals = [
        goal("requests that failed", sum(each["errors"] + each["refused"] for each in (row, after)), most=0),
        goal("deployment refused", int(failed_s is not None), least=1),
        goal("a good one deploys again", int(healed_s is not None), least=1),
    ]
    return {"model": plan.model, "rows": rows, "said": _kind(message), "goals": goals}


def autoscale(plan: Plan) -> dict[str, Any]:
    """Let the load rise and end where replicas may come and go."""
    stages = {
        "replica": {"cpus": 0.3, "min_replicas": 1, "max_replicas": 3, "max_ongoing": 16} | QUICK,
        "prepare": {"cpus": 0.2},
    }
    with running("autoscale", plan.bundle, **stages) as system:
        plan.warm(system)
        at_rest = len(system.members(JUDGES))
        with sending(plan.load(system, 64, time_s=plan.time_s + QUIET_LIMIT_S)) as outcome:
            up_s = _seconds_until(lambda: len(system.members(JUDGES)) > at_rest, plan.time_s + QUIET_LIMIT_S)
            at_most = _most(lambda: len(system.members(JUDGES)), plan.time_s)
            row = outcome().figures()
        down_s = _seconds_until(lambda: len(system.members(JUDGES)) <= at_rest, QUIET_LIMIT_S)
        after, _ = plan.measure(system, 1)
    rows = [
        {"replicas": f"{at_rest} to {at_most}", "up_s": up_s} | row,
        {"replicas": f"back to {at_rest}", "down_s": down_s} | after,
    ]
    goals = [
        goal("replicas under load / at rest", ratio(at_most, at_rest), least=2),
        goal("seconds until the first one more", up_s, most=BACK_S * 2),
        goal("seconds from the end of the load to as many as at rest", down_s, most=QUIET_LIMIT_S),
        goal("errors", row["errors"] + after["errors"] + after["refused"], most=0),
    ]
    return {"model": plan.model, "rows": rows, "goals": goals}


def _most(count: Callable[[], int], time_s: float) -> int:
    end_s, most = time.monotonic() + time_s, count()
    while time.monotonic() < end_s:
        most = max(most, count())
        time.sleep(0.5)
    return most


def _seconds_until(condition: Callable[[], bool], limit_s: float) -> float | None:
    """Return how long it took until a condition held; None where it did not in time."""
    start_s = time.monotonic()
    while not condition():
        if time.monotonic() - start_s > limit_s:
            return None
        time.sleep(0.2)
    return round(time.monotonic() - start_s, 1)


def _steadily_ready(system: System) -> bool:
    wait_until(system.is_ready, QUIET_LIMIT_S, "The return of the service")
    return system.is_ready()
