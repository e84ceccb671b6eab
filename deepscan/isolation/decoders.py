"""Decoders: processes that read files for a service and may be killed.

Files come from strangers, and libraries in C read them. A file that crashes its decoder, keeps it busy for
ever or fills its memory costs the one request that brought it: the process is killed and another takes its
place. What comes back from a decoder is checked like any foreign file, because the file may have taken the
process over: it can then lie about the pixels of its own file, and about those of the files that the same
process is given later (at most ``Allowance.calls``), but not about their digests.

What this does not do: a decoder runs as the same user as the service, with its files and its network.
Where that matters, put the service into a container that has neither.
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, Self, TypeVar

from deepscan import pipeline
from deepscan.errors import AbstainError, DecoderCrashedError, DecodeTimeoutError, DeepscanError, ServiceError
from deepscan.isolation import wire
from deepscan.isolation.process import START_TIMEOUT_S, Allowance, Child
from deepscan.isolation.wire import Answer, Message, Raised
from deepscan.media.probe import Limits, check_bytes, probe
from deepscan.media.source import Media
from deepscan.modalities import Prep, Prepared
from deepscan.verdict import Evidence, MediaFacts

P = ParamSpec("P")
T = TypeVar("T")

_PAUSES_S = (0.1, 1.0, 5.0)
"""Between the tries to start a process."""

_NONSENSE = "it sent what is no answer"
_log = logging.getLogger(__name__)


class Decoders:
    """Some processes that decode, for all threads of a service; ``close`` or ``with`` ends them."""

    def __init__(self, processes: int = 2, allowance: Allowance | None = None, spares: int = 1) -> None:
        """Start the processes, and return before they have loaded their libraries.

        Args:
            processes: Calls that are done at the same time; others wait.
            allowance: What a file may cost; None = the defaults of ``Allowance``.
            spares: Processes that are kept ready to take the place of one that was killed.
        """
        self._allowance = allowance or Allowance()
        self._slots = threading.BoundedSemaphore(processes)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="decoders")
        # The one used last comes first: its caches, and those of its core, are warm.
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()
        self._births: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._children: set[Child] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        for _ in range(processes + spares):
            self._births.put(True)
        # One thread starts all processes and lives as long as they may, because they end with it.
        self._keeper = threading.Thread(target=self._keep, name="decoders-keeper", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Ids of the processes that were started and not yet ended."""
        return tuple(child.pid for child in self._living())

    def prepare(self, prep: Prep, media: Media) -> Prepared:
        """Do ``pipeline.prepare`` in a decoder.

        Raises:
            MediaError: What ``pipeline.prepare`` raises; the decoder died of the file or took too long.
            ServiceError: No decoder starts.
        """
        answer = self.call(pipeline.prepare, prep, media, name=media.facts.name)
        if isinstance(answer, AbstainError) or (isinstance(answer, list) and _fits(answer, prep)):
            return answer
        raise _crashed(media.facts.name, _NONSENSE)

    def probe(self, data: bytes, name: str, limits: Limits | None = None) -> Media:
        """Do ``Media.from_bytes`` in a decoder; the size and the digest are taken here.

        Raises:
            MediaError: What ``Media.from_bytes`` raises; the decoder died of the file or took too long.
            ServiceError: No decoder starts.
        """
        limits = limits or Limits()
        check_bytes(len(data), name, limits)
        facts = self.call(probe, data, name, limits, name=name)
        digest = hashlib.sha256(data).hexdigest()
        if isinstance(facts, MediaFacts) and (facts.bytes, facts.sha256) == (len(data), digest):
            return Media(data, facts)
        raise _crashed(name, _NONSENSE)

    def testify(self, media: Media) -> tuple[Evidence, ...]:
        """Do ``pipeline.testify_all`` in a decoder.

        Raises:
            MediaError: The decoder died of the file or took too long.
            ServiceError: No decoder starts.
        """
        answer = self.call(pipeline.testify_all, media, name=media.facts.name)
        if isinstance(answer, tuple):
            return answer
        raise _crashed(media.facts.name, _NONSENSE)

    async def run(self, method: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Await a method of this object, as ``await decoders.run(decoders.prepare, prep, media)``.

        A caller that is cancelled while it waits for its turn leaves the queue. Once a decoder works for
        it, the work goes on, and its end is thrown away.

        Raises:
            DeepscanError: What the method raises.
        """
        work = functools.partial(method, *args, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def call(
        self, function: Callable[..., Answer], *args: Any, name: str = "file", time_s: float | None = None
    ) -> Answer:
        """Call a function of some module in a decoder; see ``wire.pack_call`` for what it may be given.

        Args:
            function: What to call; found by its module and name.
            args: Its arguments.
            name: File name, for messages only.
            time_s: Seconds that it may take; None = those of the allowance.

        Raises:
            DeepscanError: What the function raises.
            DecodeTimeoutError: It took too long.
            DecoderCrashedError: The process died of it, or answered what is no answer.
            ServiceError: No decoder starts.
        """
        call = wire.pack_call(function, args)
        with self._slots:
            answer = self._ask(call, name, time_s or self._allowance.time_s)
        if isinstance(answer, Raised):
            raise answer.error
        return answer

    def close(self) -> None:
        """Kill all processes; calls that are being done fail with a ServiceError."""
        self._closed.set()
        self._births.put(False)
        for child in self._living():
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        self._keeper.join()
        for child in self._living():
            self._forget(child)

    def _ask(self, call: Message, name: str, time_s: float) -> Answer | Raised:
        child = self._take()
        sound = False
        try:
            answer = child.ask(call, time_s)
            sound = True
        except TimeoutError as error:
            raise self._failed(_too_slow(name, time_s)) from error
        except (OSError, EOFError) as error:
            raise self._failed(_crashed(name, child.fate())) from error
        except wire.BROKEN as error:
            raise self._failed(_crashed(name, _NONSENSE)) from error
        finally:
            # An interrupt leaves the process in the midst of its work, so that it is not sound then either.
            if sound and child.usable:
                self._idle.put(child)
            else:
                self._replace(child)
        return answer

    def _failed(self, error: DeepscanError) -> DeepscanError:
        if self._closed.is_set():
            return ServiceError("The service ends; ask again when it is back.")
        # Without the message, which names the file.
        _log.warning("A decoder was given up: %s", type(error).__name__)
        return error

    def _take(self) -> Child:
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self._closed.is_set() and time.monotonic() < end_s:
            with contextlib.suppress(queue.Empty):
                child = self._idle.get(timeout=1)
                if child.usable:
                    return child
                self._replace(child)
        msg = "No decoder is running; the log says why. Ask again later."
        raise ServiceError(msg)

    def _replace(self, child: Child) -> None:
        self._forget(child)
        self._births.put(True)

    def _forget(self, child: Child) -> None:
        child.end()
        with self._lock:
            self._children.discard(child)

    def _living(self) -> tuple[Child, ...]:
        with self._lock:
            return tuple(self._children)

    def _keep(self) -> None:
        while self._births.get() and not self._closed.is_set():
            self._bear()

    def _bear(self) -> None:
        """Start a process and wait until it is ready; where it does not get so, try again."""
        failures = 0
        while not self._closed.is_set():
            child = Child(self._allowance)
            with self._lock:
                self._children.add(child)
            if child.started():
                self._idle.put(child)
                return
            fate = child.fate()
            self._forget(child)
            if not self._closed.is_set():
                _log.error("A decoder did not start (%s); its own lines are above. Trying again.", fate)
            self._closed.wait(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            failures += 1


def _fits(prepared: list[Any], prep: Prep) -> bool:
    """Whether arrays are what the Prep declares, so that no model meets anything else."""
    declared = {name: (column.dtype, column.shape) for name, column in prep.columns.items()}
    found = ({name: (array.dtype.name, array.shape) for name, array in each.items()} for each in prepared)
    return bool(prepared) and all(each == declared for each in found)


def _too_slow(name: str, time_s: float) -> DecodeTimeoutError:
    msg = (
        f"Decoding {name!r} was given up after {time_s:g} s. Cut out the part in question, shrink it or "
        "convert it; for files that are meant to be so large, raise the time limit."
    )
    return DecodeTimeoutError(msg)


def _crashed(name: str, fate: str) -> DecoderCrashedError:
    msg = (
        f"The decoder of {name!r} crashed ({fate}): the file is damaged, or made to do harm. "
        "If you trust it, convert it with another program."
    )
    return DecoderCrashedError(msg)
