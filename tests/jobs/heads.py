"""Heads of Ray clusters on 127.0.0.1, started as users start them."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest

from deepscan.cluster import ENVIRONMENT

ROOT = pathlib.Path(__file__).parents[2]
RAY = pathlib.Path(sys.executable).parent / "ray"
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "ray-client-server-port",
)


def free_port():
    """A port below the range that Ray gives to its workers' own needs."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port >= 20000:
            return port


def free_ports():
    return {name: free_port() for name in PORTS}


@contextlib.contextmanager
def started_head(options, ports, **variables):
    """Starts ``ray start`` with ``options`` on private ports; gives the environment in which it is found."""
    folder = tempfile.mkdtemp(prefix="r")  # short: Ray makes sockets in it, whose paths are limited
    environment = {**os.environ, **ENVIRONMENT, **variables}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [
            RAY,
            "start",
            *options,
            "--block",
            "--node-ip-address=127.0.0.1",
            "--object-store-memory=300000000",
            f"--temp-dir={folder}",
            *(f"--{name}={port}" for name, port in ports.items()),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        wait_for(address)
        yield {**environment, "RAY_API_SERVER_ADDRESS": address}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        end_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(address):
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"{address}/api/version", timeout=2):
                return
        except urllib.error.HTTPError:
            return  # it answers, and asks for the token
        except OSError:
            time.sleep(0.5)
    pytest.fail("the Ray head did not come up in a minute")


def end_all_of(folder):
    """Ends what the head started and left: machines that its autoscaler made name the folder too."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def submit(environment, *words, **options):
    """Runs ``ray job submit`` with the working directory of the project."""
    command = [RAY, "job", "submit", "--working-dir", ".", "--", sys.executable, *map(str, words)]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, **options
    )
