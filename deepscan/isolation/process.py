"""One decoder process, from the side of its service: started, asked, killed."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time

from deepscan.errors import ConfigError
from deepscan.isolation import wire
from deepscan.isolation.wire import Answer, Message, Raised

START_TIMEOUT_S = 120.0
"""How long a decoder may take to load its libraries, on a busy machine."""

_GONE_S = 10.0
_START = """
import json, sys
paths, parent, memory_bytes = json.loads(sys.argv[1])
sys.path[:] = paths
from deepscan.isolation.child import main
main(parent, memory_bytes)
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What a file may cost.

    Attributes:
        time_s: Seconds that a decoder works on one call, at most; then it is killed.
        memory_bytes: What a call may take beyond the process itself; None = no limit. The largest picture
            that ``Limits`` allows by default takes 2.5 GB on its way.
        answer_bytes: Largest answer that is taken from a decoder.
        calls: After so many a decoder is replaced.
    """

    time_s: float = 60.0
    memory_bytes: int | None = 4 * 2**30
    answer_bytes: int = 2**29
    calls: int = 10_000

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        memory_bytes = 1 if self.memory_bytes is None else self.memory_bytes
        if self.time_s <= 0 or min(memory_bytes, self.answer_bytes, self.calls) < 1:
            msg = (
                "An allowance needs time_s above 0, and memory_bytes (or None), answer_bytes and calls of "
                f"at least 1, not {self}."
            )
            raise ConfigError(msg)


class Child:
    """One decoder process, as its service sees it."""

    def __init__(self, allowance: Allowance) -> None:
        """Start the process; it ends when the thread that started it does."""
        self._allowance = allowance
        self._asked = 0
        self._connection, theirs = socket.socketpair()
        given = json.dumps([sys.path, os.getpid(), allowance.memory_bytes or 0])
        with theirs:
            # Started anew and not forked: locks that threads hold would stay locked in a copy. A group of
            # its own keeps Ctrl-C away, which is for the service to answer.
            self._process = subprocess.Popen(  # noqa: S603  (its arguments are its own)
                [sys.executable, "-c", _START, given],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return int(self._process.pid)

    @property
    def usable(self) -> bool:
        """Whether it lives and has calls left."""
        return self._process.poll() is None and self._asked < self._allowance.calls

    def started(self) -> bool:
        """Wait until it has loaded its libraries; False where it died of that or took too long."""
        try:
            hello = wire.receive(self._connection, 0, time.monotonic() + START_TIMEOUT_S)
        except wire.BROKEN:
            return False
        return hello.head == {"ready": self.pid}

    def ask(self, call: Message, time_s: float) -> Answer | Raised:
        """Let it do a call.

        Raises:
            TimeoutError: It took too long; it is not usable any more.
            OSError: It died.
            EOFError: It died.
            ValueError: It answered what is no answer.
            RecursionError: The same.
        """
        self._asked += 1
        end_s = time.monotonic() + time_s
        self._connection.settimeout(time_s)
        wire.send(self._connection, Message(call.head | {"call": self._asked}, call.buffers))
        answer = wire.receive(self._connection, self._allowance.answer_bytes, end_s)
        if answer.head.get("call") != self._asked:
            msg = "An answer to another call."
            raise ValueError(msg)
        return wire.unpack_answer(answer)

    def fate(self) -> str:
        """Say how it ended, once its connection is closed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(_GONE_S)
            return signal.Signals(-status).name if status < 0 else f"status {status}"
        return "it closed its connection"

    def kill(self) -> None:
        """Kill it; whoever waits for its answer gets an EOFError."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and take back all that it held."""
        self.kill()
        self._process.wait()
        self._connection.close()
