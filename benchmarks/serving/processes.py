"""Processes of a system under load: started, found, weighed, and ended by their ids."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from benchmarks.serving.figures import Outcome
from benchmarks.serving.loads import HOST, Load

T = TypeVar("T")

ROOT = pathlib.Path(__file__).parents[2]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
END_S = 30.0
"""How long a system may take to end by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A process of Linux; when it started tells it from a later one with the same id."""

    pid: int
    parent: int
    start_ticks: int
    cpu_s: float
    command: str


def processes() -> dict[int, Process]:
    """Return all processes of this machine that can be read."""
    found = (_read(path) for path in pathlib.Path("/proc").glob("[0-9]*"))
    return {each.pid: each for each in found if each is not None}


def _read(path: pathlib.Path) -> Process | None:
    try:
        stat = (path / "stat").read_text().rpartition(")")[2].split()
        command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    if stat[0] == "Z":
        return None
    return Process(
        int(path.name), int(stat[1]), int(stat[19]), (int(stat[11]) + int(stat[12])) / TICKS_PER_S, command
    )


def tree(root: int) -> list[Process]:
    """Return a process and all that descend from it."""
    known = processes()
    members = {root} & set(known)
    while more := {pid for pid, each in known.items() if each.parent in members} - members:
        members |= more
    return [known[pid] for pid in sorted(members)]


def memory_bytes(members: Sequence[Process]) -> int:
    """Return the memory of processes, where what several share counts in parts (PSS)."""
    return sum(_pss_bytes(each.pid) for each in members)


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback on which nothing listens, all different."""
    with contextlib.ExitStack() as open_now:
        sockets = [open_now.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def start(
    command: Sequence[str], log: pathlib.Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a process at the root of the repository that writes into a log."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here: ask it, wait, then end what is left of its family by id."""
    family = tree(process.pid)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    # Children whose parent has ended belong to nobody then; who they are was noted before.
    for member in family:
        if (now := _read(pathlib.Path(f"/proc/{member.pid}"))) and now.start_ticks == member.start_ticks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
    process.wait(END_S)


def wait_until(condition: Callable[[], T], limit_s: float, what: str, every_s: float = 0.1) -> T:
    """Return the first true value of a condition, or give up."""
    end_s = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > end_s:
            raise SystemExit(f"{what} took longer than {limit_s:g} s.")
        time.sleep(every_s)
    return value


@contextlib.contextmanager
def sending(load: Load) -> Iterator[Callable[[], Outcome]]:
    """Send a load from a process of its own meanwhile; yields what waits for its outcome."""
    command = [sys.executable, "-m", "benchmarks.serving.client"]
    client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        client.stdin.write(load.to_json())
        client.stdin.close()
        yield lambda: Outcome.from_json(client.stdout.read())
    finally:
        client.kill()
        client.wait()


def send(load: Load) -> Outcome:
    """Send a load from a process of its own and wait for the outcome."""
    with sending(load) as outcome:
        return outcome()
