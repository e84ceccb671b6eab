"""How a run ends before its end: by Ctrl-C, or because it stands still."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

from deepscan.errors import StalledError

LOOKS = 20
"""How often progress is looked at within the patience."""


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
    ended, reasons, main = threading.Event(), [], threading.get_ident()

    def watch() -> None:
        last, since_s = position(), time.monotonic()
        while not ended.wait(patience_s / LOOKS):
            if (now := position()) != last:
                last, since_s = now, time.monotonic()
            elif time.monotonic() - since_s >= patience_s:
                reasons.append(waiting())
                signal.pthread_kill(main, signal.SIGINT)  # wakes it from whatever it waits in
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not reasons:
            raise
        msg = f"Nothing has moved for {patience_s:g} s. {reasons[0]}"
        raise StalledError(msg) from interrupt
    finally:
        ended.set()
        watcher.join()


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
