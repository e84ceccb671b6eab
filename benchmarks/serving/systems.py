"""The systems that are compared, each started as a user would, on free ports of the loopback."""

import contextlib
import copy
import dataclasses
import http.client
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from benchmarks.serving.loads import HEALTH, HOST
from benchmarks.serving.processes import ROOT, Process, end, free_ports, start, tree, wait_until

READY_S = 120.0

LOOPBACK_RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else it takes the address of the network
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""Of all clusters here, which listen on the loopback and live for minutes."""

PRODUCTION = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""HAProxy in front, which hands requests to Ingress directly; gRPC between the stages, no thread to spare."""

QUICK_SCALING = {"RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1"}
"""Queues are told to the controller every second, not every ten."""

PRODUCTION_CONFIG = ROOT / "serve_configs" / "production.yaml"
DEFAULT_CONFIG = {
    "proxy_location": "HeadOnly",
    "http_options": {"request_timeout_s": 60},
    "logging_config": {"encoding": "TEXT", "log_level": "INFO", "enable_access_log": False},
    "applications": [
        {"name": "deepscan", "route_prefix": "/", "import_path": "deepscan.serving.app:build", "args": {}}
    ],
}
TWO_CORES = {
    "batch_wait_s": 0.0,
    "prepare": {"cpus": 0.3, "max_ongoing": 16},
    "replica": {"cpus": 0.4, "min_replicas": 2, "max_replicas": 2, "max_ongoing": 16},
}
"""Arguments of production as long as there is no production.yaml: two models beside each other."""


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """A system that runs: its HTTP port, its first process, its log, and where Ray takes deployments."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: pathlib.Path
    dashboard_port: int = 0

    def members(self, title: str = "") -> list[Process]:
        """Return its processes, or those whose command line holds a title."""
        return [each for each in tree(self.process.pid) if title in each.command]

    def cpu_s(self, before: Sequence[Process] = ()) -> float:
        """Return the CPU time of its processes since ``before``, those that have ended left out."""
        known = {(each.pid, each.start_ticks): each.cpu_s for each in before}
        return sum(each.cpu_s - known.get((each.pid, each.start_ticks), 0.0) for each in self.members())

    def is_ready(self) -> bool:
        """Tell whether it answers that all is loaded."""
        self._require_alive()
        return get(self.port, HEALTH)[0] == 200

    def is_running(self) -> bool:
        """Tell whether Ray takes deployments."""
        self._require_alive()
        return get(self.dashboard_port, "/api/serve/applications/")[0] == 200

    def _require_alive(self) -> None:
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise SystemExit(f"{self.name} ended by itself:\n{tail}")

    def deploy(self, config: Mapping[str, Any]) -> str:
        """Hand a configuration to Serve as ``serve deploy`` does, and return what that says."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(dict(config), file)
            file.flush()
            said = subprocess.run(
                [sys.executable, "-m", "ray.serve.scripts", "deploy", file.name],
                cwd=ROOT,
                env=os.environ
                | LOOPBACK_RAY
                | {"RAY_DASHBOARD_ADDRESS": f"http://{HOST}:{self.dashboard_port}"},
                capture_output=True,
                text=True,
                timeout=READY_S,
                check=False,
            )
        return said.stdout + said.stderr

    def application(self) -> dict[str, Any]:
        """Return what Serve tells of the application: its status, message and deployments."""
        status, body = get(self.dashboard_port, "/api/serve/applications/")
        return next(iter(json.loads(body)["applications"].values()), {}) if status == 200 else {}


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of a route on the loopback; status 0 where nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def absent(name: str) -> str:
    """Return why a system cannot be measured here; "" where it can."""
    if name == "litserve" and importlib.util.find_spec("litserve") is None:
        return "LitServe is not installed; pip install 'deepscan[bench]' brings it."
    return ""


@contextlib.contextmanager
def running(name: str, bundle: pathlib.Path, **args: Any) -> Iterator[System]:
    """Run ``bare``, ``litserve``, ``local``, ``serve``, ``production`` or ``autoscale`` on a bundle.

    ``args`` are those of ``ServeArgs``, for the systems that are deepscan's.
    """
    port = free_ports(1)[0]
    alone = {
        "bare": ["benchmarks.serving.bare_fastapi", str(bundle)],
        "litserve": ["benchmarks.serving.litserve_app", str(bundle)],
        "local": ["benchmarks.serving.start_local", json.dumps({"bundles": str(bundle), **args})],
    }
    if name in alone:
        with _process(name, port, [sys.executable, "-m", *alone[name], str(port)]) as system:
            wait_until(system.is_ready, READY_S, f"The start of {name}")
            yield system
        return
    environment = {"serve": {}, "production": PRODUCTION, "autoscale": QUICK_SCALING}[name]
    with _cluster(name, port, environment) as system:
        system.deploy(config(name, bundle, port, **args))
        wait_until(system.is_ready, READY_S, f"The start of {name}")
        yield system


def config(name: str, bundle: pathlib.Path, port: int, **args: Any) -> dict[str, Any]:
    """Return the configuration with which a system on Ray serves a bundle at a port."""
    made = copy.deepcopy(DEFAULT_CONFIG)
    if name == "production":
        if PRODUCTION_CONFIG.exists():
            made = yaml.safe_load(PRODUCTION_CONFIG.read_text(encoding="utf-8"))
        else:
            args = TWO_CORES | args
    made.setdefault("http_options", {}).update(host=HOST, port=port)
    made["applications"] = made["applications"][:1]
    # Some versions of a file name several bundles or an ensemble: what is measured is this one.
    # Rates are there to keep one caller from taking everything, which is what a benchmark does.
    made["applications"][0].setdefault("args", {}).pop("gate", None)
    made["applications"][0]["args"].update(args, bundles=[str(bundle)])
    return made


@contextlib.contextmanager
def _process(
    name: str, port: int, command: list[str], environment: Mapping[str, str] | None = None, dashboard: int = 0
) -> Iterator[System]:
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / f"{name}.log"
        system = System(name, port, start(command, log, environment or {}), log, dashboard)
        try:
            yield system
        finally:
            end(system.process)


@contextlib.contextmanager
def _cluster(name: str, port: int, environment: Mapping[str, str]) -> Iterator[System]:
    """Run a cluster in the foreground of a process, so that all of it is the family of that process."""
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    names += ("metrics-export-port", "ray-client-server-port", "runtime-env-agent-port")
    *ports, stats, metrics = free_ports(len(names) + 2)
    # Short: Ray makes sockets in it, whose paths are limited.
    folder = tempfile.mkdtemp(prefix="l", dir="/tmp")
    haproxy = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/h/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/h/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": f"{folder}/h",
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/h/server-state",
    }
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        f"--temp-dir={folder}",
    ]
    command += [f"--node-ip-address={HOST}", f"--dashboard-host={HOST}", "--include-dashboard=true"]
    command += [
        f"--num-cpus={os.cpu_count()}",
        f"--object-store-memory={400 * 2**20}",
        "--disable-usage-stats",
    ]
    command += [f"--{each}={given}" for each, given in zip(names, ports, strict=True)]
    dashboard = ports[names.index("dashboard-port")]
    try:
        with _process(name, port, command, LOOPBACK_RAY | haproxy | environment, dashboard) as system:
            wait_until(system.is_running, READY_S, f"The start of a cluster for {name}")
            yield system
    finally:
        shutil.rmtree(folder, ignore_errors=True)
