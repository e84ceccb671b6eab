"""Functions that do in a decoder what hostile files might make a decoder do."""

import ctypes
import os
import resource
import signal
import socket
import threading
import time

import numpy as np

from deepscan.isolation import wire
from deepscan.media.source import Limits, Media
from deepscan.modalities import Example, Prep, Prepared
from deepscan.verdict import MediaFacts


def hang() -> Prepared:
    threading.Event().wait()
    return []


def leave() -> Prepared:
    os._exit(7)


def fail() -> Prepared:
    raise RuntimeError("a bug")


def crash() -> Prepared:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def crash_in_c() -> Prepared:
    ctypes.string_at(0)
    return []


def devour() -> Prepared:
    return [{"pixels": np.ones(2**31, np.uint8)}]


def memory_limit() -> Prepared:
    return [{"bytes": np.array(resource.getrlimit(resource.RLIMIT_DATA)[0])}]


def pid() -> Prepared:
    return [{"pid": np.array(os.getpid())}]


def fill() -> Prepared:
    """Takes 16 MB in small pieces and gives them back; says how many new pages that took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [np.ones(25_000, np.float32) for _ in range(160)]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return [{"pages": np.array(after - before), "sum": np.array(sum(float(each[0]) for each in pieces))}]


def pid_after(path: str) -> Prepared:
    """Answers once the file exists."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return pid()


def pid_at_meeting(own: str, other: str) -> Prepared:
    """Answers once another call does this too, at the same time."""
    open(own, "w").close()
    return pid_after(other)


def claim_other_bytes(data: bytes, name: str, limits: Limits) -> MediaFacts:
    return MediaFacts(name=name, kind="image", container="png", bytes=len(data), sha256="0" * 64)


def claim_other_shape(prep: Prep, media: Media) -> list[Example]:
    return [{"pixels": np.zeros((4, 4, 3), np.uint8), "box": np.zeros(4, np.float32)}]


def _says(payload: bytes) -> Prepared:
    """Write to the service behind the back of the decoder's own loop."""
    for descriptor in range(1, 64):
        try:
            connection = socket.socket(fileno=os.dup(descriptor))
            connection.sendall(payload)
        except OSError:
            continue
    return []


def talk_nonsense() -> Prepared:
    return _says(b"\x80\x05 this is no answer" * 100)


def claim_a_giant() -> Prepared:
    return _says(wire._PREFIX.pack(wire._MAGIC, 2, 2**60) + b"{}")
