"""How a run ends before its end: by Ctrl-C, or because it stands still."""

import contextlib
import signal
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence

from deepscan.errors import DeepscanError, StalledError

LOOKS = 20
"""How often progress is looked at within the patience."""


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let work go on in a thread while the block runs; when it fails, the block is interrupted as by Ctrl-C.

    Only the main thread can be interrupted; elsewhere the block runs to its end first.

    Args:
        work: Is given an event that says when the block has ended; the block's end waits for it.

    Raises:
        DeepscanError: The work failed.
        OSError: The same.
    """
    ended, failures, caller = threading.Event(), list[Exception](), threading.current_thread()

    def run() -> None:
        try:
            work(ended)
        except (DeepscanError, OSError) as error:
            failures.append(error)
            if caller is threading.main_thread() and not ended.is_set():
                signal.pthread_kill(caller.ident or 0, signal.SIGINT)  # wakes it from whatever it waits in

    worker = threading.Thread(target=run, daemon=True)
    try:
        with _heeded(failures):
            worker.start()
            yield
    except KeyboardInterrupt as interrupt:
        if not failures:
            raise
        raise failures[0] from interrupt
    finally:
        ended.set()
        worker.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _heeded(failures: Sequence[Exception]) -> Iterator[None]:
    """Let an interrupt for a failure through where others are ignored, as in what a shell leaves behind."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return

    def heed(number: int, frame: types.FrameType | None) -> None:
        if failures:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, heed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def ended_when_stalled(
    position: Callable[[], object], waiting: Callable[[], str], patience_s: float
) -> Iterator[None]:
    """Interrupt the block, as Ctrl-C does, once it has not moved for so long.

    Only the main thread can be interrupted; elsewhere the block just runs.

    Args:
        position: Where the work is; any change counts as progress. Called in a thread of its own.
        waiting: Says what waits for what; called once, when the patience is at its end.
        patience_s: Seconds without progress.

    Raises:
        StalledError: The block was interrupted for this; what ``waiting`` said.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def watch(ended: threading.Event) -> None:
        last, since_s = position(), time.monotonic()
        while not ended.wait(patience_s / LOOKS):
            if (now := position()) != last:
                last, since_s = now, time.monotonic()
            elif time.monotonic() - since_s >= patience_s:
                msg = f"Nothing has moved for {patience_s:g} s. {waiting()}"
                raise StalledError(msg)

    with beside(watch):
        yield


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make Ctrl-C in a run of Ray Train the KeyboardInterrupt that it is everywhere else.

    Ray Train puts a handler of its own in place, which stops the workers and then exits; it would also
    stay for whatever the process does afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGINT, before)
