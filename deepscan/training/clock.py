"""How long a device computes, without making the program wait for it."""

import collections
import contextlib
import time
from collections.abc import Iterator

import torch

KEPT = 64
"""Measurements whose end is not asked for yet: by then a GPU has long been there."""


class DeviceClock:
    """Adds up the time that a device spends on steps.

    A program tells a GPU what to do and goes on, so its own clock says little. Events that the GPU passes
    between the steps say when it got there.
    """

    def __init__(self, device: torch.device) -> None:
        """Begin at zero."""
        self._on_gpu = device.type == "cuda"
        self._pending: collections.deque[tuple[torch.cuda.Event, torch.cuda.Event]] = collections.deque()
        self._seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count the work that the block gives to the device."""
        if not self._on_gpu:
            start_s = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start_s
            return
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        yield
        end.record()
        self._pending.append((start, end))
        if len(self._pending) > KEPT:
            self._settle()

    def seconds(self) -> float:
        """Return the time so far; waits until the device has done what it was given."""
        while self._pending:
            self._settle()
        return self._seconds

    def _settle(self) -> None:
        start, end = self._pending.popleft()
        end.synchronize()
        self._seconds += start.elapsed_time(end) / 1000
