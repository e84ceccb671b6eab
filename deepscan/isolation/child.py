"""A decoder process: does what its service asks, one call after the other, until the service is gone.

What a decoder may do to the machine is bounded here, from within: its memory, and that it ends with the
service. Whatever goes wrong beyond the errors that functions are known to raise ends the process.
"""

import contextlib
import ctypes
import importlib
import os
import pathlib
import resource
import signal
import socket
import sys

from deepscan.allocator import keep_memory
from deepscan.errors import DeepscanError, MediaTooLargeError
from deepscan.isolation import wire
from deepscan.isolation.wire import Answer, Message, Raised
from deepscan.modalities.catalog import load_builtin

MOST_CALL_BYTES = 2**40
"""The service bounds its files itself."""

_KEPT_BYTES = 2**26
_PDEATHSIG, _NO_NEW_PRIVILEGES = 1, 38


def main(parent: int, memory_bytes: int) -> None:
    """Serve the process that started this one, over the socket that it left as standard input.

    Args:
        parent: Process id of the service.
        memory_bytes: What a call may take beyond the process itself; 0 = no limit.
    """
    connection = socket.socket(fileno=os.dup(0))
    with pathlib.Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    _die_with(parent)
    keep_memory(_KEPT_BYTES)
    # A process that waits should have loaded what its first file needs.
    load_builtin()
    importlib.import_module("deepscan.pipeline")
    _bound(memory_bytes)
    wire.send(connection, Message({"ready": os.getpid()}))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            _serve_one(connection, memory_bytes)


def _serve_one(connection: socket.socket, memory_bytes: int) -> None:
    # A function of its own, so that nothing of a file is held while the next one is awaited.
    call = wire.receive(connection, MOST_CALL_BYTES)
    answer = wire.pack_answer(_run(call, memory_bytes))
    answer.head["call"] = call.head["call"]
    wire.send(connection, answer)


def _run(call: Message, memory_bytes: int) -> Answer | Raised:
    try:
        function, arguments = wire.unpack_call(call)
        return function(*arguments)
    except DeepscanError as error:
        return Raised(error)
    except MemoryError:
        limit = f"the {memory_bytes} bytes of memory that a decoder may take"
        return Raised(MediaTooLargeError(f"The file takes more than {limit}; shrink it, or raise the limit."))


def _die_with(parent: int) -> None:
    """End this process when the thread that started it ends, whatever it is doing then."""
    if sys.platform == "linux":
        process = ctypes.CDLL(None)
        process.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        process.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _bound(memory_bytes: int) -> None:
    """Bound the memory; leave no dumps of other people's files; be the first to go where memory ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if memory_bytes:
        most_bytes = memory_bytes + _own_bytes()
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))


def _own_bytes() -> int:
    """Return what counts towards the limit already: the private memory of this process."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmData:"):
                return 1024 * int(line.split()[1])
    return 0
